// What this stage is about: telling the kernel what we wait for, and waiting,
// with select(). The later stages replace this file, and change little else.
//
// select() takes sets of descriptors. A set (fd_set) has one bit for each
// descriptor below FD_SETSIZE (1024). FD_SET() sets the bit, FD_CLR() clears
// it, and FD_ISSET() says whether it is set. select() overwrites the sets with
// its answer. So we pass copies, and look at every bit afterwards.
//
// pselect() is select() with a signal mask and a finer timeout.
#pragma once

#include "common.h"

#include <sys/select.h>

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
    Poller() {
        FD_ZERO(&reading_);
        FD_ZERO(&writing_);
        // All descriptors may be ready at the same time.
        ready_.reserve(FD_SETSIZE);
    }

    // Call this before watch(). It makes room for one more descriptor, so that
    // the other functions need no memory. Returns false if the descriptor is
    // too high for an fd_set. Then the kernel can't tell us about it, so every
    // wait is short, and returns the descriptor as ready.
    bool add(int fd) {
        if (fd < FD_SETSIZE) {
            return true;
        }
        if (beyond_.size() == beyond_.capacity()) {
            // As in a push_back(), the room doubles, so this happens rarely.
            const std::size_t room = 2 * (beyond_.size() + 1);
            ready_.reserve(FD_SETSIZE + room);
            beyond_.reserve(room);
        }
        return false;
    }

    // From now on, wait() waits until the descriptor is ready for this.
    void watch(int fd, Want want) {
        // FD_SET() would write past the end of the set. So we keep a list of
        // these descriptors.
        if (fd >= FD_SETSIZE) {
            std::erase(beyond_, fd);
            if (want != Want::nothing) {
                beyond_.push_back(fd);
            }
            return;
        }
        highest_ = std::max(highest_, fd);
        FD_CLR(fd, &reading_);
        FD_CLR(fd, &writing_);
        if (want == Want::read) {
            FD_SET(fd, &reading_);
        } else if (want == Want::write) {
            FD_SET(fd, &writing_);
        }
    }

    // Makes sure that the next wait returns the descriptor if it is still
    // ready. There is nothing to do: select() does that by itself.
    // (07_epoll_edge needs this.)
    void again(int /*fd*/) {}

    // Call this just before close(), because the kernel may give the number to
    // the next client.
    void forget(int fd) {
        watch(fd, Want::nothing);
    }

    // Waits until a descriptor is ready, a signal comes, or `until` has passed.
    void wait(Clock::time_point until) {
        // The kernel can't tell us about these, so we don't wait for long.
        if (!beyond_.empty()) {
            until = std::min(until, Clock::now() + short_wait);
        }
        const timespec limit = time_until(until);
        // Signals get through during the wait only, and end it. So none is
        // missed: one that comes between is_stopping() and the wait ends the
        // wait immediately.
        sigset_t none;
        ::sigemptyset(&none);
        // We work on copies: select() leaves only the ready descriptors in
        // them.
        fd_set readable = reading_;
        fd_set writable = writing_;
        ready_.assign(beyond_.begin(), beyond_.end());
        // The first argument is how many bits the kernel looks at. The third
        // set, which we don't use, is for exceptional conditions.
        const int n = ::pselect(highest_ + 1, &readable, &writable, nullptr,
                                &limit, &none);
        if (n == -1 && errno == EINTR) {
            return;
        }
        if (n == -1 && errno != ENOMEM) {
            throw_errno("pselect");
        }
        if (n == -1) {
            // The kernel had no memory for the sets. The copies are unchanged,
            // so every descriptor that we wait for counts as ready. No socket
            // blocks, so the server can just try them all.
            std::this_thread::sleep_for(short_wait);
        }
        for (int fd = 0; fd <= highest_; ++fd) {
            if (FD_ISSET(fd, &readable) || FD_ISSET(fd, &writable)) {
                ready_.push_back(fd);
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

    fd_set reading_;
    fd_set writing_;
    // No descriptor in the sets is higher than this.
    int highest_ = 0;
    // Descriptors that no fd_set can hold.
    std::vector<int> beyond_;
    // What the last wait has found and take_ready() has not returned yet.
    std::vector<int> ready_;
};
