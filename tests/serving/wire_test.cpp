// What goes over the wire: when a request is complete, the bytes of each response, and the end of
// file after it whatever the client goes on sending.

#include "harness/assertions.h"
#include "harness/strace.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#ifdef __x86_64__
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#endif

namespace {

class Wire : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, Wire, testing::ValuesIn(all_stages()), stage_name);

TEST_P(Wire, Response) {
    StageProcess server{stage()};
    const Reply reply = fetch(server.address());
    EXPECT_EQ(reply.bytes, "HTTP/1.0 200 OK\r\n"
                           "Date: Mon, 1 Jan 1996 01:01:01 GMT\r\n"
                           "Content-Type: text/plain\r\n"
                           "Content-Length: 13\r\n"
                           "\r\n"
                           "Hello, world!");
    EXPECT_EQ(reply.end, End::eof);
}

// The first segment accepts the connection, the second acknowledges the request. A server that
// sends and then closes makes it two more; here the end of file travels with the last bytes.
TEST_P(Wire, EndOfFileComesWithTheLastBytes) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    client.send(simple_request);
    expect_hello(client.read_to_end());
    EXPECT_EQ(client.segments(), 3U);
}

TEST_P(Wire, ResponseOfOtherLengths) {
    for (const std::uint64_t bytes : {0U, 1U, 14U, 65537U}) {
        StageProcess server{stage(), {"--body-bytes", std::to_string(bytes)}};
        expect_hello(fetch(server.address()), bytes);
    }
}

TEST_P(Wire, RequestEndsAtAnyBlankLine) {
    Servers servers{stage()};
    for (const char* request : {"GET / HTTP/1.0\n\n", "GET / HTTP/1.0\r\n\r\n", "GET /\r\nA: b\n\n",
                                "GET /\nA: b\r\n\r\n", "GET /\nA: b\n\r\n", "\n\n", "\r\n\r\n"}) {
        SCOPED_TRACE(request);
        expect_hello(fetch(servers.for_next_client().address(), request));
    }
}

TEST_P(Wire, RequestDoesNotEndBeforeABlankLine) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    client.send("\r\n\r\r\nGET / HTTP/1.0\n \n\r \r\r\n\tA: \n\rb");
    ASSERT_TRUE(client.await_all_read(server.address()));
    ASSERT_TRUE(server.settle());
    EXPECT_FALSE(client.readable());
    client.send("\n\n");
    expect_hello(client.read_to_end());
}

TEST_P(Wire, OneByteAtATime) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    for (std::size_t i = 0; i + 1 < simple_request.size(); ++i) {
        client.send(simple_request.substr(i, 1));
        ASSERT_TRUE(client.await_all_read(server.address()));
        ASSERT_FALSE(client.readable());
    }
    client.send("\n");
    expect_hello(client.read_to_end());
}

TEST_P(Wire, BlankLineCutAnywhere) {
    Servers servers{stage()};
    for (const std::string end : {"\n\n", "\n\r\n", "\r\n\r\n"}) {
        const std::string request = "GET / HTTP/1.0" + end;
        for (std::size_t cut = request.size() - end.size(); cut < request.size(); ++cut) {
            SCOPED_TRACE(testing::PrintToString(request.substr(cut)));
            const auto& server = servers.for_next_client();
            HttpClient client{server.address()};
            client.send(request.substr(0, cut));
            ASSERT_TRUE(client.await_all_read(server.address()));
            client.send(request.substr(cut));
            expect_hello(client.read_to_end());
            if (HasFailure()) return; // each further one would take as long
        }
    }
}

#ifdef __x86_64__

/// The thread that was started last.
pid_t last_thread(pid_t process) {
    pid_t last = process;
    for (const auto& entry :
         std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
        last = std::max(last, static_cast<pid_t>(std::stol(entry.path().filename().string())));
    }
    return last;
}

/// Where the kernel's own code for clock_gettime() is in a process (vdso(7)): its first address,
/// and the one behind its last.
std::pair<unsigned long long, unsigned long long> vdso_of(pid_t process) {
    for (const auto& line : lines_of(read_file("/proc/" + std::to_string(process) + "/maps"))) {
        if (!line.ends_with("[vdso]")) continue;
        std::size_t dash = 0;
        const auto first = std::stoull(line, &dash, 16);
        return {first, std::stoull(line.substr(dash + 1), nullptr, 16)};
    }
    return {0, 0};
}

/// Has `send` send one byte to a thread that waits for it, and counts the instructions from the
/// return of its recv() to its next system call, one by one under ptrace(2); at most `most`. Those
/// of the vDSO do not count: it starts over when the clock ticks meanwhile, and a step takes long.
/// An instruction that repeats itself, to copy bytes (rep movsb), counts once.
template <typename Send>
std::size_t instructions_for_a_byte(pid_t thread, Send send, std::size_t most) {
    const auto go_on = [thread](__ptrace_request how) {
        checked(static_cast<int>(ptrace(how, thread, nullptr, nullptr)), "ptrace");
        int status = 0;
        checked(waitpid(thread, &status, __WALL), "waitpid");
        return WIFSTOPPED(status);
    };
    user_regs_struct registers{};
    const auto has_received = [&] {
        ptrace(PTRACE_GETREGS, thread, nullptr, &registers);
        return registers.orig_rax == SYS_recvfrom && registers.rax == 1;
    };
    const auto at_system_call = [&] {
        ptrace(PTRACE_GETREGS, thread, nullptr, &registers);
        const auto code = ptrace(PTRACE_PEEKTEXT, thread, registers.rip, nullptr);
        return (code & 0xFFFF) == 0x050F; // the bytes of `syscall`, the lower one first
    };
    checked(static_cast<int>(ptrace(PTRACE_SEIZE, thread, nullptr, nullptr)), "PTRACE_SEIZE");
    bool stopped = go_on(PTRACE_INTERRUPT);
    send();
    while (stopped && !has_received()) stopped = go_on(PTRACE_SYSCALL);
    std::size_t count = 0;
    const auto vdso = vdso_of(thread);
    while (stopped && count < most && !at_system_call()) {
        const auto before = registers.rip;
        stopped = go_on(PTRACE_SINGLESTEP);
        ptrace(PTRACE_GETREGS, thread, nullptr, &registers);
        if (registers.rip == before) continue;
        const bool inside = registers.rip >= vdso.first && registers.rip < vdso.second;
        if (!inside) ++count;
    }
    ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
    return count;
}

// Not so if each search begins at the first byte: then a head of n bytes, sent one by one, takes
// n * n / 2 looks, and one client can keep a server busy. That is counted, as it takes no time yet.
TEST_P(Wire, EachByteIsLookedAtOnce) {
    constexpr std::size_t most = 10'000;
    StageProcess server{stage(), {"--timeout", "1000"}};
    HttpClient client{server.address()};
    std::string head = "GET / HTTP/1.0\r\n";
    while (head.size() < 8000) head += "A:\n"; // a line end is where a search may have to stop
    client.send(head);
    ASSERT_TRUE(client.await_all_read(server.address()));
    ASSERT_TRUE(server.settle());
    const auto send = [&] { client.send("x"); };
    const bool has_workers = stage().profile.keeps_requests; // which receive nothing
    const pid_t thread = has_workers ? server.pid() : last_thread(server.pid());
    EXPECT_LT(instructions_for_a_byte(thread, send, most), most)
        << "to look at one byte, with " << head.size() << " before it";
    client.send("\n\n");
    expect_hello(client.read_to_end());
}

#endif

TEST_P(Wire, LongestHead) {
    StageProcess server{stage()};
    expect_hello(fetch(server.address(), head_of_size(8192)));
}

// One recv() takes 4,096 bytes, and then has seen nothing of what is behind them: the stage has to
// read on before it closes, or the reset that follows takes the response with it.
TEST_P(Wire, HeadEndsWhereTheBufferDoes) {
    for (const std::size_t size : {4096U, 8192U}) {
        SCOPED_TRACE(size);
        StageProcess server{stage()};
        HttpClient client{server.address()};
        client.send(head_of_size(size) + std::string(100, 'x'));
        expect_hello(client.read_to_end());
    }
}

TEST_P(Wire, LongestHeadInTwoPieces) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    const auto head = head_of_size(8192);
    client.send(head.substr(0, 8191));
    ASSERT_TRUE(client.await_all_read(server.address()));
    client.send(head.substr(8191));
    expect_hello(client.read_to_end());
}

TEST_P(Wire, HeadTooLong) {
    StageProcess server{stage()};
    expect_error(fetch(server.address(), head_of_size(8193)),
                 "431 Request Header Fields Too Large");
}

TEST_P(Wire, HeadThatNeverEnds) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    expect_error(client.exchange(std::string(1 << 20, 'x')), "431 Request Header Fields Too Large");
}

TEST_P(Wire, BinaryGarbage) {
    std::string garbage(256, '\0');
    std::iota(garbage.begin(), garbage.end(), '\0');
    StageProcess server{stage()};
    expect_hello(fetch(server.address(), garbage + garbage + "\n\n"));
}

TEST_P(Wire, TwoRequestsAtOnceGetOneResponse) {
    StageProcess server{stage()};
    expect_hello(
        fetch(server.address(), std::string{simple_request} + std::string{simple_request}));
}

TEST_P(Wire, PartOfASecondRequest) {
    StageProcess server{stage()};
    expect_hello(fetch(server.address(), std::string{simple_request} + std::string{half_request}));
}

TEST_P(Wire, HalfCloseAfterTheRequest) {
    StageProcess server{stage(), {"--body-bytes", "5000000"}};
    HttpClient client{server.address()};
    client.send(simple_request);
    client.finish_sending();
    expect_hello(client.read_to_end(), 5000000);
}

TEST_P(Wire, BodyWithTheHead) {
    StageProcess server{stage(), {"--body-bytes", "5000000"}};
    HttpClient client{server.address()};
    expect_hello(client.exchange(std::string{simple_request} + std::string(1 << 20, 'b')), 5000000);
}

TEST_P(Wire, AnnouncedBodyAfterTheResponse) {
    StageProcess server{stage()};
    HttpClient client{server.address()};
    client.send("POST / HTTP/1.0\r\nContent-Length: 1048576\r\n\r\n");
    const auto response = client.read_some(expected_response().size());
    EXPECT_EQ(response.bytes, expected_response());
    client.send(std::string(1 << 20, 'b'));
    client.finish_sending();
    const Reply rest = client.read_to_end();
    EXPECT_EQ(rest.bytes, "");
    EXPECT_EQ(rest.end, End::eof);
}

// The client reads only when it has sent it all: a server that closed with unread input would
// reset the connection, and the response could be lost on its way (RFC 9112 §9.6).
TEST_P(Wire, FloodAfterTheHead) {
    for (const std::uint64_t bytes : {13U, 100000U}) {
        StageProcess server{stage(), {"--body-bytes", std::to_string(bytes)}};
        HttpClient client{server.address()};
        client.send(std::string{simple_request} + std::string(4 << 20, 'f'));
        client.finish_sending();
        expect_hello(client.read_to_end(), bytes);
    }
}

// The body comes when the response has been read. A server that has closed by then answers it with
// a reset.
TEST_P(Wire, BodyMayFollowTheResponse) {
    Servers servers{stage()};
    for (const char* announcement : {"Content-Length: 1000", "Transfer-Encoding: chunked",
                                     "content-length:1000", "TRANSFER-ENCODING: chunked"}) {
        StageProcess& server = servers.for_next_client();
        HttpClient client{server.address()};
        client.send(std::string{"POST / HTTP/1.0\r\n"} + announcement + "\r\n\r\n");
        EXPECT_EQ(client.read_some(expected_response().size()).bytes, expected_response());
        ASSERT_TRUE(server.settle());
        client.send_what_fits(std::string(1000, 'b'));
        EXPECT_TRUE(client.await_all_read(server.address())) << announcement;
        EXPECT_EQ(client.read_to_end().end, End::eof) << announcement;
    }
}

// More has come than the head: in the same call, or behind a head that has filled the buffer. So
// the server reads on, as after an announcement.
TEST_P(Wire, SurplusMayGoOnAfterTheResponse) {
    Servers servers{stage()};
    for (const auto& head : {std::string{simple_request}, head_of_size(8192)}) {
        SCOPED_TRACE(head.size());
        StageProcess& server = servers.for_next_client();
        HttpClient client{server.address()};
        client.send(head + "more");
        EXPECT_EQ(client.read_some(expected_response().size()).bytes, expected_response());
        ASSERT_TRUE(server.settle());
        client.send_what_fits(std::string(1000, 'b'));
        EXPECT_TRUE(client.await_all_read(server.address()));
        EXPECT_EQ(client.read_to_end().end, End::eof);
    }
}

// Nobody announced these bytes, and the server does not read while it sends.
TEST_P(Wire, SecondRequestWhileTheResponseIsOnItsWay) {
    constexpr std::uint64_t bytes = 10'000'000;
    StageProcess server{stage(), {"--body-bytes", std::to_string(bytes)}};
    HttpClient client{server.address(), {.receive_buffer = 1 << 16}};
    client.send(simple_request);
    ASSERT_TRUE(eventually([&] { return client.readable(); }));
    client.send(simple_request);
    client.finish_sending();
    expect_hello(client.read_to_end(), bytes);
}

// It takes a socket that is all but full for send() to take less than it is given. faults.cpp makes
// it so each time.
TEST_P(Wire, EverySendIsShort) {
    constexpr std::uint64_t bytes = 200'000;
    const std::string library = std::string{"LD_PRELOAD="} + FAULTS_LIBRARY;
    StageProcess server{stage(),
                        {"--body-bytes", std::to_string(bytes)},
                        {.environment = {library, "STAGE_SEND_MOST=1000"}}};
    expect_hello(fetch(server.address()), bytes);
}

// The client sends something more between the response and the server's close(). The response must
// be on its way by then: a close() with input unread throws away what is not. 100 ms, as MSG_MORE
// keeps bytes back for 200 ms and more (tcp(7), TCP_CORK).
TEST_P(Wire, SecondSendDoesNotCostTheResponse) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    StageProcess server{stage(), {"--quiet"}};
    ASSERT_TRUE(server.settle());
    Strace strace{server.pid(), {"-e", "trace=close", "-e", "inject=close:delay_enter=100ms"}};
    HttpClient client{server.address()};
    client.send(simple_request);
    ASSERT_TRUE(client.await_all_read(server.address()));
    client.send("\r\n");
    const Reply reply = client.read_to_end();
    EXPECT_EQ(reply.bytes, expected_response());
    EXPECT_EQ(reply.end, End::eof); // it came before the reset
    server.settle();
    strace.detach();
}

// It takes longer than the timeout in the whole, yet there is progress all the time, and so it must
// not be ended. A test program that is itself held up makes a break in that: it may try again.
TEST_P(Wire, SlowReaderOfALongResponse) {
    constexpr std::uint64_t bytes = 20'000'000;
    const auto timeout = seconds_for_option(350ms);
    Servers servers{stage(), {"--body-bytes", std::to_string(bytes), "--timeout", timeout}};
    CheckedBody body;
    for (int i = 0; i < 3 && body.bytes < bytes; ++i) {
        HttpClient client{servers.for_next_client().address(), {.receive_buffer = 1 << 18}};
        client.send(simple_request);
        const auto start = Clock::now();
        body = client.check_body(1'500'000, scaled(40ms));
        EXPECT_GT(Clock::now() - start, scaled(350ms));
        EXPECT_EQ(body.status, 200);
        EXPECT_TRUE(body.intact);
    }
    EXPECT_EQ(body.bytes, bytes);
    EXPECT_EQ(body.end, End::eof);
}

/// Whether the server still has the one client that it had. Stage 01 ends with its client.
bool holds_client(StageProcess& server, std::size_t descriptors_without_it) {
    EXPECT_TRUE(server.settle());
    return server.running() && server.descriptors() > descriptors_without_it;
}

// The client has the end of file, and keeps its side open: up to 1,024 bytes, head included, the
// server closes all the same. A longer response may still be under way.
TEST_P(Wire, LongerResponsesLinger) {
    const auto head = expected_response(100).size() - 100; // with a length of three digits
    for (const std::size_t size : {1024U, 1025U}) {
        const auto body = size - head - (size - head > 999 ? 1 : 0);
        ASSERT_EQ(expected_response(body).size(), size);
        StageProcess server{stage(), {"--timeout", "1000", "--body-bytes", std::to_string(body)}};
        ASSERT_TRUE(server.settle());
        const auto before = server.descriptors();
        HttpClient client{server.address()};
        client.send(simple_request);
        expect_hello(client.read_to_end(), body);
        EXPECT_EQ(holds_client(server, before), size > 1024) << size;
    }
}

// Lingering until the client has closed is only for those that send more than a head: a plain
// client that keeps its side open must not hold a descriptor of the server's.
TEST_P(Wire, PlainClientDoesNotLinger) {
    StageProcess server{stage(), {"--timeout", "1000"}};
    ASSERT_TRUE(server.settle());
    const auto before = server.descriptors();
    HttpClient client{server.address()};
    client.send(simple_request);
    expect_hello(client.read_to_end());
    EXPECT_FALSE(holds_client(server, before));
}

} // namespace
