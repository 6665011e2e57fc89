// Who was late? A deadline is the client's: what has come by the time the server looks counts as in
// time, however late the server itself is; and a client that takes its response, however slowly, is
// never cut off.

#include "harness/assertions.h"
#include "harness/strace.h"
#include "harness/time_limits.h"

#include <algorithm>

namespace {

/// Waits until this time is past on the clock that deadlines are counted on.
void await_time(Clock::time_point time) { std::this_thread::sleep_until(time + 50ms); }

class LateServer : public StageTest {
protected:
    /// Enough for several waits of an event loop; one where they are served one after the other.
    static std::size_t crowd() { return stage().number < 3 ? 1 : stage().number == 3 ? 100 : 600; }
};

INSTANTIATE_TEST_SUITE_P(, LateServer, testing::ValuesIn(all_stages()), stage_name);

// The server is stopped before the requests come, and goes on when all deadlines have passed.
TEST_P(LateServer, ClientsThatWereInTimeAreServed) {
    const auto timeout = scaled(2s);
    StageProcess server{stage(), {"--timeout", seconds_for_option(2s), "--quiet"}};
    auto clients = clients_that_sent(server.address(), crowd(), half_request);
    HttpClient silent{server.address()};
    ASSERT_TRUE(server.settle());
    const auto accepted = Clock::now();
    server.stop();
    for (auto& client : clients) client.send(other_half);
    await_time(accepted + timeout);
    server.resume();
    EXPECT_EQ(count_answers(clients, 200), crowd());
    if (serves_once()) return;
    EXPECT_EQ(silent.read_to_end().status(), 408);
}

// While the server is stopped, the client takes all that the kernel has of its download.
TEST_P(LateServer, DownloadGoesOnAfterAStop) {
    constexpr std::uint64_t bytes = 60'000'000;
    const auto timeout = scaled(300ms);
    StageProcess server{
        stage(),
        {"--body-bytes", std::to_string(bytes), "--quiet", "--timeout", seconds_for_option(300ms)}};
    HttpClient client{server.address()};
    client.send(simple_request);
    std::uint64_t received = client.discard_some(1 << 16);
    EXPECT_TRUE(eventually([&] { return server.idle_for(5ms); })); // it waits for room to write
    server.stop();
    const auto stopped = Clock::now();
    for (std::size_t count = 1; count > 0; received += count)
        count = client.discard_some(1 << 20, 100ms);
    await_time(stopped + timeout);
    server.resume();
    for (std::size_t count = 1; count > 0; received += count) count = client.discard_some(1 << 20);
    EXPECT_EQ(received, expected_response(0).size() - 1 + std::to_string(bytes).size() + bytes);
}

// A client uploads more than a turn's calls can read, and the server is stopped meanwhile. It must
// not close with the rest unread: the client would meet a reset.
TEST_P(LateServer, UploadGoesOnAfterAStop) {
    const auto timeout = scaled(2s);
    StageProcess server{stage(), {"--quiet", "--timeout", seconds_for_option(2s)}};
    HttpClient client{server.address()};
    client.send("POST / HTTP/1.0\r\nContent-Length: 60000000\r\n\r\n");
    const std::string piece(1 << 16, 'x');
    for (int i = 0; i < 150; ++i) client.send(piece); // the kernel's buffers grow with that
    server.stop();
    const auto stopped = Clock::now();
    for (int i = 0; i < 300 && client.send_what_fits(piece) > 0; ++i) {
    }
    await_time(stopped + timeout);
    server.resume();
    const Reply reply = client.exchange(std::string(1 << 21, 'x'));
    EXPECT_EQ(reply.bytes, expected_response());
    EXPECT_EQ(reply.end, End::eof);
    EXPECT_FALSE(client.refused());
}

// The same with a client that has sent little meanwhile: the server reads that, and there is no
// more.
TEST_P(LateServer, SlowUploadGoesOnAfterAStop) {
    const auto timeout = scaled(2s);
    StageProcess server{stage(), {"--quiet", "--timeout", seconds_for_option(2s)}};
    HttpClient client{server.address()};
    client.send("POST / HTTP/1.0\r\nContent-Length: 3000\r\n\r\n" + std::string(1000, 'x'));
    const Reply answer = client.read_some(expected_response().size());
    ASSERT_EQ(answer.bytes, expected_response());
    ASSERT_TRUE(client.await_all_read(server.address()));
    ASSERT_TRUE(server.settle()); // it waits for the rest, and the deadline of that is set
    server.stop();
    const auto stopped = Clock::now();
    client.send(std::string(1000, 'x'));
    await_time(stopped + timeout);
    server.resume();
    ASSERT_TRUE(client.await_all_read(server.address()));
    ASSERT_TRUE(eventually([&] { return server.idle_for(5ms); }));
    client.send_what_fits(std::string(1000, 'x'));
    EXPECT_TRUE(client.await_all_read(server.address()));
    EXPECT_EQ(client.read_to_end(100ms).end, End::eof);
}

// And with a server that is held up after a call that found nothing, before it looks at the clock:
// what has come meanwhile has not been looked for yet.
TEST_P(LateServer, UploadGoesOnAfterAPauseBetweenACallAndTheClock) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    StageProcess server{stage(), {"--quiet", "--timeout", "0.5"}};
    ASSERT_TRUE(server.settle());
    // The second recv() is the first of those that read on when the response has been sent.
    Strace strace{server.pid(),
                  {"-f", "-e", "trace=recvfrom", "-e", "inject=recvfrom:delay_exit=1000ms:when=2"}};
    HttpClient client{server.address()};
    client.send("POST / HTTP/1.0\r\nContent-Length: 2000\r\n\r\n");
    const Reply answer = client.read_some(expected_response().size());
    ASSERT_EQ(answer.bytes, expected_response());
    // In 01 to 03 it waits in that call, elsewhere strace holds it: S and t of proc(5).
    const auto held = [&] {
        return state_in(read_file("/proc/" + std::to_string(server.pid()) + "/stat")) != 'R';
    };
    ASSERT_TRUE(eventually([&] {
        const bool before = held();
        std::this_thread::sleep_for(50ms);
        return before && held();
    }));
    client.send(std::string(1000, 'x'));
    ASSERT_TRUE(client.await_all_read(server.address()));
    client.send_what_fits(std::string(1000, 'x'));
    EXPECT_TRUE(client.await_all_read(server.address()));
    EXPECT_EQ(client.read_to_end(100ms).end, End::eof);
    strace.detach();
}

class LateServerInLoop : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LateServerInLoop, testing::ValuesIn(event_stages()), stage_name);

/// How many times `text` is in the log, before `end`.
std::size_t count_before(const std::string& end, const std::string& text, const std::string& log) {
    std::size_t count = 0;
    for (auto at = log.find(text); at < log.find(end); at = log.find(text, at + 1)) ++count;
    return count;
}

// 500 clients whose time is up, and one who has just come: the server must not see to all of the
// 500 first. A round may pass before it accepts the client, and one before it reads the request.
TEST_P(LateServerInLoop, ClientsWhoseTimeIsUpDoNotHoldUpOthers) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    const auto timeout = scaled(2s);
    StageProcess server{stage(), {"--timeout", seconds_for_option(2s), "--quiet"}};
    auto silent = clients_that_sent(server.address(), 500, half_request);
    ASSERT_TRUE(server.settle());
    const auto accepted = Clock::now();
    server.stop();
    Strace strace{server.pid(), {"-e", "trace=sendto,recvfrom"}};
    await_time(accepted + timeout);
    HttpClient client{server.address()};
    client.send(simple_request);
    server.resume();
    EXPECT_EQ(client.read_to_end().status(), 200);
    EXPECT_EQ(count_answers(silent, 408), silent.size());
    strace.detach();
    const std::string log = strace.log();
    // Where it is stored first, the response waits for the disk. But the request is read in time.
    const char* turn = stage().profile.keeps_requests ? "\"GET " : "HTTP/1.0 200";
    EXPECT_LE(count_before(turn, "HTTP/1.0 408", log), 200U) << log;
}

// 600 clients are ready at once, and a signal comes in the first one's turn (which is when strace
// sends it).
TEST_P(LateServerInLoop, ClientsThatAreReadyDoNotHoldUpASignal) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    // LeakSanitizer does not work in a process that ends while it is traced.
    StageProcess server{stage(),
                        {"--quiet", "--timeout", "1000"},
                        {.environment = {"ASAN_OPTIONS=detect_leaks=0"}}};
    auto clients = clients_that_sent(server.address(), 600, half_request);
    ASSERT_TRUE(server.settle());
    server.stop();
    for (auto& client : clients) client.send(other_half);
    Strace strace{server.pid(), {"-e", "trace=sendto", "-e", "inject=sendto:signal=TERM:when=1"}};
    server.resume();
    EXPECT_EQ(server.exit_code(), 0);
    strace.detach();
    EXPECT_LE(count_before("+++", "HTTP/1.0 200", strace.log()), 256U) << strace.log();
}

} // namespace
