#include "stage_process.h"

#include "subject.h"
#include "time_limits.h"

#include <algorithm>
#include <arpa/inet.h>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace {

namespace fs = std::filesystem;

constexpr const char* listening_mark = ": listening on http://";

/// A sanitizer's options on top of the caller's: no pause at exit, which would hide how fast a
/// stage ends.
SpawnOptions with_sanitizer_options(SpawnOptions options) {
    const char* given = getenv("TSAN_OPTIONS");
    options.environment.push_back(std::string{"TSAN_OPTIONS=atexit_sleep_ms=0:"} +
                                  (given != nullptr ? given : ""));
    return options;
}

std::vector<fs::path> entries_of(const fs::path& folder) {
    std::vector<fs::path> entries;
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator(folder, gone)) entries.push_back(entry.path());
    return entries;
}

/// The sockets among the descriptors of a process, by the inode that /proc/PID/fd shows.
std::vector<std::uint64_t> socket_inodes(const fs::path& folder) {
    std::vector<std::uint64_t> inodes;
    for (const auto& entry : entries_of(folder)) {
        std::error_code gone;
        const std::string target = fs::read_symlink(entry, gone);
        if (target.starts_with("socket:[")) inodes.push_back(std::stoull(target.substr(8)));
    }
    return inodes;
}

/// A port that nobody has at this moment. Another program may take it before it is used.
int free_port() {
    const Descriptor probe{checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    checked(bind(probe.number(), reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
    socklen_t size = sizeof address;
    checked(getsockname(probe.number(), reinterpret_cast<sockaddr*>(&address), &size),
            "getsockname");
    return ntohs(address.sin_port);
}

/// How often a server that is tried is started, where it ends before it listens: another program
/// may have taken its port. The stages choose a port themselves.
constexpr int starts_of_a_subject = 5;

/// Ends all that is left of a process group, the orphans included, which are this process's since
/// adopt_orphans().
void end_group(pid_t leader) {
    kill(-leader, SIGKILL);
    while (waitpid(-leader, nullptr, 0) > 0) {
    }
}

/// Orphans of a server that is tried become this process's children, and not those of init.
void adopt_orphans() { checked(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER"); }

} // namespace

std::vector<std::string> stage_command(const Stage& stage, std::vector<std::string> arguments) {
    if (const Subject* server = subject()) return server->command(free_port(), arguments);
    std::vector<std::string> command{program_of(stage)};
    if (!stage.profile.takes_options) {
        if (!arguments.empty()) throw std::logic_error(stage.name + " takes no options");
        command.emplace_back("0");
        return command;
    }
    const auto given = [&](const char* option) {
        return std::find(arguments.begin(), arguments.end(), option) != arguments.end();
    };
    if (!given("--host")) command.insert(command.end(), {"--host", "127.0.0.1"});
    if (!given("--port")) command.insert(command.end(), {"--port", "0"});
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
}

Finished run_stage(const Stage& stage, const std::vector<std::string>& arguments) {
    if (subject() != nullptr) throw NotApplicable("is about the stages' command line");
    std::vector<std::string> command{program_of(stage)};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const TemporaryFolder folder;
    return run_command(command, with_sanitizer_options({.folder = folder.path()}));
}

StageProcess::StageProcess(const Stage& stage, const std::vector<std::string>& arguments,
                           const SpawnOptions& options)
    : stage_{stage} {
    if (subject() != nullptr) adopt_orphans();
    SpawnOptions all_options = with_sanitizer_options(options);
    if (stage.profile.keeps_requests) {
        folder_ = std::make_unique<TemporaryFolder>();
        all_options.folder = folder_->path();
    }
    const bool line_expected = stage.profile.announces && options.err == Stream::collected;
    const auto found = [&] { return line_expected ? address_from_line() : address_from_kernel(); };
    const int starts = subject() == nullptr ? 1 : starts_of_a_subject;
    for (int i = 0; i < starts && !running(); ++i) {
        end_what_is_left();
        child_ = std::make_unique<ChildProcess>(stage_command(stage, arguments), all_options);
        eventually([&] { return found() || !running(); });
        if (found()) return;
    }
    end_what_is_left();
    throw std::runtime_error(stage.name + " does not listen; on its stderr: " + child_->err());
}

StageProcess::~StageProcess() {
    if (running()) {
        child_->send_signal(SIGCONT); // not last: it would undo the SIGSTOP by which LeakSanitizer
        send_signal(SIGTERM);         // holds the threads of a program that ends
        const int code = wait_exit(patience).value_or(-1);
        const bool own_end = stage_.number == 1 && (code == 0 || code == 1); // just before
        const int expected = stage_.profile.ends_cleanly ? 0 : 128 + SIGTERM;
        const bool is_enough = subject() != nullptr && code >= 0; // it has ended
        EXPECT_TRUE(code == expected || own_end || is_enough)
            << stage_.name << " ends with " << code << " on SIGTERM"
            << " (-1: not at all); on its stderr: " << child_->err();
    }
    check_sanitizer_reports();
    end_what_is_left();
}

void StageProcess::end_what_is_left() const {
    if (subject() != nullptr && child_) end_group(child_->pid());
}

bool StageProcess::address_from_line() {
    const auto text = child_->err();
    const auto found = text.find(listening_mark);
    if (found == std::string::npos) return false;
    const auto start = found + std::string{listening_mark}.size();
    const auto end = text.find("/\n", start);
    if (end == std::string::npos) return false;
    const auto place = text.substr(start, end - start);
    const auto colon = place.find(':');
    address_ = {place.substr(0, colon),
                static_cast<std::uint16_t>(std::stoul(place.substr(colon + 1)))};
    return true;
}

bool StageProcess::address_from_kernel() {
    const auto inodes = socket_inodes(proc("fd"));
    const auto all = listeners();
    const auto ours = std::find_if(all.begin(), all.end(), [&](const Listener& listener) {
        return std::find(inodes.begin(), inodes.end(), listener.inode) != inodes.end();
    });
    if (ours == all.end()) return false;
    address_ = ours->address;
    if (address_.host == "0.0.0.0") address_.host = "127.0.0.1"; // one of all
    return true;
}

void StageProcess::stop() {
    child_->send_signal(SIGSTOP);
    if (!eventually([this] { return state_in(read_file(proc("stat"))) == 'T'; })) {
        throw std::runtime_error(stage_.name + " does not stop");
    }
}

void StageProcess::resume() { child_->send_signal(SIGCONT); }

void StageProcess::send_signal(int signal) {
    last_signal_ = signal;
    child_->send_signal(signal);
}

std::optional<int> StageProcess::wait_exit(Clock::duration limit) {
    // ThreadSanitizer takes each signal itself and calls the program's handler when it sees fit: at
    // the end of a later call, or not before the next signal. A server then waits in accept4(2)
    // as if nothing had been sent. Without ThreadSanitizer one signal has to do.
    if (sanitizer() == Sanitizer::thread && last_signal_ != 0 && !child_->wait_exit(2s))
        child_->send_signal(last_signal_);
    return child_->wait_exit(limit);
}

int StageProcess::exit_code(Clock::duration limit) {
    const auto code = wait_exit(limit);
    EXPECT_TRUE(code.has_value()) << stage_.name << " still runs";
    return code.value_or(-1);
}

std::string StageProcess::ending() {
    const int code = exit_code();
    if (code <= 128) return "exit " + std::to_string(code);
    return std::string{"SIG"} + sigabbrev_np(code - 128);
}

std::vector<std::string> StageProcess::complaints() const {
    if (subject() != nullptr) throw NotApplicable("reads what a stage says of its troubles");
    auto lines = lines_of(child_->err());
    std::erase_if(lines, [](const std::string& line) {
        return line.find(listening_mark) != std::string::npos;
    });
    return lines;
}

void StageProcess::check_sanitizer_reports() const {
    if (subject() != nullptr) return;
    const auto text = child_->err();
    for (const char* word : {"Sanitizer", "runtime error:"}) {
        EXPECT_EQ(text.find(word), std::string::npos) << stage_.name << " wrote:\n" << text;
    }
}

std::chrono::nanoseconds StageProcess::cpu_time() const {
    clockid_t clock{};
    timespec time{};
    if (clock_getcpuclockid(child_->pid(), &clock) != 0) return {};
    clock_gettime(clock, &time);
    return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
}

std::chrono::nanoseconds StageProcess::cpu_time_during(Clock::duration window) const {
    const auto before = cpu_time();
    std::this_thread::sleep_for(window);
    return cpu_time() - before;
}

std::size_t StageProcess::threads() const { return entries_of(proc("task")).size(); }

std::size_t StageProcess::descriptors() const { return entries_of(proc("fd")).size(); }

std::vector<bool> StageProcess::sockets_that_block() const {
    std::vector<bool> blocking;
    for (const auto& entry : entries_of(proc("fd"))) {
        std::error_code gone;
        if (!fs::read_symlink(entry, gone).string().starts_with("socket:")) continue;
        for (const auto& line : lines_of(read_file(proc("fdinfo/") + entry.filename().string()))) {
            if (!line.starts_with("flags:")) continue;
            const auto flags = std::stoul(line.substr(6), nullptr, 8);
            blocking.push_back((flags & O_NONBLOCK) == 0);
        }
    }
    return blocking;
}

std::uint64_t StageProcess::memory() const { return kilobytes("smaps_rollup", "Pss:") * 1024; }

std::uint64_t StageProcess::address_space() const { return kilobytes("status", "VmSize:") * 1024; }

std::uint32_t StageProcess::waiting_connections() const {
    for (const Listener& listener : listeners()) {
        if (listener.address.port == address_.port) return listener.waiting_count;
    }
    return 0;
}

bool StageProcess::idle_for(Clock::duration window) const {
    return asleep() && cpu_time_during(window) < window / 50 && asleep();
}

testing::AssertionResult StageProcess::settle() const {
    if (eventually([this] { return idle_for(20ms); })) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "the server does not come to rest, though no client does "
                                          "anything: it goes on using the CPU";
}

bool StageProcess::asleep() const {
    const auto tasks = entries_of(proc("task"));
    return std::all_of(tasks.begin(), tasks.end(), [](const fs::path& task) {
        const char state = state_in(read_file(task / "stat"));
        return state == 'S' || state == 'Z'; // a zombie: it has ended
    });
}

std::uint64_t StageProcess::kilobytes(const char* file, const std::string& field) const {
    for (const auto& line : lines_of(read_file(proc(file)))) {
        if (line.starts_with(field)) return std::stoull(line.substr(field.size()));
    }
    return 0;
}

std::string StageProcess::proc(const std::string& file) const {
    return "/proc/" + std::to_string(child_->pid()) + '/' + file;
}
