// What the chapters say about TCP and its sockets, shown by the calls themselves: sockets.h says
// how.

#include "harness/own_network.h"
#include "harness/tcp_table.h"
#include "harness/time_limits.h"
#include "sockets.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

namespace {

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
