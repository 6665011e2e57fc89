// 04_select: one thread for all clients.
//
// New since 03_threaded: no call on a socket waits. A call that can't go on
// fails with EAGAIN, and the program waits in one place only, in select(), for
// all clients at once. Compare conversation.h of 03 with connection.h: the
// loops have become a state.
//
//   $ ./tour run 04
//   04_select: listening on http://0.0.0.0:8080/
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//
// Read serve() first, then server.h, connection.h and poller.h.
//
// Limit: from descriptor 1024 on, clients get 503. 05_poll has no such limit.

#include "common.h"
#include "console.h"
#include "server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <csignal>
#include <string>
#include <utility>

namespace {

// ---- Stopping ---------------------------------------------------------------

volatile std::sig_atomic_t stop_requested = 0;

void stop(int /*signal*/) {
    stop_requested = 1;
}

void handle_signals() {
    ::signal(SIGINT, stop);
    ::signal(SIGTERM, stop);
    // Without this, send() to a client that has left would end the program.
    ::signal(SIGPIPE, SIG_IGN);
    // SIGINT and SIGTERM are blocked, except while Poller::wait() waits.
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGINT);
    ::sigaddset(&blocked, SIGTERM);
    check(::sigprocmask(SIG_SETMASK, &blocked, nullptr), "sigprocmask");
}

// Under load a wait finds something ready at once, and then no signal gets
// through to stop(). So we also ask for signals that are pending.
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
    // Network byte order: the most significant byte comes first.
    address.sin_port = htons(options.port);
    // This can't fail: the command line has been checked.
    ::inet_pton(AF_INET, options.host.c_str(), &address.sin_addr);
    // bind() takes addresses of every kind, so it wants a pointer to the
    // general type, and the size.
    const auto* general = reinterpret_cast<const sockaddr*>(&address);
    const std::string port = std::to_string(options.port);
    const std::string call = "bind " + options.host + ":" + port;
    check(::bind(listener, general, sizeof address), call.c_str());
}

// The kernel holds at most this much of a response that it can't send yet. By
// default, each client that reads nothing would tie up 3 MB.
constexpr int max_unsent = 256 * 1024; // bytes

// Makes the listener, a socket that only accepts connections. The connections
// inherit its options.
Fd listen_on(const Options& options) {
    // SOCK_STREAM means TCP. SOCK_CLOEXEC keeps the socket from programs that
    // we might start.
    const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    Fd listener(check(::socket(AF_INET, type, 0), "socket"));
    // Lets us restart at once. Without it, bind() fails for a minute after the
    // last run, whose connections the kernel still keeps in TIME_WAIT.
    set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(listener.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, max_unsent);
    bind_to_address(listener.get(), options);
    // From now on the kernel answers clients. They wait in the backlog, a
    // queue, until we accept them.
    check(::listen(listener.get(), options.backlog), "listen");
    return listener;
}

// ---- The server -------------------------------------------------------------

void serve(const Options& options, const Responses& responses,
           Console& console) {
    handle_signals();
    Fd listener = listen_on(options);
    announce(listener.get(), options, console);
    Server server(std::move(listener), options, responses, console);
    while (!is_stopping()) {
        server.run_round();
    }
}

} // namespace

int main(int argc, char** argv) {
    const Program program{"04_select",
                          "Serves all clients from one thread, with select().",
                          serve};
    return run(program, argc, argv);
}
