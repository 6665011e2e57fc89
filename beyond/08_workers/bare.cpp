// 08, the bare idea: 07, and a thread for what blocks. Each request is stored
// in a database before it is answered. That waits for the disk. So it must not
// happen in the event loop, where everybody would wait. A worker thread does
// it, and wakes the loop with an eventfd. That is a counter in the kernel, and
// epoll can wait for it.
//
//   $ g++ -std=c++20 bare.cpp -lsqlite3 -o bare
//   $ ./bare                                           (Ctrl-C ends it)
//   $ curl http://127.0.0.1:8080/                      (in a second terminal)
//   Hello, world!
//   $ sqlite3 requests.db 'SELECT head FROM requests'
//
// Its faults, each with a command that shows it. (In bash, /dev/tcp/HOST/PORT
// stands for a connection. Type the command in a second terminal, and look with
// curl and top from a third one. Start the program again for each.)
//   - A client says nothing. It keeps its descriptor forever:
//       sleep 60 < /dev/tcp/127.0.0.1/8080
//   - A client sends no blank line. The program keeps everything, and searches
//     it from the start at each report:
//       yes | head -c 100M > /dev/tcp/127.0.0.1/8080
//   - A client leaves before its request is complete, or right after that.
//     recv() returns 0 again and again, never -1. So the loop around it never
//     ends, and nobody is served again:
//       printf GET > /dev/tcp/127.0.0.1/8080
//   - A client resets its connection (here by SO_LINGER with a time of 0). The
//     report has EPOLLIN in it, and recv() returns -1, which ends the loop. No
//     other report comes, so the descriptor stays open forever:
//       python3 -c 'from socket import *; c = create_connection(("localhost",
//       8080)); c.setsockopt(SOL_SOCKET, SO_LINGER, bytes([1] + 7 * [0]))'
//   - There are more clients than descriptors. accept4() returns -1, which ends
//     the loop. Clients who wait are not reported again, even when descriptors
//     are free. Here, the last ones get no answer, and ss shows them as ESTAB:
//       (ulimit -n 8; ./bare)                          (in the first terminal)
//       for i in {1..6}; do
//       (sleep 5; printf '\n\n'; sleep 60) > /dev/tcp/127.0.0.1/8080 & done
//       sleep 6; ss -tn 'dport = :8080'
//   - Ctrl-Z stops the program, and fg should let it go on. But epoll_wait()
//     fails then (EINTR, "interrupted"), and that ends the program. (select()
//     and poll() go on.)
//   - The disk is slow. Nobody limits the requests that wait for it. Each one
//     keeps memory and a descriptor. And nobody looks at what SQLite returns.
//     So if the disk is full, clients get an answer, and nothing is stored.
//     strace can make the disk slow:
//       strace -fqqo trace.txt -e inject=fdatasync:delay_enter=2s ./bare
//       for i in {1..9}; do time curl http://127.0.0.1:8080/ & done
//   - While a request is stored, its client resets the connection. The answer
//     then goes to the next client that gets its descriptor, before that one
//     has asked for anything. If nobody has the descriptor, the program ends.
//
// main.cpp is the same idea without these faults.
#include <netinet/in.h>
#include <sqlite3.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

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
    // EPOLLET means edge-triggered. After each change, epoll also reports what
    // is ready already.
    event.events = events | EPOLLET;
    event.data.fd = fd;
    check(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}

// A request that waits to be stored, and the client that waits for it.
struct Job {
    int client;
    std::string request;
};

// What both threads use. Lock the mutex before.
struct Shared {
    std::mutex mutex;
    std::condition_variable job_waits;
    std::vector<Job> waiting;
    std::vector<int> stored; // clients
};

// The worker thread runs this.
void work(sqlite3* database, int event, Shared& shared) {
    sqlite3_stmt* insert = nullptr;
    sqlite3_prepare_v2(database, "INSERT INTO requests (head) VALUES (?)", -1,
                       &insert, nullptr);
    while (true) {
        std::vector<Job> jobs;
        {
            std::unique_lock lock(shared.mutex);
            while (shared.waiting.empty()) {
                shared.job_waits.wait(lock);
            }
            jobs.swap(shared.waiting);
        }
        // Everything between BEGIN and COMMIT goes to the disk together. COMMIT
        // waits until it is there.
        sqlite3_exec(database, "BEGIN", nullptr, nullptr, nullptr);
        for (const Job& job : jobs) {
            sqlite3_bind_text(insert, 1, job.request.c_str(), -1,
                              SQLITE_STATIC);
            sqlite3_step(insert);
            sqlite3_reset(insert);
        }
        sqlite3_exec(database, "COMMIT", nullptr, nullptr, nullptr);
        {
            std::lock_guard lock(shared.mutex);
            for (const Job& job : jobs) {
                shared.stored.push_back(job.client);
            }
        }
        // This adds 1 to the counter, so epoll_wait() reports the eventfd.
        eventfd_write(event, 1);
    }
}

int main(int argc, char** argv) {
    // The requests go to a table with one column, in the file requests.db.
    sqlite3* database = nullptr;
    sqlite3_open("requests.db", &database);
    sqlite3_exec(database, "CREATE TABLE IF NOT EXISTS requests (head)",
                 nullptr, nullptr, nullptr);

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
    int event = eventfd(0, 0);
    check(event, "eventfd");
    control(epoll, EPOLL_CTL_ADD, event, EPOLLIN);
    Shared shared;
    std::thread worker(work, database, event, std::ref(shared));
    // What each client has sent, and what we still have to send to it. The
    // keys are descriptors.
    std::map<int, std::string> requests;
    std::map<int, std::string> responses;
    while (true) {
        // epoll_wait() waits until something new has happened.
        epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, -1);
        check(count, "epoll_wait");
        for (int i = 0; i < count; ++i) {
            int fd = events[i].data.fd;
            uint32_t ready = events[i].events;
            if (fd == listener) {
                while (true) {
                    int client = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK);
                    if (client == -1) {
                        break;
                    }
                    control(epoll, EPOLL_CTL_ADD, client, EPOLLIN);
                    requests[client] = "";
                    responses[client] = response;
                }
            } else if (fd == event) {
                // This sets the counter to 0 again.
                eventfd_t additions = 0;
                eventfd_read(event, &additions);
                std::lock_guard lock(shared.mutex);
                for (int client : shared.stored) {
                    control(epoll, EPOLL_CTL_MOD, client, EPOLLOUT);
                }
                shared.stored.clear();
            } else if (ready & EPOLLIN) {
                std::string& request = requests[fd];
                while (true) {
                    char buffer[1024];
                    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
                    if (n == -1) {
                        break;
                    }
                    request.append(buffer, buffer + n);
                }
                if (is_complete(request)) {
                    // We print it without its last two bytes, usually an
                    // empty line.
                    request.resize(request.size() - 2);
                    printf("%s\n%s\n", dashes, request.c_str());
                    control(epoll, EPOLL_CTL_MOD, fd, 0);
                    std::lock_guard lock(shared.mutex);
                    shared.waiting.push_back({fd, request});
                    shared.job_waits.notify_one();
                }
            } else if (ready & EPOLLOUT) {
                std::string& rest = responses[fd];
                while (!rest.empty()) {
                    ssize_t n = send(fd, rest.data(), rest.size(), 0);
                    if (n == -1) {
                        break;
                    }
                    rest.erase(rest.begin(), rest.begin() + n);
                }
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
