// A terminal in which the commands of a page are typed, and what appears there.
#pragma once

#include "harness/child_process.h"
#include "harness/support.h"
#include "harness/time_limits.h"

#include <optional>
#include <string>

/// One bash, started in the source folder. What commands write to stdout and stderr is collected in
/// the order in which it comes. All that was started ends with this object, and also when the
/// program that holds it is killed.
class Terminal {
public:
    Terminal();

    /// Types a command, of one line or of several. The one before must have ended.
    void type(const std::string& command);
    /// What the command has written so far.
    std::string output() const;
    /// Whether the command has ended, or even the shell.
    bool finished();
    bool await_end(Clock::duration limit) {
        return eventually([this] { return finished(); }, limit);
    }
    /// SIGINT to the command, as from the keyboard. The shell goes on.
    void press_ctrl_c();

private:
    std::string text() const;
    void start_guard();

    TemporaryFolder folder_;
    Descriptor keyboard_;
    Descriptor lifeline_; ///< its end of file tells the shell's guard that nobody holds this object
    std::optional<ChildProcess> shell_;
    std::size_t start_ = 0; ///< where in the text the output of the command begins
};
