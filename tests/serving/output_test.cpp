// What a server prints to is not its own: the open file belongs as well to the shell, to other
// programs, to another user. Its flags and its offset stay as they are, and no state of it ends or
// stops the server.

#include "harness/assertions.h"
#include "harness/strace.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

/// Two ends of something to print to; the test keeps both.
struct Channel {
    Descriptor reader;
    Descriptor writer;
};

Channel new_pipe() {
    int ends[2];
    checked(pipe2(ends, O_CLOEXEC), "pipe2");
    return {Descriptor{ends[0]}, Descriptor{ends[1]}};
}

Channel new_socket_pair() {
    int ends[2];
    checked(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
    return {Descriptor{ends[0]}, Descriptor{ends[1]}};
}

Channel new_terminal() {
    int master = -1, slave = -1;
    checked(openpty(&master, &slave, nullptr, nullptr, nullptr), "openpty");
    checked(fcntl(master, F_SETFD, FD_CLOEXEC), "fcntl");
    checked(fcntl(slave, F_SETFD, FD_CLOEXEC), "fcntl");
    return {Descriptor{master}, Descriptor{slave}};
}

class OutputShared : public StageTest {
protected:
    /// A new file in a folder of the test's.
    Descriptor new_file(int flags) const {
        const std::string path = folder_.path() / "log";
        return Descriptor{checked(open(path.c_str(), flags | O_CREAT | O_CLOEXEC, 0600), "open")};
    }
    std::string content() const { return read_file(folder_.path() / "log"); }

    static void print(const Descriptor& file, std::string_view text) {
        checked(static_cast<int>(write(file.number(), text.data(), text.size())), "write");
    }

private:
    TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(, OutputShared, testing::ValuesIn(serving_stages()), stage_name);

// Programs that share one open file share its offset: each goes on where the last has ended.
TEST_P(OutputShared, LinesOfOthersAreNotOverwritten) {
    const Descriptor file = new_file(O_WRONLY);
    StageProcess server{stage(), {}, {.stdout_from = file.number()}};
    std::string expected;
    for (const std::string letter : {"A", "B", "C"}) {
        print(file, "ours " + letter + '\n');
        expect_hello(fetch(server.address(), "GET /" + letter + "\r\n\r\n"));
        expected += "ours " + letter + '\n' + std::string(40, '-') + "\nGET /" + letter + "\r\n\n";
        ASSERT_TRUE(eventually([&] { return content().size() >= expected.size(); }));
    }
    EXPECT_EQ(content(), expected);
}

TEST_P(OutputShared, FileThatIsOnlyOpenForReadingIsNotWrittenTo) {
    print(new_file(O_WRONLY), "precious\n");
    const Descriptor file = new_file(O_RDONLY);
    StageProcess server{stage(), {}, {.stdout_from = file.number()}};
    for (int i = 0; i < 3; ++i) expect_hello(fetch(server.address()));
    EXPECT_EQ(content(), "precious\n");
}

// SIGXFSZ comes with the write that would cross the limit (setrlimit(2)).
TEST_P(OutputShared, LogAtItsSizeLimitEndsNothing) {
    // The limit is one for all files, and so leaves room for the database of 08_workers.
    constexpr off_t limit = 1'000'000, room = 1000;
    const Descriptor file = new_file(O_WRONLY);
    checked(ftruncate(file.number(), limit - room), "ftruncate");
    ASSERT_EQ(lseek(file.number(), 0, SEEK_END), limit - room);
    StageProcess server{stage(), {}, {.file_size_limit = limit, .stdout_from = file.number()}};
    for (int i = 0; i < 30; ++i) expect_hello(fetch(server.address()));
    EXPECT_EQ(content().size(), std::size_t{limit});
}

// O_NONBLOCK would stay for the next program that prints there.
TEST_P(OutputShared, FlagsStayAsTheyAre) {
    for (const auto make : {new_pipe, new_socket_pair, new_terminal}) {
        const Channel ends = make();
        const int before = fcntl(ends.writer.number(), F_GETFL);
        StageProcess server{stage(), {}, {.stdout_from = ends.writer.number()}};
        expect_hello(fetch(server.address()));
        EXPECT_EQ(fcntl(ends.writer.number(), F_GETFL), before);
        server.send_signal(SIGTERM);
        EXPECT_EQ(server.exit_code(), 0);
        EXPECT_EQ(fcntl(ends.writer.number(), F_GETFL), before);
    }
}

// poll() calls a terminal writable as long as one byte fits in.
TEST_P(OutputShared, WhatNobodyReadsDoesNotStopTheServing) {
    for (const auto make : {new_pipe, new_socket_pair, new_terminal}) {
        const Channel ends = make();
        StageProcess server{stage(), {}, {.stdout_from = ends.writer.number()}};
        std::string many_lines = "GET /\n";
        while (many_lines.size() < 8000) many_lines += "a\n";
        for (int i = 0; i < 40; ++i) {
            expect_hello(fetch(server.address(), many_lines + '\n'));
            ASSERT_FALSE(HasFailure()) << "client " << i + 1; // the others would wait as long
        }
    }
}

/// What a pipe holds.
std::string take_all(const Channel& pipe) {
    int waiting = -1;
    checked(ioctl(pipe.reader.number(), FIONREAD, &waiting), "ioctl");
    std::string text(static_cast<std::size_t>(waiting), '\0');
    if (waiting > 0)
        checked(static_cast<int>(read(pipe.reader.number(), text.data(), text.size())), "read");
    return text;
}

// The pipe does not take all of the ninth text. The tenth does not begin in the middle of its line.
TEST_P(OutputShared, TextAfterACutOneBeginsOnALineOfItsOwn) {
    const Channel ends = new_pipe();
    StageProcess server{stage(), {}, {.stdout_from = ends.writer.number()}};
    for (int i = 0; i < 9; ++i) expect_hello(fetch(server.address(), head_of_size(8000)));
    ASSERT_TRUE(server.settle());
    EXPECT_LT(take_all(ends).size(), 9 * 8000U);
    for (const char* before : {"\n", ""}) { // nothing is cut any more
        expect_hello(fetch(server.address()));
        ASSERT_TRUE(server.settle());
        const std::string request{simple_request};
        const auto shown = request.substr(0, request.size() - 2) + '\n';
        EXPECT_EQ(take_all(ends), before + std::string(40, '-') + '\n' + shown);
    }
}

/// Whether a thread of the process is in the system call (proc(5), /proc/PID/task/TID/syscall).
bool is_in_call(pid_t process, long call) {
    const std::filesystem::directory_iterator tasks{"/proc/" + std::to_string(process) + "/task"};
    return std::ranges::any_of(tasks, [&](const auto& task) {
        return read_file(task.path() / "syscall").starts_with(std::to_string(call) + ' ');
    });
}

// The pipe has room when the server asks, and none any more when it writes.
TEST_P(OutputShared, PipeThatAnotherFillsDoesNotStopTheServing) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    const Channel ends = new_pipe();
    StageProcess server{stage(), {}, {.stdout_from = ends.writer.number()}};
    Strace strace{server.pid(), {"-e", "trace=write", "-e", "inject=write:delay_enter=2s:when=1"}};
    HttpClient client{server.address()};
    client.send(simple_request);
    ASSERT_TRUE(eventually([&] { return is_in_call(server.pid(), SYS_write); }));
    // Opened once more: O_NONBLOCK must not come to the server's own end.
    const auto path = "/proc/self/fd/" + std::to_string(ends.writer.number());
    const Descriptor other{checked(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC), "open")};
    const std::string line(4096, 'x');
    while (write(other.number(), line.data(), line.size()) > 0) {
    }
    expect_hello(client.read_to_end());
    expect_hello(fetch(server.address()));
    strace.detach();
}

// A pipe that is open for reading only is not written to, although it could be opened for that.
TEST_P(OutputShared, ReadingEndOfAPipeIsNotWrittenTo) {
    const Channel ends = new_pipe();
    StageProcess server{stage(), {}, {.stdout_from = ends.reader.number()}};
    expect_hello(fetch(server.address()));
    ASSERT_TRUE(server.settle());
    int waiting = -1;
    checked(ioctl(ends.reader.number(), FIONREAD, &waiting), "ioctl");
    EXPECT_EQ(waiting, 0);
}

/// What can be read from a terminal now, its line ends as they were written.
std::string take_text(const Channel& terminal) {
    checked(fcntl(terminal.reader.number(), F_SETFL, O_NONBLOCK), "fcntl");
    std::string text;
    char piece[4096];
    for (ssize_t count; (count = read(terminal.reader.number(), piece, sizeof piece)) > 0;)
        text.append(piece, static_cast<std::size_t>(count));
    std::erase(text, '\r');
    return text;
}

// A terminal of another user cannot be opened once more. It is printed to all the same.
TEST_P(OutputShared, TerminalThatCannotBeReopenedIsPrintedTo) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    const Channel terminal = new_terminal();
    const std::vector<std::string> refusing{"strace",
                                            "-D",
                                            "-qq",
                                            "-o",
                                            "/dev/null",
                                            "-e",
                                            "trace=openat",
                                            "-P",
                                            "/proc/self/fd/1",
                                            "-e",
                                            "inject=openat:error=EACCES"};
    // LeakSanitizer does not work in a process that ends while it is traced.
    StageProcess server{stage(),
                        {},
                        {.environment = {"ASAN_OPTIONS=detect_leaks=0"},
                         .stdout_from = terminal.writer.number(),
                         .through = refusing}};
    expect_hello(fetch(server.address(), "GET /\n\n"));
    std::string shown;
    EXPECT_TRUE(eventually([&] {
        shown += take_text(terminal);
        return shown.ends_with("GET /\n");
    })) << shown;
}

// A terminal with `stty tostop` stops a job in the background that prints to it (SIGTTOU).
TEST_P(OutputShared, BackgroundJobUnderTostopIsNotStopped) {
    const Channel terminal = new_terminal();
    const std::string script = R"(set -m; stty tostop
        timeout --foreground 60 "$0" "$@" & echo "job $!."; wait)";
    std::vector<std::string> command{"setsid", "--ctty", "bash", "-c", script};
    const auto words = stage_command(stage(), {});
    command.insert(command.end(), words.begin(), words.end());
    const int side = terminal.writer.number();
    const TemporaryFolder folder;
    const ChildProcess job{
        command,
        {.stdin_from = side, .stdout_from = side, .stderr_from = side, .folder = folder.path()}};
    std::string shown;
    const auto listens = [&] {
        shown += take_text(terminal);
        return shown.find("listening on http://127.0.0.1:") != std::string::npos &&
               shown.find("/\n") != std::string::npos && shown.find(".\n") != std::string::npos;
    };
    ASSERT_TRUE(eventually(listens)) << shown;
    const auto job_id = static_cast<pid_t>(std::stol(shown.substr(shown.find("job ") + 4)));
    const auto port = std::stoul(shown.substr(shown.find("127.0.0.1:") + 10));
    const Address address{"127.0.0.1", static_cast<std::uint16_t>(port)};
    for (int i = 0; i < 3; ++i) expect_hello(fetch(address));
    kill(-job_id, SIGKILL); // it has a process group of its own, and would stay for the 60 seconds
}

class OutputClosed : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, OutputClosed, testing::ValuesIn(all_stages()), stage_name);

TEST_P(OutputClosed, StdoutDoesNotGetWhatIsForStderr) {
    StageProcess server{stage(), {"--quiet"}, {.err = Stream::closed}};
    expect_hello(fetch(server.address()));
    server.send_signal(SIGTERM);
    EXPECT_EQ(server.exit_code(), 0);
    EXPECT_EQ(server.out(), "");
}

// The next sockets would get the numbers 0 to 2, and a client would get what is printed. There may
// be no /dev/null to put there instead.
TEST_P(OutputClosed, NoClientGetsWhatIsPrinted) {
    const std::vector<std::string> without_dev{
        "unshare", "--mount", "--map-root-user",
        "sh",      "-c",      R"(mount -t tmpfs none /dev && exec "$0" "$@" <&- >&- 2>&-)"};
    SpawnOptions options{.out = Stream::null, .err = Stream::null, .through = without_dev};
    if (run_command({"true"}, {.through = without_dev}).exit_code != 0) options.through.clear();
    if (options.through.empty()) options.in = options.out = options.err = Stream::closed;
    StageProcess server{stage(), {"--verbose"}, options};
    for (int i = 0; i < (serves_once() ? 1 : 4); ++i) expect_hello(fetch(server.address()));
}

} // namespace
