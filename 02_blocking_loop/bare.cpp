// 02, the bare idea: a loop around accept(), so that the program serves one
// client after another. This is Example 2 of the article "How To Use Linux
// epoll with Python", call by call.
//
//   $ g++ -std=c++20 bare.cpp -o bare
//   $ ./bare                                           (Ctrl-C ends it)
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//
// Its faults, each with a command that shows it. (In bash, /dev/tcp/HOST/PORT
// stands for a connection. Type the command in a second terminal, and look with
// curl and top from a third one. Start the program again for each.)
//   - A client says nothing. The program waits for it forever, and so do all
//     other clients:
//       sleep 60 < /dev/tcp/127.0.0.1/8080
//   - A client sends no blank line. The program keeps all that it sends. After
//     each piece it searches all of it for a blank line:
//       yes | head -c 100M > /dev/tcp/127.0.0.1/8080
//   - A client leaves before its request is complete. The program calls recv()
//     forever, at 100 % CPU, and nobody is served again:
//       printf GET > /dev/tcp/127.0.0.1/8080
//   - A client resets its connection (here by SO_LINGER with a time of 0). Then
//     recv() or send() fails, and that ends the program for all clients:
//       python3 -c 'from socket import *; c = create_connection(("localhost",
//       8080)); c.setsockopt(SOL_SOCKET, SO_LINGER, bytes([1] + 7 * [0]))'
//
// main.cpp is the same idea without these faults.
// One client at a time is the idea of this stage. 03_threaded serves many.
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
    // The listener is the socket that clients connect to.
    int listener = socket(AF_INET, SOCK_STREAM, 0);
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

    while (true) {
        // The program waits here until a client connects.
        int client = accept(listener, nullptr, nullptr);
        check(client, "accept");
        // A request may come in several pieces. recv() waits for the next one.
        // It returns 0 if the client sends no more, which we ignore.
        std::string request;
        while (!is_complete(request)) {
            char buffer[1024];
            ssize_t n = recv(client, buffer, sizeof buffer, 0);
            check(n, "recv");
            request.append(buffer, buffer + n);
        }
        // We print it without its last two bytes, usually an empty line.
        request.resize(request.size() - 2);
        printf("%s\n%s\n", dashes, request.c_str());
        check(send(client, response.data(), response.size(), 0), "send");
        close(client);
    }
}
