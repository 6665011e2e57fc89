// Start and end: the listening line, signals in every state, and the same port once more.

#include "harness/assertions.h"
#include "harness/own_network.h"
#include "harness/time_limits.h"
#include "signal_race.h"

#include <algorithm>
#include <csignal>
#include <unistd.h>

namespace {

/// A loopback address that belongs to this test program alone, so that no other takes its port
/// between two servers of one test.
std::string own_loopback_address() {
    const auto id = static_cast<unsigned>(getpid());
    return "127." + std::to_string(1 + id / 65536 % 250) + '.' + std::to_string(id / 256 % 256) +
           '.' + std::to_string(1 + id % 256 % 254);
}

class Lifecycle : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, Lifecycle, testing::ValuesIn(all_stages()), stage_name);

TEST_P(Lifecycle, ListeningLine) {
    StageProcess server{stage()};
    EXPECT_EQ(server.err(), stage().name + ": listening on http://127.0.0.1:" +
                                std::to_string(server.address().port) + "/\n");
    EXPECT_EQ(server.out(), "");
}

// 0 to 2 are filled where the program that starts it has closed them; no more than that.
TEST_P(Lifecycle, NoDescriptorIsLeftOver) {
    for (const Stream stream : {Stream::collected, Stream::closed}) {
        const StageProcess server{stage(), {}, {.in = stream, .out = stream, .err = stream}};
        std::vector<std::string> fillers;
        const std::filesystem::path folder = "/proc/" + std::to_string(server.pid()) + "/fd";
        for (const auto& entry : std::filesystem::directory_iterator{folder})
            if (std::filesystem::read_symlink(entry) == "/")
                fillers.push_back(entry.path().filename());
        std::sort(fillers.begin(), fillers.end());
        std::vector<std::string> expected;
        if (stream == Stream::closed) expected = {"0", "1", "2"};
        EXPECT_EQ(fillers, expected);
    }
}

TEST_P(Lifecycle, ListensOnAllAddressesByDefault) {
    StageProcess server{stage(), {"--host", "0.0.0.0"}};
    EXPECT_EQ(server.address().host, "0.0.0.0");
    expect_hello(fetch({own_loopback_address(), server.address().port}));
}

TEST_P(Lifecycle, OneAddressIsNotTheOthers) {
    StageProcess server{stage(), {"--host", own_loopback_address()}};
    EXPECT_THROW(HttpClient({"127.0.0.1", server.address().port}), std::system_error);
    expect_hello(fetch(server.address()));
}

TEST_P(Lifecycle, SignalWhileIdle) {
    for (const int signal : {SIGINT, SIGTERM}) {
        SCOPED_TRACE(signal);
        expect_prompt_end(stage(), {}, signal,
                          [](StageProcess& server) { ASSERT_TRUE(server.settle()); });
    }
}

TEST_P(Lifecycle, SignalRightAfterTheStart) {
    for (const int signal : {SIGINT, SIGTERM}) {
        expect_prompt_end(stage(), {}, signal, [](StageProcess&) {});
    }
}

TEST_P(Lifecycle, TwoSignalsAtOnce) {
    StageProcess server{stage()};
    server.stop();
    server.send_signal(SIGINT);
    server.send_signal(SIGTERM);
    server.resume();
    const int code = server.exit_code();
    // A server that is tried may be ended by the signal: by the first one that it gets.
    const bool by_signal = code == 128 + SIGINT || code == 128 + SIGTERM;
    EXPECT_TRUE(stage().profile.ends_cleanly ? code == 0 : by_signal) << code;
}

TEST_P(Lifecycle, InheritedSignalSettingsDoNotMatter) {
    for (const int signal : {SIGINT, SIGTERM}) {
        StageProcess ignoring{stage(), {}, {.ignored_signals = {SIGINT, SIGTERM, SIGPIPE}}};
        StageProcess blocking{stage(), {}, {.blocked_signals = {SIGINT, SIGTERM, SIGPIPE}}};
        ignoring.send_signal(signal);
        blocking.send_signal(signal);
        EXPECT_EQ(ignoring.exit_code(), 0);
        EXPECT_EQ(blocking.exit_code(), 0);
    }
}

// 04 to 07 let the two that end them come during a wait only. All other signals do what they always
// do.
TEST_P(Lifecycle, NoOtherSignalIsBlocked) {
    const StageProcess server{stage(), {}, {.blocked_signals = {SIGUSR1, SIGCHLD, SIGPIPE}}};
    const std::uint64_t both = 1U << (SIGINT - 1) | 1U << (SIGTERM - 1);
    std::uint64_t blocked = 0;
    for (const auto& line :
         lines_of(read_file("/proc/" + std::to_string(server.pid()) + "/status"))) {
        if (line.starts_with("SigBlk:")) blocked = std::stoull(line.substr(7), nullptr, 16);
    }
    // While it waits, none is: so it may be either.
    EXPECT_EQ(blocked & ~(stage().number < 4 ? 0 : both), 0U);
}

/// What a connection can be in the middle of when a signal comes.
std::vector<HttpClient> client_in_state(const StageProcess& server, int state) {
    const std::string announcing = "POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n";
    const std::string sent[] = {"", std::string{half_request}, std::string{simple_request},
                                announcing};
    std::vector<HttpClient> clients;
    auto& client = clients.emplace_back(server.address(), ClientOptions{.receive_buffer = 4096});
    client.send(sent[state]);
    return clients;
}

TEST_P(Lifecycle, SignalWithAClientInEachState) {
    for (const int signal : {SIGINT, SIGTERM}) {
        for (int state = 0; state < 4; ++state) {
            SCOPED_TRACE(state);
            std::vector<HttpClient> clients;
            const std::vector<std::string> arguments{"--body-bytes", "20000000"};
            expect_prompt_end(stage(), arguments, signal, [&](StageProcess& server) {
                clients = client_in_state(server, state);
                ASSERT_TRUE(server.settle());
            });
        }
    }
}

// The server ends these conversations, and says nothing about the clients.
TEST_P(Lifecycle, SignalIsNoFaultOfTheClients) {
    std::vector<HttpClient> clients;
    StageProcess server{stage(), {"--verbose", "--timeout", "1000", "--body-bytes", "20000000"}};
    for (int state = 0; state < 4; ++state) {
        auto more = client_in_state(server, state);
        clients.push_back(std::move(more.front()));
    }
    ASSERT_TRUE(server.settle());
    server.send_signal(SIGTERM);
    EXPECT_EQ(server.exit_code(), 0);
    EXPECT_EQ(server.complaints(), std::vector<std::string>{});
}

TEST_P(Lifecycle, SignalWhileLingering) {
    std::vector<HttpClient> clients;
    expect_prompt_end(stage(), {}, SIGTERM, [&](StageProcess& server) {
        clients = client_in_state(server, 3);
        expect_hello(clients.front().read_to_end());
        ASSERT_TRUE(server.settle());
    });
}

#ifdef __x86_64__

// The check for "shall I end?" and the wait must be one step (select(2), "The self-pipe trick" and
// pselect): a signal between them would be seen only when something else ends the wait.
TEST_P(Lifecycle, SignalBetweenCheckAndWait) {
    for (const int signal : {SIGINT, SIGTERM}) {
        for (const std::string_view sent : {std::string_view{}, half_request}) {
            StageProcess server{stage(), {"--timeout", "1000"}};
            auto clients = clients_that_sent(server.address(), sent.empty() ? 0 : 1, sent);
            ASSERT_TRUE(server.settle());
            signal_just_before_waiting(server.pid(), signal);
            ASSERT_EQ(server.exit_code(), 0);
        }
    }
}

#endif

// A stop and a continue interrupt some calls as a signal does (signal(7)).
TEST_P(Lifecycle, StopAndContinue) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    for (const char* piece : {"GET", " / HT", "TP/1.0\r", "\n\r"}) {
        client.send(piece);
        ASSERT_TRUE(client.await_all_read(server.address()));
        server.stop();
        server.resume();
    }
    client.send("\n");
    expect_hello(client.read_to_end());
}

// The server closes first, so that its connections are in TIME_WAIT when the port is needed again;
// some clients still hold their ends.
TEST_P(Lifecycle, SamePortAtOnce) {
    if (!enter_own_network()) return;
    const auto host = own_loopback_address();
    std::string port = "0";
    std::vector<HttpClient> held;
    for (int i = 0; i < 3; ++i) {
        StageProcess server{stage(), {"--host", host, "--port", port}};
        port = std::to_string(server.address().port);
        HttpClient client{server.address()};
        client.send(simple_request);
        expect_hello(client.read_to_end());
        const auto end = client.address();
        client.close();
        EXPECT_TRUE(eventually([&] { return in_time_wait(server.address(), end); }));
        if (serves_once()) EXPECT_EQ(server.exit_code(), 0);
        else held = clients_that_sent(server.address(), 3, half_request);
        server.send_signal(SIGTERM);
        EXPECT_EQ(server.exit_code(), 0);
    }
}

TEST_P(Lifecycle, PortInUse) {
    StageProcess first{stage()};
    const auto port = std::to_string(first.address().port);
    const auto second = run_stage(stage(), {"--host", "127.0.0.1", "--port", port});
    EXPECT_EQ(second.exit_code, 1);
    EXPECT_EQ(second.out, "");
    EXPECT_EQ(second.err, stage().name + ": bind 127.0.0.1:" + port + ": Address already in use\n");
    expect_hello(fetch(first.address()));
}

TEST_P(Lifecycle, AddressOfAnotherMachine) { // 192.0.2.0/24 is for documentation (RFC 5737)
    const auto result = run_stage(stage(), {"--host", "192.0.2.1", "--port", "0"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.err, stage().name + ": bind 192.0.2.1:0: Cannot assign requested address\n");
}

class LifecycleOfSingle : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LifecycleOfSingle, testing::ValuesIn(stages(1, 1)), stage_name);

TEST_P(LifecycleOfSingle, EndsAfterOneClient) {
    StageProcess server{stage()};
    expect_hello(fetch(server.address()));
    EXPECT_EQ(server.exit_code(), 0);
    EXPECT_TRUE(server.complaints().empty()) << server.err();
}

class LifecycleOfConcurrent : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, LifecycleOfConcurrent, testing::ValuesIn(concurrent_stages()),
                         stage_name);

TEST_P(LifecycleOfConcurrent, SignalWithClientsInEveryState) {
    for (const int signal : {SIGINT, SIGTERM}) {
        std::vector<HttpClient> clients;
        const std::vector<std::string> arguments{"--body-bytes", "5000000"};
        expect_prompt_end(stage(), arguments, signal, [&](StageProcess& server) {
            for (int i = 0; i < 40; ++i) {
                clients.push_back(std::move(client_in_state(server, i % 4).front()));
            }
            ASSERT_TRUE(server.settle());
            for (int i = 0; i < 20; ++i) clients.emplace_back(server.address());
        });
    }
}

} // namespace
