// The terminal that the transcripts are typed in leaves nothing behind.

#include "harness/time_limits.h"
#include "terminal.h"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

/// Whether a process is gone, or is only waiting for somebody to ask how it ended.
bool has_ended(pid_t process) {
    const auto state = state_in(read_file("/proc/" + std::to_string(process) + "/stat"));
    return state == '?' || state == 'Z';
}

/// Starts a program in a new terminal, as a server is that a block leaves running; says in `out`
/// which process it is.
void start_in_terminal(Terminal& terminal, int out) {
    terminal.type("sleep 1000 & printf '%9d' $!");
    terminal.await_end(patience);
    const auto text = terminal.output();
    checked(static_cast<int>(write(out, text.data(), text.size())), "write");
}

TEST(Terminal, LeavesNothingBehindWhenItsProgramIsKilled) {
    int pipe_ends[2];
    checked(pipe(pipe_ends), "pipe");
    const Descriptor reader{pipe_ends[0]}, writer{pipe_ends[1]};
    const pid_t program = checked(fork(), "fork");
    if (program == 0) {
        Terminal terminal;
        start_in_terminal(terminal, writer.number());
        while (true) pause();
    }
    char digits[10]{};
    ASSERT_EQ(read(reader.number(), digits, 9), 9);
    const pid_t started = std::stoi(digits);
    EXPECT_FALSE(has_ended(started));
    kill(program, SIGKILL);
    waitpid(program, nullptr, 0);
    EXPECT_TRUE(eventually([&] { return has_ended(started); }));
}

} // namespace
