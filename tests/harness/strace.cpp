#include "strace.h"

#include "time_limits.h"

#include <csignal>
#include <sstream>
#include <stdexcept>

namespace {

std::vector<std::string> command(pid_t process, const std::string& log,
                                 const std::vector<std::string>& options) {
    std::vector<std::string> words{"strace", "-f", "-o", log, "-p", std::to_string(process)};
    words.insert(words.end(), options.begin(), options.end());
    return words;
}

} // namespace

bool tracing_is_permitted() {
    static const bool permitted = run_command({"strace", "-o", "/dev/null", "true"}).exit_code == 0;
    return permitted;
}

Strace::Strace(pid_t process, const std::vector<std::string>& options)
    : child_{command(process, folder_.path() / "log", options), {}} {
    const auto attached = [this] { return child_.err().find(" attached") != std::string::npos; };
    eventually([&] { return attached() || !child_.running(); });
    if (!attached()) throw std::runtime_error("strace does not attach: " + child_.err());
}

void Strace::detach() {
    child_.send_signal(SIGTERM); // it detaches, and ends by the same signal
    if (!child_.wait_exit()) throw std::runtime_error("strace does not detach: " + child_.err());
}

std::size_t Strace::injected() const {
    std::size_t count = 0;
    for (const std::string& line : lines_of(log()))
        if (line.find("(INJECTED)") != std::string::npos) ++count;
    return count;
}

std::vector<std::string> calls_counted(const std::string& table) {
    std::vector<std::string> calls;
    for (const std::string& line : lines_of(table)) {
        std::istringstream words{line};
        std::string word;
        std::string last;
        double share = 0;
        if (!(words >> share)) continue; // the heading and the rules
        while (words >> word) last = word;
        if (last != "total") calls.push_back(last);
    }
    return calls;
}
