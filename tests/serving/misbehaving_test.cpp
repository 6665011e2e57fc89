// Clients that do not do their part: silent, trickling, gone half-way, reading nothing, flooding.
// Each ends itself only, costs no CPU time while it is held open, and is gone in time.

#include "harness/assertions.h"
#include "harness/time_limits.h"

#include <functional>

namespace {

class Misbehaving : public StageTest {
protected:
    /// Stage 01 has only this client: it ends with 1 and one line that says why. The others go on.
    static void expect_survived(StageProcess& server) {
        if (!serves_once()) {
            expect_hello(fetch(server.address()), 13);
            return;
        }
        EXPECT_EQ(server.exit_code(), 1);
        ASSERT_EQ(server.complaints().size(), 1U) << server.err();
        EXPECT_TRUE(server.complaints().front().starts_with(stage().name + ": "));
    }
};

INSTANTIATE_TEST_SUITE_P(, Misbehaving, testing::ValuesIn(all_stages()), stage_name);

TEST_P(Misbehaving, SilentClientGets408InTime) {
    StageProcess server{stage(), {"--timeout", seconds_for_option(150ms)}};
    const auto start = Clock::now(); // before accept(), so that no 408 may come sooner
    HttpClient client{server.address()};
    ASSERT_TRUE(eventually([&] { return client.readable(); })) << "no answer as long as it waits";
    EXPECT_GE(Clock::now() - start, scaled(150ms));
    expect_error(client.read_to_end(), "408 Request Timeout");
    expect_survived(server);
}

// Each byte is progress, and yet the whole head must have come in time.
TEST_P(Misbehaving, TricklingClientGets408InTime) {
    StageProcess server{stage(), {"--timeout", seconds_for_option(150ms)}};
    const auto start = Clock::now();
    HttpClient client{server.address()};
    while (!client.readable() && Clock::now() - start < patience) {
        client.send_what_fits("x");
        std::this_thread::sleep_for(20ms);
    }
    ASSERT_TRUE(client.readable()) << "no answer as long as it trickles";
    EXPECT_GE(Clock::now() - start, scaled(150ms));
    expect_error(client.read_to_end(), "408 Request Timeout");
    expect_survived(server);
}

// The time counts from accept(). What comes late gives no more of it: not a whole timeout anew.
TEST_P(Misbehaving, LateBytesGiveNoMoreTime) {
    expect_within(scaled(1500ms), [&] {
        StageProcess server{stage(), {"--timeout", seconds_for_option(1000ms)}};
        const auto start = Clock::now();
        HttpClient client{server.address()};
        std::this_thread::sleep_until(start + scaled(800ms));
        client.send(half_request);
        expect_error(client.read_to_end(), "408 Request Timeout");
        const auto time = Clock::now() - start;
        EXPECT_GE(time, scaled(1000ms));
        return time;
    });
}

// A FIN is no error for the server's calls, only recv() gives 0 from then on: a loop that waits for
// the blank line alone would spin for ever, as the article's does.
TEST_P(Misbehaving, ClientLeavesBeforeAnyByte) {
    StageProcess server{stage()};
    HttpClient{server.address()}.close();
    expect_survived(server);
}

TEST_P(Misbehaving, ClientLeavesMidRequest) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    client.send(half_request);
    client.close();
    expect_survived(server);
}

TEST_P(Misbehaving, ClientResetsMidRequest) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    client.send(half_request);
    ASSERT_TRUE(client.await_all_read(server.address()));
    client.reset();
    expect_survived(server);
}

// On this kernel accept() still succeeds, and recv() gives ECONNRESET.
TEST_P(Misbehaving, ResetBeforeAccept) {
    StageProcess server{stage()};
    server.stop();
    HttpClient client{server.address()};
    client.send(simple_request);
    client.reset();
    server.resume();
    expect_survived(server);
}

// The send() that waits for room gives ECONNRESET, or the next one does.
TEST_P(Misbehaving, ResetWhileTheResponseIsOnItsWay) {
    StageProcess server{stage(), {"--body-bytes", "20000000"}};
    HttpClient client{server.address()};
    client.send(simple_request);
    ASSERT_FALSE(client.read_some(1).bytes.empty());
    client.reset();
    if (serves_once()) return expect_survived(server);
    expect_hello(fetch(server.address()), 20000000);
}

// What it has closed for good looks to the server like a sending side that has ended. The first
// send() is answered by a reset; as the client's FIN has been there before, the next one gives
// EPIPE and raises SIGPIPE at once.
TEST_P(Misbehaving, ClientClosesBeforeTheResponse) {
    StageProcess server{stage(), {"--body-bytes", "20000000"}};
    server.stop();
    HttpClient client{server.address()};
    client.send(simple_request);
    client.close();
    server.resume();
    if (serves_once()) return expect_survived(server);
    expect_hello(fetch(server.address()), 20000000);
}

TEST_P(Misbehaving, UnreadResponseIsGivenUpInTime) {
    StageProcess server{stage(),
                        {"--body-bytes", "20000000", "--timeout", seconds_for_option(150ms)}};
    ASSERT_TRUE(server.settle());
    const auto before = server.descriptors();
    const auto start = Clock::now();
    HttpClient client{server.address(), {.receive_buffer = 4096}};
    client.send(simple_request);
    ASSERT_TRUE(eventually([&] { return client.readable(); }));
    if (serves_once()) {
        expect_survived(server);
    } else {
        EXPECT_TRUE(eventually([&] { return server.descriptors() == before; }));
    }
    EXPECT_GE(Clock::now() - start, scaled(150ms));
}

/// One way to be held open without doing anything.
struct Held {
    const char* what;
    std::function<void(HttpClient&)> act;
};

const std::vector<Held>& ways_to_be_held() {
    static const std::vector<Held> ways{
        {"silent", [](HttpClient&) {}},
        {"half a request", [](HttpClient& client) { client.send(half_request); }},
        {"half a request, has ended its sending side",
         [](HttpClient& client) {
             client.send(half_request);
             client.finish_sending();
         }},
        {"half a request, then a reset",
         [](HttpClient& client) {
             client.send(half_request);
             client.reset();
         }},
        {"has read its response, does not close",
         [](HttpClient& client) {
             client.send(simple_request);
             client.read_to_end();
         }},
        {"reads nothing", [](HttpClient& client) { client.send(simple_request); }},
        {"reads nothing, has ended its sending side",
         [](HttpClient& client) {
             client.send(simple_request);
             client.finish_sending();
         }},
        {"reads nothing, goes on sending",
         [](HttpClient& client) {
             client.send(simple_request);
             client.send_what_fits(std::string(1 << 20, 'x'));
         }},
    };
    return ways;
}

void expect_idle(const StageProcess& server, const char* what) {
    const auto used = [&server, before = server.cpu_time()] { return server.cpu_time() - before; };
    eventually([&] { return server.idle_for(20ms) || used() > scaled(2s); });
    ASSERT_LE(used(), scaled(2s)) << what << ": it costs CPU time all the while";
    ASSERT_TRUE(server.settle()) << what;
    EXPECT_LT(server.cpu_time_during(60ms), 12ms) << what; // a loop would use it all
}

TEST_P(Misbehaving, HeldClientsCostNoCpu) {
    std::vector<HttpClient> clients;
    Servers servers{stage(), {"--body-bytes", "20000000", "--timeout", "1000"}};
    for (const Held& held : ways_to_be_held()) {
        const auto& server = servers.for_next_client();
        held.act(clients.emplace_back(server.address(), ClientOptions{.receive_buffer = 4096}));
        expect_idle(server, held.what);
        if (HasFatalFailure()) return;
        if (stage().number <= 2) clients.clear(); // or the next one would only wait for it
    }
}

// The response has been read, the body that was announced does not come: the server lingers.
TEST_P(Misbehaving, LingeringCostsNoCpu) {
    StageProcess server{stage(), {"--timeout", "1000"}};
    HttpClient client{server.address()};
    client.send("POST / HTTP/1.0\r\nContent-Length: 100\r\n\r\n");
    expect_hello(client.read_to_end());
    expect_idle(server, "lingering");
}

TEST_P(Misbehaving, LingeringEndsInTime) {
    StageProcess server{stage(), {"--timeout", seconds_for_option(150ms)}};
    HttpClient client{server.address()};
    client.send("POST / HTTP/1.0\r\nContent-Length: 100\r\n\r\n");
    expect_hello(client.read_to_end());
    if (serves_once()) {
        EXPECT_EQ(server.exit_code(), 0);
        return;
    }
    HttpClient next{server.address()};
    next.send(simple_request);
    expect_hello(next.read_to_end());
}

// Each byte of the body is progress of a kind, and yet the server does not wait for its end.
TEST_P(Misbehaving, TricklingBodyIsCutOffInTime) {
    // Twice the timeout, where the server was late at the first deadline, and found something to
    // read.
    expect_within(scaled(1300ms), [&] {
        StageProcess server{stage(), {"--timeout", seconds_for_option(500ms)}};
        HttpClient client{server.address()};
        client.send("POST / HTTP/1.0\r\nContent-Length: 1000000\r\n\r\n");
        EXPECT_EQ(client.read_some(expected_response().size()).bytes, expected_response());
        const auto start = Clock::now();
        while (!client.refused() && Clock::now() - start < patience) {
            client.send_what_fits("x");
            std::this_thread::sleep_for(1ms);
        }
        const auto time = Clock::now() - start;
        EXPECT_TRUE(client.refused()) << "as long as it trickles";
        EXPECT_GE(time, scaled(400ms));
        return time;
    });
}

// Reading and discarding is bounded: in bytes here, as the timeout is out of reach.
TEST_P(Misbehaving, EndlessFloodIsCutOff) {
    StageProcess server{stage(), {"--timeout", "1000"}};
    HttpClient client{server.address()};
    client.send(std::string{simple_request} + "more");
    const std::string piece(1 << 20, 'f');
    std::uint64_t taken = 0;
    EXPECT_TRUE(eventually([&] {
        while (const std::size_t count = client.send_what_fits(piece)) taken += count;
        return client.refused();
    }));
    // 64 MB, and what the two kernels hold.
    EXPECT_GT(taken, 64'000'000U);
    EXPECT_LT(taken, 100'000'000U);
    if (!serves_once()) expect_hello(fetch(server.address()));
}

class MisbehavingOneByOne : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, MisbehavingOneByOne, testing::ValuesIn(stages(2, 2)), stage_name);

// Both connect at once: the time that the second has waited in the backlog does not count.
TEST_P(MisbehavingOneByOne, TimeoutCountsFromAccept) {
    StageProcess server{stage(), {"--timeout", seconds_for_option(300ms)}};
    HttpClient first{server.address()};
    HttpClient second{server.address()};
    const Reply reply = first.read_to_end();
    const auto start = Clock::now(); // the first still lingers, so this is before accept()
    first.close();
    EXPECT_EQ(second.read_to_end().status(), 408);
    EXPECT_GE(Clock::now() - start, scaled(300ms));
    expect_error(reply, "408 Request Timeout");
}

class MisbehavingTogether : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, MisbehavingTogether, testing::ValuesIn(concurrent_stages()), stage_name);

TEST_P(MisbehavingTogether, OneAfterTheOtherTimesOut) {
    StageProcess server{stage(), {"--timeout", seconds_for_option(200ms)}};
    ASSERT_TRUE(server.settle());
    const auto before = server.descriptors();
    auto early = clients_that_sent(server.address(), 20, "");
    std::this_thread::sleep_for(scaled(100ms));
    auto late = clients_that_sent(server.address(), 20, half_request);
    EXPECT_EQ(count_answers(early, 408), 20U);
    EXPECT_EQ(count_answers(late, 408), 20U);
    early.clear();
    late.clear();
    EXPECT_TRUE(eventually([&] { return server.descriptors() == before; }));
}

// One that came first and says something has no more time for that, and does not stand behind the
// one that came after it.
TEST_P(MisbehavingTogether, EarlierDeadlineComesFirst) {
    expect_within(scaled(1400ms), [&] {
        StageProcess server{stage(), {"--timeout", seconds_for_option(1000ms)}};
        const auto start = Clock::now();
        HttpClient first{server.address()};
        std::this_thread::sleep_until(start + scaled(700ms));
        HttpClient second{server.address()};
        EXPECT_TRUE(server.settle());
        first.send(half_request);
        expect_error(first.read_to_end(), "408 Request Timeout");
        const auto time = Clock::now() - start;
        expect_error(second.read_to_end(), "408 Request Timeout");
        return time;
    });
}

// The reader came first, and its deadline moves on and on: the other's must not wait behind it.
TEST_P(MisbehavingTogether, SilentClientTimesOutBesideAReader) {
    StageProcess server{stage(),
                        {"--body-bytes", "800000000", "--timeout", seconds_for_option(300ms)}};
    HttpClient reader{server.address()};
    reader.send(simple_request);
    ASSERT_TRUE(eventually([&] { return reader.readable(); }));
    HttpClient silent{server.address()};
    const auto start = Clock::now();
    while (!silent.readable() && Clock::now() - start < patience) {
        ASSERT_GT(reader.discard_some(1 << 20), 0U) << "the reader's response ended first";
        std::this_thread::sleep_for(5ms);
    }
    ASSERT_TRUE(silent.readable()) << "no answer as long as the other reads";
    expect_error(silent.read_to_end(), "408 Request Timeout");
}

} // namespace
