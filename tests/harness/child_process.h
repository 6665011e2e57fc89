// A program started by a test, and taken away with it: nothing survives the test, not even when
// the test program itself is killed.
#pragma once

#include "support.h"
#include "time_limits.h"

#include <optional>
#include <string>
#include <sys/resource.h>
#include <sys/types.h>
#include <vector>

/// What a standard stream of the child is connected to.
enum class Stream {
    collected,   ///< a file in memory that the test can read at any time and that never fills up
    null,        ///< /dev/null
    full_device, ///< /dev/full: every write fails with ENOSPC
    unread_pipe, ///< a pipe of one page that nobody reads: a blocking write waits for ever
    broken_pipe, ///< a pipe whose reader has gone: a write gives EPIPE and SIGPIPE
    closed       ///< nothing: the descriptor's number is free for the next open() or accept()
};

/// How a child is started; what is not set stays as it is in the test program.
struct SpawnOptions {
    std::vector<std::string> environment{}; ///< "NAME=value", in addition to the inherited ones
    Stream in = Stream::null;
    Stream out = Stream::collected;
    Stream err = Stream::collected;
    std::optional<rlim_t> descriptor_limit{}; ///< RLIMIT_NOFILE, soft and hard
    std::optional<rlim_t> memory_limit{};     ///< RLIMIT_AS in bytes, soft and hard
    std::optional<rlim_t> file_size_limit{};  ///< RLIMIT_FSIZE in bytes, soft and hard
    std::optional<rlim_t> stack_limit{};      ///< RLIMIT_STACK in bytes, soft and hard
    int stdin_from = -1;  ///< a descriptor of the test's that is to be the child's, if not -1
    int stdout_from = -1; ///< the same for stdout
    int stderr_from = -1; ///< and for stderr
    std::vector<std::string>
        through{}; ///< words in front of the command: a program that becomes it
    std::vector<int> ignored_signals{}; ///< inherited as SIG_IGN, the rest as SIG_DFL
    std::vector<int> blocked_signals{}; ///< the inherited signal mask, empty otherwise
    std::string folder{};               ///< working directory
};

class ChildProcess {
public:
    /// Starts `command`, its first word looked up in PATH. A command that cannot be executed ends
    /// with 127 and a message on its stderr. Throws std::system_error if there can be no process.
    ChildProcess(std::vector<std::string> command, const SpawnOptions& options);
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;
    /// SIGKILL to the child and all of its process group, and waits for it.
    ~ChildProcess();

    pid_t pid() const { return pid_; }
    void send_signal(int signal);
    /// The exit code once the child has ended, 128 + N if signal N ended it, as a shell counts;
    /// nothing if it runs on after `limit`.
    std::optional<int> wait_exit(Clock::duration limit = patience);
    bool running() { return !wait_exit(0s).has_value(); }

    /// What the child has written so far to a collected stream; "" for the other kinds.
    std::string out() const { return read_from_start(out_.number()); }
    std::string err() const { return read_from_start(err_.number()); }
    /// The test's own descriptor for the child's stdout: the same open file for a collected stream
    /// and for pipes, -1 otherwise.
    int out_descriptor() const { return out_.number(); }

private:
    pid_t pid_ = -1;
    std::optional<int> exit_code_;
    Descriptor out_;
    Descriptor err_;
    std::vector<Descriptor> readers_; ///< read ends of the pipes nobody reads from
};

/// What a program left behind that was run to its end.
struct Finished {
    int exit_code; ///< -1 if it had not ended in time
    std::string out;
    std::string err;
};

/// Runs a command to its end, or kills it after `limit`.
Finished run_command(const std::vector<std::string>& command, const SpawnOptions& options = {},
                     Clock::duration limit = patience);
