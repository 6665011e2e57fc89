// 08_workers: 07_epoll_edge, and threads for what blocks.
//
// New since 07: each request is stored in a database. It is answered when it is
// on the disk, which can take long. So worker threads do it (workers.h), and
// the event loop goes on. A connection has one more state: storing.
//
//   $ ./tour run 08
//   08_workers: listening on http://0.0.0.0:8080/
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//
// Read workers.h, then store.h. Then look for "storing" in connection.h, and
// for "workers_" in server.h.
//
// Limit: if the disk can't keep up, the queue fills, and clients get a 503.

#include "common.h"
#include "console.h"
#include "segments.h"
#include "server.h"
#include "workers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <csignal>
#include <cstddef>
#include <string>
#include <utility>

namespace {

// ---- Stopping ---------------------------------------------------------------

// Only the main thread handles signals, so we don't need the std::atomic of
// 03_threaded.
volatile std::sig_atomic_t stop_requested = 0;

void stop(int /*signal*/) {
    stop_requested = 1;
}

void handle_signals() {
    ::signal(SIGINT, stop);
    ::signal(SIGTERM, stop);
    // Without this, send() to a client that has left could end the program.
    ::signal(SIGPIPE, SIG_IGN);
    // From now on SIGINT and SIGTERM are blocked: they get through to stop()
    // only while Poller::wait() waits. Until then they are pending.
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGINT);
    ::sigaddset(&blocked, SIGTERM);
    check(::sigprocmask(SIG_SETMASK, &blocked, nullptr), "sigprocmask");
}

// If a client is ready, a wait does not sleep, and a signal stays pending.
// Under load this can happen in every round. So we also look for signals that
// are pending.
bool is_stopping() {
    sigset_t pending;
    ::sigpending(&pending);
    const bool has_int = ::sigismember(&pending, SIGINT) == 1;
    const bool has_term = ::sigismember(&pending, SIGTERM) == 1;
    return stop_requested != 0 || has_int || has_term;
}

// ---- The listener -----------------------------------------------------------

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
    // not inherit the socket. With SOCK_NONBLOCK, accept() does not wait.
    const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    const int fd = ::socket(AF_INET, type, 0);
    Fd listener(check(fd, "socket"));
    // This lets us restart immediately. The kernel remembers a connection for
    // a minute after we have closed it (the state is called TIME_WAIT). Without
    // this option, bind() would fail for that long.
    set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(listener.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, max_unsent);
    bind_to_address(listener.get(), options);
    set_segment_options(listener.get());
    if (defer_accept) {
        // The kernel rounds this up to 1, 3, 7, 15, ... seconds. After that
        // time it hands over even a client that has said nothing. If it stays
        // silent for our timeout, too, it gets its 408. We add 1, because 0
        // would turn the option off.
        const int seconds = static_cast<int>(options.timeout) + 1;
        set_option(listener.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds);
    }
    // From now on the kernel lets clients connect. They wait in a queue, the
    // backlog, until we accept them.
    check(::listen(listener.get(), options.backlog), "listen");
    return listener;
}

// ---- The server -------------------------------------------------------------

// This many threads store requests (--workers). SQLite writes for one
// connection at a time, so one is enough for it. A database that can do more at
// once is worth more workers.
std::size_t worker_count = 1;
// At most this many requests wait to be stored (--queue).
std::size_t max_waiting = 1000;
// The file that keeps the requests (--database).
std::string database = "requests.db";

void serve(const Options& options, const Responses& responses,
           Console& console) {
    // The workers inherit the blocked signals. So a signal always goes to this
    // thread.
    handle_signals();
    Workers workers(worker_count, max_waiting, database, console);
    Fd listener = listen_on(options);
    announce(listener.get(), options, console);
    Server server(std::move(listener), options, responses, console, workers);
    while (!is_stopping()) {
        server.run_round();
    }
}

// SQLite takes "" and ":memory:" for databases that are in no file.
std::string check_file_name(const std::string& name) {
    if (name.empty() || name.front() == ':') {
        return "Value '" + name + "' is not the name of a file";
    }
    return "";
}

void add_stage_options(CLI::App& app) {
    add_segment_options(app);
    app.add_flag("--defer-accept", defer_accept,
                 "Accept a client only when it has said something. Until then "
                 "it takes a place in the kernel's SYN queue, which is as long "
                 "as the backlog");
    add_number(app, "--workers", worker_count,
               "Threads that store requests. 0: the event loop does it, and "
               "everybody waits",
               0, 100);
    add_number(app, "--queue", max_waiting,
               "Requests that may wait to be stored. Others get a 503", 1,
               1'000'000);
    app.add_option("--database", database, "The file that keeps the requests")
        ->check(check_file_name);
}

} // namespace

// run(), in console.h, reads the command line and calls serve().
int main(int argc, char** argv) {
    const Program program{"08_workers",
                          "Stores each request, in threads of their own.",
                          serve, add_stage_options};
    return run(program, argc, argv);
}
