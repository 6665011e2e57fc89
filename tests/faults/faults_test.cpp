// Calls that fail when they rarely do: interrupted by a signal, for nothing, or for want of
// something the whole system shares. faults.cpp makes them fail.

#include "fault_log.h"
#include "harness/assertions.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>

namespace {

class Faults : public StageTest {
protected:
    /// A stage's options for the plan, in the form that faults.cpp takes.
    SpawnOptions with(const std::string& plan) const { return log_.options(plan); }

    /// How many times one of these functions failed as planned.
    std::ptrdiff_t failures(const std::vector<std::string>& names) const {
        const auto calls = struck();
        return std::count_if(calls.begin(), calls.end(), [&](const Struck& call) {
            return std::find(names.begin(), names.end(), call.name) != names.end();
        });
    }

    std::vector<Struck> struck() const { return log_.struck(); }

    /// The server waits after each refusal before it tries again.
    static void expect_pauses(const std::vector<Struck>& refusals) {
        for (std::size_t i = 1; i < refusals.size(); ++i)
            EXPECT_GE(refusals[i].when - refusals[i - 1].when, 100ms) << "after refusal " << i;
    }

    static std::string number(int error) { return std::to_string(error); }

private:
    FaultLog log_;
};

const std::vector<std::string> accepting{"accept", "accept4"};
const std::vector<std::string> waiting{"select",     "pselect",     "poll", "ppoll",
                                       "epoll_wait", "epoll_pwait", "recv"};

class FaultsInAll : public Faults {};

INSTANTIATE_TEST_SUITE_P(, FaultsInAll, testing::ValuesIn(all_stages()), stage_name);

TEST_P(FaultsInAll, EveryCallIsInterruptedOnce) {
    std::string plan;
    for (const char* name : {"accept", "accept4", "recv", "send", "read", "write", "select",
                             "pselect", "poll", "ppoll", "epoll_wait", "epoll_pwait"}) {
        plan += std::string{name} + '=' + number(EINTR) + ",0;";
    }
    constexpr std::uint64_t bytes = 3'000'000;
    StageProcess server{stage(), {"--body-bytes", std::to_string(bytes)}, with(plan)};
    HttpClient client{server.address()};
    client.send(half_request);
    ASSERT_TRUE(client.await_all_read(server.address()));
    client.send(other_half);
    expect_hello(client.read_to_end(), bytes);
    client.close();
    EXPECT_TRUE(
        eventually([&] { return server.out().find("localhost\r\n") != std::string::npos; }));
    if (!serves_once()) expect_hello(fetch(server.address()), bytes);
    server.send_signal(SIGTERM);
    EXPECT_EQ(server.exit_code(), 0);
    EXPECT_GT(failures(accepting), 0);
    EXPECT_GT(failures(waiting), 0);
    EXPECT_GT(failures({"send"}), 0);
    EXPECT_GT(failures({"write"}), 0);
}

// A client that has gone before accept(): no reason to stop, nor to say anything.
TEST_P(FaultsInAll, AbortedConnections) {
    const auto every_second = '=' + number(ECONNABORTED) + ",0;";
    StageProcess server{stage(), {}, with("accept" + every_second + "accept4" + every_second)};
    server.stop();
    auto clients = clients_that_sent(server.address(), serves_once() ? 1 : 5, simple_request);
    server.resume();
    EXPECT_EQ(count_answers(clients, 200), clients.size());
    EXPECT_GT(failures(accepting), 0);
    EXPECT_TRUE(server.complaints().empty()) << server.err();
}

// Descriptors and memory can run out for the whole system while this server holds no connection at
// all: none that ends could wake it up again. It tries again after a pause, and not at once.
TEST_P(FaultsInAll, ShortageOfTheWholeSystem) {
    for (const int error : {ENFILE, ENOMEM}) {
        SCOPED_TRACE(error);
        const auto before = struck().size();
        const auto thrice = '=' + number(error) + ',' + number(error) + ',' + number(error) + "!;";
        StageProcess server{stage(), {}, with("accept" + thrice + "accept4" + thrice)};
        auto clients = clients_that_sent(server.address(), serves_once() ? 1 : 3, simple_request);
        EXPECT_EQ(count_answers(clients, 200), clients.size());
        EXPECT_EQ(server.complaints().size(), 1U) << server.err();
        const auto all = struck();
        ASSERT_EQ(all.size(), before + 3);
        expect_pauses({all.end() - 3, all.end()});
    }
}

// An error that says nothing about the server, and that is no reset.
TEST_P(FaultsInAll, FailureOfRecvEndsThatConversation) {
    StageProcess server{stage(), {"--verbose"}, with("recv=" + number(ETIMEDOUT) + '!')};
    HttpClient client{server.address()};
    client.send(simple_request);
    EXPECT_EQ(client.read_to_end().bytes, "");
    EXPECT_TRUE(eventually([&] { return !server.complaints().empty(); }));
    EXPECT_EQ(server.complaints(), std::vector{stage().name + ": recv: Connection timed out"});
    if (!serves_once()) expect_hello(fetch(server.address()));
}

// The wait says ready and the call then finds nothing (select(2), BUGS). Not for the edge-triggered
// stage: EAGAIN that is not true would take its only edge away.
class FaultsOfReadiness : public Faults {};

INSTANTIATE_TEST_SUITE_P(, FaultsOfReadiness, testing::ValuesIn(stages(4, 6)), stage_name);

TEST_P(FaultsOfReadiness, DoesNoHarm) {
    const auto every_second = '=' + number(EAGAIN) + ",0;";
    StageProcess server{stage(),
                        {},
                        with("accept" + every_second + "accept4" + every_second + "recv" +
                             every_second + "send" + every_second)};
    auto clients = clients_that_sent(server.address(), 10, half_request);
    for (auto& client : clients) client.send(other_half);
    EXPECT_EQ(count_answers(clients, 200), 10U);
    EXPECT_GT(failures(accepting), 0);
    EXPECT_GT(failures({"recv"}), 0);
    EXPECT_GT(failures({"send"}), 0);
}

class FaultsAndFairness : public Faults {};

INSTANTIATE_TEST_SUITE_P(, FaultsAndFairness, testing::ValuesIn(event_stages()), stage_name);

// With sends this small the reader is always faster than the server, and there is always room to
// write: a loop that goes on until EAGAIN would get to the others when it is through.
TEST_P(FaultsAndFairness, ReaderWhoNeverFallsBehindDoesNotHoldUpOthers) {
    constexpr std::uint64_t bytes = 30'000'000;
    SpawnOptions small_sends = with("");
    small_sends.environment.emplace_back("STAGE_SEND_MOST=1000");
    StageProcess server{stage(), {"--body-bytes", std::to_string(bytes), "--quiet"}, small_sends};
    const FastReader reader{server.address()};
    ASSERT_TRUE(eventually([&] { return reader.received() > 0; }));
    auto waits = waits_beside(reader, bytes, server.address());
    ASSERT_GE(waits.size(), 3U);
    std::sort(waits.begin(), waits.end());
    EXPECT_LT(waits[waits.size() / 2], 1'000'000U); // the middle one
}

// With work at every turn the wait returns at once, and may never get to deliver a signal.
TEST_P(FaultsAndFairness, SignalComesThroughEndlessWork) {
    SpawnOptions small_sends = with("");
    small_sends.environment.emplace_back("STAGE_SEND_MOST=1000");
    std::optional<ConstantLoad> load;
    const auto keep_busy = [&](StageProcess& server) {
        load.emplace(server.address(), 3);
        ASSERT_TRUE(eventually([&] { return load->received() > 5'000'000; }));
    };
    const std::vector<std::string> arguments{"--body-bytes", "1073741824", "--quiet"};
    expect_prompt_end(stage(), arguments, SIGTERM, keep_busy, small_sends);
}

class FaultsOfRegistration : public Faults {
protected:
    /// A plan's first steps: what is registered in set-up is the listener and, where there are
    /// workers, their eventfd.
    static std::string set_up() { return stage().profile.keeps_requests ? "0,0" : "0"; }
};

INSTANTIATE_TEST_SUITE_P(, FaultsOfRegistration, testing::ValuesIn(epoll_stages()), stage_name);

// The limit on watches (epoll(7), max_user_watches) ends the client it meets, and no other.
TEST_P(FaultsOfRegistration, FailureEndsOneClientOnly) {
    StageProcess server{stage(), {}, with("epoll_ctl=" + set_up() + ',' + number(ENOSPC) + '!')};
    HttpClient unlucky{server.address()};
    unlucky.send(half_request); // so that it has to be registered
    EXPECT_NE(unlucky.read_to_end().end, End::timeout);
    expect_hello(fetch(server.address()));
    EXPECT_EQ(failures({"epoll_ctl"}), 1);
}

// The same limit, reached while the listener is not listened to for want of descriptors. It must
// not need a watch in order to come back: there is none to be had.
TEST_P(FaultsOfRegistration, ListenerComesBackWithoutANewOne) {
    const auto no_room = ',' + number(ENOSPC);
    StageProcess server{stage(),
                        {},
                        with("accept4=" + number(EMFILE) + "!;epoll_add=" + set_up() + no_room +
                             no_room + no_room + '!')};
    for (int i = 0; i < 3; ++i) {
        HttpClient unlucky{server.address()};
        unlucky.send(half_request);
        EXPECT_NE(unlucky.read_to_end().end, End::timeout);
    }
    expect_hello(fetch(server.address()));
    EXPECT_EQ(failures({"accept4"}), 1);
    EXPECT_EQ(failures({"epoll_add"}), 3);
}

class ShortageOfMemory : public Faults {
protected:
    /// Memory blocks of `bytes` or more are to be had only where `plan` has a 0: see faults.cpp.
    SpawnOptions with_large_blocks(std::size_t bytes, const std::string& plan) const {
        auto options = with("large=" + plan);
        options.environment.push_back("STAGE_LARGE=" + std::to_string(bytes));
        return options;
    }

    /// `count` clients come. Each refusal may cost one of them, who has just been accepted; and
    /// until the next there are 100 ms, in which those who come stay in the backlog.
    void expect_one_lost_a_try(const SpawnOptions& options, std::size_t count) const {
        StageProcess server{stage(), {"--timeout", "1000"}, options};
        auto clients = come_one_after_another(server, count);
        ASSERT_TRUE(clients.back().await_all_read(server.address())); // so all have been accepted
        const auto refusals = struck();
        EXPECT_GE(refusals.size(), 2U);
        // The one at hand is closed then and there, and need not wait for its deadline.
        EXPECT_EQ(count_closed(clients), refusals.size());
        for (auto& client : clients) client.send_what_fits(other_half);
        EXPECT_GE(count_answers(clients, 200), count - refusals.size());
        expect_pauses(refusals);
    }

private:
    /// How many have been sent something, which can only be the end of the connection.
    static std::size_t count_closed(const std::vector<HttpClient>& clients) {
        return static_cast<std::size_t>(
            std::count_if(clients.begin(), clients.end(),
                          [](const HttpClient& client) { return client.readable(); }));
    }

    /// `count` clients, each of whom has sent half a request. The server may hear of each before
    /// the next comes: in 07 each is an edge of its own.
    static std::vector<HttpClient> come_one_after_another(const StageProcess& server,
                                                          std::size_t count) {
        std::vector<HttpClient> clients;
        while (clients.size() < count) {
            clients.emplace_back(server.address()).send(half_request);
            eventually([&] { return server.idle_for(1ms); }, 10ms);
        }
        return clients;
    }
};

class FaultsOfMemoryInLoops : public ShortageOfMemory {};

INSTANTIATE_TEST_SUITE_P(, FaultsOfMemoryInLoops, testing::ValuesIn(stages(4)), stage_name);

// What grows with the number of clients is asked for in large blocks, and where memory is short
// those are refused first: here twice, each time that something has to grow.
TEST_P(FaultsOfMemoryInLoops, CostsOneClientATry) {
    const auto twice = number(ENOMEM) + ',' + number(ENOMEM) + ",0";
    expect_one_lost_a_try(with_large_blocks(1500, twice), 300);
}

class FaultsOfMemoryAtEdges : public ShortageOfMemory {};

INSTANTIATE_TEST_SUITE_P(, FaultsOfMemoryAtEdges, testing::ValuesIn(stages(7)), stage_name);

// 300 downloads come, and 20 times there is no memory to take on another client: each time costs
// that client, and no download that is under way, though every one of them is cut short in every
// turn.
TEST_P(FaultsOfMemoryAtEdges, CostsNoDownload) {
    constexpr std::uint64_t bytes = 1'000'000;
    constexpr std::size_t refusals = 20;
    std::string plan = "0," + number(ENOMEM);
    for (std::size_t i = 1; i < refusals; ++i) plan += ',' + number(ENOMEM);
    plan += '!';
    StageProcess server{stage(),
                        {"--body-bytes", std::to_string(bytes), "--chunk-bytes", "1000",
                         "--timeout", "1000", "--quiet"},
                        with_large_blocks(1500, plan)};
    server.stop(); // so that they come all at once
    auto clients = clients_that_sent(server.address(), 300, simple_request);
    server.resume();
    const auto served = std::count_if(clients.begin(), clients.end(), [](HttpClient& client) {
        const Reply reply = client.read_to_end();
        return reply.end == End::eof && reply.bytes == expected_response(bytes);
    });
    EXPECT_EQ(struck().size(), refusals);
    EXPECT_EQ(static_cast<std::size_t>(served), clients.size() - refusals);
}

} // namespace
