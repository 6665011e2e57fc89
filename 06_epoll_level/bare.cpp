// 06, the bare idea: one thread waits for all clients at once, with epoll. The
// kernel keeps the list of descriptors, and returns only those that are ready.
// This is Example 3 of the article, call by call.
//
//   $ g++ -std=c++20 bare.cpp -o bare
//   $ ./bare                                           (Ctrl-C ends it)
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//
// Its faults, each with a command for bash that shows it:
//   - A client says nothing. It stays here until it leaves:
//       sleep 60 < /dev/tcp/127.0.0.1/8080
//   - A client leaves before its request is complete. Its socket is ready to
//     read forever, recv() returns 0 each time, and the loop spins:
//       printf GET > /dev/tcp/127.0.0.1/8080
//   - There are more clients than descriptors. accept4() fails, and that ends
//     the program for all of them:
//       ulimit -n 8; ./bare
//       for i in {1..8}; do sleep 60 < /dev/tcp/127.0.0.1/8080 & done
//   - Ctrl-Z stops the program, and fg should let it go on. But epoll_wait()
//     fails with EINTR then, and that ends the program.
//
// main.cpp is the same program without these faults.
#include <netinet/in.h>
#include <sys/epoll.h>
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

// A call that fails returns -1. Then this says why, and ends the program.
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

// Changes the kernel's list: adds a descriptor, modifies, or deletes it.
void control(int epoll, int operation, int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    check(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}

int main(int argc, char** argv) {
    // The listener is the socket that clients connect to.
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    // Without this, bind() would fail for a minute after each run.
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // We take every address of this machine, and port 8080 or the one given.
    int port = argc > 1 ? atoi(argv[1]) : 8080;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<in_port_t>(port));
    auto* pointer = reinterpret_cast<sockaddr*>(&address);
    check(bind(listener, pointer, sizeof address), "bind");
    check(listen(listener, 1), "listen");

    int epoll = epoll_create1(0);
    control(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
    // What each client has sent, and what we have still to send to it. The
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
                    request.resize(request.size() - 2);
                    printf("%s\n%s\n", dashes, request.c_str());
                    control(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT);
                }
            } else if (ready & EPOLLOUT) {
                std::string& rest = responses[fd];
                ssize_t n = send(fd, rest.data(), rest.size(), 0);
                check(n, "send");
                rest.erase(rest.begin(), rest.begin() + n);
                if (rest.empty()) {
                    control(epoll, EPOLL_CTL_MOD, fd, 0);
                    shutdown(fd, SHUT_RDWR);
                }
            } else if (ready & EPOLLHUP) {
                // Both directions are shut down. epoll reports that even where
                // we want nothing.
                control(epoll, EPOLL_CTL_DEL, fd, 0);
                close(fd);
            }
        }
    }
}
