// What this stage is about: telling the kernel what we wait for, and waiting,
// with edge-triggered epoll.
//
// An edge is the moment at which a descriptor becomes ready, or at which more
// arrives. With EPOLLET a wait reports a descriptor only if there was an edge
// since the last report. Input that we leave unread makes no edge. So if we
// stop before a call says EAGAIN, we have to come back without being told.
// again() remembers that.
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
    }

    // Call this before watch(). It makes room for one more descriptor, so that
    // the other functions need no memory. (If wait() ran out of memory, we
    // would lose edges.) The kernel needs memory, too, when it adds the
    // descriptor to its list. So the first watch() of a descriptor can still
    // fail.
    void add(int fd) {
        const std::size_t size = static_cast<std::size_t>(fd) + 1;
        if (size > slots_.size()) {
            slots_.resize(size);
        }
        // Each descriptor is in each list at most once, so this is enough.
        ready_.reserve(slots_.capacity());
        again_.reserve(slots_.capacity());
    }

    // From now on, wait() waits until the descriptor is ready for this.
    void watch(int fd, Want want) {
        Slot& slot = slot_of(fd);
        // We need not tell the kernel what it knows.
        if (slot.is_listed && slot.want == want) {
            return;
        }
        epoll_event event{};
        event.events = EPOLLET;
        // With Want::nothing the descriptor stays on the list, because adding
        // it again could fail.
        if (want == Want::read) {
            event.events |= EPOLLIN;
        } else if (want == Want::write) {
            event.events |= EPOLLOUT;
        }
        // The kernel hands this back with each event.
        event.data.fd = fd;
        // ADD is for a descriptor that is not on the list yet, MOD for one that
        // is. Either of them reports a descriptor that is ready already, so we
        // lose no edge here.
        int operation = EPOLL_CTL_MOD;
        if (!slot.is_listed) {
            operation = EPOLL_CTL_ADD;
        }
        check(::epoll_ctl(epoll_.get(), operation, fd, &event), "epoll_ctl");
        slot.is_listed = true;
        slot.want = want;
    }

    // Makes sure that the next wait returns the descriptor. The kernel may not
    // report it again, so we remember it ourselves.
    void again(int fd) {
        Slot& slot = slot_of(fd);
        if (!slot.is_in_again) {
            slot.is_in_again = true;
            again_.push_back(fd);
        }
    }

    // Call this just before close(), because the kernel may give the number to
    // the next client. close() takes the descriptor off the kernel's list. (It
    // would not if there were a copy, from dup() or in a child process.)
    void forget(int fd) {
        if (slot_of(fd).is_in_again) {
            std::erase(again_, fd);
        }
        slot_of(fd) = Slot();
    }

    // Waits until a descriptor is ready, a signal comes, or `until` has passed.
    void wait(Clock::time_point until) {
        // What is in again_ has its turn now. So if there is anything in it, we
        // collect what else is ready, but we don't wait.
        int limit = 0;
        if (again_.empty()) {
            limit = milliseconds_until(until);
        }
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
            // If it is in again_ already, this adds nothing: it gets one turn.
            again(events_[i].data.fd);
        }
        // Now again_ holds all that have their turn, and ready_ is empty,
        // because the server waits only then. We swap them. From now on again_
        // collects those whose turn is cut short.
        ready_.swap(again_);
        for (const int fd : ready_) {
            slot_of(fd).is_in_again = false;
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

    // What we have told the kernel about a descriptor, and whether it is in
    // again_.
    struct Slot {
        bool is_listed = false;
        Want want = Want::nothing;
        bool is_in_again = false;
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
    // Those whose turn was cut short. The next wait returns them in any case,
    // together with what the kernel reports.
    std::vector<int> again_;
};
