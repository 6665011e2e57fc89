// What this stage is about: telling the kernel what we wait for, and waiting,
// with poll().
//
// poll() takes an array with an entry for each descriptor. Its answer has a
// field of its own there, so we need no copies. An entry's place in our array
// is its descriptor's number, so we never search for it.
#pragma once

#include "common.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <ctime>
#include <thread>
#include <vector>

// What we wait for with one descriptor.
enum class Want { nothing, read, write };

class Poller {
public:
    // Reserves the memory for one more descriptor, so that the other functions
    // allocate none and can't fail halfway.
    void add(int fd) {
        const std::size_t size = static_cast<std::size_t>(fd) + 1;
        if (size > entries_.size()) {
            entries_.resize(size, unused);
        }
        ready_.reserve(entries_.capacity());
    }

    // From now on we wait for this.
    void watch(int fd, Want want) {
        pollfd entry{fd, 0, 0};
        if (want == Want::read) {
            entry.events = POLLIN;
        } else if (want == Want::write) {
            entry.events = POLLOUT;
        }
        entries_[static_cast<std::size_t>(fd)] = entry;
    }

    // Makes sure that the next wait returns the descriptor if it is still
    // ready. There is nothing to do: poll() does that by itself. (07_epoll_edge
    // needs this.)
    void again(int /*fd*/) {}

    // Call this just before close(). The kernel will give the number to another
    // client.
    void forget(int fd) {
        entries_[static_cast<std::size_t>(fd)] = unused;
        // poll() refuses an array that is longer than RLIMIT_NOFILE, and that
        // limit can be lowered while we run. So we keep the array short.
        while (!entries_.empty() && entries_.back().fd < 0) {
            entries_.pop_back();
        }
    }

    // Waits until a descriptor is ready, a signal comes, or `until` has passed.
    void wait(Clock::time_point until) {
        const timespec limit = time_until(until);
        // Signals can come during this call only. Elsewhere they are blocked,
        // so none is lost between is_stopping() and the wait.
        sigset_t none;
        ::sigemptyset(&none);
        const int n = ::ppoll(entries_.data(), entries_.size(), &limit, &none);
        if (n == -1) {
            if (errno != EINTR) {
                make_all_ready();
            }
            return;
        }
        for (const pollfd& entry : entries_) {
            // This may be an error or a hang-up, too. The next call on the
            // socket says which.
            if (entry.revents != 0) {
                ready_.push_back(entry.fd);
            }
        }
    }

    // After a wait: whether there are ready descriptors that nobody has taken.
    [[nodiscard]] bool has_ready() const {
        return !ready_.empty();
    }

    // Takes one of them. Each comes once.
    int take_ready() {
        const int fd = ready_.back();
        ready_.pop_back();
        return fd;
    }

private:
    // poll() ignores an entry whose descriptor is negative.
    static constexpr pollfd unused{-1, 0, 0};

    static constexpr auto short_wait = 50ms;

    static timespec time_until(Clock::time_point until) {
        using std::chrono::nanoseconds;
        constexpr auto second = nanoseconds(1s).count();
        const Clock::duration zero{};
        const nanoseconds left = std::max(until - Clock::now(), zero);
        return {static_cast<time_t>(left.count() / second),
                static_cast<long>(left.count() % second)};
    }

    // The kernel had no memory for the array (ENOMEM), or RLIMIT_NOFILE is now
    // below its length (EINVAL). No socket blocks, so the server can just try
    // them all, from time to time.
    void make_all_ready() {
        if (errno != ENOMEM && errno != EINVAL) {
            throw_errno("ppoll");
        }
        std::this_thread::sleep_for(short_wait);
        for (const pollfd& entry : entries_) {
            if (entry.events != 0) {
                ready_.push_back(entry.fd);
            }
        }
    }

    // By descriptor.
    std::vector<pollfd> entries_;
    // What the last wait has found, and nobody has taken yet.
    std::vector<int> ready_;
};
