// 03_threaded: new since 02_blocking_loop, a thread for each client. None waits for another.
//
//   $ ./tour run 03
//   03_threaded: listening on http://0.0.0.0:8080/
//   $ curl http://127.0.0.1:8080/                            (in a second terminal)
//   Hello, world!
//
// Limit: a thread, its stack and its context switches, to wait. 04_select waits for all in one.

#include "common.h"

#include <array>
#include <atomic>
#include <csignal>
#include <list>
#include <mutex>
#include <semaphore>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

int max_threads = 10000; // clients served at a time; further ones wait in the backlog
std::counting_semaphore<> free_threads(0);
std::atomic<int> listener_to_stop = -1, stopping = 0; // for stop(), in whatever thread it runs
std::mutex shared; // guards what the threads share: the console, the end of connections

void stop(int /*signal*/) {
    const int saved = errno; // belongs to the code that was interrupted
    stopping = 1;
    ::shutdown(listener_to_stop, SHUT_RDWR); // a flag alone, set just before accept(), is lost
    errno = saved;
}

// Makes the listener: a socket that is there to accept connections and never carries data.
Fd listen_on(Service& service) {
    Fd listener(check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
    const int on = 1; // or bind() fails for a minute after a run whose connections are in TIME_WAIT
    check(::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(service.port); // network byte order, as in the packets
    ::inet_pton(AF_INET, service.host.c_str(), &address.sin_addr);
    check(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
          "bind " + service.host + ":" + std::to_string(service.port));
    check(::listen(listener.get(), service.backlog), "listen"); // the kernel now queues clients
    announce(service, listener.get());
    return listener;
}

// Waits for a client. Returns a new socket, the connection, that leads to this client alone.
Fd accept_client(int listener, Service& service) {
    for (;;) {
        Fd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (socket.get() != -1 || stopping) return socket;
        if (errno == EINTR || errno == ECONNABORTED) continue; // a signal; or that client has gone
        // Most likely no descriptor is free. Clients wait in the backlog; we must not spin here.
        service.complain("accept", std::strerror(errno));
        std::this_thread::sleep_for(100ms);
    }
}

enum class State { receiving, sending, draining, over };
// One client, from accept() to close(). What goes wrong with the client is thrown.
struct Connection {
    Service& service;                                // the server's, shared by all connections
    Fd socket;                                       // from accept(); closed with the connection
    Clock::time_point deadline = service.deadline(); // by when the client must have done its part
    State state = State::receiving;
    RequestHead head{};
    const Response* response = nullptr; // chosen when the head is in, too long, or too late
    std::uint64_t sent = 0;             // bytes of the response
    std::uint64_t drained = 0;          // bytes that came after the head
    std::jthread thread{};              // serves this client; joins when the connection goes

    // Receives what has come of the head; it may come in any number of pieces.
    void receive_head() {
        std::array<char, RequestHead::piece_bytes> buffer;
        const ssize_t n = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        // End of file. The article's loop has no such line, and would receive nothing forever.
        if (n == 0) throw std::runtime_error("recv: the client left before the blank line");
        if (n == -1) return again_or_throw("recv");
        head.add({buffer.data(), static_cast<std::size_t>(n)});
        const std::lock_guard lock(shared); // for the printing
        if (head.complete() && !service.quiet)
            service.out.print(std::string(40, '-') + "\n" +
                              head.text().substr(0, head.text().size() - 2) + "\n");
        if (head.complete()) respond(service.hello);
        else if (head.too_long()) respond(service.too_large); // 431
    }

    void respond(const Response& answer) {
        response = &answer;
        state = State::sending;
        deadline = service.deadline(); // a new one: the old one was for the head
    }

    // Sends what there is room for in the socket: seldom all of a long response.
    void send_response() {
        const std::string_view piece = response->from(sent);
        const bool last = sent + piece.size() == response->size(); // leaves with the end of file
        const ssize_t n = ::send(socket.get(), piece.data(), piece.size(), last ? MSG_MORE : 0);
        if (n == -1) return again_or_throw("send");
        sent += static_cast<std::uint64_t>(n);
        deadline = service.deadline();       // slow is fine, as long as the client reads
        if (sent < response->size()) return; // the next piece, or no room before the client reads
        // A close() with bytes unread sends a reset, which can overtake the response. So linger:
        // end of file first, then read until the client closes. A plain GET need not pay for it.
        state = head.more_follows() || sent > 1024 ? State::draining : State::over;
        if (state == State::draining) ::shutdown(socket.get(), SHUT_WR); // end of file
    }

    void drain() {
        std::array<char, 65536> buffer;
        const ssize_t n = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (n == -1) return again_or_throw("recv");
        drained += static_cast<std::uint64_t>(n);
        if (n == 0 || drained > 64U << 20U) state = State::over; // it has closed, or never will
    }

    void expire() {                                                      // the deadline has passed
        if (state == State::receiving) return respond(service.too_late); // 408
        if (state == State::sending) throw std::runtime_error("send: the client does not read");
        state = State::over;
    }

    static void again_or_throw(const char* call) { // EAGAIN: this was not the time for the call
        if (errno != EINTR && errno != EAGAIN) check(-1, call);
    }
};

void converse(Connection& connection) {
    for (const int fd = connection.socket.get(); connection.state != State::over;) {
        const auto left = connection.deadline - Clock::now();
        const auto us = std::chrono::ceil<std::chrono::microseconds>(left).count();
        const timeval wait{us / 1'000'000, us % 1'000'000}; // so long may the next call block
        const int option = connection.state == State::sending ? SO_SNDTIMEO : SO_RCVTIMEO;
        if (us > 0) check(::setsockopt(fd, SOL_SOCKET, option, &wait, sizeof wait), "setsockopt");
        if (us <= 0) connection.expire();
        else if (connection.state == State::receiving) connection.receive_head();
        else if (connection.state == State::sending) connection.send_response();
        else connection.drain();
    }
}

std::vector<std::list<Connection>::iterator> finished; // whose threads are about to end

void serve_client(std::list<Connection>::iterator connection) {
    try {
        converse(*connection);
    } catch (const std::exception&) { // ends this client, not the server
    }
    const std::lock_guard lock(shared);
    connection->socket.reset();
    finished.push_back(connection);
    free_threads.release();
}

void serve(Service& service) {
    std::list<Connection> connections;
    free_threads.release(max_threads);
    finished.reserve(static_cast<std::size_t>(max_threads)); // no thread shall need memory to end
    for (const int number : {SIGINT, SIGTERM}) ::signal(number, stop);
    ::signal(SIGPIPE, SIG_IGN); // or send() to a client that has gone would end the program
    const sigset_t none{};      // whoever started us may have had them blocked
    check(::sigprocmask(SIG_SETMASK, &none, nullptr), "sigprocmask");
    const Fd listener = listen_on(service);
    listener_to_stop = listener.get();
    for (auto next = connections.end(); !stopping;) { // next: the one that has no thread yet
        try {
            if (next == connections.end() && free_threads.try_acquire_for(500ms))
                next = connections.insert(next, {service, accept_client(listener.get(), service)});
            if (next == connections.end() || stopping) continue;
            for (const std::lock_guard lock(shared); !finished.empty(); finished.pop_back())
                connections.erase(finished.back());
            next->thread = std::jthread(serve_client, next); // a list's iterators stay good
            next = connections.end();
        } catch (const std::exception& error) { // no thread or no memory is to be had: wait
            if (next == connections.end()) free_threads.release();
            service.complain("thread", error.what());
            std::this_thread::sleep_for(100ms);
        }
    }
    const std::lock_guard lock(shared);
    for (const auto& connection : connections) ::shutdown(connection.socket.get(), SHUT_RDWR);
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app("Serves each client in a thread of its own.", "03_threaded");
    app.add_option("--max-threads", max_threads, "Clients at a time")->check(CLI::Range(1, 99999));
    return run(app, argc, argv, serve);
}
