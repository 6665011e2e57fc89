// 03_threaded: a thread for each client.
//
// New since 02_blocking_loop: each client has a thread of its own, so a slow
// client holds up only that thread. See the class Threads. And on SIGINT or
// SIGTERM, the program now ends its threads before it ends itself.
//
//   $ ./tour run 03
//   03_threaded: listening on http://0.0.0.0:8080/
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//
// Read serve() first, near the end of this file, and then Threads.
//
// Limit: each client takes a thread with a stack, even while it sends nothing.
// 04_select waits for all clients in one thread.

#include "common.h"
#include "console.h"
#include "conversation.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <iterator>
#include <list>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace {

// ---- Stopping ---------------------------------------------------------------

std::atomic<bool> stop_requested = false;

// The handler only sets a flag. If it ended the program here, it could cut off
// what a thread is printing. serve() sees the flag and leaves its loop. Then
// ~Threads() ends all conversations. A signal that comes just before accept()
// does not interrupt it. Then accept() returns after a tick (see below).
void stop(int /*signal*/) {
    stop_requested = true;
}

void handle_signals() {
    ::signal(SIGINT, stop);
    ::signal(SIGTERM, stop);
    // Without this, send() to a client that has left could end the program.
    ::signal(SIGPIPE, SIG_IGN);
    // The program that started us may have blocked signals, and we inherit
    // that. So we unblock all of them.
    sigset_t none;
    ::sigemptyset(&none);
    check(::sigprocmask(SIG_SETMASK, &none, nullptr), "sigprocmask");
}

// ---- The listener -----------------------------------------------------------

// The main thread checks at least this often whether it must stop, and whether
// threads have ended.
constexpr auto tick = 250ms;

// Gives the listener the address that clients connect to.
void bind_to_address(int listener, const Options& options) {
    sockaddr_in address{};
    address.sin_family = AF_INET; // IPv4
    // The network wants the most significant byte first. htons() sees to that.
    address.sin_port = htons(options.port);
    // This can't fail, because the command line has been checked.
    ::inet_pton(AF_INET, options.host.c_str(), &address.sin_addr);
    // bind() takes addresses of every kind. So it wants a pointer to sockaddr,
    // which stands for all of them, and the size of ours.
    const auto* pointer = reinterpret_cast<const sockaddr*>(&address);
    const std::string port = std::to_string(options.port);
    const std::string what = "bind " + options.host + ":" + port;
    check(::bind(listener, pointer, sizeof address), what.c_str());
}

// For TCP_NOTSENT_LOWAT. About this much of a response may wait in the kernel
// until it can be sent. Without this limit, it could be megabytes for each
// client that reads nothing.
constexpr int max_unsent = 256 * 1024; // bytes

// Makes the listener, a socket that only accepts connections. The connections
// inherit the options that we set here.
Fd listen_on(const Options& options) {
    // SOCK_STREAM means TCP. With SOCK_CLOEXEC, a program that we start would
    // not inherit the socket.
    const int type = SOCK_STREAM | SOCK_CLOEXEC;
    const int fd = ::socket(AF_INET, type, 0);
    Fd listener(check(fd, "socket"));
    // This lets us restart immediately. The kernel remembers a connection for
    // a minute after we have closed it (the state is called TIME_WAIT). Without
    // this option, bind() would fail for that long.
    set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(listener.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, max_unsent);
    bind_to_address(listener.get(), options);
    // accept() waits for a tick at most. The connections inherit this limit,
    // but limit_wait() sets their own before each call that waits.
    set_timeout(listener.get(), SO_RCVTIMEO, tick);
    // From now on the kernel lets clients connect. They wait in a queue, the
    // backlog, until we accept them.
    check(::listen(listener.get(), options.backlog), "listen");
    return listener;
}

// Waits for a client, and returns the connection to it. Returns an empty Fd if
// a tick passes or a signal comes. Throws on other errors, for example if no
// descriptor is left.
Fd accept_client(int listener) {
    while (true) {
        // accept4() is accept() with flags. A connection does not get
        // SOCK_CLOEXEC from the listener, so we ask for it again.
        Fd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (socket.get() != -1) {
            return socket;
        }
        // A tick has passed, or a signal has come. serve() decides what to do.
        if (errno == EAGAIN || errno == EINTR) {
            return Fd();
        }
        if (!should_accept_again(errno)) {
            throw_errno("accept");
        }
    }
}

// How long we wait when we are out of descriptors, memory or threads.
constexpr auto retry_pause = 100ms;

// ---- Threads: what this stage is about --------------------------------------

// At most this many clients are served at the same time (--max-threads). The
// others wait in the backlog.
std::size_t max_threads = 10000;

// One client: its connection, and the thread that serves it. `thread` is empty
// until start_thread() has started one. The destructor of a std::jthread joins
// its thread. (libc++ has std::jthread from LLVM 20 on.)
struct Client {
    Fd socket;
    std::jthread thread{};
};

// All clients. A client is in active_ while it is being served. Then it is in
// finished_ until its thread has been joined.
//
// A client's thread runs serve_client() and finish(). Only the main thread
// calls the other functions.
class Threads {
public:
    Threads(const Options& options, const Responses& responses,
            Console& console)
        : options_(options), responses_(responses), console_(console) {}

    // Ends all conversations, and waits until their threads have ended.
    ~Threads() {
        std::unique_lock lock(clients_mutex_);
        for (const Client& client : active_) {
            // This wakes the thread if it waits in recv() or send(). close()
            // would not wake it.
            ::shutdown(client.socket.get(), SHUT_RDWR);
        }
        // wait() unlocks the mutex while it waits, so that clients can finish.
        while (!active_.empty()) {
            client_finished_.wait(lock);
        }
        lock.unlock();
        join_finished();
    }

    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    // Joins the threads that have called finish(), and removes their clients.
    void join_finished() {
        std::list<Client> finished;
        // We hold the lock only for the swap. If we held it while we join,
        // no other client could finish in the meantime.
        {
            const std::lock_guard lock(clients_mutex_);
            finished.swap(finished_);
        }
        // Here `finished` is destroyed, and each std::jthread in it joins its
        // thread. This takes only a moment, because such a thread has nothing
        // left to do but return from finish().
    }

    // Waits up to a tick for room. Returns whether there is room for one more
    // client.
    bool wait_for_room() {
        std::unique_lock lock(clients_mutex_);
        if (active_.size() >= max_threads) {
            client_finished_.wait_for(lock, tick);
        }
        return active_.size() < max_threads;
    }

    // Starts a thread that serves this client. Throws if there is no memory for
    // the client, and then its connection is closed. If no thread can be
    // started, this tries again until it succeeds or the server must stop.
    void add(Fd socket) {
        const auto client = insert(std::move(socket));
        while (!stop_requested) {
            try {
                start_thread(client);
                return;
            } catch (const std::exception& error) {
                // When other clients have finished, it may be possible to start
                // a thread. We have accepted this client already, so we keep it
                // and try again.
                console_.complain(reason_of(error));
                std::this_thread::sleep_for(retry_pause);
                join_finished();
            }
        }
        // The server must stop, and this client never got a thread. So we close
        // its connection here.
        finish(client);
    }

private:
    // Where a client is in its list. This stays valid when other clients come
    // and go, and when the client moves to the other list.
    using Place = std::list<Client>::iterator;

    // Adds the client to active_. It has no thread yet.
    Place insert(Fd socket) {
        const std::lock_guard lock(clients_mutex_);
        active_.push_back({std::move(socket)});
        return std::prev(active_.end());
    }

    void start_thread(Place client) {
        try {
            // The new thread may call finish() before its std::jthread has been
            // stored here. That is safe, because only the main thread uses
            // `thread`: here, and in join_finished().
            client->thread =
                std::jthread([this, client] { serve_client(client); });
        } catch (const std::system_error& error) {
            // The text of this error is only "Resource temporarily
            // unavailable". So we put "thread: " in front of it.
            throw std::system_error(error.code(), "thread");
        }
    }

    // A client's thread runs this function, and then ends.
    void serve_client(Place client) {
        try {
            converse(client->socket.get(), options_, responses_, console_);
        } catch (const std::exception& error) {
            // An error ends this one conversation, not the server. When the
            // server stops, ~Threads() ends all conversations. That causes
            // errors, too, and we don't print those.
            if (!stop_requested) {
                console_.explain(reason_of(error));
            }
        }
        finish(client);
    }

    // Closes the connection, and moves the client from active_ to finished_.
    // This is the last thing that a client's thread does. The main thread joins
    // it later. (add() also calls this, for a client that never got a thread.)
    void finish(Place client) {
        const std::lock_guard lock(clients_mutex_);
        // This closes the socket.
        client->socket = Fd();
        // splice() moves the client to the other list. It needs no memory, so
        // it can't fail.
        finished_.splice(finished_.end(), active_, client);
        client_finished_.notify_one();
    }

    const Options& options_;
    const Responses& responses_;
    Console& console_;
    // We notify this when a client has moved to finished_. Only the main thread
    // waits for it.
    std::condition_variable client_finished_;
    // Lock this before you use one of the two lists. finish() also closes the
    // socket under this lock. So no socket is closed while ~Threads() calls
    // shutdown() on it.
    std::mutex clients_mutex_;
    std::list<Client> active_;
    std::list<Client> finished_;
};

// ---- The server -------------------------------------------------------------

void serve(const Options& options, const Responses& responses,
           Console& console) {
    handle_signals();
    const Fd listener = listen_on(options);
    announce(listener.get(), options, console);
    Threads threads(options, responses, console);
    while (!stop_requested) {
        threads.join_finished();
        if (!threads.wait_for_room()) {
            continue;
        }
        try {
            Fd socket = accept_client(listener.get());
            if (socket.get() != -1) {
                threads.add(std::move(socket));
            }
        } catch (const std::exception& error) {
            // We are out of descriptors or memory. If accept() has failed, the
            // client is still in the backlog. If add() has failed, the client's
            // connection has been closed. We pause before we try again.
            // Otherwise we would fail immediately, and spin.
            console.complain(reason_of(error));
            std::this_thread::sleep_for(retry_pause);
        }
    }
    // ~Threads() runs here, and ends all conversations.
}

void add_stage_options(CLI::App& app) {
    add_number(app, "--max-threads", max_threads, "Clients at a time", 1,
               99999);
}

} // namespace

// run(), in console.h, reads the command line and calls serve().
int main(int argc, char** argv) {
    const Program program{"03_threaded",
                          "Serves each client in a thread of its own.", serve,
                          add_stage_options};
    return run(program, argc, argv);
}
