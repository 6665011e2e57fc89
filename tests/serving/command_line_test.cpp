// The command line: what it says about itself, and that a bad value is refused with a message that
// names it.

#include "harness/assertions.h"

#include <csignal>

namespace {

class CommandLine : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, CommandLine, testing::ValuesIn(all_stages()), stage_name);

TEST_P(CommandLine, Help) {
    const auto result = run_stage(stage(), {"--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, "");
    std::size_t place = 0; // in this order
    for (const char* option :
         {"--host", "--port", "--backlog", "--timeout", "--body-bytes", "--quiet", "--verbose"}) {
        const auto found = result.out.find(option, place);
        ASSERT_NE(found, std::string::npos) << option << " in\n" << result.out;
        place = found;
    }
}

/// The message is on stderr and holds `named`; the exit code is that of an error, not of a crash.
void expect_refused(const Stage& stage, const std::vector<std::string>& arguments,
                    const std::string& named) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    const auto result = run_stage(stage, arguments);
    EXPECT_GT(result.exit_code, 0);
    EXPECT_LT(result.exit_code, 128);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find(named), std::string::npos) << result.err;
}

TEST_P(CommandLine, BadNumbers) {
    for (const char* option : {"--port", "--backlog", "--timeout", "--body-bytes"}) {
        for (const char* value :
             {"-1", "x", "1x", "99999999999999999999999", "1e400", "nan", "0x"}) {
            expect_refused(stage(), {option, value}, value);
        }
        expect_refused(stage(), {option, ""}, option);
        expect_refused(stage(), {option}, option);
    }
    expect_refused(stage(), {"--port", "65536"}, "65536");
    expect_refused(stage(), {"--port", "80.5"}, "80.5");
    expect_refused(stage(), {"--body-bytes", "1073741825"}, "1073741825");
}

/// The word after "Content-Length: ".
std::string length_in(const Reply& reply) {
    const std::string field = "Content-Length: ";
    const auto start = reply.bytes.find(field) + field.size();
    return reply.bytes.substr(start, reply.bytes.find("\r\n", start) - start);
}

// 010 is ten, not eight, and 08080 is a number, too.
TEST_P(CommandLine, NumbersAreDecimal) {
    StageProcess server{stage(), {"--body-bytes", "010", "--backlog", "0128"}};
    EXPECT_EQ(length_in(fetch(server.address())), "10");
    expect_refused(stage(), {"--port", "0x50"}, "0x50");
    expect_refused(stage(), {"--body-bytes", "0b11"}, "0b11");
    expect_refused(stage(), {"--timeout", "0x10"}, "0x10");
    if (stage().number == 3) expect_refused(stage(), {"--max-threads", "0x10"}, "0x10");
    if (stage().number >= 6) expect_refused(stage(), {"--chunk-bytes", "0x10"}, "0x10");
}

TEST_P(CommandLine, BadTimeouts) {
    for (const char* value : {"nan", "inf", "-inf", "-0.5", "0.5s", "1e999"}) {
        expect_refused(stage(), {"--timeout", value}, value);
    }
    expect_refused(stage(), {"--timeout", "-NaN"}, "-NaN");
}

TEST_P(CommandLine, BadHosts) {
    for (const char* value : {"localhost", "::1", "300.1.1.1", "1.2.3", "127.0.0.1:80", "*"}) {
        expect_refused(stage(), {"--host", value}, value);
    }
    expect_refused(stage(), {"--host", ""}, "");
}

TEST_P(CommandLine, UnknownWords) {
    expect_refused(stage(), {"--no-such-option"}, "--no-such-option");
    expect_refused(stage(), {"surplus"}, "surplus");
}

TEST_P(CommandLine, OptionsOfOtherStages) {
    const int number = stage().number;
    if (number != 3) expect_refused(stage(), {"--max-threads", "4"}, "--max-threads");
    if (number < 6) {
        expect_refused(stage(), {"--tcp-cork"}, "--tcp-cork");
        expect_refused(stage(), {"--tcp-nodelay"}, "--tcp-nodelay");
        expect_refused(stage(), {"--chunk-bytes", "9"}, "--chunk-bytes");
    }
    if (number < 7) expect_refused(stage(), {"--defer-accept"}, "--defer-accept");
}

// Neither default is tried out, as another program may have the port: the message about an address
// that cannot be bound says which it was.
TEST_P(CommandLine, DefaultsOfHostAndPort) {
    const auto elsewhere = run_stage(stage(), {"--host", "192.0.2.1"}); // not ours (RFC 5737)
    EXPECT_NE(elsewhere.err.find("bind 192.0.2.1:8080: "), std::string::npos) << elsewhere.err;
    StageProcess first{stage()};
    const auto port = std::to_string(first.address().port);
    const auto second = run_stage(stage(), {"--port", port});
    EXPECT_NE(second.err.find("bind 0.0.0.0:" + port + ": "), std::string::npos) << second.err;
}

TEST_P(CommandLine, GoodValues) {
    StageProcess server{stage(), {"--backlog", "5", "--timeout", "2.5", "--body-bytes", "26"}};
    expect_hello(fetch(server.address()), 26);
    for (const auto& at_the_limit : std::vector<std::vector<std::string>>{{"--backlog", "0"},
                                                                          {"--port", "0"},
                                                                          {"--timeout", "0.001"},
                                                                          {"--body-bytes", "0"},
                                                                          {"--backlog", "65535"},
                                                                          {"--backlog", "08"}})
        StageProcess{stage(), at_the_limit}; // it listens
}

class CommandLineOfThreaded : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, CommandLineOfThreaded, testing::ValuesIn(stages(3, 3)), stage_name);

TEST_P(CommandLineOfThreaded, BadMaxThreads) {
    for (const char* value : {"0", "-1", "x", "100000"}) {
        expect_refused(stage(), {"--max-threads", value}, value);
    }
    const StageProcess server{stage(), {"--max-threads", "99999"}}; // it listens
}

class CommandLineOfEpoll : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, CommandLineOfEpoll, testing::ValuesIn(epoll_stages()), stage_name);

TEST_P(CommandLineOfEpoll, BadChunkBytes) {
    for (const char* value : {"0", "-1", "x"}) {
        expect_refused(stage(), {"--chunk-bytes", value}, value);
    }
}

} // namespace
