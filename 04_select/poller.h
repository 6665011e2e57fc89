// What this stage is about: telling the kernel what we wait for, and waiting,
// with select(). The stages after this one exchange this file, and little else.
//
// select() takes sets of descriptors, and overwrites them with its answer. So
// each wait hands it copies, and then searches them, descriptor by descriptor.
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

// What we wait for with one descriptor.
enum class Want { nothing, read, write };

class Poller {
public:
    Poller() {
        FD_ZERO(&reading_);
        FD_ZERO(&writing_);
        ready_.reserve(FD_SETSIZE);
    }

    // Reserves the memory for one more descriptor, so that the other functions
    // allocate none and can't fail halfway. Returns false if no fd_set can hold
    // the descriptor. Then it counts as ready in every wait, and waits are
    // short.
    bool add(int fd) {
        if (fd < FD_SETSIZE) {
            return true;
        }
        const std::size_t most = beyond_.size() + 1;
        if (most > beyond_.capacity()) {
            ready_.reserve(FD_SETSIZE + 2 * most);
            beyond_.reserve(2 * most);
        }
        return false;
    }

    // From now on we wait for this.
    void watch(int fd, Want want) {
        // FD_SET() would write past the end of the set.
        if (fd >= FD_SETSIZE) {
            std::erase(beyond_, fd);
            beyond_.push_back(fd);
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

    // Call this just before close(). The kernel will give the number to another
    // client.
    void forget(int fd) {
        if (fd >= FD_SETSIZE) {
            std::erase(beyond_, fd);
        } else {
            watch(fd, Want::nothing);
        }
    }

    // Waits until a descriptor is ready, a signal comes, or `until` has passed.
    void wait(Clock::time_point until) {
        if (!beyond_.empty()) {
            until = std::min(until, Clock::now() + short_wait);
        }
        const timespec limit = time_until(until);
        // Signals can come during this call only. Elsewhere they are blocked,
        // so none is lost between is_stopping() and the wait.
        sigset_t none;
        ::sigemptyset(&none);
        // We work on copies: select() leaves only the ready descriptors in
        // them.
        fd_set readable = reading_;
        fd_set writable = writing_;
        const int n = ::pselect(highest_ + 1, &readable, &writable, nullptr,
                                &limit, &none);
        ready_.assign(beyond_.begin(), beyond_.end());
        if (n == -1) {
            if (errno == EINTR) {
                return;
            }
            if (errno != ENOMEM) {
                throw_errno("pselect");
            }
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
    static constexpr auto short_wait = 50ms;

    static timespec time_until(Clock::time_point until) {
        using std::chrono::nanoseconds;
        constexpr auto second = nanoseconds(1s).count();
        const Clock::duration zero{};
        const nanoseconds left = std::max(until - Clock::now(), zero);
        return {static_cast<time_t>(left.count() / second),
                static_cast<long>(left.count() % second)};
    }

    fd_set reading_;
    fd_set writing_;
    // No descriptor in the sets is higher.
    int highest_ = 0;
    // Descriptors that no fd_set can hold.
    std::vector<int> beyond_;
    // What the last wait has found, and nobody has taken yet.
    std::vector<int> ready_;
};
