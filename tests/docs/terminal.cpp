#include "terminal.h"

#include "harness/time_limits.h"

#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr char end_mark = '\036'; // RS, which no command of a chapter prints

} // namespace

Terminal::Terminal() {
    // The shell reads its commands from a FIFO, so that a command's own stdin is not among them.
    const std::string fifo = folder_.path() / "keyboard";
    checked(mkfifo(fifo.c_str(), 0600), "mkfifo");
    keyboard_ = Descriptor{checked(open(fifo.c_str(), O_RDWR | O_CLOEXEC), "open")};
    SpawnOptions options;
    options.folder = SOURCE_DIR;
    options.environment = {"LC_ALL=C.UTF-8", "TERM=dumb", "COLUMNS=120"};
    shell_.emplace(std::vector<std::string>{"bash", "--norc", "--noprofile", fifo}, options);
    type("exec 2>&1; trap : INT"); // an interactive shell survives Ctrl-C, and so shall this one
    if (!await_end(patience)) throw std::runtime_error("bash does not start");
    start_guard();
}

// A killed program cannot clean up. So a process in the shell's group waits for the end of a FIFO
// that only this program has open for writing, and then kills the group, itself included.
void Terminal::start_guard() {
    const std::string fifo = folder_.path() / "lifeline";
    checked(mkfifo(fifo.c_str(), 0600), "mkfifo");
    const Descriptor both{checked(open(fifo.c_str(), O_RDWR | O_CLOEXEC), "open")};
    type("exec 9<'" + fifo + "'; (trap '' INT; read -r <&9; kill -KILL 0) & disown; exec 9<&-");
    if (!await_end(patience)) throw std::runtime_error("the shell's guard does not start");
    lifeline_ = Descriptor{checked(open(fifo.c_str(), O_WRONLY | O_CLOEXEC), "open")};
}

void Terminal::type(const std::string& command) {
    start_ = text().size();
    const auto typed = command + "\nprintf '\\036\\n'\n";
    checked(static_cast<int>(write(keyboard_.number(), typed.data(), typed.size())), "write");
}

std::string Terminal::text() const { return shell_->out(); }

std::string Terminal::output() const {
    const auto all = text().substr(start_);
    return all.substr(0, all.find(end_mark));
}

bool Terminal::finished() {
    return text().find(end_mark, start_) != std::string::npos || !shell_->running();
}

void Terminal::press_ctrl_c() { kill(-shell_->pid(), SIGINT); }
