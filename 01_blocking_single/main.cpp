// 01_blocking_single: a server that answers one client, and then ends.
//
// Every TCP server makes these calls: socket, bind, listen, accept, recv, send,
// close. The first four are in this file, recv() and send() in conversation.h,
// and close() in Fd, in common.h.
//
//   $ ./tour run 01
//   01_blocking_single: listening on http://0.0.0.0:8080/
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//
// Read serve() first, near the end of this file, and then converse(), at the
// end of conversation.h. The lesson says when to read the rest.
//
// Limit: the next clients find no server. 02_blocking_loop serves them, too.

#include "common.h"
#include "console.h"
#include "conversation.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <exception>
#include <string>
#include <thread>

namespace {

// ---- Stopping ---------------------------------------------------------------

// Ends the program with exit code 0. The signal may come at any moment. So the
// handler must not call exit(), which runs destructors, but it may call _exit()
// (signal-safety(7)). The kernel closes our sockets.
void stop(int /*signal*/) {
    ::_exit(0);
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
    // From now on the kernel lets clients connect. They wait in a queue, the
    // backlog, until we accept them.
    check(::listen(listener.get(), options.backlog), "listen");
    return listener;
}

// Waits for a client. Returns a new socket, the connection to this client
// alone. Throws on other errors, for example if no descriptor is left.
Fd accept_client(int listener) {
    while (true) {
        // accept4() is accept() with flags. A connection does not get
        // SOCK_CLOEXEC from the listener, so we ask for it again.
        Fd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (socket.get() != -1) {
            return socket;
        }
        if (!should_accept_again(errno)) {
            throw_errno("accept");
        }
    }
}

// How long we wait when we are out of descriptors or memory.
constexpr auto retry_pause = 100ms;

// Like accept_client(), but does not throw. When we are out of descriptors or
// memory, clients stay in the backlog, and we try again later.
Fd accept_when_possible(int listener, Console& console) {
    while (true) {
        try {
            return accept_client(listener);
        } catch (const std::exception& error) {
            console.complain(reason_of(error));
            std::this_thread::sleep_for(retry_pause);
        }
    }
}

// ---- The server -------------------------------------------------------------

void serve(const Options& options, const Responses& responses,
           Console& console) {
    handle_signals();
    const Fd listener = listen_on(options);
    announce(listener.get(), options, console);
    const Fd socket = accept_when_possible(listener.get(), console);
    converse(socket.get(), options, responses, console);
}

} // namespace

// run(), in console.h, reads the command line and calls serve().
int main(int argc, char** argv) {
    const Program program{"01_blocking_single", "Serves one client, and ends.",
                          serve};
    return run(program, argc, argv);
}
