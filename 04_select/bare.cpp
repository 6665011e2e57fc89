// 04, the bare idea: one thread waits for all clients at once, with select().
// No other call waits, so clients need no threads. The article "How To Use
// Linux epoll with Python" describes this, and has no example of it.
//
//   $ g++ -std=c++20 bare.cpp -o bare
//   $ ./bare                                           (Ctrl-C ends it)
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//
// Its faults, each with a command that shows it. (In bash, /dev/tcp/HOST/PORT
// stands for a connection. Type the command in a second terminal, and look with
// curl and top from a third one. Start the program again for each.)
//   - A client says nothing. It keeps its descriptor forever:
//       sleep 60 < /dev/tcp/127.0.0.1/8080
//   - A client sends no blank line. The program keeps all that it sends. After
//     each piece it searches all of it for a blank line:
//       yes | head -c 100M > /dev/tcp/127.0.0.1/8080
//   - A client leaves before its request is complete. Its socket stays ready,
//     recv() returns 0 each time, and the loop spins at 100 % CPU:
//       printf GET > /dev/tcp/127.0.0.1/8080
//   - A client resets its connection (here by SO_LINGER with a time of 0). Then
//     recv() or send() fails, and that ends the program for all clients:
//       python3 -c 'from socket import *; c = create_connection(("localhost",
//       8080)); c.setsockopt(SOL_SOCKET, SO_LINGER, bytes([1] + 7 * [0]))'
//   - There are more clients than descriptors. (A descriptor is the number by
//     which a program knows an open file or socket.) accept4() fails, and that
//     ends the program for all clients:
//       (ulimit -n 8; ./bare)                          (in the first terminal)
//       for i in {1..8}; do sleep 60 < /dev/tcp/127.0.0.1/8080 & done
//   - There are more than 1,000 clients. A set has room for the descriptors 0
//     to 1023. FD_SET() with a larger one writes past its end, and anything can
//     happen:
//       (ulimit -n 2000; ./bare)                       (in the first terminal)
//       for i in {1..1100}; do sleep 60 < /dev/tcp/127.0.0.1/8080 & done
//
// main.cpp is the same idea without these faults.
#include <netinet/in.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

const char* const dashes = "----------------------------------------";
const std::string response =
    "HTTP/1.0 200 OK\r\nDate: Mon, 1 Jan 1996 01:01:01 GMT\r\n"
    "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n"
    "Hello, world!";

// If a call has failed, it has returned -1. Then this prints why, and ends the
// program.
void check(long result, const char* call) {
    if (result == -1) {
        perror(call);
        exit(1);
    }
}

// A request is complete when it has a blank line.
bool is_complete(const std::string& request) {
    return request.find("\n\n") != std::string::npos ||
           request.find("\n\r\n") != std::string::npos;
}

int main(int argc, char** argv) {
    // The listener is the socket that clients connect to. Because of
    // SOCK_NONBLOCK, no call on it waits. A call that would have to wait fails.
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(listener, "socket");
    // Without SO_REUSEADDR, bind() would fail for a minute after a run that had
    // clients.
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // The port is 8080, or the one given. htons() puts its bytes in the order
    // of the network. The address stays 0: all addresses of this machine.
    int port = argc > 1 ? std::stoi(argv[1]) : 8080;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<in_port_t>(port));
    auto* pointer = reinterpret_cast<sockaddr*>(&address);
    check(bind(listener, pointer, sizeof address), "bind");
    // Now clients can connect. With 1, Linux lets two of them wait until we
    // accept them.
    check(listen(listener, 1), "listen");

    // The descriptors that we want to read from, and those to write to.
    fd_set reading;
    fd_set writing;
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    FD_SET(listener, &reading);
    // What each client has sent, and what we still have to send to it. The
    // keys are descriptors.
    std::map<int, std::string> requests;
    std::map<int, std::string> responses;
    while (true) {
        // select() waits until a descriptor is ready. It removes those that are
        // not ready from the sets, so we give it copies.
        fd_set readable = reading;
        fd_set writable = writing;
        int count = select(FD_SETSIZE, &readable, &writable, nullptr, nullptr);
        check(count, "select");
        for (int fd = 0; fd < FD_SETSIZE; ++fd) {
            if (fd == listener && FD_ISSET(fd, &readable)) {
                int client = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK);
                check(client, "accept4");
                FD_SET(client, &reading);
                requests[client] = "";
                responses[client] = response;
            } else if (FD_ISSET(fd, &readable)) {
                char buffer[1024];
                ssize_t n = recv(fd, buffer, sizeof buffer, 0);
                check(n, "recv");
                std::string& request = requests[fd];
                request.append(buffer, buffer + n);
                if (is_complete(request)) {
                    // We print it without its last two bytes, usually an
                    // empty line.
                    request.resize(request.size() - 2);
                    printf("%s\n%s\n", dashes, request.c_str());
                    FD_CLR(fd, &reading);
                    FD_SET(fd, &writing);
                }
            } else if (FD_ISSET(fd, &writable)) {
                // This sends what there is room for. The rest has to wait.
                std::string& rest = responses[fd];
                ssize_t n = send(fd, rest.data(), rest.size(), 0);
                check(n, "send");
                rest.erase(rest.begin(), rest.begin() + n);
                if (rest.empty()) {
                    FD_CLR(fd, &writing);
                    close(fd);
                }
            }
        }
    }
}
