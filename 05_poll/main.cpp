// 05_poll: new since 04_select, poll(), which takes an array instead of sets: no limit but that of
// the process. How the program waits is all that changes, that is to say Interest.
//
//   $ ./tour run 05
//   05_poll: listening on http://0.0.0.0:8080/
//   $ curl http://127.0.0.1:8080/                            (in a second terminal)
//   Hello, world!
//
// Limit: each turn the whole array goes into the kernel and is searched, there and here, however
// few clients have moved. 06_epoll_level leaves the array in the kernel.

#include "common.h"

#include <poll.h>

#include <array>
#include <csignal>
#include <list>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

volatile std::sig_atomic_t stopping = 0;

void stop(int /*signal*/) { stopping = 1; } // runs during a wait only: see serve()

// Under constant load each wait finds work at once, and no handler would ever run. So turns ask.
bool is_stopping() {
    sigset_t pending{};
    ::sigpending(&pending);
    return stopping || ::sigismember(&pending, SIGINT) + ::sigismember(&pending, SIGTERM) > 0;
}

// Makes the listener: a socket that is there to accept connections and never carries data.
Fd listen_on(Service& service) {
    Fd listener(check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"));
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

// Returns the connection to the next client in the backlog, or none; and whether to accept more.
Fd accept_client(int listener, Service& service, bool& accepting) {
    for (;;) {
        Fd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (socket.get() != -1 || errno == EAGAIN) return socket;
        if (errno == EINTR || errno == ECONNABORTED) continue; // a signal; or that client has gone
        // Most likely no descriptor is free. Clients wait in the backlog; we must not spin here.
        service.complain("accept", std::strerror(errno));
        accepting = false;
        return socket;
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

    // Receives what has come of the head; it may come in any number of pieces.
    void receive_head() {
        std::array<char, RequestHead::piece_bytes> buffer;
        const ssize_t n = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        // End of file. The article's loop has no such line, and would receive nothing forever.
        if (n == 0) throw std::runtime_error("recv: the client left before the blank line");
        if (n == -1) return again_or_throw("recv");
        head.add({buffer.data(), static_cast<std::size_t>(n)});
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

enum class Want { nothing, read, write };
enum class Cause { accepted, ready, expired }; // why it is a connection's turn

// What to wait for, and the wait. The place of a descriptor in the array is its number, so it never
// has to be looked for; poll() skips the places of no descriptor, which hold -1.
struct Interest {
    std::vector<pollfd> polled;
    std::vector<int> ready;

    // Before its first watch(), which then needs no memory.
    void make_room(int fd) {
        const auto place = static_cast<std::size_t>(fd);
        if (place >= polled.size()) polled.resize(place + 1, {-1, 0, 0});
    }

    void watch(int fd, Want want) {
        const short events = want == Want::write ? POLLOUT : POLLIN;
        polled.at(static_cast<std::size_t>(fd)) = {want == Want::nothing ? -1 : fd, events, 0};
    }

    // Waits until a descriptor is ready, a signal comes, or it is `until`.
    void wait(Clock::time_point until) try {
        const auto left = std::max<std::chrono::nanoseconds>(until - Clock::now(), 0ns).count();
        const timespec limit{left / 1'000'000'000, left % 1'000'000'000};
        const sigset_t none{}; // signals come in here, and nowhere else
        const int n = ::ppoll(polled.data(), polled.size(), &limit, &none);
        if (n == -1 && errno == ENOMEM) std::this_thread::sleep_for(100ms); // and another turn
        else if (n == -1 && errno != EINTR) check(-1, "ppoll");
        ready.clear();
        for (const pollfd& p : polled)
            if (n > 0 && p.revents != 0) ready.push_back(p.fd); // POLLHUP and POLLERR as well
    } catch (const std::bad_alloc&) { // who was left out is still ready in the next turn
        std::this_thread::sleep_for(100ms);
    }
};

struct Server {
    Service& service;
    Fd listener = listen_on(service);
    Interest interest;
    std::list<Connection> connections; // in the order of their deadlines
    std::unordered_map<int, std::list<Connection>::iterator> table; // by descriptor
    bool accepting = false;
    Clock::time_point retry_at; // when not accepting
    explicit Server(Service& shared) : service(shared) { interest.make_room(listener.get()); }

    void accept_clients() try {
        for (int count = 0; count < 64; ++count) { // not more a turn: other clients wait, too
            Fd socket = accept_client(listener.get(), service, accepting);
            if (socket.get() == -1) break;
            add(std::move(socket));
        }
        if (!accepting) set_accepting(false);
    } catch (const std::bad_alloc&) { // this client is lost; the next ones wait in the backlog
        set_accepting(false);
    }

    void set_accepting(bool on) {
        interest.watch(listener.get(), on ? Want::read : Want::nothing);
        accepting = on;
        retry_at = Clock::now() + 100ms;
    }

    void add(Fd socket) {
        const int fd = socket.get();
        interest.make_room(fd);
        std::list<Connection> one; // joins the others once nothing can fail any more
        one.push_back({service, std::move(socket)});
        table[fd] = one.begin(); // a list's iterators outlast all changes, this one too:
        connections.splice(connections.end(), one);
        advance(table[fd], Cause::accepted);
    }

    // Lets a connection go on as far as it can without waiting.
    void advance(std::list<Connection>::iterator place, Cause cause) {
        Connection& connection = *place;
        const bool ready = cause == Cause::ready;
        try {
            if (cause == Cause::expired) connection.expire(); // what was not done in time
            else if (ready && connection.state == State::receiving) connection.receive_head();
            else if (ready && connection.state == State::draining) connection.drain();
            if (connection.state == State::sending) connection.send_response(); // there is room
            if (connection.state == State::over) return remove(place);
            interest.watch(connection.socket.get(),
                           connection.state == State::sending ? Want::write : Want::read);
        } catch (const std::exception&) { // ends this client, not the server
            return remove(place);
        }
        if (connection.deadline >= connections.back().deadline) // it is new: so the latest
            connections.splice(connections.end(), connections, place);
    }

    void remove(std::list<Connection>::iterator place) {
        interest.watch(place->socket.get(), Want::nothing);
        table.erase(place->socket.get());
        connections.erase(place);            // closes the socket
        if (!accepting) set_accepting(true); // a descriptor has come back
    }

    void run() {
        set_accepting(true);
        while (!is_stopping()) {
            auto until = accepting ? Clock::now() + 1h : retry_at;
            if (!connections.empty()) until = std::min(until, connections.front().deadline);
            interest.wait(until); // the only place where the program stands still
            for (const int fd : interest.ready) {
                if (fd == listener.get()) accept_clients(); // ready: a client is in the backlog
                else if (table.contains(fd)) advance(table[fd], Cause::ready);
            }
            while (!connections.empty() && connections.front().deadline <= Clock::now())
                advance(connections.begin(), Cause::expired);
            if (!accepting && retry_at <= Clock::now()) set_accepting(true);
        }
    }
};

void serve(Service& service) {
    for (const int number : {SIGINT, SIGTERM}) ::signal(number, stop);
    ::signal(SIGPIPE, SIG_IGN); // or send() to a client that has gone would end the program
    sigset_t blocked{};         // except while waiting
    for (const int number : {SIGINT, SIGTERM}) ::sigaddset(&blocked, number);
    check(::sigprocmask(SIG_SETMASK, &blocked, nullptr), "sigprocmask");
    Server(service).run();
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app("Serves all clients from one thread, with poll().", "05_poll");
    return run(app, argc, argv, serve);
}
