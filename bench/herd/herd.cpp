// herd: how many processes a new connection wakes when all of them wait for it: each with an epoll
// of its own on one listener (shared; exclusive: with EPOLLEXCLUSIVE), each with a listener of its
// own at the same port (reuseport), or all with one epoll that reports once (oneshot).
//
//   $ cmake --build build --target herd && build/bin/herd
//   mode       connections  wake-ups  found nothing  EAGAIN   accepted by each worker
//   shared             100       400            300       8   3 0 61 36
//   exclusive          100       100              0       0   0 100 0 0
//   reuseport          100       100              0       0   27 24 25 24
//   oneshot            100       100              0       0   0 0 0 100
//
// Of those that find nothing, some do not even come back from epoll_wait(): the kernel looks once
// more and lets them sleep on. The others get as far as accept(), and EAGAIN. As long as all sleep,
// exclusive and oneshot wake the same worker each time; reuseport leaves it to a hash.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

int check(int result, const char* call) {
    return result != -1 ? result : throw std::system_error(errno, std::generic_category(), call);
}

class Fd {
public:
    explicit Fd(int fd = -1) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    ~Fd() {
        if (fd_ != -1) ::close(fd_);
    }
    [[nodiscard]] int get() const { return fd_; }
private:
    int fd_;
};

// What a worker tells the parent.
struct Tally {
    std::atomic<bool> started;
    std::atomic<int> accepted;
    std::atomic<int> too_late; // EAGAIN: another worker was quicker
};

// Memory that fork() leaves shared.
Tally* make_tallies(std::size_t count) {
    void* memory = ::mmap(nullptr, count * sizeof(Tally), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? new (memory) Tally[count]{} : (check(-1, "mmap"), nullptr);
}

// A listener at this address. Its port, if 0, becomes the one that the kernel picked.
Fd listen_on(sockaddr_in& address, bool shared_port) {
    Fd listener(check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"));
    const int on = shared_port ? 1 : 0;
    check(::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), "SO_REUSEPORT");
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t length = sizeof address;
    check(::bind(listener.get(), generic, length), "bind");
    check(::listen(listener.get(), SOMAXCONN), "listen");
    check(::getsockname(listener.get(), generic, &length), "getsockname");
    return listener;
}

// One descriptor on an epoll's interest list, with what it waits for.
struct Interest {
    Fd epoll = Fd(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
    epoll_event event{};

    Interest(int listener, std::uint32_t events) {
        event.events = events;
        check(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, listener, &event), "epoll_ctl");
    }
};

// A worker's life: wait, take one connection, end it.
void work(Interest& interest, int listener, Tally& tally) {
    tally.started = true;
    for (epoll_event event{};;) {
        check(::epoll_wait(interest.epoll.get(), &event, 1, -1), "epoll_wait");
        const Fd connection(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (connection.get() != -1) ++tally.accepted;
        else if (errno == EAGAIN) ++tally.too_late;
        else check(-1, "accept4");
        if (interest.event.events & EPOLLONESHOT) // it has fired: load it again
            check(::epoll_ctl(interest.epoll.get(), EPOLL_CTL_MOD, listener, &interest.event),
                  "epoll_ctl");
    }
}

// The listeners and epolls of a mode. What is for all workers has one element.
struct Setup {
    sockaddr_in address{};
    std::vector<Fd> listeners;
    std::vector<Interest> interests; // made before fork() only if they are shared
    std::uint32_t events = EPOLLIN;

    Setup(const std::string& mode, std::size_t workers) {
        const bool own = mode == "reuseport";
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        for (std::size_t i = 0; i < (own ? workers : 1); ++i)
            listeners.push_back(listen_on(address, own));
        if (mode == "exclusive") events |= EPOLLEXCLUSIVE;
        if (mode == "oneshot") events |= EPOLLONESHOT;
        if (mode == "oneshot") interests.emplace_back(listeners.front().get(), events);
    }
};

[[noreturn]] void be_worker(Setup& setup, std::size_t number, Tally& tally, pid_t parent) {
    try {
        check(::prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl"); // not to survive the parent
        if (::getppid() != parent) ::_exit(1);              // which has ended before that
        const int listener = setup.listeners[number % setup.listeners.size()].get();
        if (setup.interests.empty()) setup.interests.emplace_back(listener, setup.events);
        work(setup.interests.front(), listener, tally);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "herd: worker: %s\n", error.what());
    }
    ::_exit(1);
}

// The worker processes, ended when this goes.
class Workers {
public:
    Workers(Setup& setup, std::size_t count, Tally* tallies) : tallies_(tallies) {
        for (std::size_t i = 0; i < count; ++i) {
            const pid_t parent = ::getpid();
            const pid_t pid = check(::fork(), "fork");
            if (pid == 0) be_worker(setup, i, tallies[i], parent);
            pids_.push_back(pid);
        }
    }
    Workers(const Workers&) = delete;
    ~Workers() {
        for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
        for (const pid_t pid : pids_) ::waitpid(pid, nullptr, 0);
    }

    // Waits until all are asleep: they sleep in epoll_wait() and nowhere else.
    void await_asleep() const {
        for (std::size_t i = 0; i < pids_.size(); ++i) {
            while (!tallies_[i].started || status(pids_[i], "State:") != "S") {
                if (status(pids_[i], "State:") == "Z") throw std::runtime_error("a worker ended");
                std::this_thread::sleep_for(std::chrono::microseconds(100));
            }
        }
    }

    // How often they went to sleep so far, which is once for each time they were woken.
    [[nodiscard]] int sleeps() const {
        int sum = 0;
        for (const pid_t pid : pids_) sum += std::stoi(status(pid, "voluntary_ctxt_switches:"));
        return sum;
    }
private:
    // A value of proc(5)'s /proc/PID/status.
    static std::string status(pid_t pid, const std::string& key) {
        std::ifstream file("/proc/" + std::to_string(pid) + "/status");
        std::string word, value;
        while (file >> word)
            if (word == key && file >> value) return value;
        throw std::runtime_error("no " + key);
    }

    std::vector<pid_t> pids_;
    Tally* tallies_;
};

// One client: connects, and reads until the worker has closed.
void visit(const sockaddr_in& server) {
    const Fd client(check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
    const timeval limit{10, 0}; // seconds; a worker that has ended leaves its clients waiting
    check(::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
    check(::connect(client.get(), reinterpret_cast<const sockaddr*>(&server), sizeof server),
          "connect");
    char byte = 0;
    check(static_cast<int>(::recv(client.get(), &byte, 1, 0)), "recv");
}

// Prints a line of the table.
void run(const std::string& mode, std::size_t worker_count, int clients) {
    Tally* tallies = make_tallies(worker_count);
    Setup setup(mode, worker_count);
    const Workers workers(setup, worker_count, tallies);
    workers.await_asleep();
    const int before = workers.sleeps();
    for (int i = 0; i < clients; ++i) {
        visit(setup.address);
        workers.await_asleep();
    }
    const int wake_ups = workers.sleeps() - before;
    int accepted = 0, too_late = 0;
    std::string each;
    for (const Tally* tally = tallies; tally < tallies + worker_count; ++tally) {
        accepted += tally->accepted;
        too_late += tally->too_late;
        each += ' ' + std::to_string(tally->accepted);
    }
    std::printf("%-9s %12d %9d %14d %7d  %s\n", mode.c_str(), accepted, wake_ups,
                wake_ups - accepted, too_late, each.c_str());
}

} // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> modes{"shared", "exclusive", "reuseport", "oneshot"};
    std::string mode;
    std::size_t workers = 4;
    int clients = 100;
    CLI::App app("Counts the processes that one connection wakes.", "herd");
    app.add_option("--mode", mode, "How the workers wait; default: all, one after the other")
        ->check(CLI::IsMember(modes));
    app.add_option("--workers", workers, "Processes")->check(CLI::Range(1, 1000));
    app.add_option("--clients", clients, "Connections")->check(CLI::Range(1, 100000));
    CLI11_PARSE(app, argc, argv);
    try {
        std::printf(
            "mode       connections  wake-ups  found nothing  EAGAIN   accepted by each worker\n");
        for (const auto& one : modes)
            if (mode.empty() || mode == one) run(one, workers, clients);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "herd: %s\n", error.what());
        return 1;
    }
}
