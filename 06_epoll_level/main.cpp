// 06_epoll_level: new since 05_poll, epoll. The kernel keeps the list of what to wait for, the
// interest list, and a wait returns only what is ready. Also --tcp-cork and --tcp-nodelay, and
// --chunk-bytes, which makes small packets, so that the two have something to do.
//
//   $ ./tour run 06
//   06_epoll_level: listening on http://0.0.0.0:8080/
//   $ curl http://127.0.0.1:8080/                            (in a second terminal)
//   Hello, world!
//
// Limit: level-triggered, a wait reports a descriptor as long as it is ready, however often that
// has been said. 07_epoll_edge is told once.

#include "common.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <list>
#include <stdexcept>
#include <unordered_map>
#include <vector>

namespace {

std::size_t chunk_bytes = SIZE_MAX; // at most so many in one send()
bool tcp_cork = false;              // hold back small packets until the response is complete
bool tcp_nodelay = false;           // hold nothing back, not even while an earlier one is under way
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
    if (tcp_nodelay) // the connections inherit it
        check(::setsockopt(listener.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
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
        if (tcp_cork && sent == 0) set_cork(1);
        const std::string_view piece = response->from(sent).substr(0, chunk_bytes);
        const bool last = sent + piece.size() == response->size(); // leaves with the end of file
        const ssize_t n = ::send(socket.get(), piece.data(), piece.size(), last ? MSG_MORE : 0);
        if (n == -1) return again_or_throw("send");
        sent += static_cast<std::uint64_t>(n);
        deadline = service.deadline();       // slow is fine, as long as the client reads
        if (sent < response->size()) return; // the next piece, or no room before the client reads
        if (tcp_cork) set_cork(0);           // what was held back leaves now
        // A close() with bytes unread sends a reset, which can overtake the response. So linger:
        // end of file first, then read until the client closes. A plain GET need not pay for it.
        state = head.more_follows() || sent > 1024 ? State::draining : State::over;
        if (state == State::draining) ::shutdown(socket.get(), SHUT_WR); // end of file
    }

    void set_cork(int on) { ::setsockopt(socket.get(), IPPROTO_TCP, TCP_CORK, &on, sizeof on); }

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

// What to wait for, and the wait. The kernel keeps the interest list, so it is told of changes
// only, and each descriptor that becomes ready is put on its ready list: nothing is searched.
struct Interest {
    Fd epoll = Fd(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
    std::vector<std::uint32_t> watched;    // by descriptor, the events told to the kernel
    std::array<epoll_event, 256> events{}; // so many a turn; the others keep their place
    std::vector<int> ready = std::vector<int>(events.size());

    // Before its first watch(), which then needs no memory.
    void make_room(int fd) {
        const auto place = static_cast<std::size_t>(fd);
        if (place >= watched.size()) watched.resize(place + 1);
    }

    void watch(int fd, Want want) {
        std::uint32_t& before = watched.at(static_cast<std::size_t>(fd));
        epoll_event event{};
        event.data.fd = fd; // handed back with each event
        // For nothing: EPOLLERR, which comes in any case. Off the list, there might be no way back.
        event.events = want == Want::nothing ? EPOLLERR : want == Want::read ? EPOLLIN : EPOLLOUT;
        if (event.events == before) return; // a call to the kernel saved
        const int operation = before == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        check(::epoll_ctl(epoll.get(), operation, fd, &event), "epoll_ctl");
        before = event.events;
    }

    // close() takes a descriptor off the list by itself, as long as no copy of it is open.
    void forget(int fd) { watched.at(static_cast<std::size_t>(fd)) = 0; }

    // Waits until a descriptor is ready, a signal comes, or it is `until`.
    void wait(Clock::time_point until) {
        const auto left = std::max<Clock::duration>(until - Clock::now(), 0s);
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count(); // never early
        const sigset_t none{}; // signals come in here, and nowhere else
        const int n = ::epoll_pwait(epoll.get(), events.data(), static_cast<int>(events.size()),
                                    static_cast<int>(ms), &none);
        if (n == -1 && errno != EINTR) check(-1, "epoll_pwait");
        ready.clear();
        for (auto* e = events.data(); n > 0 && e < events.data() + n; ++e)
            ready.push_back(e->data.fd);
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
        interest.forget(place->socket.get());
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
    CLI::App app("Serves all clients from one thread, with epoll.", "06_epoll_level");
    app.add_flag("--tcp-cork", tcp_cork, "Send a response in full packets");
    app.add_flag("--tcp-nodelay", tcp_nodelay, "Send without waiting for earlier packets' receipt");
    app.add_option("--chunk-bytes", chunk_bytes, "Most bytes in one send()")
        ->check(CLI::PositiveNumber);
    return run(app, argc, argv, serve);
}
