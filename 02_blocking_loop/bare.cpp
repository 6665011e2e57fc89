// 02, the bare idea: a loop around accept(), one client after the other. This
// is Example 2 of the article, call by call.
//
//   $ g++ -std=c++20 bare.cpp -o bare
//   $ ./bare                                           (Ctrl-C ends it)
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//
// Its faults, each with a command for bash that shows it:
//   - A client says nothing. All others wait until it leaves:
//       sleep 60 < /dev/tcp/127.0.0.1/8080
//   - A client leaves before its request is complete. The program calls recv()
//     forever, at 100 % CPU, and nobody is served again:
//       printf GET > /dev/tcp/127.0.0.1/8080
//
// main.cpp is the same program without these faults. That one client at a time
// is served is no fault but the idea: 03_threaded has a better one.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
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

int main(int argc, char** argv) {
    // The listener is the socket that clients connect to.
    int listener = socket(AF_INET, SOCK_STREAM, 0);
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

    while (true) {
        // The program waits here until a client connects.
        int client = accept(listener, nullptr, nullptr);
        check(client, "accept");
        // A request may come in several pieces.
        std::string request;
        while (!is_complete(request)) {
            char buffer[1024];
            ssize_t n = recv(client, buffer, sizeof buffer, 0);
            check(n, "recv");
            request.append(buffer, buffer + n);
        }
        request.resize(request.size() - 2);
        printf("%s\n%s\n", dashes, request.c_str());
        check(send(client, response.data(), response.size(), 0), "send");
        close(client);
    }
}
