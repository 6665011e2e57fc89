// 05, the bare idea: one thread waits for all clients at once, with poll(). It
// takes an array in place of sets, so a descriptor may have any number.
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
//
// main.cpp is the same program without these faults.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

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

    // Each entry is a descriptor, what we want to do with it, and, after
    // poll(), what it is ready for.
    std::vector<pollfd> polled;
    polled.push_back({listener, POLLIN, 0});
    // What each client has sent, and what we have still to send to it. The
    // keys are descriptors.
    std::map<int, std::string> requests;
    std::map<int, std::string> responses;
    while (true) {
        // poll() waits until a descriptor is ready.
        check(poll(polled.data(), polled.size(), -1), "poll");
        for (std::size_t i = 0; i < polled.size(); ++i) {
            int fd = polled[i].fd;
            int ready = polled[i].revents;
            if (fd == listener && (ready & POLLIN)) {
                int client = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK);
                check(client, "accept4");
                polled.push_back({client, POLLIN, 0});
                requests[client] = "";
                responses[client] = response;
            } else if (ready & POLLIN) {
                char buffer[1024];
                ssize_t n = recv(fd, buffer, sizeof buffer, 0);
                check(n, "recv");
                std::string& request = requests[fd];
                request.append(buffer, buffer + n);
                if (is_complete(request)) {
                    request.resize(request.size() - 2);
                    printf("%s\n%s\n", dashes, request.c_str());
                    polled[i].events = POLLOUT;
                }
            } else if (ready & POLLOUT) {
                std::string& rest = responses[fd];
                ssize_t n = send(fd, rest.data(), rest.size(), 0);
                check(n, "send");
                rest.erase(rest.begin(), rest.begin() + n);
                if (rest.empty()) {
                    polled[i].events = 0;
                    shutdown(fd, SHUT_RDWR);
                }
            } else if (ready & POLLHUP) {
                // Both directions are shut down. poll() reports that even where
                // we want nothing.
                polled[i].fd = -1;
                close(fd);
            }
        }
        std::erase_if(polled, [](const pollfd& each) { return each.fd == -1; });
    }
}
