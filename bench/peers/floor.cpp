// The floor under every figure of `./tour bench`: what the kernel's part of one request costs.
// The fewest calls that we know of, one client after another: accept, recv, send, close. No
// deadline, no limit, no second recv() for a request in pieces: not a server to use.
//
//   floor                  the response and the end of file leave as two segments
//   floor --one-segment    MSG_MORE and shutdown() put them into one, as the stages do

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <string_view>

int main(int argc, char** argv) {
    const bool one_segment = argc == 2 && std::string_view(argv[1]) == "--one-segment";
    if (argc > 1 && !one_segment) {
        std::fprintf(stderr, "floor: '%s' is not --one-segment, and there is no other option\n",
                     argv[1]);
        return 1;
    }
    constexpr std::string_view response = "HTTP/1.0 200 OK\r\n"
                                          "Date: Mon, 1 Jan 1996 01:01:01 GMT\r\n"
                                          "Content-Type: text/plain\r\n"
                                          "Content-Length: 13\r\n\r\n"
                                          "Hello, world!";
    std::signal(SIGPIPE, SIG_IGN);
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET; // port 0: the kernel picks one
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (listener == -1 ||
        ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == -1 ||
        ::listen(listener, SOMAXCONN) == -1 ||
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == -1) {
        std::perror("floor");
        return 1;
    }
    std::fprintf(stderr, "floor: listening on http://127.0.0.1:%d/\n", ntohs(address.sin_port));
    std::array<char, 4096> request;
    for (;;) {
        const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (connection == -1) continue;
        if (::recv(connection, request.data(), request.size(), 0) > 0)
            ::send(connection, response.data(), response.size(), one_segment ? MSG_MORE : 0);
        if (one_segment) ::shutdown(connection, SHUT_WR); // a close() could throw it all away
        ::close(connection);
    }
}
