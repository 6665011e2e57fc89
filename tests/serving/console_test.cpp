// What the stages print: the requests on stdout as the article does, nothing about a client on
// stderr. Trouble with a stream never stops or slows the serving.

#include "harness/assertions.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>

namespace {

constexpr std::string_view dashes = "----------------------------------------\n"; // 40 of them

/// What a stage prints for a request: the article's Example 1 the request as it came, Example 2
/// and the later ones 40 dashes and the request without its last two bytes.
std::string printed(const Stage& stage, std::string_view request) {
    if (stage.number == 1) return std::string{request} + '\n';
    return std::string{dashes} + std::string{request.substr(0, request.size() - 2)} + '\n';
}

class Console : public StageTest {
protected:
    /// Waits until stdout holds as many bytes as `expected`, and compares.
    static void expect_out(StageProcess& server, const std::string& expected) {
        eventually([&] { return server.out().size() >= expected.size(); });
        EXPECT_EQ(server.out(), expected);
    }
};

INSTANTIATE_TEST_SUITE_P(, Console, testing::ValuesIn(all_stages()), stage_name);

TEST_P(Console, Request) {
    for (const char* request :
         {"GET / HTTP/1.0\r\nA: b\r\n\r\n", "GET / HTTP/1.0\nA: b\n\n", "\n\n", "G\n\r\n",
          "GET /\t\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\r\n\r\n"}) {
        StageProcess server{stage()};
        fetch(server.address(), request);
        expect_out(server, printed(stage(), request));
        EXPECT_TRUE(server.complaints().empty()) << server.err();
    }
}

TEST_P(Console, OnlyTheHeadIsPrinted) {
    StageProcess server{stage()};
    fetch(server.address(), std::string{simple_request} + "body\n\nGET /second HTT");
    expect_out(server, printed(stage(), simple_request));
}

TEST_P(Console, LongestHead) {
    StageProcess server{stage()};
    fetch(server.address(), head_of_size(8192));
    expect_out(server, printed(stage(), head_of_size(8192)));
}

TEST_P(Console, Quiet) {
    StageProcess server{stage(), {"--quiet"}};
    expect_hello(fetch(server.address()));
    server.send_signal(SIGTERM);
    EXPECT_EQ(server.exit_code(), 0);
    EXPECT_EQ(server.out(), "");
    EXPECT_TRUE(server.complaints().empty()) << server.err();
}

/// The code point that begins at `text`, and its length; -1 where the bytes are not UTF-8
/// (RFC 3629 §4).
std::pair<long, std::size_t> decode(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    if (byte(0) < 0x80) return {byte(0), 1};
    const std::size_t length = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
    if (byte(0) < 0xC2 || byte(0) > 0xF4 || text.size() < length) return {-1, 1};
    long point = byte(0) & (0x7F >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return {-1, 1};
        point = point * 64 + (byte(i) & 0x3F);
    }
    constexpr long smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = point >= 0xD800 && point < 0xE000;
    return {point < smallest[length] || point > 0x10FFFF || surrogate ? -1 : point, length};
}

/// Whether a character is not seen, ends a line, or turns the direction of the text.
bool is_deceptive(long point) {
    return point == 0x61C || (point >= 0x200B && point <= 0x200F) ||
           (point >= 0x2028 && point <= 0x202E) || (point >= 0x2060 && point <= 0x206F) ||
           point == 0xFEFF;
}

/// The position of the first byte that a terminal must not get; npos if there is none.
std::size_t find_harmful(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto [point, length] = decode(text.substr(i));
        const bool line_end = point == '\n' || (point == '\r' && text.substr(i, 2) == "\r\n");
        const bool control = (point < 0x20 && point != '\t' && !line_end) ||
                             (point >= 0x7F && point < 0xA0); // DEL and the C1 controls
        if (control || is_deceptive(point)) return i;
        i += length;
    }
    return std::string_view::npos;
}

TEST_P(Console, TerminalEscapesAreNotPrinted) {
    std::string request = "GET /\x1B[2J\x1B]0;title\a HTTP/1.0\r\n";
    for (int byte = 0; byte < 256; ++byte) request += {static_cast<char>(byte), 'x'};
    request += "\xC2\x9B"                               // CSI of one byte, as UTF-8
               "\xC0\xAF \xE0\x80\xAF \xF0\x80\x80\xAF" // overlong
               "\xED\xA0\x80 \xF4\x90\x80\x80"          // a surrogate; past the last code point
               "\xE2\x82 \xF0\x9F\x98\r\r\n\r\n";       // cut off; a lone carriage return
    StageProcess server{stage()};
    expect_hello(fetch(server.address(), request));
    ASSERT_TRUE(eventually(
        [&] { return server.out().ends_with("\r\n\n") || server.out().ends_with("\r\n"); }));
    const auto out = server.out();
    EXPECT_EQ(find_harmful(out), std::string::npos) << testing::PrintToString(out);
    for (const char* kept : {"GET /", "[2J", "title", " HTTP/1.0\r\n", "\tx", "\nx", "~x"}) {
        EXPECT_NE(out.find(kept), std::string::npos) << kept;
    }
}

// Each byte of them is written out. Their neighbours are shown.
TEST_P(Console, DeceptiveCharactersAreEscaped) {
    StageProcess server{stage()};
    expect_hello(fetch(server.address(), "GET /\xE2\x80\xAE"        // U+202E: from right to left
                                         "\xE2\x81\xA6"             // U+2066: isolates a direction
                                         "\xE2\x80\xA8"             // U+2028: ends a line
                                         "\xE2\x80\x8B"             // U+200B: has no width
                                         "\xC2\xAD"                 // U+00AD: often not shown
                                         "\xEF\xB8\x8F"             // U+FE0F: selects a variant
                                         "\xF3\xA0\x84\x80"         // U+E0100: another one
                                         "\xE2\x80\xA7\xE2\x80\xAF" // U+2027 and U+202F: are fine
                                         "\xC2\xA0\xF4\x8F\xBF\xBF" // U+00A0, U+10FFFF: too
                                         "\r\n\r\n"));
    ASSERT_TRUE(eventually([&] { return server.out().find("\n\n") != std::string::npos; }) ||
                serves_once());
    const std::string shown = "GET /\\xe2\\x80\\xae\\xe2\\x81\\xa6\\xe2\\x80\\xa8\\xe2\\x80\\x8b"
                              "\\xc2\\xad\\xef\\xb8\\x8f\\xf3\\xa0\\x84\\x80"
                              "\xE2\x80\xA7\xE2\x80\xAF\xC2\xA0\xF4\x8F\xBF\xBF\r\n";
    EXPECT_NE(server.out().find(shown), std::string::npos) << server.out();
}

/// What a server says with --verbose about its only client; "" if not just one line of its own.
std::string reason_given(const Stage& stage, const std::function<void(StageProcess&)>& come) {
    StageProcess server{
        stage, {"--verbose", "--timeout", seconds_for_option(200ms), "--body-bytes", "20000000"}};
    come(server);
    eventually([&] { return !server.complaints().empty(); });
    EXPECT_TRUE(server.settle());
    const auto lines = server.complaints();
    const auto prefix = stage.name + ": ";
    const bool good = lines.size() == 1 && lines.front().starts_with(prefix);
    EXPECT_TRUE(good) << server.err();
    return good ? lines.front().substr(prefix.size()) : "";
}

// One line for each client that does not get a whole 200, with the reason.
TEST_P(Console, VerboseSaysWhyAClientWasNotServed) {
    const auto leave = [](StageProcess& server) {
        HttpClient{server.address()}.send(half_request);
    };
    const auto say_nothing = [](StageProcess& server) {
        HttpClient{server.address()}.read_to_end();
    };
    const auto ask_for_too_much = [](StageProcess& server) {
        fetch(server.address(), head_of_size(9000));
    };
    const auto read_nothing = [](StageProcess& server) {
        HttpClient client{server.address(), {.receive_buffer = 16384}};
        client.send(simple_request);
        eventually([&] { return !server.complaints().empty(); });
    };
    EXPECT_EQ(reason_given(stage(), leave), "the client left before the blank line");
    EXPECT_EQ(reason_given(stage(), say_nothing), "408 Request Timeout");
    EXPECT_EQ(reason_given(stage(), ask_for_too_much), "431 Request Header Fields Too Large");
    EXPECT_EQ(reason_given(stage(), read_nothing), "the client does not read");
    StageProcess server{stage(), {"--verbose"}};
    expect_hello(fetch(server.address()));
    EXPECT_TRUE(server.settle());
    EXPECT_TRUE(server.complaints().empty()) << server.err();
}

TEST_P(Console, TroubleWithStdoutDoesNotStopTheServing) {
    for (const Stream out : {Stream::full_device, Stream::broken_pipe, Stream::closed}) {
        SCOPED_TRACE(static_cast<int>(out));
        StageProcess server{stage(), {}, {.out = out}};
        expect_hello(fetch(server.address()));
        if (!serves_once()) expect_hello(fetch(server.address()));
        server.send_signal(SIGTERM);
        EXPECT_EQ(server.exit_code(), 0);
    }
}

TEST_P(Console, TroubleWithStderrDoesNotStopTheServing) {
    for (const Stream err : {Stream::full_device, Stream::broken_pipe, Stream::closed}) {
        SCOPED_TRACE(static_cast<int>(err));
        StageProcess server{stage(), {}, {.err = err}};
        expect_hello(fetch(server.address()));
        server.send_signal(SIGTERM);
        EXPECT_EQ(server.exit_code(), 0);
    }
}

// accept() gives the lowest free number (accept(2)): with 0, 1 and 2 closed a careless server would
// print its requests to a client.
TEST_P(Console, AllStreamsClosed) {
    StageProcess server{
        stage(), {}, {.in = Stream::closed, .out = Stream::closed, .err = Stream::closed}};
    auto client = HttpClient{server.address()};
    client.send(simple_request);
    expect_hello(client.read_to_end());
    if (serves_once()) return;
    for (int i = 0; i < 3; ++i) expect_hello(fetch(server.address()));
}

class ConsoleOfMany : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ConsoleOfMany, testing::ValuesIn(serving_stages()), stage_name);

TEST_P(ConsoleOfMany, UnreadStdoutDoesNotStopTheServing) {
    StageProcess server{stage(), {}, {.out = Stream::unread_pipe}};
    for (int i = 0; i < 5; ++i) {
        expect_hello(fetch(server.address(), head_of_size(8192)));
        ASSERT_FALSE(HasFailure()) << "client " << i + 1; // the others would wait as long
    }
    server.send_signal(SIGTERM);
    EXPECT_EQ(server.exit_code(), 0);
    // O_NONBLOCK belongs to the open file, which a shell shares with the server it has started.
    EXPECT_EQ(fcntl(server.out_descriptor(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_P(ConsoleOfMany, NothingAboutAClientOnStderr) {
    StageProcess server{stage(),
                        {"--timeout", seconds_for_option(150ms), "--body-bytes", "3000000"}};
    for (int i = 0; i < 3; ++i) {
        HttpClient{server.address()}.close();
        HttpClient half{server.address()};
        half.send(half_request);
        half.reset();
        HttpClient unread{server.address()};
        unread.send(simple_request);
        unread.read_some(1);
        unread.reset();
        fetch(server.address(), head_of_size(9000));
    }
    EXPECT_EQ(HttpClient{server.address()}.read_to_end().status(), 408);
    EXPECT_TRUE(server.complaints().empty()) << server.err();
}

class ConsoleOfConcurrent : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, ConsoleOfConcurrent, testing::ValuesIn(concurrent_stages()), stage_name);

// Each request has a letter of its own, so that a piece of one inside another would show.
TEST_P(ConsoleOfConcurrent, RequestsAreNotMixed) {
    constexpr int count = 40;
    StageProcess server{stage()};
    std::vector<std::string> expected;
    auto clients = clients_that_sent(server.address(), count, "GET /");
    server.stop();
    for (int i = 0; i < count; ++i) {
        const std::string rest(7000, static_cast<char>('A' + i));
        clients[static_cast<std::size_t>(i)].send(rest + "\r\n\r\n");
        expected.push_back("GET /" + rest + "\r\n\n");
    }
    server.resume();
    EXPECT_EQ(count_answers(clients, 200), count);
    std::vector<std::string> blocks;
    std::string out = server.out();
    for (std::size_t end = 0; !out.empty(); out.erase(0, end)) {
        ASSERT_TRUE(out.starts_with(dashes));
        end = std::min(out.find(dashes, dashes.size()), out.size());
        blocks.push_back(out.substr(dashes.size(), end - dashes.size()));
    }
    std::sort(blocks.begin(), blocks.end());
    EXPECT_TRUE(blocks == expected) << blocks.size() << " blocks";
}

} // namespace
