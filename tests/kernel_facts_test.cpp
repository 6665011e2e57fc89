// What the chapters say about the kernel, shown by the calls themselves: no stage takes part, both
// ends of every connection are in this program. A test says nothing of how long a thing takes: it
// brings a state about, waits until that is certain, and looks.

#include "own_network.h"
#include "support.h"
#include "tcp_table.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <string_view>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

/// What a call failed with, 0 if it did not.
int failure(std::int64_t result) { return result == -1 ? errno : 0; }

Descriptor tcp_socket(int flags = SOCK_NONBLOCK) {
    return Descriptor{checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket")};
}

/// Sets an option of socket(7).
template <typename Value> void set(const Descriptor& socket, int option, Value value) {
    checked(setsockopt(socket.number(), SOL_SOCKET, option, &value, sizeof value), "setsockopt");
}

/// Binds to a port of 127.0.0.1, 0 for a free one.
int bind_to(const Descriptor& socket, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bind(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

/// A listener that does not block, with one option on or none.
Descriptor open_listener(int option = 0, std::uint16_t port = 0) {
    Descriptor listener = tcp_socket();
    if (option != 0) set(listener, option, 1);
    checked(bind_to(listener, port), "bind");
    checked(listen(listener.number(), SOMAXCONN), "listen");
    return listener;
}

sockaddr_in own_address(const Descriptor& socket) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    checked(getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length), "name");
    return address;
}

std::uint16_t port_of(const Descriptor& socket) { return ntohs(own_address(socket).sin_port); }

/// A client that does not block, once it is connected.
Descriptor connect_to(const Descriptor& listener) {
    Descriptor client = tcp_socket(0);
    const sockaddr_in server = own_address(listener);
    checked(connect(client.number(), reinterpret_cast<const sockaddr*>(&server), sizeof server),
            "connect");
    checked(fcntl(client.number(), F_SETFL, O_NONBLOCK), "fcntl");
    return client;
}

/// Waits until poll(2) reports one of these events, or an error or hang-up.
bool await_events(const Descriptor& socket, short events) {
    pollfd entry{socket.number(), events, 0};
    return poll(&entry, 1, milliseconds_left(Clock::now() + patience)) == 1;
}

/// What poll(2) reports about a descriptor, at once.
int polled(const Descriptor& descriptor, short events) {
    pollfd entry{descriptor.number(), events, 0};
    checked(poll(&entry, 1, 0), "poll");
    return entry.revents;
}

int accept_now(const Descriptor& listener) {
    return accept4(listener.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/// The next connection of the backlog, once there is one.
Descriptor accept_from(const Descriptor& listener) {
    await_events(listener, POLLIN);
    return Descriptor{checked(accept_now(listener), "accept4")};
}

/// Both ends of a TCP connection.
struct Ends {
    explicit Ends(const Descriptor& listener) : client{connect_to(listener)} {
        server = accept_from(listener);
    }
    Ends() : Ends{open_listener()} {}

    Descriptor client;
    Descriptor server;
};

/// How many bytes are sent and not yet acknowledged (SIOCOUTQ in tcp(7)).
int bytes_under_way(const Descriptor& socket) {
    int count = -1;
    checked(ioctl(socket.number(), SIOCOUTQ, &count), "SIOCOUTQ");
    return count;
}

/// Sends, and waits until it is acknowledged: then the connection and the bytes are in the other
/// end's queues, and those who wait for them have been woken.
void deliver(const Descriptor& socket, std::string_view bytes) {
    checked(static_cast<int>(send(socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL)),
            "send");
    ASSERT_TRUE(eventually([&] { return bytes_under_way(socket) == 0; }));
}

/// What recv() gave: bytes, or none at the end of file, or errno.
struct Received {
    std::string bytes;
    int error;

    bool end() const { return bytes.empty() && error == 0; }
};

/// Receives once, when there is something: bytes, the end or an error.
Received receive(const Descriptor& socket, std::size_t most = 1 << 16) {
    await_events(socket, POLLIN);
    std::string bytes(most, '\0');
    const auto count = recv(socket.number(), bytes.data(), most, 0);
    if (count == -1) return {"", errno};
    bytes.resize(static_cast<std::size_t>(count));
    return {bytes, 0};
}

/// Sends until the socket takes no more, and returns how many bytes it took.
std::size_t fill(const Descriptor& socket) {
    const std::string bytes(1 << 20, 'x');
    for (std::size_t taken = 0;;) {
        const auto count = send(socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count == -1 && errno == EAGAIN) return taken;
        taken += static_cast<std::size_t>(checked(static_cast<int>(count), "send"));
    }
}

/// Closes with a reset instead of the end of file.
void reset(Descriptor& socket) {
    set(socket, SO_LINGER, linger{1, 0});
    socket.close();
}

int control(const Descriptor& epoll, int operation, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return epoll_ctl(epoll.number(), operation, fd, &event);
}

void add(const Descriptor& epoll, const Descriptor& watched, std::uint32_t events) {
    checked(control(epoll, EPOLL_CTL_ADD, watched.number(), events), "EPOLL_CTL_ADD");
}

void modify(const Descriptor& epoll, const Descriptor& watched, std::uint32_t events) {
    checked(control(epoll, EPOLL_CTL_MOD, watched.number(), events), "EPOLL_CTL_MOD");
}

Descriptor new_epoll() { return Descriptor{checked(epoll_create1(EPOLL_CLOEXEC), "epoll")}; }

/// An epoll with one descriptor on its interest list.
Descriptor epoll_of(const Descriptor& watched, std::uint32_t events) {
    Descriptor epoll = new_epoll();
    add(epoll, watched, events);
    return epoll;
}

/// The next report of an epoll; no events and descriptor -1 if there is none in time.
epoll_event next_report(const Descriptor& epoll, Clock::duration limit = patience) {
    epoll_event event{};
    const int left = milliseconds_left(Clock::now() + limit);
    if (epoll_wait(epoll.number(), &event, 1, left) < 1) event.data.fd = -1;
    return event;
}

std::uint32_t events_of(const Descriptor& epoll, Clock::duration limit = patience) {
    return next_report(epoll, limit).events;
}

/// That nothing is reported, now that there is no more to come.
bool silent(const Descriptor& epoll) { return events_of(epoll, 0s) == 0; }

/// How many descriptors are on an epoll's interest list (/proc/PID/fdinfo in proc(5)).
std::size_t interests(const Descriptor& epoll) {
    std::size_t count = 0;
    const auto lines = read_file("/proc/self/fdinfo/" + std::to_string(epoll.number()));
    for (const auto& line : lines_of(lines)) count += line.starts_with("tfd:") ? 1 : 0;
    return count;
}

// epoll(7): level-triggered, epoll is a faster poll(2). A server may leave bytes for its next turn.
TEST(EpollFacts, LevelReportsAgainAndAgain) {
    const Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN);
    EXPECT_TRUE(silent(epoll));
    deliver(ends.client, "hello");
    for (int i = 0; i < 3; ++i) EXPECT_EQ(events_of(epoll), EPOLLIN);
    EXPECT_EQ(receive(ends.server).bytes, "hello");
    EXPECT_TRUE(silent(epoll));
}

// epoll(7), EPOLLET: what is reported is the change. A server that does not act on it now is not
// reminded.
TEST(EpollFacts, EdgeReportsOnce) {
    const Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN | EPOLLET);
    deliver(ends.client, "hello");
    EXPECT_EQ(events_of(epoll), EPOLLIN);
    EXPECT_TRUE(silent(epoll));
    EXPECT_EQ(receive(ends.server).bytes, "hello");
}

// epoll(7), the example of the 2 kB: so a server reads until EAGAIN, or remembers that it has not.
TEST(EpollFacts, PartialReadGivesNoNewEdge) {
    const Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN | EPOLLET);
    deliver(ends.client, "hello");
    EXPECT_EQ(events_of(epoll), EPOLLIN);
    EXPECT_EQ(receive(ends.server, 1).bytes, "h");
    EXPECT_TRUE(silent(epoll));
    EXPECT_EQ(receive(ends.server).bytes, "ello");
}

// epoll(7): what arrives later is a change again. It hides the mistake above from a server's tests
// as long as the clients go on talking.
TEST(EpollFacts, NewDataIsANewEdge) {
    const Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN | EPOLLET);
    deliver(ends.client, "hel");
    EXPECT_EQ(events_of(epoll), EPOLLIN);
    EXPECT_TRUE(silent(epoll));
    deliver(ends.client, "lo");
    EXPECT_EQ(events_of(epoll), EPOLLIN);
    EXPECT_EQ(receive(ends.server).bytes, "hello");
}

// epoll(7), EPOLLET: for writing, the change is that room comes back to a socket that a send() or a
// question has found without. A server that stops of its own accord is not called back.
TEST(EpollFacts, RoomIsAnEdgeOnlyAfterItWasMissed) {
    const std::string piece(4096, 'x');
    for (const bool asked : {false, true}) {
        const Ends ends;
        set(ends.server, SO_SNDBUF, 1 << 17); // doubled (socket(7)), and from now on left at that
        const Descriptor epoll = epoll_of(ends.server, EPOLLOUT | EPOLLET);
        EXPECT_EQ(events_of(epoll), EPOLLOUT);
        std::size_t sent = 0; // until less than a third of the buffer is free
        for (; asked ? polled(ends.server, POLLOUT) != 0 : bytes_under_way(ends.server) < 3 << 16;
             sent += piece.size())
            ASSERT_EQ(send(ends.server.number(), piece.data(), piece.size(), 0), 4096);
        while (sent > 0) sent -= receive(ends.client).bytes.size();
        ASSERT_TRUE(eventually([&] { return bytes_under_way(ends.server) == 0; }));
        EXPECT_EQ(events_of(epoll, asked ? patience : 0s), asked ? EPOLLOUT : 0U);
    }
}

// epoll(7), questions and answers: modifying looks anew at what there is. So a listener that was
// left alone for want of descriptors is taken up again, without a new client having to come.
TEST(EpollFacts, ModifyingReportsAgain) {
    const Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN | EPOLLET);
    deliver(ends.client, "hello");
    EXPECT_EQ(events_of(epoll), EPOLLIN);
    EXPECT_TRUE(silent(epoll));
    modify(epoll, ends.server, EPOLLIN | EPOLLET);
    EXPECT_EQ(events_of(epoll), EPOLLIN);
}

// epoll(7): events between two waits are combined. One accept() an event leaves clients in the
// backlog until another one comes.
TEST(EpollFacts, OneEdgeForThreeConnectionsInTheBacklog) {
    const Descriptor listener = open_listener();
    const Descriptor epoll = epoll_of(listener, EPOLLIN | EPOLLET);
    std::vector<Descriptor> clients;
    for (int i = 0; i < 3; ++i) deliver(clients.emplace_back(connect_to(listener)), "hello");
    EXPECT_EQ(events_of(epoll), EPOLLIN);
    const Descriptor first = accept_from(listener);
    EXPECT_TRUE(silent(epoll));
    const Descriptor second = accept_from(listener), third = accept_from(listener);
    EXPECT_EQ(failure(accept_now(listener)), EAGAIN);
}

// epoll(7), questions and answers. So a server need not tell epoll of a connection it closes.
TEST(EpollFacts, CloseTakesOffTheList) {
    Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN);
    deliver(ends.client, "hello");
    EXPECT_EQ(interests(epoll), 1U);
    ends.server.close();
    EXPECT_EQ(interests(epoll), 0U);
    EXPECT_TRUE(silent(epoll));
}

// The same answer's other half: a copy, by dup(2) or fork(2), keeps the socket open. A server is
// told of a number that it has closed, or that is another client's by now, and cannot take it off.
TEST(EpollFacts, CopyKeepsAClosedDescriptorOnTheList) {
    Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN);
    Descriptor copy{checked(fcntl(ends.server.number(), F_DUPFD_CLOEXEC, 0), "fcntl")};
    const int closed = ends.server.number();
    ends.server.close();
    deliver(ends.client, "hello");
    EXPECT_EQ(next_report(epoll).data.fd, closed);
    EXPECT_EQ(failure(control(epoll, EPOLL_CTL_DEL, closed, 0)), EBADF);
    EXPECT_EQ(failure(control(epoll, EPOLL_CTL_DEL, copy.number(), 0)), ENOENT);
    EXPECT_EQ(interests(epoll), 1U);
    copy.close();
    EXPECT_EQ(interests(epoll), 0U);
}

/// A file in memory: whether a FUSE file system polls its files is its own affair.
Descriptor open_regular_file() {
    return Descriptor{checked(memfd_create("file", MFD_CLOEXEC), "memfd_create")};
}

// epoll_ctl(2), EPERM: a file has no moment at which it becomes ready. A server of files cannot
// wait for the disk in its event loop.
TEST(EpollFacts, RegularFileIsRefused) {
    const Descriptor file = open_regular_file();
    EXPECT_EQ(failure(control(new_epoll(), EPOLL_CTL_ADD, file.number(), EPOLLIN)), EPERM);
}

// epoll_ctl(2), EPOLLRDHUP: the client sends no more, and yet may wait for its answer.
TEST(EpollFacts, HalfCloseShowsAsRdhup) {
    const Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN | EPOLLRDHUP);
    const Descriptor unasked = epoll_of(ends.server, EPOLLIN);
    checked(shutdown(ends.client.number(), SHUT_WR), "shutdown");
    EXPECT_EQ(events_of(epoll), EPOLLIN | EPOLLRDHUP);
    EXPECT_EQ(events_of(unasked), EPOLLIN);
    EXPECT_TRUE(receive(ends.server).end());
}

// epoll_ctl(2), EPOLLERR and EPOLLHUP: asked for or not, they are reported. A connection that a
// server wants nothing from now can wake it without end, unless it acts on these two.
TEST(EpollFacts, ResetShowsAsErrorAndHangUp) {
    Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN | EPOLLRDHUP);
    const Descriptor unasked = epoll_of(ends.server, 0);
    reset(ends.client);
    EXPECT_EQ(events_of(epoll), EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
    EXPECT_EQ(events_of(unasked), EPOLLERR | EPOLLHUP);
    EXPECT_EQ(receive(ends.server).error, ECONNRESET);
}

// epoll_ctl(2), EPOLLONESHOT: of many threads that share an epoll, one has the connection to itself
// until it gives it back.
TEST(EpollFacts, OneShotReportsOnceUntilRearmed) {
    const Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLIN | EPOLLONESHOT);
    deliver(ends.client, "hel");
    EXPECT_EQ(events_of(epoll), EPOLLIN);
    deliver(ends.client, "lo");
    EXPECT_TRUE(silent(epoll));
    modify(epoll, ends.server, EPOLLIN | EPOLLONESHOT);
    EXPECT_EQ(events_of(epoll), EPOLLIN);
}

/// Threads that each wait, with an epoll of their own, until one listener has a connection.
class Waiters {
public:
    static constexpr std::size_t count = 4;

    Waiters(const Descriptor& listener, std::uint32_t events) {
        for (std::size_t i = 0; i < count; ++i) {
            add(epolls_.emplace_back(epoll_of(listener, events)), over_, EPOLLIN);
        }
        for (const auto& epoll : epolls_) {
            threads_.emplace_back([this, &epoll, fd = listener.number()] {
                epoll_event event{};
                epoll_pwait(epoll.number(), &event, 1, -1, nullptr);
                if (event.data.fd == fd) ++woken_;
            });
        }
    }
    Waiters(const Waiters&) = delete;
    Waiters& operator=(const Waiters&) = delete;
    ~Waiters() {
        eventfd_write(over_.number(), 1);
        for (auto& thread : threads_) thread.join();
    }

    std::size_t woken() const { return woken_; }

    /// How many are asleep in their epoll_pwait() (proc(5), /proc/PID/task/TID/syscall and stat). A
    /// thread that has been woken and has not run yet is not: its state is R at once, while
    /// syscall may still name the call if another CPU is to run it.
    static std::size_t asleep() {
        std::size_t result = 0;
        const std::string call = std::to_string(SYS_epoll_pwait) + ' ';
        for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
            if (!read_file(task.path() / "syscall").starts_with(call)) continue;
            if (state_in(read_file(task.path() / "stat")) == 'S') ++result;
        }
        return result;
    }

private:
    Descriptor over_{checked(eventfd(0, EFD_CLOEXEC), "eventfd")};
    std::vector<Descriptor> epolls_;
    std::vector<std::thread> threads_;
    std::atomic<std::size_t> woken_{0};
};

// epoll(7), questions and answers: all instances are told. Of as many processes, all but one find
// nothing to accept: the thundering herd.
TEST(EpollFacts, EveryWaiterOnALevelWakes) {
    const Descriptor listener = open_listener();
    const Waiters waiters{listener, EPOLLIN};
    ASSERT_TRUE(eventually([] { return Waiters::asleep() == Waiters::count; }));
    const Descriptor client = connect_to(listener);
    EXPECT_TRUE(eventually([&] { return waiters.woken() == Waiters::count; }));
}

// epoll_ctl(2), EPOLLEXCLUSIVE. The manual promises one or more, and so a server must not count on
// one; that all are told is what the flag is there to avoid.
TEST(EpollFacts, ExclusiveWakesOne) {
    const Descriptor listener = open_listener();
    const Waiters waiters{listener, EPOLLIN | EPOLLEXCLUSIVE};
    ASSERT_TRUE(eventually([] { return Waiters::asleep() == Waiters::count; }));
    const Descriptor client = connect_to(listener);
    deliver(client, "hello"); // all that are to be woken have been
    ASSERT_TRUE(eventually([&] { return waiters.woken() + Waiters::asleep() == Waiters::count; }));
    EXPECT_GE(waiters.woken(), 1U);
    EXPECT_LT(waiters.woken(), Waiters::count);
}

// select(2), BUGS: ready was true when the wait said so. Another process or thread, or an earlier
// event of the same batch, can be quicker, and a socket that blocks would then stop the server.
TEST(EpollFacts, ReadinessCanBeGoneAtTheCall) {
    const Descriptor listener = open_listener();
    const Descriptor one = epoll_of(listener, EPOLLIN), other = epoll_of(listener, EPOLLIN);
    const Descriptor client = connect_to(listener);
    EXPECT_EQ(events_of(one), EPOLLIN);
    EXPECT_EQ(events_of(other), EPOLLIN);
    const Descriptor taken = accept_from(listener);
    EXPECT_EQ(failure(accept_now(listener)), EAGAIN);
}

// epoll_wait(2), NOTES: what does not fit in comes with the next waits, in turn. A server's array
// may be small: no client is lost by that, and none starves.
TEST(EpollFacts, SecondReadyDescriptorIsNotLostWhenFewFitIn) {
    for (const std::uint32_t trigger : {0U, std::uint32_t{EPOLLET}}) {
        const Ends first, second;
        const Descriptor epoll = new_epoll();
        add(epoll, first.server, EPOLLIN | trigger);
        add(epoll, second.server, EPOLLIN | trigger);
        deliver(first.client, "hello");
        deliver(second.client, "hello");
        EXPECT_EQ(next_report(epoll).data.fd, first.server.number());
        EXPECT_EQ(next_report(epoll).data.fd, second.server.number());
        const int third = trigger == 0 ? first.server.number() : -1; // a level comes round again
        EXPECT_EQ(next_report(epoll, 0s).data.fd, third);
    }
}

// poll() in POSIX: regular files always poll ready. The read may still wait for the disk.
TEST(PollFacts, RegularFileIsAlwaysReady) {
    const Descriptor file = open_regular_file(); // and an empty one
    EXPECT_EQ(polled(file, POLLIN | POLLOUT), POLLIN | POLLOUT);
}

// poll(2): events can be 0, and POLLHUP and POLLERR come all the same. A server must act on them
// or leave the entry out (a negative descriptor), or the wait returns at once, for ever.
TEST(PollFacts, HangUpIsReportedUnasked) {
    Ends ends;
    EXPECT_EQ(polled(ends.server, 0), 0);
    reset(ends.client);
    EXPECT_TRUE(eventually([&] { return polled(ends.server, 0) == (POLLHUP | POLLERR); }));
}

// select(2): the sets are modified in place. A server that does not fill them anew for each call
// waits for fewer and fewer clients.
TEST(SelectFacts, SetsAreOverwritten) {
    const Ends quick, slow;
    const int limit = std::max(quick.server.number(), slow.server.number()) + 1;
    fd_set reading;
    FD_ZERO(&reading);
    FD_SET(quick.server.number(), &reading);
    FD_SET(slow.server.number(), &reading);
    deliver(quick.client, "hello");
    timeval at_once{};
    EXPECT_EQ(select(limit, &reading, nullptr, nullptr, &at_once), 1);
    EXPECT_TRUE(FD_ISSET(quick.server.number(), &reading));
    EXPECT_FALSE(FD_ISSET(slow.server.number(), &reading));
    EXPECT_EQ(receive(quick.server).bytes, "hello");
    deliver(slow.client, "hello"); // and the set no longer asks for it
    EXPECT_EQ(select(limit, &reading, nullptr, nullptr, &at_once), 0);
}

// listen(2): the kernel completes connections by itself, up to the backlog, and takes in their
// bytes. That a client could connect and send says nothing of the server program.
TEST(TcpFacts, ConnectSucceedsWithoutAccept) {
    const Descriptor listener = open_listener();
    const Descriptor client = connect_to(listener);
    deliver(client, "hello");
    EXPECT_EQ(receive(accept_from(listener)).bytes, "hello");
}

// RFC 9293 §3.6.1 (SHLD-3): data was lost, and the reset says so. A server that closes as soon as
// it has answered sends one to every client that goes on talking.
TEST(TcpFacts, CloseWithUnreadInputResets) {
    for (const bool read : {true, false}) {
        Ends ends;
        deliver(ends.client, "hello");
        if (read) receive(ends.server);
        ends.server.close();
        EXPECT_EQ(receive(ends.client).error, read ? 0 : ECONNRESET);
    }
}

// RFC 9112 §9.6, why servers linger: send() took the whole of it, the reset takes away what was
// still in the server's kernel. On Linux the client can read what its own kernel has.
TEST(TcpFacts, ResetLosesDataNotYetRead) {
    Ends ends;
    deliver(ends.client, "hello");
    const std::size_t taken = fill(ends.server);
    ends.server.close(); // with unread input
    std::size_t arrived = 0;
    Received piece = receive(ends.client);
    for (; !piece.bytes.empty(); piece = receive(ends.client)) arrived += piece.bytes.size();
    EXPECT_EQ(piece.error, ECONNRESET);
    EXPECT_GT(arrived, 0U);
    EXPECT_LT(arrived, taken);
}

// send(2), EPIPE: the signal would end a server that has not ignored it. The first send() only
// fails, which is why a short response in one piece never shows it.
TEST(TcpFacts, SecondSendAfterAResetRaisesSigpipe) {
    static volatile std::sig_atomic_t signals;
    signals = 0;
    auto* const before = std::signal(SIGPIPE, [](int) { signals = signals + 1; });
    Ends ends;
    reset(ends.client);
    EXPECT_TRUE(await_events(ends.server, 0));
    EXPECT_EQ(failure(send(ends.server.number(), "hello", 5, 0)), ECONNRESET);
    EXPECT_EQ(signals, 0);
    EXPECT_EQ(failure(send(ends.server.number(), "hello", 5, 0)), EPIPE);
    EXPECT_EQ(signals, 1);
    std::signal(SIGPIPE, before);
}

// shutdown(2), RFC 9293 §3.6.1: each direction ends by itself. End of file from a client means that
// it has asked all it wants to, not that it has gone.
TEST(TcpFacts, HalfClosedPeerStillReceives) {
    const Ends ends;
    checked(shutdown(ends.client.number(), SHUT_WR), "shutdown");
    EXPECT_TRUE(receive(ends.server).end());
    deliver(ends.server, "hello");
    EXPECT_EQ(receive(ends.client).bytes, "hello");
}

// send(2): a socket that does not block takes what there is room for, and then nothing. A server
// keeps the rest, and waits until the client has read.
TEST(TcpFacts, SendTakesOnlyWhatFits) {
    const Ends ends;
    const Descriptor epoll = epoll_of(ends.server, EPOLLOUT);
    EXPECT_EQ(events_of(epoll), EPOLLOUT);
    const std::string response(64 << 20, 'x');
    const auto count = send(ends.server.number(), response.data(), response.size(), 0);
    ASSERT_GT(count, 0);
    EXPECT_LT(count, static_cast<ssize_t>(response.size()));
    EXPECT_TRUE(eventually([&] { return fill(ends.server) == 0 && silent(epoll); }));
    while (silent(epoll)) ASSERT_NE(receive(ends.client).bytes, "");
    EXPECT_EQ(events_of(epoll), EPOLLOUT);
}

// accept(2) lists ECONNABORTED, and POSIX means this case. Linux hands out the connection with its
// error: a server meets it in its first call on the new socket.
TEST(TcpFacts, ResetInTheBacklogIsStillAccepted) {
    const Descriptor listener = open_listener();
    Descriptor client = connect_to(listener);
    const Address server{"127.0.0.1", port_of(listener)}, remote{"127.0.0.1", port_of(client)};
    ASSERT_TRUE(await_events(listener, POLLIN));
    EXPECT_TRUE(unread_bytes(server, remote).has_value());
    reset(client);
    ASSERT_TRUE(eventually([&] { return !unread_bytes(server, remote).has_value(); }));
    const Descriptor accepted = accept_from(listener);
    sockaddr peer{};
    socklen_t length = sizeof peer;
    EXPECT_EQ(failure(getpeername(accepted.number(), &peer, &length)), ENOTCONN);
    EXPECT_EQ(receive(accepted).error, ECONNRESET);
}

/// Closes one end and then the other. True once the first waits in TIME_WAIT and the other is gone.
bool close_in_turn(Descriptor& first, Descriptor& second) {
    const Address one{"127.0.0.1", port_of(first)}, two{"127.0.0.1", port_of(second)};
    first.close();
    EXPECT_TRUE(receive(second).end());
    second.close();
    return eventually([&] { return in_time_wait(one, two) && !unread_bytes(two, one); });
}

// RFC 9293 §3.6.1 (MUST-13): the end that closes first keeps the connection's memory for a while.
// In HTTP/1.0 that is the server, once for each response.
TEST(TcpFacts, ClosingFirstLeavesTimeWait) {
    if (!enter_own_network()) return;
    Ends ends, other_way;
    EXPECT_TRUE(close_in_turn(ends.server, ends.client));
    EXPECT_TRUE(close_in_turn(other_way.client, other_way.server));
}

/// What bind() says to a server started again while connections of its last run are in TIME_WAIT.
int bind_after_a_run(bool option_then, bool option_now) {
    Descriptor listener = open_listener(option_then ? SO_REUSEADDR : 0);
    const auto port = port_of(listener);
    Ends ends{listener};
    EXPECT_TRUE(close_in_turn(ends.server, ends.client));
    listener.close();
    const Descriptor again = tcp_socket();
    if (option_now) set(again, SO_REUSEADDR, 1);
    return failure(bind_to(again, port));
}

// socket(7), NOTES: Linux wants the option of both, of the old program and of the new.
TEST(TcpFacts, PortIsTakenWithoutReuseAddress) {
    if (!enter_own_network()) return;
    EXPECT_EQ(bind_after_a_run(false, false), EADDRINUSE);
    EXPECT_EQ(bind_after_a_run(false, true), EADDRINUSE);
    EXPECT_EQ(bind_after_a_run(true, false), EADDRINUSE);
    EXPECT_EQ(bind_after_a_run(true, true), 0);
}

// socket(7), SO_REUSEPORT: each listener has a backlog of its own, and a hash of the addresses
// chooses. That one gets none of 100 connections has a chance of one in 10^12.
TEST(TcpFacts, ReusePortSpreadsConnections) {
    std::array<Descriptor, 4> group;
    for (auto& listener : group) {
        listener = open_listener(SO_REUSEPORT, &listener == group.data() ? 0 : port_of(group[0]));
    }
    std::vector<Descriptor> clients;
    for (int i = 0; i < 100; ++i) deliver(clients.emplace_back(connect_to(group[0])), "hello");
    std::size_t total = 0;
    for (const auto& listener : group) {
        std::vector<Descriptor> accepted;
        for (int fd = 0; (fd = accept_now(listener)) != -1;) accepted.emplace_back(fd);
        EXPECT_GT(accepted.size(), 0U);
        total += accepted.size();
    }
    EXPECT_EQ(total, 100U);
}

// socket(7), SO_REUSEPORT: the hash is final. When a worker ends, those in its queue are not handed
// to the others.
TEST(TcpFacts, ClosingAReusePortListenerResetsItsQueue) {
    Descriptor leaves = open_listener(SO_REUSEPORT);
    const Descriptor stays = open_listener(SO_REUSEPORT, port_of(leaves));
    std::vector<Descriptor> clients;
    for (int i = 0; i < 100; ++i) deliver(clients.emplace_back(connect_to(stays)), "hello");
    leaves.close();
    std::vector<Descriptor> accepted;
    for (int fd = 0; (fd = accept_now(stays)) != -1;) accepted.emplace_back(fd);
    const auto reset = std::count_if(clients.begin(), clients.end(), [](const auto& client) {
        return failure(recv(client.number(), nullptr, 0, MSG_DONTWAIT)) == ECONNRESET;
    });
    EXPECT_GT(reset, 0);
    EXPECT_EQ(accepted.size() + static_cast<std::size_t>(reset), clients.size());
}

} // namespace
