// strace(1) attached to a running process: it makes system calls fail, and says which were made.
#pragma once

#include "child_process.h"

#include <cstddef>
#include <string>
#include <vector>

/// Whether one process may trace another here: ptrace(2) can be forbidden, in a container or by the
/// system's settings.
bool tracing_is_permitted();

/// From the constructor to detach(), or the destructor, strace follows every thread of a process.
class Strace {
public:
    /// Attaches with these options; throws std::runtime_error if strace cannot.
    Strace(pid_t process, const std::vector<std::string>& options);
    Strace(const Strace&) = delete;
    Strace& operator=(const Strace&) = delete;
    ~Strace() { detach(); }

    /// Lets the process go its way. The log is complete afterwards.
    void detach();
    /// What strace has written so far: a line for each call, or with -c a table at the end.
    std::string log() const { return read_file(folder_.path() / "log"); }
    /// How many calls it has made fail.
    std::size_t injected() const;

private:
    TemporaryFolder folder_;
    ChildProcess child_;
};

/// The names of the system calls in the table that `strace -c` writes.
std::vector<std::string> calls_counted(const std::string& table);
