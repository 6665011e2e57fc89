// What this stage is about: telling the kernel what we wait for, and waiting,
// with poll().
//
// poll() takes an array with an entry for each descriptor. In `events` we say
// what we wait for. The kernel writes its answer to `revents`, so we need no
// copies. The entry for descriptor n is entries_[n], so we find it at once.
// poll() skips an entry whose descriptor is -1.
//
// ppoll() is poll() with a signal mask and a finer timeout.
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

// What we wait for on one descriptor.
enum class Want { nothing, read, write };

class Poller {
public:
    // Call this before watch(). It makes the descriptor's entry, so that the
    // other functions need no memory.
    void add(int fd) {
        const std::size_t size = static_cast<std::size_t>(fd) + 1;
        if (size > entries_.size()) {
            entries_.resize(size, unused);
        }
        // All descriptors may be ready at the same time.
        ready_.reserve(entries_.capacity());
    }

    // From now on, wait() waits until the descriptor is ready for this.
    void watch(int fd, Want want) {
        // Even with Want::nothing the entry keeps its descriptor. If it were
        // -1, a forget() of another descriptor could remove the entry from the
        // end of the array.
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

    // Call this just before close(), because the kernel may give the number to
    // the next client.
    void forget(int fd) {
        entries_[static_cast<std::size_t>(fd)] = unused;
        // poll() refuses an array that is longer than our limit of descriptors
        // (RLIMIT_NOFILE). The limit can be lowered while we run. So we keep
        // the array short.
        while (!entries_.empty() && entries_.back().fd < 0) {
            entries_.pop_back();
        }
    }

    // Waits until a descriptor is ready, a signal comes, or `until` has passed.
    void wait(Clock::time_point until) {
        const timespec limit = time_until(until);
        // Signals get through during the wait only, and end it. So none is
        // missed: one that comes between is_stopping() and the wait ends the
        // wait immediately.
        sigset_t none;
        ::sigemptyset(&none);
        const int n = ::ppoll(entries_.data(), entries_.size(), &limit, &none);
        if (n == -1 && errno == EINTR) {
            return;
        }
        // ENOMEM: the kernel has no memory for the array. EINVAL: the array is
        // longer than RLIMIT_NOFILE, which has been lowered meanwhile.
        if (n == -1 && errno != ENOMEM && errno != EINVAL) {
            throw_errno("ppoll");
        }
        if (n == -1) {
            make_all_ready();
            return;
        }
        for (const pollfd& entry : entries_) {
            // The answer may also be that there is an error, or that the client
            // has left. The next call on the socket says so.
            if (entry.revents != 0) {
                ready_.push_back(entry.fd);
            }
        }
    }

    // Whether take_ready() can return one more descriptor.
    [[nodiscard]] bool has_ready() const {
        return !ready_.empty();
    }

    // Returns a ready descriptor, and takes it off the list.
    int take_ready() {
        const int fd = ready_.back();
        ready_.pop_back();
        return fd;
    }

private:
    // poll() ignores an entry whose descriptor is negative.
    static constexpr pollfd unused{-1, 0, 0};

    // How long we wait if no event can tell us what is ready.
    static constexpr auto short_wait = 50ms;

    // The time that is left, in the form that the wait takes.
    static timespec time_until(Clock::time_point until) {
        using std::chrono::nanoseconds;
        constexpr auto second = nanoseconds(1s).count();
        const Clock::duration zero{};
        const nanoseconds left = std::max(until - Clock::now(), zero);
        timespec limit{};
        limit.tv_sec = static_cast<time_t>(left.count() / second);
        limit.tv_nsec = static_cast<long>(left.count() % second);
        return limit;
    }

    // Pauses, and then counts everything that we wait for as ready. No socket
    // blocks, so the server can just try them all.
    void make_all_ready() {
        std::this_thread::sleep_for(short_wait);
        for (const pollfd& entry : entries_) {
            if (entry.events != 0) {
                ready_.push_back(entry.fd);
            }
        }
    }

    // entries_[n] is the entry of descriptor n.
    std::vector<pollfd> entries_;
    // What the last wait has found and take_ready() has not returned yet.
    std::vector<int> ready_;
};
