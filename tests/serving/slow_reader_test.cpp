// A client that takes its response, however slowly, is never cut off; one that takes nothing is.

#include "harness/assertions.h"
#include "harness/time_limits.h"

namespace {

class SlowReader : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, SlowReader, testing::ValuesIn(all_stages()), stage_name);

// It takes bytes before every deadline, but not as many as make room for a further event.
TEST_P(SlowReader, IsNotCutOff) {
    constexpr std::uint64_t bytes = 8'000'000;
    StageProcess server{
        stage(),
        {"--body-bytes", std::to_string(bytes), "--quiet", "--timeout", seconds_for_option(400ms)}};
    HttpClient client{server.address(), {.receive_buffer = 65536}};
    client.send(simple_request);
    std::uint64_t received = 0;
    for (std::size_t count = 1; count > 0; received += count) {
        count = client.discard_some(65536);
        std::this_thread::sleep_for(scaled(30ms));
    }
    EXPECT_EQ(received, expected_response(0).size() - 1 + std::to_string(bytes).size() + bytes);
}

// Each client that reads nothing holds some memory of the kernel's, and no more of it than this.
TEST_P(SlowReader, HoldsLittleOfAResponse) {
    StageProcess server{stage(), {"--body-bytes", "20000000", "--quiet"}};
    HttpClient client{server.address(), {.receive_buffer = 16384}};
    client.send(simple_request);
    ASSERT_TRUE(eventually([&] { return client.readable(); }));
    ASSERT_TRUE(server.settle());
    const auto held = unacknowledged_bytes(server.address(), client.address());
    ASSERT_TRUE(held.has_value());
    EXPECT_GT(*held, 100'000U);
    EXPECT_LT(*held, 600'000U);
    client.reset();
}

// At the first deadline it has taken what fits into the kernel's buffers, at the second nothing
// more.
TEST_P(SlowReader, WhoReadsNothingIsGivenUpAfterTwoTimeouts) {
    const auto timeout = scaled(300ms);
    expect_within(2 * timeout + scaled(250ms), [&] {
        StageProcess server{
            stage(),
            {"--body-bytes", "20000000", "--quiet", "--timeout", seconds_for_option(300ms)}};
        HttpClient client{server.address(), {.receive_buffer = 16384}};
        const auto start = Clock::now();
        client.send(simple_request);
        EXPECT_TRUE(eventually([&] { return client.readable(); }));
        const auto with_client = server.descriptors();
        EXPECT_TRUE(eventually([&] { return server.descriptors() < with_client; }));
        const auto time = Clock::now() - start;
        EXPECT_GE(time, timeout);
        return time;
    });
}

// All of it is in the kernel's buffers, so the server has sent it, and lingers.
TEST_P(SlowReader, WhoReadsNothingOfTheLastBytesIsReported) {
    StageProcess server{
        stage(),
        {"--body-bytes", "150000", "--quiet", "--verbose", "--timeout", seconds_for_option(200ms)}};
    HttpClient client{server.address(), {.receive_buffer = 4096}};
    client.send(simple_request);
    EXPECT_TRUE(eventually([&] { return !server.complaints().empty(); }));
    EXPECT_EQ(server.complaints(), std::vector{stage().name + ": the client does not read"});
}

// The server has sent everything, and lingers. It does so for as long as the client takes some of
// it before each deadline: five times here.
TEST_P(SlowReader, LastBytesMayTakeTheirTime) {
    constexpr std::size_t bytes = 150'000, step = bytes / 20;
    StageProcess server{stage(),
                        {"--body-bytes", std::to_string(bytes), "--quiet", "--verbose", "--timeout",
                         seconds_for_option(200ms)}};
    ASSERT_TRUE(server.settle());
    const auto alone = server.descriptors();
    HttpClient client{server.address(), {.receive_buffer = 4096}};
    client.send(simple_request);
    std::size_t received = 0;
    while (received < bytes - 3 * step) {
        for (std::size_t part = 0; part < step;) part += client.discard_some(step - part);
        received += step;
        std::this_thread::sleep_for(scaled(50ms));
        ASSERT_TRUE(server.running() && server.descriptors() > alone)
            << "cut off after " << received << " bytes: " << server.err();
    }
    EXPECT_EQ(server.complaints(), std::vector<std::string>{});
}

} // namespace
