// The rows of the comparison, in the order in which the tables show them: one test a row, run on
// every stage, and every bare program, to which the row applies. A cell is put together from what
// was observed; that it is what stages.cpp expects is asserted as well.

#include "comparison.h"
#include "faults/fault_log.h"
#include "harness/assertions.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <csignal>
#include <map>

namespace {

void observe_and_expect(const std::string& row, const std::string& cell,
                        const std::string& expected) {
    observe(row, cell);
    if (expected.empty()) return; // nothing is expected of this program
    EXPECT_EQ(cell, expected);
}

class ComparisonOfOneClient : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfOneClient, testing::ValuesIn(all_programs()), stage_name);

TEST_P(ComparisonOfOneClient, Get) {
    StageProcess server{stage()};
    const Reply reply = fetch(server.address());
    observe_and_expect("sends a request, alone", reply.summary(), "200");
    expect_hello(reply);
}

TEST_P(ComparisonOfOneClient, HeadTooLong) {
    StageProcess server{stage()};
    const Reply reply = fetch(server.address(), head_of_size(8193));
    observe_and_expect("sends a head of 8,193 bytes", reply.summary(), stage().head_too_long);
}

TEST_P(ComparisonOfOneClient, Silence) {
    StageProcess server{stage(), options_if_taken({"--timeout", seconds_for_option(100ms)})};
    HttpClient client{server.address()};
    const Reply reply = client.read_to_end(stage().profile.has_deadlines ? patience : scaled(1s));
    observe_and_expect("connects and sends nothing", reply.summary(), stage().silence);
}

TEST_P(ComparisonOfOneClient, HalfClose) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    client.send_and_finish(simple_request);
    const Reply reply = client.read_to_end(stage().profile.has_deadlines ? patience : scaled(2s));
    observe_and_expect("sends a request and half-closes (FIN)", reply.summary(),
                       stage().half_close);
}

TEST_P(ComparisonOfOneClient, HeldOpen) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    client.send(half_request);
    ASSERT_TRUE(server.settle());
    constexpr auto window = 100ms;
    const auto used =
        server.cpu_time_during(window) / slowdown(); // a sanitizer has work of its own
    const auto percent = (100 * used + window / 2) / window;
    observe_and_expect("pauses in the middle of its request: CPU of the server",
                       std::to_string(percent) + " % CPU", "0 % CPU");
    client.send(other_half);
    expect_hello(client.read_to_end());
}

class ComparisonOfNextClient : public StageTest {
protected:
    /// "200" if the second client is answered while the first stays as it is. Otherwise "waits, "
    /// and what it gets once the first client is `released`.
    template <typename Release>
    static std::string outcome(const StageProcess& server, HttpClient& second, Release released) {
        if (answered_before_rest(second, server)) return second.read_to_end().summary();
        released();
        return "waits, " + second.read_to_end().summary();
    }

    /// What follows when a client has left: that the program ends, or how it serves the next one;
    /// whether it spins, which is to say that it never comes to rest and takes all the CPU time
    /// that it can get; and whether it keeps more than its first `descriptors`.
    static std::string outcome_for_next(StageProcess& server, std::size_t descriptors) {
        const auto before = server.cpu_time();
        bool spins = false;
        EXPECT_TRUE(eventually([&] {
            spins = server.cpu_time() - before > scaled(300ms);
            return spins || server.idle_for(20ms);
        }));
        if (!server.running()) return server.ending();
        std::string outcome;
        if (spins) outcome = "spins, ";
        else if (server.descriptors() > descriptors) outcome = "keeps its descriptor, ";
        HttpClient next{server.address()};
        next.send(simple_request);
        const Reply reply = next.read_to_end(spins ? scaled(2s) : patience);
        return outcome + "next: " + reply.summary();
    }
};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfNextClient, testing::ValuesIn(all_programs()), stage_name);

TEST_P(ComparisonOfNextClient, Later) {
    StageProcess server{stage()};
    expect_hello(fetch(server.address()));
    ASSERT_TRUE(server.settle());
    std::string cell;
    try {
        cell = fetch(server.address()).summary();
    } catch (const std::system_error& error) {
        cell = error.code() == std::errc::connection_refused ? "refused" : error.what();
    }
    observe_and_expect("sends a request after another client was served", cell,
                       stage().second_client_later);
}

TEST_P(ComparisonOfNextClient, WhileTheFirstTypes) {
    StageProcess server{stage()};
    HttpClient first{server.address()};
    first.send(half_request);
    ASSERT_TRUE(server.settle());
    HttpClient second{server.address()};
    second.send(simple_request);
    const auto cell = outcome(server, second, [&] { first.send(other_half); });
    observe_and_expect("sends a request while another client is still typing", cell,
                       stage().second_client_meanwhile);
    if (cell == "200") first.send(other_half);
    expect_hello(first.read_to_end());
}

TEST_P(ComparisonOfNextClient, AfterOneLeft) {
    StageProcess server{stage()};
    ASSERT_TRUE(server.settle());
    const auto descriptors = server.descriptors();
    HttpClient client{server.address()};
    client.send(half_request);
    client.close();
    observe_and_expect("leaves in the middle of its request (FIN)",
                       outcome_for_next(server, descriptors), stage().after_a_fin);
}

TEST_P(ComparisonOfNextClient, AfterOneReset) {
    StageProcess server{stage()};
    ASSERT_TRUE(server.settle());
    const auto descriptors = server.descriptors();
    HttpClient client{server.address()};
    client.send(half_request);
    ASSERT_TRUE(client.await_all_read(server.address()));
    client.reset();
    observe_and_expect("leaves in the middle of its request (RST)",
                       outcome_for_next(server, descriptors), stage().after_a_reset);
}

TEST_P(ComparisonOfNextClient, AfterAStop) {
    StageProcess server{stage()};
    ASSERT_TRUE(server.settle());
    server.stop();
    server.resume();
    ASSERT_TRUE(server.settle());
    const auto cell = server.running() ? fetch(server.address()).summary() : server.ending();
    observe_and_expect("sends a request after the server was stopped and continued (Ctrl-Z, fg)",
                       cell, stage().after_a_stop);
}

// The rest of this suite is about long responses.
class ComparisonOfLongResponse : public ComparisonOfNextClient {};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfLongResponse, testing::ValuesIn(all_stages()), stage_name);

TEST_P(ComparisonOfLongResponse, AfterAReset) {
    StageProcess server{stage(), {"--body-bytes", "20000000"}};
    ASSERT_TRUE(server.settle());
    const auto descriptors = server.descriptors();
    HttpClient client{server.address()};
    client.send(simple_request);
    ASSERT_FALSE(client.read_some(1).bytes.empty());
    client.reset();
    observe_and_expect("leaves while its response is on the way (RST)",
                       outcome_for_next(server, descriptors), stage().after_a_reset);
}

TEST_P(ComparisonOfLongResponse, BesideOneWhoDoesNotRead) {
    StageProcess server{stage(), {"--body-bytes", "20000000", "--timeout", "1000"}};
    HttpClient first{server.address(), {.receive_buffer = 4096}};
    first.send(simple_request);
    ASSERT_TRUE(first.read_some(1, patience).end == End::timeout);
    ASSERT_TRUE(server.settle());
    HttpClient second{server.address()};
    second.send(simple_request);
    const auto cell = outcome(server, second, [&] { first.reset(); });
    observe_and_expect("sends a request while another client reads nothing of its 20 MB", cell,
                       stage().beside_unread_response);
    if (serves_once()) { // its one client has reset
        EXPECT_EQ(server.exit_code(), 1);
    }
}

class ComparisonOfCrowd : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfCrowd, testing::ValuesIn(serving_stages()), stage_name);

TEST_P(ComparisonOfCrowd, BesideAFastReader) {
    constexpr std::uint64_t bytes = 800'000'000;
    StageProcess server{stage(), {"--body-bytes", std::to_string(bytes), "--quiet"}};
    const FastReader reader{server.address()};
    ASSERT_TRUE(eventually([&] { return reader.received() > 0; }));
    const bool answered = !waits_beside(reader, bytes, server.address()).empty();
    observe_and_expect("sends a request while another client reads 800 MB at full speed",
                       answered ? "200" : "waits, 200", stage().beside_fast_reader);
}

TEST_P(ComparisonOfCrowd, QueuedBehindAStop) {
    StageProcess server{stage()};
    server.stop();
    auto clients = clients_that_sent(server.address(), 30, simple_request);
    server.resume();
    const auto cell = std::to_string(count_answers(clients, 200)) + " x 200";
    observe_and_expect(
        "is one of 30 clients that send a request while the server is stopped (SIGSTOP)", cell,
        "30 x 200");
}

/// What became of many clients, the first of which were accepted and the others turned away.
std::string crowd_cell(std::size_t held, std::size_t served, std::size_t turned_away,
                       std::size_t first_descriptor) {
    if (turned_away > 0) {
        return "503 from descriptor " + std::to_string(first_descriptor + served);
    }
    if (held == served) return "all at once";
    return held == 1 ? "1 at a time" : std::to_string(held) + " at a time";
}

/// `count` clients that have sent half a request; fewer if the program ends meanwhile. Where the
/// backlog is short, each comes when the one before has been accepted, or some time after it. The
/// last ones may find no room in it: they have not connected then.
std::vector<HttpClient> typing_clients(const Stage& stage, StageProcess& server,
                                       std::size_t count) {
    const bool room_for_all = stage.profile.has_long_backlog;
    std::vector<HttpClient> clients;
    try {
        while (clients.size() < count) {
            clients.emplace_back(server.address(), ClientOptions{.await_connect = room_for_all});
            clients.back().send_what_fits(half_request);
            if (room_for_all) continue;
            eventually([&] { return server.waiting_connections() == 0; }, scaled(100ms));
        }
    } catch (const std::system_error& error) {
        EXPECT_TRUE(eventually([&] { return !server.running(); })) << error.what();
    }
    return clients;
}

/// Of the bare programs only those that accept at once: a backlog of 1 has no room for a crowd.
class ComparisonOfHeldOpen : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfHeldOpen, testing::ValuesIn(stages_and_bare(2, 3)),
                         stage_name);

TEST_P(ComparisonOfHeldOpen, Crowd) {
    constexpr std::size_t count = 1100;
    StageProcess server{stage(), options_if_taken({"--quiet", "--timeout", "1000"})};
    ASSERT_TRUE(server.settle());
    const auto before = server.descriptors();
    auto clients = typing_clients(stage(), server, count);
    ASSERT_TRUE(server.settle());
    if (!server.running()) {
        observe_and_expect("is one of 1,100 clients that stay connected", server.ending(),
                           stage().clients_held_open);
        return;
    }
    const auto held = server.descriptors() - before;
    const auto answered = std::find_if(clients.begin(), clients.end(),
                                       [](const auto& client) { return client.readable(); });
    std::vector<HttpClient> refused(std::make_move_iterator(answered),
                                    std::make_move_iterator(clients.end()));
    clients.erase(answered, clients.end());
    for (auto& client : clients) client.send(other_half);
    const auto served = count_answers(clients, 200);
    const auto is_503 = [](HttpClient& client) { return client.read_to_end().status() == 503; };
    const auto turned_away =
        static_cast<std::size_t>(std::count_if(refused.begin(), refused.end(), is_503));
    EXPECT_EQ(served + turned_away, count);
    observe_and_expect("is one of 1,100 clients that stay connected",
                       crowd_cell(held, served, turned_away, before), stage().clients_held_open);
    clients.clear(); // in two steps, so that nothing else moves when those turned away leave
    EXPECT_TRUE(eventually([&] { return server.descriptors() == before + refused.size(); }));
    refused.clear();
    EXPECT_TRUE(eventually([&] { return server.descriptors() == before; }));
}

class ComparisonOfCost : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfCost, testing::ValuesIn(stages_and_bare(2, 3)), stage_name);

TEST_P(ComparisonOfCost, Threads) {
    StageProcess server{stage()};
    auto clients = typing_clients(stage(), server, 50);
    ASSERT_TRUE(server.settle());
    const auto threads = server.threads();
    observe("is one of 50 clients: threads in the server", counted(threads, "thread"));
    EXPECT_EQ(threads, stage().threads_with_50_clients);
    for (auto& client : clients) client.send(other_half);
    EXPECT_EQ(count_answers(clients, 200), 50U);
}

class ComparisonOfCostOfMany : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfCostOfMany, testing::ValuesIn(concurrent_stages()),
                         stage_name);

TEST_P(ComparisonOfCostOfMany, Memory) {
    constexpr std::size_t count = 900;
    StageProcess server{stage(), {"--quiet"}};
    ASSERT_TRUE(server.settle());
    const auto before = server.memory();
    auto clients = clients_that_sent(server.address(), count, head_of_size(4000).substr(0, 3000));
    ASSERT_TRUE(server.settle());
    const auto each = (std::max(server.memory(), before) - before) / count;
    observe("is one of 900 clients with half a request sent: memory per client",
            std::to_string((each + 512) / 1024) + " KiB");
    EXPECT_LT(each, 64U * 1024);
    for (auto& client : clients) client.send("\r\n\r\n");
    EXPECT_EQ(count_answers(clients, 200), count);
}

TEST_P(ComparisonOfCostOfMany, RequestsBesideIdleClients) {
    constexpr int count = 200;
    StageProcess server{stage(), {"--quiet"}};
    auto idle = clients_that_sent(server.address(), 900, half_request);
    ASSERT_TRUE(server.settle());
    const auto before = server.cpu_time();
    for (int i = 0; i < count; ++i) ASSERT_EQ(fetch(server.address()).status(), 200);
    ASSERT_TRUE(server.settle());
    const auto each =
        std::chrono::round<std::chrono::microseconds>((server.cpu_time() - before) / count);
    observe("sends a request beside 900 silent clients: CPU time of the server",
            std::to_string(each.count()) + " µs");
    EXPECT_LT(each, 10ms);
    EXPECT_FALSE(idle.back().readable());
}

class ComparisonOfShortage : public StageTest {
protected:
    /// Waits until all can read something, or the program has come to rest; it may try again after
    /// 100 ms. Then how many have the whole answer.
    static std::size_t count_answered(std::vector<HttpClient>& clients,
                                      const StageProcess& server) {
        const auto readable = [](const HttpClient& client) { return client.readable(); };
        EXPECT_TRUE(eventually([&] {
            return std::all_of(clients.begin(), clients.end(), readable) || server.idle_for(300ms);
        }));
        std::vector<HttpClient> answered;
        for (auto& client : clients)
            if (client.readable()) answered.push_back(std::move(client));
        return count_answers(answered, 200);
    }
};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfShortage, testing::ValuesIn(stages_and_bare(3, 3)),
                         stage_name);

TEST_P(ComparisonOfShortage, OutOfDescriptors) {
    StageProcess server{stage(), options_if_taken({"--timeout", "1000"}), {.descriptor_limit = 32}};
    auto clients = typing_clients(stage(), server, 60);
    if (stage().profile.announces) {
        ASSERT_TRUE(eventually([&] { return !server.complaints().empty(); }));
    }
    ASSERT_TRUE(server.settle());
    if (stage().profile.announces) {
        EXPECT_GT(server.waiting_connections(), 20U);
        EXPECT_LT(server.cpu_time_during(60ms), 12ms);
    }
    for (auto& client : clients) client.send_what_fits(other_half);
    const auto answered = count_answered(clients, server);
    const auto cell = server.running() ? std::to_string(answered) + " x 200" : server.ending();
    observe_and_expect("is one of 60 clients of a server that may have 32 descriptors", cell,
                       stage().out_of_descriptors);
}

class ComparisonOfEnd : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfEnd, testing::ValuesIn(stages_and_bare(1, 3)), stage_name);

TEST_P(ComparisonOfEnd, SignalMidRequest) {
    StageProcess server{stage()};
    auto clients = typing_clients(stage(), server, 10);
    ASSERT_TRUE(server.settle());
    server.send_signal(SIGTERM);
    observe_and_expect("is one of 10 typing clients when SIGTERM comes", server.ending(),
                       stage().at_sigterm);
}

class ComparisonOfEndUnderLoad : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfEndUnderLoad, testing::ValuesIn(serving_stages()),
                         stage_name);

// A wait that always finds work returns with it, and may never get to deliver a signal.
TEST_P(ComparisonOfEndUnderLoad, SignalUnderLoad) {
    int code = -1;
    expect_within(scaled(1s), [&] {
        StageProcess server{stage(), {"--body-bytes", "1073741824", "--quiet"}};
        ConstantLoad load{server.address(), 12};
        EXPECT_TRUE(eventually([&] { return load.received() > 50'000'000; }));
        const auto start = Clock::now();
        server.send_signal(SIGTERM);
        code = server.exit_code();
        return Clock::now() - start;
    });
    observe_and_expect("is one of 12 clients that keep the server busy when SIGTERM comes",
                       "exit " + std::to_string(code),
                       stage().profile.ends_cleanly ? "exit 0" : "exit 143");
}

/// "4 x 200, 6 x 503" of these clients, whose answers must have come.
std::string counted_answers(std::vector<HttpClient>& clients) {
    std::map<std::string, std::size_t> counts;
    for (auto& client : clients) ++counts[client.read_to_end().summary()];
    std::string text;
    for (const auto& [summary, count] : counts)
        text += (text.empty() ? "" : ", ") + std::to_string(count) + " x " + summary;
    return text;
}

class ComparisonOfDisk : public StageTest {
protected:
    /// A server whose disk stands still, and one request that waits for it.
    ComparisonOfDisk() : server{stage(), options_if_taken({"--queue", "3"}), disk.options()} {
        disk.hold();
        first.emplace_back(server.address());
        first.back().send(simple_request);
        EXPECT_TRUE(disk.await_use());
    }
    ~ComparisonOfDisk() override { disk.release(); }

    HeldDisk disk;
    StageProcess server;
    std::vector<HttpClient> first; ///< its request is being stored
};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfDisk, testing::ValuesIn(storing_stages_and_bare()),
                         stage_name);

// The one whose request is being stored, three in the queue, six who are told immediately.
TEST_P(ComparisonOfDisk, StandsStill) {
    std::vector<HttpClient> clients;
    for (int i = 0; i < 9; ++i) { // one by one, for a backlog of 1
        clients.emplace_back(server.address()).send(simple_request);
        ASSERT_TRUE(clients.back().await_all_read(server.address()));
    }
    ASSERT_TRUE(server.settle());
    EXPECT_FALSE(first.front().readable());
    clients.push_back(std::move(first.front()));
    disk.release();
    observe_and_expect("is one of 10 whose requests are to be stored; the queue is for 3, and the "
                       "disk stands still",
                       counted_answers(clients), stage().beside_slow_disk);
}

// The next client gets the descriptor.
TEST_P(ComparisonOfDisk, OneHasLeft) {
    const auto before = server.descriptors();
    first.front().reset();
    ASSERT_TRUE(eventually([&] { return server.descriptors() < before; }));
    HttpClient next{server.address()};
    next.send(half_request);
    ASSERT_TRUE(next.await_all_read(server.address()));
    disk.release();
    ASSERT_TRUE(server.settle());
    const bool is_answered = next.readable();
    next.send_what_fits(other_half);
    const auto answer = next.read_to_end().summary();
    observe_and_expect("has the descriptor of one who left while its request was stored",
                       is_answered ? "gets the other's" : answer, stage().after_a_left_job);
}

class ComparisonOfSegments : public StageTest {
protected:
    static std::string segments(std::vector<std::string> options) {
        options.insert(options.end(), {"--chunk-bytes", "16"});
        StageProcess server{stage(), options};
        HttpClient client{server.address()};
        client.send(simple_request);
        expect_hello(client.read_to_end());
        return counted(client.data_segments(), "segment");
    }
};

INSTANTIATE_TEST_SUITE_P(, ComparisonOfSegments, testing::ValuesIn(epoll_stages()), stage_name);

TEST_P(ComparisonOfSegments, Pieces) {
    const auto cell = segments({});
    observe("is sent its response in pieces of 16 bytes", cell);
    EXPECT_NE(cell, "1 segment");
}

TEST_P(ComparisonOfSegments, CorkedPieces) {
    observe_and_expect("the same, with --tcp-cork", segments({"--tcp-cork"}), "1 segment");
}

} // namespace
