// Which system calls a server makes for a client: not one too many, and none too few. The chapters
// count them, and a client pays for them.

#include "harness/assertions.h"
#include "harness/strace.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <map>
#include <regex>

namespace {

/// The calls in a log of strace, on one line: their names, and what they failed with. It begins
/// with the accept4() that has found a client; for a thread other than the main one, with its first
/// call. Calls about memory and threads are left out, and so is the last one, which is still
/// waiting.
std::string calls_in(const std::string& log, const StageProcess& server, bool of_main_thread) {
    static const std::regex call{
        R"re(^(\d+) +(?:<\.\.\. )?(accept4|recvfrom|sendto|setsockopt|shutdown|close|ioctl|rt_sigpending|)re"
        R"re(pselect6|ppoll|epoll_pwait|epoll_ctl)(?:\(| resumed>).*\) += (-?\d+) ?(E\w+)?)re"};
    std::string calls;
    for (const auto& line : lines_of(log)) {
        std::smatch match;
        if (!std::regex_search(line, match, call)) continue;
        if ((match[1] == std::to_string(server.pid())) != of_main_thread) continue;
        if (of_main_thread && calls.empty() && match[2] != "accept4") continue;
        calls += (calls.empty() ? "" : " ") + match[2].str();
        if (match[4].matched) calls += ":" + match[4].str();
    }
    return calls;
}

class Calls : public StageTest {
protected:
    void SetUp() override {
        if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here";
    }

    static void send_more(HttpClient& client, const StageProcess& server, const std::string& more) {
        EXPECT_EQ(client.read_some(expected_response().size()).bytes, expected_response());
        EXPECT_TRUE(server.settle());
        client.send_and_finish(more);
    }

    /// The calls of a server that is stopped until a client has asked and, where it sends more,
    /// until it has the response.
    static std::string calls_for(const std::vector<std::string>& options,
                                 const std::string& request, const std::string& more = "") {
        StageProcess server{stage(), options};
        EXPECT_TRUE(server.settle());
        server.stop();
        Strace strace{server.pid(), {}};
        HttpClient client{server.address()};
        client.send(request);
        server.resume();
        if (!more.empty()) send_more(client, server, more);
        client.read_to_end();
        EXPECT_TRUE(serves_once() ? server.exit_code() == 0 : server.settle());
        strace.detach();
        return calls_in(strace.log(), server, stage().number != 3);
    }

    /// The call that waits for several descriptors.
    static std::string wait() {
        static const std::map<int, std::string> calls{{4, "pselect6"}, {5, "ppoll"}};
        if (stage().number < 4) return "";
        const auto call = calls.find(stage().number);
        return call == calls.end() ? "epoll_pwait" : call->second;
    }

    /// What comes between the request and the response. A worker wakes the loop, and the client has
    /// its turn in the round after that.
    static std::string storing() {
        return stage().profile.keeps_requests
                   ? "rt_sigpending epoll_pwait rt_sigpending epoll_pwait "
                   : "";
    }

    /// What comes before the head of the request has been received.
    static std::string accepting() {
        if (stage().number == 3) return "setsockopt ";
        if (stage().number < 3) return "accept4 setsockopt ";
        const std::string add = stage().number >= 6 ? "epoll_ctl " : "";
        return "accept4 " + add + "accept4:EAGAIN rt_sigpending " + wait() + " ";
    }

    /// What comes once the connection has been closed. 01 then closes its listener.
    static std::string afterwards() {
        if (stage().number == 1) return " close";
        return stage().number < 4 ? "" : " rt_sigpending";
    }

    static bool waits_in_calls() { return stage().number < 4; }
};

INSTANTIATE_TEST_SUITE_P(, Calls, testing::ValuesIn(all_stages()), stage_name);

TEST_P(Calls, OfAPlainRequest) {
    const std::string limit = waits_in_calls() ? "setsockopt " : "";
    EXPECT_EQ(calls_for({"--quiet"}, std::string{simple_request}),
              accepting() + "recvfrom " + storing() + limit + "sendto shutdown close" +
                  afterwards());
}

// It is asked nothing until it has said something.
TEST_P(Calls, OfASilentClient) {
    StageProcess server{stage(), {"--quiet"}};
    ASSERT_TRUE(server.settle());
    const auto before = server.descriptors();
    server.stop(); // so that strace sees the whole of its first call
    Strace strace{server.pid(), {}};
    HttpClient client{server.address()};
    server.resume();
    ASSERT_TRUE(eventually([&] { return server.descriptors() > before; }));
    ASSERT_TRUE(server.settle());
    strace.detach();
    const std::string add = stage().number >= 6 ? "epoll_ctl " : "";
    const std::string until_it_waits =
        waits_in_calls() ? "setsockopt" : add + "accept4:EAGAIN rt_sigpending";
    const std::string accepted = stage().number == 3 ? "" : "accept4 ";
    EXPECT_EQ(calls_in(strace.log(), server, stage().number != 3), accepted + until_it_waits);
}

/// The calls that make the listener, and what they set.
std::vector<std::string> calls_of_set_up(const Stage& stage,
                                         const std::vector<std::string>& options) {
    static const std::regex call{
        R"re((socket|setsockopt|bind|listen)\([^ ]+ )re"
        R"re((?:\w+, (TCP_\w+|SO_REUSEADDR|SO_RCVTIMEO)\w*(?:, \[(\d+)\])?)?)re"};
    const TemporaryFolder folder;
    const std::string log = folder.path() / "log";
    const StageProcess server{
        stage, options, {.through = {"strace", "-D", "-o", log, "-e", "trace=%network"}}};
    // The server asks for its port when it listens.
    EXPECT_TRUE(
        eventually([&] { return read_file(log).find("getsockname(") != std::string::npos; }));
    std::vector<std::string> calls;
    for (const auto& line : lines_of(read_file(log))) {
        std::smatch match;
        if (!std::regex_search(line, match, call)) continue;
        calls.push_back(match[1].str());
        for (const std::size_t part : {2U, 3U})
            if (match[part].matched) calls.back() += ' ' + match[part].str();
        if (line.find("SOCK_NONBLOCK") != std::string::npos) calls.back() += " SOCK_NONBLOCK";
    }
    return calls;
}

TEST_P(Calls, OfSetUp) {
    std::vector<std::string> expected{stage().number < 4 ? "socket" : "socket SOCK_NONBLOCK",
                                      "setsockopt SO_REUSEADDR 1",
                                      "setsockopt TCP_NOTSENT_LOWAT 262144", "bind"};
    if (stage().number == 3) expected.emplace_back("setsockopt SO_RCVTIMEO");
    expected.emplace_back("listen");
    EXPECT_EQ(calls_of_set_up(stage(), {}), expected);
}

class CallsOfEpoll : public Calls {};

INSTANTIATE_TEST_SUITE_P(, CallsOfEpoll, testing::ValuesIn(epoll_stages()), stage_name);

TEST_P(CallsOfEpoll, SetUpWithOptions) {
    std::vector<std::string> options{"--tcp-nodelay", "--timeout", "0.5"},
        expected{"socket SOCK_NONBLOCK", "setsockopt SO_REUSEADDR 1",
                 "setsockopt TCP_NOTSENT_LOWAT 262144", "bind", "setsockopt TCP_NODELAY 1"};
    if (stage().number >= 7) { // 0 seconds would turn it off
        options.emplace_back("--defer-accept");
        expected.emplace_back("setsockopt TCP_DEFER_ACCEPT 1");
    }
    expected.emplace_back("listen");
    EXPECT_EQ(calls_of_set_up(stage(), options), expected);
}

// It reads on after the response: to the bytes, and to the end of file.
TEST_P(Calls, OfARequestWithABody) {
    const std::string limit = waits_in_calls() ? "setsockopt " : "";
    const std::string until_the_body =
        waits_in_calls() ? "" : "recvfrom:EAGAIN rt_sigpending " + wait() + " ";
    EXPECT_EQ(calls_for({"--quiet"}, "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n", "abc"),
              accepting() + "recvfrom " + storing() + limit + "sendto shutdown " + limit +
                  until_the_body + "recvfrom " + limit + "recvfrom close" + afterwards());
}

// A cork is set once, whatever the number of pieces.
TEST_P(CallsOfEpoll, WithCork) {
    EXPECT_EQ(
        calls_for({"--quiet", "--tcp-cork", "--chunk-bytes", "50"}, std::string{simple_request}),
        accepting() + "recvfrom " + storing() +
            "setsockopt sendto sendto sendto shutdown close rt_sigpending");
}

// The others leave at once.
TEST_P(Calls, OnlyTheLastPieceWaitsForTheEndOfFile) {
    StageProcess server{stage(), {"--quiet", "--body-bytes", "200000"}};
    ASSERT_TRUE(server.settle());
    Strace strace{server.pid(), {"-e", "trace=sendto"}};
    fetch(server.address());
    EXPECT_TRUE(serves_once() ? server.exit_code() == 0 : server.settle());
    strace.detach();
    std::vector<bool> held_back;
    for (const auto& line : lines_of(strace.log()))
        if (line.find("sendto(") != std::string::npos)
            held_back.push_back(line.find("MSG_MORE") != std::string::npos);
    ASSERT_GT(held_back.size(), 1U) << strace.log();
    EXPECT_TRUE(held_back.back());
    held_back.pop_back();
    EXPECT_EQ(std::count(held_back.begin(), held_back.end(), true), 0) << strace.log();
}

class CallsOfEdge : public Calls {};

INSTANTIATE_TEST_SUITE_P(, CallsOfEdge, testing::ValuesIn(stages(7)), stage_name);

// The client is never watched: there is no epoll_ctl(). One that waits for the disk is.
TEST_P(CallsOfEdge, WithDeferAccept) {
    EXPECT_EQ(calls_for({"--quiet", "--defer-accept"}, std::string{simple_request}),
              stage().profile.keeps_requests
                  ? "accept4 recvfrom epoll_ctl accept4:EAGAIN " + storing() +
                        "sendto shutdown close rt_sigpending"
                  : "accept4 recvfrom sendto shutdown close accept4:EAGAIN rt_sigpending");
}

} // namespace
