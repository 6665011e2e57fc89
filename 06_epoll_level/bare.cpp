// 06, the bare idea: epoll instead of poll(). The kernel keeps the list of
// descriptors, and returns only those that are ready. So nobody has to search
// the others. This is Example 3 of the article "How To Use Linux epoll with
// Python", call by call. (Like the article, it closes in two steps. It calls
// shutdown(), and when epoll has reported EPOLLHUP, it calls close().)
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
//   - Ctrl-Z stops the program, and fg should let it go on. But epoll_wait()
//     fails then (EINTR, "interrupted"), and that ends the program. (select()
//     and poll() go on.)
//
// main.cpp is the same idea without these faults.
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
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

// Changes the kernel's list: adds a descriptor, modifies what we want to do
// with it, or deletes it.
void control(int epoll, int operation, int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    check(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
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

    // This descriptor stands for the kernel's list.
    int epoll = epoll_create1(0);
    check(epoll, "epoll_create1");
    control(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
    // What each client has sent, and what we still have to send to it. The
    // keys are descriptors.
    std::map<int, std::string> requests;
    std::map<int, std::string> responses;
    while (true) {
        // epoll_wait() waits until a descriptor is ready.
        epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, -1);
        check(count, "epoll_wait");
        for (int i = 0; i < count; ++i) {
            int fd = events[i].data.fd;
            uint32_t ready = events[i].events;
            if (fd == listener) {
                int client = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK);
                check(client, "accept4");
                control(epoll, EPOLL_CTL_ADD, client, EPOLLIN);
                requests[client] = "";
                responses[client] = response;
            } else if (ready & EPOLLIN) {
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
                    control(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT);
                }
            } else if (ready & EPOLLOUT) {
                // This sends what there is room for. The rest has to wait.
                std::string& rest = responses[fd];
                ssize_t n = send(fd, rest.data(), rest.size(), 0);
                check(n, "send");
                rest.erase(rest.begin(), rest.begin() + n);
                if (rest.empty()) {
                    control(epoll, EPOLL_CTL_MOD, fd, 0);
                    shutdown(fd, SHUT_RDWR);
                }
            } else if (ready & EPOLLHUP) {
                // The shutdown() above leads here: epoll reports it although we
                // want nothing more.
                control(epoll, EPOLL_CTL_DEL, fd, 0);
                close(fd);
            }
        }
    }
}
