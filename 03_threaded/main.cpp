// 03_threaded: a thread for each client.
//
// New since 02_blocking_loop: a slow client holds up only its own thread.
// conversation.h is the same, but each client's thread calls it now. See
// Threads. And SIGINT and SIGTERM no longer end the program on the spot.
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

// We don't end the program on the spot: that could cut off what a thread is
// printing. serve() sees the flag and returns, and then ~Threads() ends all
// conversations. A signal that comes just before accept() does not interrupt
// it, but accept() returns after a tick (see below).
void stop(int /*signal*/) {
    stop_requested = true;
}

void handle_signals() {
    ::signal(SIGINT, stop);
    ::signal(SIGTERM, stop);
    // Without this, send() to a client that has left would end the program.
    ::signal(SIGPIPE, SIG_IGN);
    // The program that started us may have blocked signals, and we inherit
    // that. So we unblock all of them.
    sigset_t none;
    ::sigemptyset(&none);
    check(::sigprocmask(SIG_SETMASK, &none, nullptr), "sigprocmask");
}

// ---- The listener -----------------------------------------------------------

// The server looks at least this often whether it must stop, and whether
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

// About this much of a response may wait in the kernel until it can be sent. By
// default it could be megabytes for each client that reads nothing.
constexpr int max_unsent = 256 * 1024; // bytes

// Makes the listener, a socket that only accepts connections. The connections
// inherit the options that we set here.
Fd listen_on(const Options& options) {
    // SOCK_STREAM means TCP. With SOCK_CLOEXEC, a program that we start would
    // not inherit the socket.
    const int type = SOCK_STREAM | SOCK_CLOEXEC;
    const int fd = ::socket(AF_INET, type, 0);
    Fd listener(check(fd, "socket"));
    // This lets us restart at once. The kernel remembers a connection for a
    // minute after we have closed it (the state is called TIME_WAIT). Without
    // this option, bind() would fail for that long.
    set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(listener.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, max_unsent);
    bind_to_address(listener.get(), options);
    // accept() waits this long at most. The connections inherit this, too, but
    // limit_wait() replaces it before each call on them.
    set_timeout(listener.get(), SO_RCVTIMEO, tick);
    // From now on the kernel lets clients connect. They wait in a queue, the
    // backlog, until we accept them.
    check(::listen(listener.get(), options.backlog), "listen");
    return listener;
}

// Waits for a client. Returns the connection to it, or none if a tick passes or
// a signal comes. Throws if we are out of descriptors or memory.
Fd accept_client(int listener) {
    while (true) {
        // accept4() is accept() with flags. A connection does not get
        // SOCK_CLOEXEC from the listener, so we ask for it again.
        Fd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (socket.get() != -1) {
            return socket;
        }
        // A tick has passed, or there was a signal. serve() looks what to do.
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

// At most this many clients are served at once (--max-threads). The others wait
// in the backlog.
std::size_t max_threads = 10000;

// One client and the thread that serves it. The destructor of a std::jthread
// joins the thread. (libc++ has std::jthread from LLVM 20 on.)
struct Client {
    Fd socket;
    std::jthread thread{};
};

// All clients. Only the main thread calls these functions, unless a comment
// says otherwise.
class Threads {
public:
    Threads(const Options& options, const Responses& responses,
            Console& console)
        : options_(options), responses_(responses), console_(console) {}

    // Ends all conversations, and waits until their threads have ended.
    ~Threads() {
        std::unique_lock lock(clients_mutex_);
        for (const Client& client : active_) {
            // A thread that waits in recv() or send() returns from it now. It
            // would not return after a close().
            ::shutdown(client.socket.get(), SHUT_RDWR);
        }
        while (!active_.empty()) {
            client_finished_.wait(lock);
        }
        lock.unlock();
        join_finished();
    }

    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    // Joins the threads whose clients are finished.
    void join_finished() {
        std::list<Client> finished;
        // Only the swap needs the lock.
        {
            const std::lock_guard lock(clients_mutex_);
            finished.swap(finished_);
        }
        // Here the destructor of `finished` joins the threads. It may have to
        // wait for a thread's last steps.
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

    // Serves the client in a thread of its own. Throws if there is no memory
    // for the client. If no thread can be started, this tries again and again.
    void add(Fd socket) {
        const auto client = insert(std::move(socket));
        while (!stop_requested) {
            try {
                start_thread(client);
                return;
            } catch (const std::exception& error) {
                // When other clients have finished, we can start a thread
                // again. We have accepted this client, so we keep it until
                // then.
                console_.complain(reason_of(error));
                std::this_thread::sleep_for(retry_pause);
                join_finished();
            }
        }
        // We must stop, and this client has no thread.
        finish(client);
    }

private:
    // Where a client is in its list. This stays valid when other clients come
    // and go, and when the client moves to the other list.
    using Place = std::list<Client>::iterator;

    Place insert(Fd socket) {
        const std::lock_guard lock(clients_mutex_);
        active_.push_back({std::move(socket)});
        return std::prev(active_.end());
    }

    void start_thread(Place client) {
        try {
            // The thread may finish the client before this assignment is done.
            // That is fine, because only the main thread uses `thread`, here
            // and when it joins.
            client->thread =
                std::jthread([this, client] { serve_client(client); });
        } catch (const std::system_error& error) {
            // The error does not say what has failed.
            throw std::system_error(error.code(), "thread");
        }
    }

    // This is what each client's thread runs.
    void serve_client(Place client) {
        try {
            converse(client->socket.get(), options_, responses_, console_);
        } catch (const std::exception& error) {
            // This ends the conversation with one client, not the server. When
            // we stop, it is we who have ended it.
            if (!stop_requested) {
                console_.explain(reason_of(error));
            }
        }
        finish(client);
    }

    // Closes the connection, and moves the client to the finished ones. This is
    // the last step of a client's thread, and the main thread joins it later.
    // (add() calls this, too, for a client that has no thread.)
    void finish(Place client) {
        const std::lock_guard lock(clients_mutex_);
        client->socket = Fd();
        // splice() moves the client to the other list. It needs no memory, so
        // it can't fail.
        finished_.splice(finished_.end(), active_, client);
        client_finished_.notify_one();
    }

    const Options& options_;
    const Responses& responses_;
    Console& console_;
    // Tells the main thread that a client has moved to finished_.
    std::condition_variable client_finished_;
    // Guards the two lists. It also keeps a thread from closing its socket
    // while the destructor of Threads uses it.
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
            // We are out of descriptors or memory. At worst, this has cost the
            // client at hand. The next ones wait in the backlog. If we went on
            // at once, we would fail again, and spin.
            console.complain(reason_of(error));
            std::this_thread::sleep_for(retry_pause);
        }
    }
    // Now the destructor of Threads ends all conversations.
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
