// Where something runs out: descriptors, threads, memory, the backlog; and that all of it comes
// back.

#include "harness/assertions.h"
#include "harness/own_network.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sys/select.h>

namespace {

class Limits : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, Limits, testing::ValuesIn(all_stages()), stage_name);

// The kernel completes one connection more than the backlog says; the others' SYN is dropped, and
// sent again a second later (listen(2)).
TEST_P(Limits, BacklogOfOneCompletesTwoConnections) {
    StageProcess server{stage(), {"--backlog", "1"}};
    server.stop();
    std::vector<HttpClient> clients;
    for (int i = 0; i < 5; ++i) {
        clients.emplace_back(server.address(), ClientOptions{.await_connect = false});
    }
    const auto complete = [&] {
        return std::count_if(clients.begin(), clients.end(),
                             [](const HttpClient& client) { return client.connected(); });
    };
    EXPECT_TRUE(eventually([&] { return complete() >= 2; }));
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(complete(), 2);
    EXPECT_EQ(server.waiting_connections(), 2U);
}

constexpr std::uint64_t mebibyte = 1 << 20;

// The address space allowed is half of one body.
TEST_P(Limits, LargestBodyIsNotKeptInMemory) {
    StageProcess server{stage(), {"--body-bytes", "1073741824"}, {.memory_limit = 512 * mebibyte}};
    const auto before = server.memory();
    HttpClient client{server.address()};
    client.send(simple_request);
    std::uint64_t received = 0;
    while (received < 200 * mebibyte) {
        const auto count = client.discard_some(mebibyte);
        ASSERT_GT(count, 0U);
        received += count;
    }
    EXPECT_LT(server.memory(), before + 8 * mebibyte);
}

class LimitsOfMany : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LimitsOfMany, testing::ValuesIn(serving_stages()), stage_name);

/// One client of each kind after the other, `rounds` times.
void mixed_clients(const StageProcess& server, int rounds) {
    for (int round = 0; round < rounds; ++round) {
        expect_hello(fetch(server.address()));
        HttpClient leaving{server.address()};
        HttpClient resetting{server.address()};
        leaving.send(half_request);
        leaving.close();
        resetting.send(half_request);
        resetting.reset();
        HttpClient reset_at_once{server.address()};
        reset_at_once.send(simple_request);
        reset_at_once.reset();
        HttpClient half_closed{server.address()};
        half_closed.send(std::string{simple_request} + "and more");
        half_closed.finish_sending();
        expect_hello(half_closed.read_to_end());
        HttpClient{server.address()}.exchange(head_of_size(9000));
    }
}

TEST_P(LimitsOfMany, EverythingComesBackAfterManyClients) {
    StageProcess server{stage(), {"--quiet"}};
    ASSERT_TRUE(server.settle());
    expect_hello(fetch(server.address())); // ThreadSanitizer adds a thread of its own to the first
    ASSERT_TRUE(server.settle());
    const auto descriptors = server.descriptors();
    const auto threads = server.threads();
    mixed_clients(server, 50);
    ASSERT_TRUE(server.settle());
    const auto memory = server.memory();
    const auto address_space = server.address_space();
    mixed_clients(server, 450);
    EXPECT_TRUE(eventually([&] { return server.descriptors() == descriptors; }));
    EXPECT_TRUE(eventually([&] { return server.threads() == threads; }));
    if (sanitizer() != Sanitizer::none) return; // whose quarantine grows
    EXPECT_LT(server.memory(), memory + mebibyte);
    // Threads that nobody joins would keep their stacks, 8 MiB each; malloc()'s arenas take 1 GiB.
    EXPECT_LT(server.address_space(), address_space + 2048 * mebibyte);
}

class LimitsOfConcurrent : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LimitsOfConcurrent, testing::ValuesIn(concurrent_stages()), stage_name);

// Again and again: each time it fills up is an episode of its own, with one line on stderr. Two are
// told apart by the second that passes between them.
TEST_P(LimitsOfConcurrent, OneLineForEachTimeDescriptorsRunOut) {
    StageProcess server{stage(), {}, {.descriptor_limit = 24}};
    for (std::size_t episode = 1; episode <= 2; ++episode) {
        auto clients = clients_that_sent(server.address(), 40, half_request);
        ASSERT_TRUE(eventually([&] { return server.complaints().size() >= episode; }));
        ASSERT_TRUE(server.settle());
        EXPECT_GT(server.waiting_connections(), 0U);
        std::this_thread::sleep_for(1200ms); // an episode may be longer than a second
        EXPECT_EQ(server.complaints().size(), episode) << server.err();
        for (auto& client : clients) client.send(other_half);
        EXPECT_EQ(count_answers(clients, 200), 40U);
        EXPECT_EQ(server.complaints().size(), episode) << server.err();
        if (episode == 1) std::this_thread::sleep_for(1050ms);
    }
    EXPECT_TRUE(server.complaints().front().starts_with(stage().name + ": ")) << server.err();
    EXPECT_NE(server.complaints().front().find("Too many open files"), std::string::npos);
}

// Those that wait in the queue are taken even though the ones that hold the descriptors stay: they
// come back one at a time here, and the last of them only through a timeout.
TEST_P(LimitsOfConcurrent, DescriptorsThatTimeOutAreUsedAgain) {
    StageProcess server{
        stage(), {"--timeout", seconds_for_option(150ms)}, {.descriptor_limit = 24}};
    auto silent = clients_that_sent(server.address(), 30, "");
    auto client = HttpClient{server.address()};
    client.send(simple_request);
    expect_hello(client.read_to_end());
    EXPECT_EQ(count_answers(silent, 408), 30U);
}

// Those that hold the descriptors leave, and nobody new connects: what comes back has to be noticed
// without the arrival that would wake the listener.
TEST_P(LimitsOfConcurrent, QueueMovesOnWhenDescriptorsComeBack) {
    StageProcess server{stage(), {"--timeout", "1000"}, {.descriptor_limit = 24}};
    auto clients = clients_that_sent(server.address(), 30, half_request);
    ASSERT_TRUE(eventually([&] { return !server.complaints().empty(); }));
    ASSERT_TRUE(server.settle());
    const auto waiting = server.waiting_connections();
    ASSERT_GT(waiting, 0U);
    clients.erase(clients.begin(), clients.end() - waiting); // they are accepted in order
    ASSERT_TRUE(eventually([&] { return server.waiting_connections() == 0; }));
    for (auto& client : clients) client.send(other_half);
    EXPECT_EQ(count_answers(clients, 200), waiting);
}

// One descriptor is left. In one turn the oldest client resets and two others connect: the second
// of them needs the number that the reset frees.
TEST_P(LimitsOfConcurrent, LastDescriptorsChangeHandsInOneTurn) {
    constexpr std::size_t limit = 24;
    StageProcess server{stage(), {"--timeout", "1000"}, {.descriptor_limit = limit}};
    ASSERT_TRUE(server.settle());
    auto held = clients_that_sent(server.address(), limit - 1 - server.descriptors(), half_request);
    ASSERT_TRUE(server.settle());
    ASSERT_EQ(server.descriptors(), limit - 1);
    server.stop();
    auto coming = clients_that_sent(server.address(), 2, simple_request);
    held.front().reset();
    held.erase(held.begin());
    server.resume();
    EXPECT_EQ(count_answers(coming, 200), 2U);
    for (auto& client : held) client.send(other_half);
    EXPECT_EQ(count_answers(held, 200), held.size());
}

// Their descriptors reach beyond what an fd_set holds: FD_SET() would write into other memory.
TEST_P(LimitsOfConcurrent, ClientsBeyondFdSetSize) {
    StageProcess server{stage(), {"--quiet", "--timeout", "1000"}};
    server.stop(); // a server that fails shall not do so before all have connected
    auto clients = clients_that_sent(server.address(), FD_SETSIZE, half_request);
    server.resume();
    ASSERT_TRUE(server.settle());
    ASSERT_TRUE(server.running()) << server.err();
    clients.front().send(other_half);
    expect_hello(clients.front().read_to_end());
}

TEST_P(LimitsOfConcurrent, MoreClientsThanTheBacklogHolds) {
    StageProcess server{stage(), {"--backlog", "1"}};
    for (int i = 0; i < 5; ++i) {
        auto clients = clients_that_sent(server.address(), 1, simple_request);
        EXPECT_EQ(count_answers(clients, 200), 1U);
    }
}

// Each connection has room for a head and a view of the one body, whatever its length.
TEST_P(LimitsOfConcurrent, MemoryOfAConnectionDoesNotGrowWithTheBody) {
    StageProcess server{stage(), {"--body-bytes", "1073741824", "--timeout", "1000"}};
    ASSERT_TRUE(server.settle());
    const auto before = server.memory();
    auto clients =
        clients_that_sent(server.address(), 50, simple_request, {.receive_buffer = 4096});
    ASSERT_TRUE(server.settle());
    EXPECT_LT(server.memory(), before + 50 * mebibyte / 8);
    for (auto& client : clients) client.reset();
}

class LimitsOfEvents : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LimitsOfEvents, testing::ValuesIn(event_stages()), stage_name);

// Each client that leaves makes room for one in the queue. The server knows, and so it need not
// wait until the pause of 100 ms is over.
TEST_P(LimitsOfEvents, NextInTheQueueIsAcceptedAtOnce) {
    constexpr std::size_t least = 30;
    expect_within(scaled(least * 50ms), [&] {
        StageProcess server{stage(), {"--timeout", "1000"}, {.descriptor_limit = 24}};
        auto clients = clients_that_sent(server.address(), 60, half_request);
        EXPECT_TRUE(eventually([&] { return !server.complaints().empty(); }));
        EXPECT_TRUE(server.settle());
        const auto waiting = server.waiting_connections();
        EXPECT_GT(waiting, least);
        const auto start = Clock::now();
        for (std::size_t left = waiting; left > 0; --left) {
            clients.erase(clients.begin()); // they are accepted in order
            EXPECT_TRUE(eventually([&] { return server.waiting_connections() < left; }));
        }
        const auto time = Clock::now() - start;
        for (auto& client : clients) client.reset();
        return time;
    });
}

/// How often the main thread has begun to wait (voluntary_ctxt_switches of proc(5)).
std::uint64_t waits_so_far(const StageProcess& server) {
    const std::string field = "\nvoluntary_ctxt_switches:";
    const auto status = read_file("/proc/" + std::to_string(server.pid()) + "/status");
    return std::stoull(status.substr(status.find(field) + field.size()));
}

class LimitsOfThreads : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LimitsOfThreads, testing::ValuesIn(stages(3, 3)), stage_name);

// No client comes any more, and yet the stacks of the threads that have ended go back.
TEST_P(LimitsOfThreads, ThreadsAreJoinedWithoutANextClient) {
    constexpr std::size_t count = 1500;
    StageProcess server{stage(), {"--quiet", "--timeout", "1000"}};
    auto clients = clients_that_sent(server.address(), count, half_request);
    ASSERT_TRUE(server.settle());
    EXPECT_GT(server.address_space(), count * 8 * mebibyte);
    for (auto& client : clients) client.send(other_half);
    EXPECT_EQ(count_answers(clients, 200), count);
    // malloc()'s arenas take 1 GiB; what glibc keeps of stacks, 40 MiB.
    EXPECT_TRUE(eventually([&] { return server.address_space() < 2048 * mebibyte; }))
        << server.address_space() / mebibyte << " MiB";
}

// pthread_create(3): a thread's stack is as large as the limit says.
TEST_P(LimitsOfThreads, StackOf64KiBIsEnough) {
    StageProcess server{stage(), {}, {.stack_limit = 64 * 1024}};
    const std::string body(100'000, 'x');
    const std::string head = "POST / HTTP/1.0\r\nContent-Length: 100000\r\n\r\n";
    HttpClient client{server.address()};
    expect_hello(client.exchange(head + body));
    expect_hello(fetch(server.address(), head_of_size(8192)));
}

// Stacks take 8 MiB of address space each, so that this is enough for a few threads only.
TEST_P(LimitsOfThreads, ServesOnWhenNoThreadCanBeMade) {
    StageProcess server{stage(), {"--timeout", "1000"}, {.memory_limit = 200 * mebibyte}};
    auto clients = clients_that_sent(server.address(), 60, half_request);
    ASSERT_TRUE(server.settle());
    EXPECT_LT(server.threads(), 40U);
    ASSERT_EQ(server.complaints().size(), 1U) << server.err();
    EXPECT_NE(server.complaints().front().find("thread: "), std::string::npos) << server.err();
    for (auto& client : clients) client.send(other_half);
    EXPECT_EQ(count_answers(clients, 200), 60U); // each waited for its thread, and none was lost
    expect_hello(fetch(server.address()));
}

// The main thread has a client, no thread for it, and tries again and again.
TEST_P(LimitsOfThreads, SignalWhileNoThreadCanBeMade) {
    StageProcess server{stage(), {"--timeout", "1000"}, {.memory_limit = 200 * mebibyte}};
    auto clients = clients_that_sent(server.address(), 60, half_request);
    ASSERT_TRUE(eventually([&] { return !server.complaints().empty(); }));
    server.send_signal(SIGTERM);
    EXPECT_EQ(server.exit_code(), 0);
}

// However often the server looks whether there is room.
TEST_P(LimitsOfThreads, ClientBeyondMaxThreadsStaysInTheQueue) {
    StageProcess server{stage(), {"--max-threads", "2", "--timeout", "1000"}};
    auto clients = clients_that_sent(server.address(), 3, half_request);
    ASSERT_TRUE(eventually([&] { return server.waiting_connections() == 1; }));
    const auto before = waits_so_far(server);
    ASSERT_TRUE(eventually([&] { return waits_so_far(server) >= before + 4; }));
    EXPECT_EQ(server.waiting_connections(), 1U);
    for (auto& client : clients) client.send(other_half);
    EXPECT_EQ(count_answers(clients, 200), 3U);
}

class LimitsOfPoll : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LimitsOfPoll, testing::ValuesIn(stages(5, 5)), stage_name);

// poll(2): EINVAL where the array is longer than RLIMIT_NOFILE, which anybody may lower meanwhile.
TEST_P(LimitsOfPoll, DescriptorLimitIsLoweredWhileItRuns) {
    StageProcess server{stage(), {"--quiet", "--timeout", "1000"}};
    auto clients = clients_that_sent(server.address(), 150, half_request);
    ASSERT_TRUE(server.settle());
    const rlimit low{60, 60};
    checked(prlimit(server.pid(), RLIMIT_NOFILE, &low, nullptr), "prlimit");
    for (auto& client : clients) client.send(other_half); // whose descriptors are above the limit
    EXPECT_EQ(count_answers(clients, 200), 150U);
    for (int i = 0; i < 3; ++i) expect_hello(fetch(server.address()));
    // The array is short again: no need to try from time to time.
    EXPECT_TRUE(server.settle());
    const auto before = waits_so_far(server);
    std::this_thread::sleep_for(300ms);
    EXPECT_EQ(waits_so_far(server), before);
}

class LimitsOfBacklog : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LimitsOfBacklog, testing::ValuesIn(all_stages()), stage_name);

/// Sets a setting of the test's own network (proc(5), /proc/sys/net); false if it has none.
bool set_network(const std::string& name, const std::string& value) {
    if (!has_own_network()) return false;
    std::ofstream file{"/proc/sys/net/" + name};
    file << value;
    file.close();
    return !file.fail();
}

// Whatever net.core.somaxconn says, and not what the C library was compiled with.
TEST_P(LimitsOfBacklog, DefaultIsTheSystemsLimit) {
    if (!enter_own_network()) return;
    if (!set_network("core/somaxconn", "5000")) GTEST_SKIP() << "no network of its own";
    const StageProcess server{stage()};
    const StageProcess small{stage(), {"--backlog", "7"}};
    std::vector<std::uint32_t> backlogs;
    for (const Listener& listener : listeners()) backlogs.push_back(listener.backlog);
    std::sort(backlogs.begin(), backlogs.end());
    EXPECT_EQ(backlogs, (std::vector<std::uint32_t>{7, 5000}));
}

} // namespace
