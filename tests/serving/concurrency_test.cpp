// Many clients at the same time, and what piles up for one turn of the loop while the stage is
// stopped by SIGSTOP.

#include "harness/assertions.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <csignal>

namespace {

class Concurrency : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, Concurrency, testing::ValuesIn(concurrent_stages()), stage_name);

TEST_P(Concurrency, HalvesInAnyOrder) {
    StageProcess server{stage(), {"--timeout", "1000"}};
    auto clients = clients_that_sent(server.address(), 200, half_request);
    ASSERT_TRUE(server.settle());
    for (auto& client : clients) ASSERT_FALSE(client.readable());
    for (auto client = clients.rbegin(); client != clients.rend(); ++client) {
        client->send(other_half);
        if (std::distance(clients.rbegin(), client) < 20) expect_hello(client->read_to_end());
    }
    clients.erase(clients.begin() + 180, clients.end());
    EXPECT_EQ(count_answers(clients, 200), 180U);
}

TEST_P(Concurrency, TypistsDoNotHoldUpOthers) {
    StageProcess server{stage(), {"--timeout", "1000"}};
    auto typists = clients_that_sent(server.address(), 50, half_request);
    for (int i = 0; i < 20; ++i) expect_hello(fetch(server.address()));
    for (auto& typist : typists) typist.send(other_half);
    EXPECT_EQ(count_answers(typists, 200), 50U);
}

TEST_P(Concurrency, UnreadResponsesDoNotHoldUpOthers) {
    constexpr std::uint64_t bytes = 6'000'000;
    StageProcess server{stage(), {"--body-bytes", std::to_string(bytes)}};
    auto readers =
        clients_that_sent(server.address(), 10, simple_request, {.receive_buffer = 4096});
    ASSERT_TRUE(server.settle());
    expect_hello(fetch(server.address()), bytes);
    for (auto& reader : readers) reader.reset();
    expect_hello(fetch(server.address()), bytes);
}

// In one turn: resets, requests that become complete, and new clients whose descriptors may get
// the numbers that the resets have just freed.
TEST_P(Concurrency, ResetsCompletionsAndNewClientsInOneTurn) {
    StageProcess server{stage()};
    for (int round = 0; round < 5; ++round) {
        auto leaving = clients_that_sent(server.address(), 20, half_request);
        auto staying = clients_that_sent(server.address(), 20, half_request);
        ASSERT_TRUE(eventually([&] { return server.waiting_connections() == 0; }));
        server.stop();
        for (auto& client : leaving) client.reset();
        auto coming = clients_that_sent(server.address(), 20, round % 2 == 0 ? simple_request : "");
        for (auto& client : staying) client.send(other_half);
        server.resume();
        EXPECT_EQ(count_answers(staying, 200), 20U);
        for (auto& client : coming) client.send(round % 2 == 0 ? "" : simple_request);
        EXPECT_EQ(count_answers(coming, 200), 20U);
    }
}

// The stage sees both in one event: new input and room to write. A loop that handled only one of
// the two would lose the other's edge.
TEST_P(Concurrency, InputAndRoomToWriteInOneTurn) {
    constexpr std::uint64_t bytes = 100'000'000;
    StageProcess server{stage(), {"--body-bytes", std::to_string(bytes)}};
    HttpClient client{server.address()};
    std::uint64_t received = 0;
    client.send(simple_request);
    for (int round = 0; round < 5; ++round) {
        ASSERT_TRUE(server.settle());
        server.stop();
        client.send("and more");
        while (const auto count = client.discard_some(1 << 20, 0s)) received += count;
        server.resume();
    }
    EXPECT_LT(received, bytes);
    while (const auto count = client.discard_some(1 << 20)) received += count;
    EXPECT_GT(received, bytes);
    EXPECT_EQ(client.read_to_end().end, End::eof);
}

TEST_P(Concurrency, ResetsBeforeAcceptAmongOthers) {
    StageProcess server{stage()};
    server.stop();
    auto leaving = clients_that_sent(server.address(), 10, simple_request);
    auto staying = clients_that_sent(server.address(), 10, simple_request);
    for (auto& client : leaving) client.reset();
    server.resume();
    EXPECT_EQ(count_answers(staying, 200), 10U);
}

// More than are accepted in one turn, and no later one whose arrival would wake the loop again.
TEST_P(Concurrency, AllWhoQueuedForOneTurnAreAccepted) {
    StageProcess server{stage(), {"--timeout", "1000"}};
    server.stop();
    auto clients = clients_that_sent(server.address(), 200, half_request);
    server.resume();
    ASSERT_TRUE(server.settle());
    ASSERT_EQ(server.waiting_connections(), 0U);
    for (auto& client : clients) client.send(other_half);
    EXPECT_EQ(count_answers(clients, 200), 200U);
}

class ConcurrencyOfEvents : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ConcurrencyOfEvents, testing::ValuesIn(event_stages()), stage_name);

// Ready was true when the wait said so; it need not be when the call is made (select(2), BUGS).
// One socket that blocks then would stop all clients.
TEST_P(ConcurrencyOfEvents, NoSocketBlocks) {
    StageProcess server{stage()};
    auto clients = clients_that_sent(server.address(), 3, half_request);
    EXPECT_TRUE(eventually([&] { return server.sockets_that_block().size() == 4; }));
    EXPECT_EQ(server.sockets_that_block(), std::vector<bool>(4, false));
}

class ConcurrencyOfEpoll : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ConcurrencyOfEpoll, testing::ValuesIn(epoll_stages()), stage_name);

// Byte by byte the reader always keeps up, and there is room to write for as long as it reads: a
// loop that goes on until there is none would not come to the others.
TEST_P(ConcurrencyOfEpoll, ReaderWhoKeepsUpDoesNotHoldUpOthers) {
    StageProcess server{stage(), {"--body-bytes", "1073741824", "--chunk-bytes", "1"}};
    const FastReader reader{server.address()};
    ASSERT_TRUE(eventually([&] { return reader.received() > 0; }));
    for (int i = 0; i < 5; ++i) {
        HttpClient other{server.address()};
        other.send(simple_request);
        ASSERT_EQ(other.read_some(1).bytes, "H");
        ASSERT_FALSE(reader.done());
        other.reset();
    }
}

class ConcurrencyOfThreads : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ConcurrencyOfThreads, testing::ValuesIn(stages(3, 3)), stage_name);

TEST_P(ConcurrencyOfThreads, ClientsBeyondMaxThreadsWait) {
    StageProcess server{stage(), {"--max-threads", "2"}};
    expect_hello(fetch(server.address())); // ThreadSanitizer adds a thread of its own to the first
    ASSERT_TRUE(server.settle());
    const auto before = server.threads();
    auto first = clients_that_sent(server.address(), 2, half_request);
    ASSERT_TRUE(eventually([&] { return server.threads() == before + 2; }));
    auto others = clients_that_sent(server.address(), 20, simple_request);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.threads(), before + 2);
    for (auto& client : others) EXPECT_FALSE(client.readable());
    for (auto& client : first) client.send(other_half);
    EXPECT_EQ(count_answers(first, 200), 2U);
    EXPECT_EQ(count_answers(others, 200), 20U);
    EXPECT_TRUE(eventually([&] { return server.threads() == before; }));
}

TEST_P(ConcurrencyOfThreads, OneThreadIsEnough) {
    StageProcess server{stage(), {"--max-threads", "1"}};
    auto clients = clients_that_sent(server.address(), 20, simple_request);
    EXPECT_EQ(count_answers(clients, 200), 20U);
}

TEST_P(ConcurrencyOfThreads, SignalEndsItWhileAllThreadsAreTaken) {
    StageProcess server{stage(), {"--max-threads", "2"}};
    auto clients = clients_that_sent(server.address(), 5, half_request);
    ASSERT_TRUE(server.settle());
    server.send_signal(SIGTERM);
    EXPECT_EQ(server.exit_code(), 0);
}

} // namespace
