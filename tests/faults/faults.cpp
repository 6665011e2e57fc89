// A library that a test puts in front of the C library (LD_PRELOAD of ld.so(8)), so that calls of
// the stage fail which in reality fail one time in a million, or never on this kernel.
//
// STAGE_FAULTS says which: "recv=4,0;accept4=24,24!" makes every second recv() fail with errno 4,
// beginning with the first, and the first two accept4(), but no later one. 0 stands for the real
// call, and -5 for one that takes 5 bytes at most. close() fails after it has closed, as Linux
// does. "new=0,0,12!" lets the third memory allocation after the first accept4() fail; those before
// belong to the set-up, and fail as "early" says. "epoll_add" is epoll_ctl() with EPOLL_CTL_ADD,
// the one that needs room. "large=12!" lets the first allocation fail that is for STAGE_LARGE bytes
// or more. STAGE_FAULTS_LOG names a file that gets a line for each such call: its name, and the
// nanoseconds of the monotonic clock. STAGE_SEND_MOST=1000 lets send() take 1,000 bytes at most,
// and so makes every client a fast one. While the file STAGE_HELD_DISK exists, fdatasync() and
// fsync() do not return, and STAGE_HELD_DISK.awaited says that one has been called.

#undef _FORTIFY_SOURCE // or the headers define some of these functions themselves

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <clocale>
#include <cstdint>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <new>
#include <poll.h>
#include <string>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace {

/// While it lives, memory that this thread asks for is this library's, not the stage's.
struct OwnMemory {
    OwnMemory() { ++count; }
    OwnMemory(const OwnMemory&) = delete;
    OwnMemory& operator=(const OwnMemory&) = delete;
    ~OwnMemory() { --count; }

    static thread_local int count;
};

thread_local int OwnMemory::count = 0;

/// The failures of one function, counted over all threads.
class Fault {
public:
    explicit Fault(const std::string& name) : name_{name} {
        const OwnMemory ours;
        const char* given = std::getenv("STAGE_FAULTS");
        const std::string plan = ';' + std::string{given != nullptr ? given : ""} + ';';
        const auto found = plan.find(';' + name + '=');
        if (found == std::string::npos) return;
        const char* number = plan.c_str() + found + name.size() + 2;
        for (char* end = nullptr;; number = end + 1) {
            errors_.push_back(static_cast<int>(std::strtol(number, &end, 10)));
            repeats_ = *end != '!';
            if (*end != ',') break;
        }
    }

    /// Whether this call is to fail; errno is set then.
    bool strikes() { return fails(planned()); }

    /// The same for a call about bytes; where it is to be a short one, fewer `bytes` remain.
    bool strikes(std::size_t& bytes) {
        const int plan = planned();
        if (plan < 0) bytes = std::min(bytes, static_cast<std::size_t>(-plan));
        return fails(plan);
    }

private:
    /// For the next call: an error, or below 0 the bytes it may take; 0 is nothing.
    int planned() {
        if (errors_.empty()) return 0;
        const auto call = calls_++;
        if (!repeats_ && call >= errors_.size()) return 0;
        const int plan = errors_[call % errors_.size()];
        if (plan != 0) log();
        return plan;
    }

    static bool fails(int plan) {
        if (plan > 0) errno = plan;
        return plan > 0;
    }

    void log() const {
        const OwnMemory ours;
        const char* path = std::getenv("STAGE_FAULTS_LOG");
        if (path == nullptr) return;
        const int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        const auto ns = std::chrono::nanoseconds(now).count();
        const std::string line = name_ + ' ' + std::to_string(ns) + '\n';
        syscall(SYS_write, file, line.data(),
                line.size()); // write() is one of those below, as is close()
        syscall(SYS_close, file);
    }

    std::string name_;
    std::vector<int> errors_;
    bool repeats_ = true;
    std::atomic<std::size_t> calls_{0};
};

std::atomic<bool> has_begun{false}; // main() runs: the first thing it does is call setlocale()
std::atomic<bool> is_set_up{false}; // the first accept4() has been called

template <typename Function> Function* real(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

/// Returns when the test lets the disk go on. A second file says that somebody waits.
void wait_for_disk() {
    static const char* const path = std::getenv("STAGE_HELD_DISK");
    if (path == nullptr || access(path, F_OK) != 0) return;
    const OwnMemory ours;
    const std::string awaited = std::string{path} + ".awaited";
    syscall(SYS_close, open(awaited.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    while (access(path, F_OK) == 0) usleep(1000);
}

} // namespace

extern "C" {

char* setlocale(int category, const char* name) noexcept {
    static auto* const call = real<decltype(setlocale)>("setlocale");
    char* const result = call(category, name);
    has_begun = true;
    return result;
}

int accept(int socket, sockaddr* address, socklen_t* length) {
    static Fault fault{"accept"};
    static auto* const call = real<decltype(accept)>("accept");
    return fault.strikes() ? -1 : call(socket, address, length);
}

int accept4(int socket, sockaddr* address, socklen_t* length, int flags) {
    is_set_up = true;
    static Fault fault{"accept4"};
    static auto* const call = real<decltype(accept4)>("accept4");
    return fault.strikes() ? -1 : call(socket, address, length, flags);
}

ssize_t recv(int socket, void* bytes, size_t size, int flags) {
    static Fault fault{"recv"};
    static auto* const call = real<decltype(recv)>("recv");
    return fault.strikes(size) ? -1 : call(socket, bytes, size, flags);
}

ssize_t send(int socket, const void* bytes, size_t size, int flags) {
    static Fault fault{"send"};
    static const char* const given = std::getenv("STAGE_SEND_MOST");
    static const size_t most = given != nullptr ? std::strtoul(given, nullptr, 10) : SIZE_MAX;
    static auto* const call = real<decltype(send)>("send");
    return fault.strikes(size) ? -1 : call(socket, bytes, std::min(size, most), flags);
}

ssize_t read(int file, void* bytes, size_t size) {
    static Fault fault{"read"};
    static auto* const call = real<decltype(read)>("read");
    return fault.strikes() ? -1 : call(file, bytes, size);
}

ssize_t write(int file, const void* bytes, size_t size) {
    static Fault fault{"write"};
    static auto* const call = real<decltype(write)>("write");
    return fault.strikes(size) ? -1 : call(file, bytes, size);
}

int close(int file) {
    static Fault fault{"close"};
    static auto* const call = real<decltype(close)>("close");
    const int result = call(file);
    return fault.strikes() ? -1 : result;
}

int select(int count, fd_set* in, fd_set* out, fd_set* other, timeval* limit) {
    static Fault fault{"select"};
    static auto* const call = real<decltype(select)>("select");
    return fault.strikes() ? -1 : call(count, in, out, other, limit);
}

int pselect(int count, fd_set* in, fd_set* out, fd_set* other, const timespec* limit,
            const sigset_t* mask) {
    static Fault fault{"pselect"};
    static auto* const call = real<decltype(pselect)>("pselect");
    return fault.strikes() ? -1 : call(count, in, out, other, limit, mask);
}

int poll(pollfd* files, nfds_t count, int limit) {
    static Fault fault{"poll"};
    static auto* const call = real<decltype(poll)>("poll");
    return fault.strikes() ? -1 : call(files, count, limit);
}

int ppoll(pollfd* files, nfds_t count, const timespec* limit, const sigset_t* mask) {
    static Fault fault{"ppoll"};
    static auto* const call = real<decltype(ppoll)>("ppoll");
    return fault.strikes() ? -1 : call(files, count, limit, mask);
}

int epoll_wait(int epoll, epoll_event* events, int most, int limit) {
    static Fault fault{"epoll_wait"};
    static auto* const call = real<decltype(epoll_wait)>("epoll_wait");
    return fault.strikes() ? -1 : call(epoll, events, most, limit);
}

int epoll_pwait(int epoll, epoll_event* events, int most, int limit, const sigset_t* mask) {
    static Fault fault{"epoll_pwait"};
    static auto* const call = real<decltype(epoll_pwait)>("epoll_pwait");
    return fault.strikes() ? -1 : call(epoll, events, most, limit, mask);
}

int fdatasync(int file) {
    static Fault fault{"fdatasync"};
    static auto* const call = real<decltype(fdatasync)>("fdatasync");
    wait_for_disk();
    return fault.strikes() ? -1 : call(file);
}

int fsync(int file) {
    static Fault fault{"fsync"};
    static auto* const call = real<decltype(fsync)>("fsync");
    wait_for_disk();
    return fault.strikes() ? -1 : call(file);
}

int epoll_ctl(int epoll, int operation, int file, epoll_event* event) noexcept {
    static Fault fault{"epoll_ctl"};
    static Fault adding{"epoll_add"};
    static auto* const call = real<decltype(epoll_ctl)>("epoll_ctl");
    if (fault.strikes() || (operation == EPOLL_CTL_ADD && adding.strikes())) return -1;
    return call(epoll, operation, file, event);
}

} // extern "C"

/// What all of the stage's own memory comes from (replaced as [new.delete.single] allows).
void* operator new(std::size_t size) {
    if (is_set_up && OwnMemory::count == 0) {
        static Fault fault{"new"};
        static Fault large{"large"};
        static const char* const given = std::getenv("STAGE_LARGE");
        static const size_t limit = given != nullptr ? std::strtoul(given, nullptr, 10) : SIZE_MAX;
        if (fault.strikes() || (size >= limit && large.strikes())) throw std::bad_alloc();
    }
    if (has_begun && !is_set_up && OwnMemory::count == 0) {
        static Fault early{"early"};
        if (early.strikes()) throw std::bad_alloc();
    }
    void* memory = std::malloc(size > 0 ? size : 1);
    return memory != nullptr ? memory : throw std::bad_alloc();
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
