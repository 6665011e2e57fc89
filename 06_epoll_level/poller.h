// What this stage is about: telling the kernel what we wait for, and waiting,
// with epoll.
//
// The kernel keeps the list of what we wait for, the interest list. A call to
// epoll_create1() makes an empty list, epoll_ctl() changes it, and
// epoll_pwait() waits. It returns only the descriptors that are ready, so
// neither the kernel nor we search for them.
#pragma once

#include "common.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <vector>

// What we wait for on one descriptor.
enum class Want { nothing, read, write };

class Poller {
public:
    Poller() {
        // The list is in the kernel, and a descriptor stands for it.
        const int fd = ::epoll_create1(EPOLL_CLOEXEC);
        epoll_ = Fd(check(fd, "epoll_create1"));
        // A wait returns at most this many.
        ready_.reserve(max_events);
    }

    // Call this before watch(). It makes room for one more descriptor, so that
    // the other functions need no memory. The kernel needs memory, too, when it
    // adds the descriptor to its list. So the first watch() of a descriptor can
    // still fail.
    void add(int fd) {
        const std::size_t size = static_cast<std::size_t>(fd) + 1;
        if (size > slots_.size()) {
            slots_.resize(size);
        }
    }

    // From now on, wait() waits until the descriptor is ready for this.
    void watch(int fd, Want want) {
        Slot& slot = slot_of(fd);
        // We need not tell the kernel what it knows.
        if (slot.is_listed && slot.want == want) {
            return;
        }
        epoll_event event{};
        // With Want::nothing the descriptor stays on the list, because adding
        // it again could fail.
        if (want == Want::read) {
            event.events = EPOLLIN;
        } else if (want == Want::write) {
            event.events = EPOLLOUT;
        }
        // The kernel hands this back with each event.
        event.data.fd = fd;
        // ADD is for a descriptor that is not on the list yet, MOD for one that
        // is.
        int operation = EPOLL_CTL_MOD;
        if (!slot.is_listed) {
            operation = EPOLL_CTL_ADD;
        }
        check(::epoll_ctl(epoll_.get(), operation, fd, &event), "epoll_ctl");
        slot.is_listed = true;
        slot.want = want;
    }

    // Makes sure that the next wait returns the descriptor if it is still
    // ready. There is nothing to do: level-triggered epoll does that by itself.
    // (07_epoll_edge needs this.)
    void again(int /*fd*/) {}

    // Call this just before close(), because the kernel may give the number to
    // the next client. close() takes the descriptor off the kernel's list. (It
    // would not if there were a copy, from dup() or in a child process.)
    void forget(int fd) {
        slot_of(fd) = Slot();
    }

    // Waits until a descriptor is ready, a signal comes, or `until` has passed.
    void wait(Clock::time_point until) {
        const int limit = milliseconds_until(until);
        // Signals get through during the wait only, and end it. So none is
        // missed: one that comes between is_stopping() and the wait ends the
        // wait immediately.
        sigset_t none;
        ::sigemptyset(&none);
        const int n =
            ::epoll_pwait(epoll_.get(), events_, max_events, limit, &none);
        if (n == -1 && errno == EINTR) {
            return;
        }
        // An event may also be an error or a reset, whatever we have asked for.
        // The next call on the socket says so.
        const int count = check(n, "epoll_pwait");
        for (int i = 0; i < count; ++i) {
            ready_.push_back(events_[i].data.fd);
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
    // At most this many events come in one wait. The rest come in the next,
    // when all that are in ready_ have had their turn.
    static constexpr int max_events = 256;

    // What we have told the kernel about a descriptor.
    struct Slot {
        bool is_listed = false;
        Want want = Want::nothing;
    };

    Slot& slot_of(int fd) {
        return slots_[static_cast<std::size_t>(fd)];
    }

    static int milliseconds_until(Clock::time_point until) {
        using std::chrono::milliseconds;
        const Clock::duration zero{};
        const auto left = std::max(until - Clock::now(), zero);
        // We round up. A wait that ends too early would only be repeated.
        const auto rounded = std::chrono::ceil<milliseconds>(left);
        return static_cast<int>(rounded.count());
    }

    Fd epoll_;
    // slots_[n] is the slot of descriptor n.
    std::vector<Slot> slots_;
    // Where the kernel writes its answer.
    epoll_event events_[max_events] = {};
    // What the last wait has found and take_ready() has not returned yet.
    std::vector<int> ready_;
};
