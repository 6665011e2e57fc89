// One of the servers, run as its own process on a free port of the loopback interface.
#pragma once

#include "child_process.h"
#include "stages.h"
#include "tcp_table.h"
#include "time_limits.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

/// The words that start a stage: the path of its program, `--host 127.0.0.1` and `--port 0` where
/// `arguments` does not say otherwise, and `arguments`. For a program without options it is the
/// path and a port of 0; std::logic_error if there are arguments all the same.
std::vector<std::string> stage_command(const Stage& stage, std::vector<std::string> arguments);

/// Runs a stage that is expected to end by itself, with just these arguments, in a folder of its
/// own.
Finished run_stage(const Stage& stage, const std::vector<std::string>& arguments);

/// A stage that listens. Whatever a test does with it, it must still end on SIGTERM when the test
/// is over, with 0 if its profile says so, and must leave no sanitizer's report on stderr: the
/// destructor fails the test otherwise. Whatever a server that is tried has started ends with it.
class StageProcess {
public:
    /// Starts the stage and waits for its line "listening on …" on stderr. Where it writes none, or
    /// stderr is not collected, waits until the kernel lists its listener. Throws
    /// std::runtime_error if neither comes. A server that is tried and ends before is started
    /// again, on another port.
    explicit StageProcess(const Stage& stage, const std::vector<std::string>& arguments = {},
                          const SpawnOptions& options = {});
    ~StageProcess();

    const Address& address() const { return address_; }
    pid_t pid() const { return child_->pid(); }
    /// Its working directory, if its profile says that it keeps a file there.
    std::filesystem::path folder() const { return folder_->path(); }

    void send_signal(int signal);
    /// SIGSTOP, and waits until the process has stopped (state T of proc(5)).
    void stop();
    /// SIGCONT.
    void resume();
    bool running() { return child_ && child_->running(); }
    /// The exit code; -1 and a failed test if the stage does not end within `limit`.
    int exit_code(Clock::duration limit = patience);

    std::string out() const { return child_->out(); }
    int out_descriptor() const { return child_->out_descriptor(); }
    std::string err() const { return child_->err(); }
    /// The lines on stderr other than the one that says where the stage listens.
    std::vector<std::string> complaints() const;

    /// CPU time of all threads so far, user and system (clock_getcpuclockid(3)).
    std::chrono::nanoseconds cpu_time() const;
    /// The CPU time used while `window` passes on the test's clock.
    std::chrono::nanoseconds cpu_time_during(Clock::duration window) const;
    std::size_t threads() const;
    std::size_t descriptors() const;
    /// Its sockets: of each, whether it blocks, which is to say that O_NONBLOCK is not among its
    /// flags in fdinfo (proc(5)).
    std::vector<bool> sockets_that_block() const;
    /// The share of physical memory in bytes: Pss of smaps_rollup (proc(5)).
    std::uint64_t memory() const;
    /// Address space in bytes: VmSize.
    std::uint64_t address_space() const;
    /// Connections that the kernel has completed and the stage has not accepted.
    std::uint32_t waiting_connections() const;
    /// Every thread sleeps, and next to no CPU time (2 %: a sanitizer's runtime has a thread of its
    /// own) was used while `window` passed: whatever is still to come needs a client or a timeout.
    /// True as well of a stage that has ended.
    bool idle_for(Clock::duration window) const;
    /// Waits until the stage has been idle for 20 ms; false after `patience`.
    testing::AssertionResult settle() const;
    /// How it has ended: "exit 1", or "SIGABRT" if a signal has ended it; a failed test if it runs
    /// on.
    std::string ending();

private:
    bool address_from_line();
    bool address_from_kernel();
    void check_sanitizer_reports() const;
    void end_what_is_left() const;
    std::optional<int> wait_exit(Clock::duration limit);
    bool asleep() const;
    std::uint64_t kilobytes(const char* file, const std::string& field) const;
    std::string proc(const std::string& file) const;

    Stage stage_;
    std::unique_ptr<TemporaryFolder> folder_; ///< goes after the child
    std::unique_ptr<ChildProcess> child_;
    Address address_{};
    int last_signal_ = 0; ///< of send_signal(); 0 is none
};
