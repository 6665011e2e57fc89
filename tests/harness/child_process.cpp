#include "child_process.h"

#include "time_limits.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <linux/close_range.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace {

struct OpenStream {
    Descriptor child;  ///< what the child gets as its 0, 1 or 2; none if it is to be closed
    Descriptor reader; ///< a pipe's other end, kept open
};

Descriptor open_device(const char* path) {
    return Descriptor{checked(open(path, O_RDWR | O_CLOEXEC), path)};
}

OpenStream open_pipe(bool with_reader) {
    int ends[2];
    checked(pipe2(ends, O_CLOEXEC), "pipe2");
    OpenStream stream{Descriptor{ends[1]}, Descriptor{ends[0]}};
    checked(fcntl(ends[1], F_SETPIPE_SZ, 4096), "F_SETPIPE_SZ");
    if (!with_reader) stream.reader.close();
    return stream;
}

OpenStream open_stream(Stream kind) {
    switch (kind) {
    case Stream::collected: {
        Descriptor file{checked(memfd_create("collected", MFD_CLOEXEC), "memfd_create")};
        checked(fcntl(file.number(), F_SETFL, O_APPEND), "F_SETFL");
        return {std::move(file), {}};
    }
    case Stream::null:
        return {open_device("/dev/null"), {}};
    case Stream::full_device:
        return {open_device("/dev/full"), {}};
    case Stream::unread_pipe:
        return open_pipe(true);
    case Stream::broken_pipe:
        return open_pipe(false);
    case Stream::closed:
        break;
    }
    return {};
}

/// All that the child needs, made before fork(2): between fork and exec only async-signal-safe
/// functions may be called (signal-safety(7)).
struct Launch {
    std::vector<char*> words;
    std::vector<char*> environment;
    const SpawnOptions* options;
    int streams[3];
    pid_t parent;
};

void limit_resource(__rlimit_resource resource, const std::optional<rlim_t>& limit) {
    if (!limit) return;
    const rlimit both{*limit, *limit};
    setrlimit(resource, &both);
}

void set_signals(const SpawnOptions& options) {
    sigset_t blocked;
    sigemptyset(&blocked);
    for (const int number : options.blocked_signals) sigaddset(&blocked, number);
    for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) signal(number, SIG_DFL);
    for (const int number : options.ignored_signals) signal(number, SIG_IGN);
    sigprocmask(SIG_SETMASK, &blocked, nullptr);
}

[[noreturn]] void become(const Launch& launch) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); // and where the parent has gone before that took effect:
    if (getppid() != launch.parent) _exit(127);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); // strace may attach, where only parents may (Yama)
    setpgid(0, 0);
    for (int number = 0; number < 3; ++number) {
        if (launch.streams[number] >= 0) dup2(launch.streams[number], number);
        if (launch.streams[number] < 0) close(number);
    }
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); // also what the test program inherited itself
    const SpawnOptions& options = *launch.options;
    if (!options.folder.empty() && chdir(options.folder.c_str()) != 0) _exit(127);
    limit_resource(RLIMIT_NOFILE, options.descriptor_limit);
    limit_resource(RLIMIT_AS, options.memory_limit);
    limit_resource(RLIMIT_FSIZE, options.file_size_limit);
    limit_resource(RLIMIT_STACK, options.stack_limit);
    set_signals(options);
    execvpe(launch.words[0], launch.words.data(), launch.environment.data());
    constexpr char message[] = "cannot be executed\n";
    [[maybe_unused]] const auto written = write(2, message, sizeof message - 1);
    _exit(127);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

/// The name in "NAME=value", with the "=".
std::string_view name_of(std::string_view entry) { return entry.substr(0, entry.find('=') + 1); }

/// What this program has inherited, with `additions` in place of entries of the same name: of two
/// of a name, one program takes the first and another the last.
std::vector<std::string> environment_with(const std::vector<std::string>& additions) {
    std::vector<std::string> all = additions;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const auto same = [&](const auto& other) { return name_of(other) == name_of(*entry); };
        if (std::none_of(additions.begin(), additions.end(), same)) all.emplace_back(*entry);
    }
    return all;
}

} // namespace

ChildProcess::ChildProcess(std::vector<std::string> command, const SpawnOptions& options) {
    auto environment = environment_with(options.environment);
    command.insert(command.begin(), options.through.begin(), options.through.end());
    OpenStream in = open_stream(options.in);
    OpenStream out = open_stream(options.out);
    OpenStream err = open_stream(options.err);
    const Launch launch{pointers_to(command),
                        pointers_to(environment),
                        &options,
                        {options.stdin_from < 0 ? in.child.number() : options.stdin_from,
                         options.stdout_from < 0 ? out.child.number() : options.stdout_from,
                         options.stderr_from < 0 ? err.child.number() : options.stderr_from},
                        getpid()};
    pid_ = checked(fork(), "fork");
    if (pid_ == 0) become(launch);
    setpgid(pid_, pid_); // in both, so that neither has to wait for the other
    const bool readable = options.out == Stream::collected || options.out == Stream::unread_pipe;
    if (readable) out_ = std::move(out.child);
    if (options.err == Stream::collected) err_ = std::move(err.child);
    readers_.push_back(std::move(in.reader));
    readers_.push_back(std::move(out.reader));
    readers_.push_back(std::move(err.reader));
}

ChildProcess::~ChildProcess() {
    if (exit_code_) return;
    kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
}

void ChildProcess::send_signal(int signal) {
    if (running()) checked(kill(pid_, signal), "kill");
}

std::optional<int> ChildProcess::wait_exit(Clock::duration limit) {
    eventually(
        [this] {
            int status = 0;
            if (exit_code_ || waitpid(pid_, &status, WNOHANG) != pid_)
                return exit_code_.has_value();
            exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            return true;
        },
        limit);
    return exit_code_;
}

Finished run_command(const std::vector<std::string>& command, const SpawnOptions& options,
                     Clock::duration limit) {
    ChildProcess child{command, options};
    const int exit_code = child.wait_exit(limit).value_or(-1);
    return {exit_code, child.out(), child.err()};
}
