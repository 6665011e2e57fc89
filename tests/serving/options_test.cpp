// The article's Examples 5 and 6 as options of the epoll stages, and TCP_DEFER_ACCEPT.

#include "harness/assertions.h"
#include "harness/own_network.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <fstream>

namespace {

/// Data segments in which a response arrives that is sent in small pieces, by a server with
/// these further options. The client acknowledges late, as one that is far away does.
unsigned segments(const Stage& stage, std::vector<std::string> options) {
    options.insert(options.end(), {"--chunk-bytes", "16"});
    StageProcess server{stage, options};
    HttpClient client{server.address()};
    client.delay_acknowledgements();
    client.send(simple_request);
    expect_hello(client.read_to_end());
    return client.data_segments();
}

class OptionsForSegments : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, OptionsForSegments, testing::ValuesIn(epoll_stages()), stage_name);

TEST_P(OptionsForSegments, CorkSendsOneSegment) {
    EXPECT_GT(segments(stage(), {}), 1U);
    EXPECT_EQ(segments(stage(), {"--tcp-cork"}), 1U);
}

// One more may arrive where the server is held up on its way for a few milliseconds: its kernel
// then sends the last one again, to see whether it was lost (a tail loss probe, RFC 8985 §7).
TEST_P(OptionsForSegments, NoDelaySendsEachPieceAtOnce) {
    const auto pieces = static_cast<unsigned>((expected_response().size() + 15) / 16);
    const auto arrive = [] { return segments(stage(), {"--tcp-nodelay"}); };
    auto arrived = arrive();
    for (int i = 0; i < 10 && arrived > pieces; ++i) arrived = arrive();
    EXPECT_EQ(arrived, pieces);
}

TEST_P(OptionsForSegments, ChunksOfALongResponse) {
    constexpr std::uint64_t bytes = 200'000;
    for (const char* option : {"--tcp-cork", "--tcp-nodelay", "--quiet"}) {
        StageProcess server{
            stage(), {"--chunk-bytes", "1000", "--body-bytes", std::to_string(bytes), option}};
        expect_hello(fetch(server.address()), bytes);
    }
}

class OptionsForDeferAccept : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, OptionsForDeferAccept, testing::ValuesIn(stages(7)), stage_name);

/// Descriptors that a connected client takes in the server before it has sent anything.
std::size_t descriptors_of_silent_client(const Stage& stage,
                                         const std::vector<std::string>& options) {
    StageProcess server{stage, options};
    EXPECT_TRUE(server.settle());
    const auto before = server.descriptors();
    HttpClient client{server.address()};
    EXPECT_TRUE(server.settle());
    const auto taken = server.descriptors() - before;
    client.send(simple_request);
    expect_hello(client.read_to_end());
    return taken;
}

TEST_P(OptionsForDeferAccept, ConnectionIsAcceptedOnlyWithItsData) {
    EXPECT_EQ(descriptors_of_silent_client(stage(), {"--defer-accept"}), 0U);
    EXPECT_EQ(descriptors_of_silent_client(stage(), {}), 1U);
}

// More clients than are accepted in one turn, each with so long a body that its own turn is cut
// short: the listener has to come back beside them, on a list of the server's own.
TEST_P(OptionsForDeferAccept, LongBodiesDoNotHideTheListener) {
    StageProcess server{stage(), {"--defer-accept", "--timeout", "1000"}};
    server.stop();
    const std::string request = std::string{simple_request} + std::string(600'000, 'b');
    auto clients = clients_that_sent(server.address(), 150, "");
    for (auto& client : clients) {
        client.send_what_fits(request);
        client.finish_sending();
    }
    server.resume();
    ASSERT_TRUE(eventually([&] { // or each would wait as long
        return std::ranges::all_of(clients, [](const auto& each) { return each.readable(); });
    }));
    EXPECT_EQ(count_answers(clients, 200), 150U);
}

// Silent clients wait in the SYN queue, which has as much room as the backlog (listen(2), tcp(7)).
// Once it is full, nobody else gets in, unless the kernel sends SYN cookies.
TEST_P(OptionsForDeferAccept, SilentClientsFillTheSynQueue) {
    if (!enter_own_network()) return;
    if (!has_own_network()) GTEST_SKIP() << "no network of its own";
    std::ofstream{"/proc/sys/net/ipv4/tcp_syncookies"} << 0;
    ASSERT_EQ(read_file("/proc/sys/net/ipv4/tcp_syncookies"), "0\n");
    const std::vector<std::string> arguments{"--backlog", "16", "--timeout", "1000"};
    for (const bool defer : {false, true}) {
        auto all = arguments;
        if (defer) all.emplace_back("--defer-accept");
        const StageProcess server{stage(), all};
        const auto silent = clients_that_sent(server.address(), 40, "", {.await_connect = false});
        ASSERT_TRUE(server.settle());
        std::vector<HttpClient> asking;
        for (int i = 0; i < 5; ++i)
            asking.emplace_back(server.address(), ClientOptions{.await_connect = false});
        const auto connected = [](const HttpClient& client) { return client.connected(); };
        const auto all_connected = [&] {
            return std::all_of(asking.begin(), asking.end(), connected);
        };
        EXPECT_EQ(eventually(all_connected, scaled(500ms)), !defer);
    }
}

} // namespace
