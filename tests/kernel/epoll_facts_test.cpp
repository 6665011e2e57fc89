// What the chapters say about epoll, shown by the calls themselves: sockets.h says how.

#include "harness/time_limits.h"
#include "sockets.h"

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

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

} // namespace
