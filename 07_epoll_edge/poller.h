// What this stage is about: telling the kernel what we wait for, and waiting,
// with edge-triggered epoll.
//
// A wait reports that a descriptor has *become* ready, once. A descriptor that
// stays ready is not reported again. So if we stop before a call says EAGAIN,
// we have to come back without being told, and again() remembers that.
#pragma once

#include "common.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <vector>

// What we wait for with one descriptor.
enum class Want { nothing, read, write };

class Poller {
public:
    Poller() {
        epoll_ = Fd(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
    }

    // Reserves the memory for one more descriptor, so that the other functions
    // allocate none, and no edge is lost for lack of it. Only its first watch()
    // can still fail, because the kernel adds the descriptor to its list then.
    void add(int fd) {
        const std::size_t size = static_cast<std::size_t>(fd) + 1;
        if (size > slots_.size()) {
            slots_.resize(size);
        }
        // Each descriptor is in each list at most once.
        ready_.reserve(slots_.capacity());
        again_.reserve(slots_.capacity());
    }

    // From now on we wait for this.
    void watch(int fd, Want want) {
        Slot& slot = slot_of(fd);
        if (slot.is_listed && slot.want == want) {
            return;
        }
        epoll_event event{};
        event.events = EPOLLET;
        // For Want::nothing the descriptor stays on the list, without an event
        // to wait for. To add it again later could fail.
        if (want == Want::read) {
            event.events |= EPOLLIN;
        } else if (want == Want::write) {
            event.events |= EPOLLOUT;
        }
        // The kernel hands this back with each event.
        event.data.fd = fd;
        // The kernel must not know the descriptor yet for ADD, and must know it
        // for MOD. Both report a descriptor that is ready already, so no edge
        // is lost here.
        int operation = EPOLL_CTL_MOD;
        if (!slot.is_listed) {
            operation = EPOLL_CTL_ADD;
        }
        check(::epoll_ctl(epoll_.get(), operation, fd, &event), "epoll_ctl");
        slot.is_listed = true;
        slot.want = want;
    }

    // Makes sure that the next wait returns the descriptor if it is still
    // ready. epoll won't do that a second time, so we remember it ourselves.
    void again(int fd) {
        Slot& slot = slot_of(fd);
        if (!slot.is_again) {
            slot.is_again = true;
            again_.push_back(fd);
        }
    }

    // Call this just before close(), which takes the descriptor off the
    // kernel's list. The kernel will give the number to another client.
    void forget(int fd) {
        if (slot_of(fd).is_again) {
            std::erase(again_, fd);
        }
        slot_of(fd) = Slot();
    }

    // Waits until a descriptor is ready, a signal comes, or `until` has passed.
    void wait(Clock::time_point until) {
        int limit = 0;
        if (again_.empty()) {
            limit = milliseconds_until(until);
        }
        // Signals can come during this call only. Elsewhere they are blocked,
        // so none is lost between is_stopping() and the wait.
        sigset_t none;
        ::sigemptyset(&none);
        const int size = static_cast<int>(events_.size());
        const int n =
            ::epoll_pwait(epoll_.get(), events_.data(), size, limit, &none);
        if (n == -1 && errno != EINTR) {
            throw_errno("epoll_pwait");
        }
        for (int i = 0; i < n; ++i) {
            // A descriptor that is in again_ already gets one turn, not two.
            again(events_[static_cast<std::size_t>(i)].data.fd);
        }
        ready_.swap(again_);
        for (const int fd : ready_) {
            slot_of(fd).is_again = false;
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
    // What we have told the kernel about a descriptor, and whether it is in
    // again_.
    struct Slot {
        bool is_listed = false;
        Want want = Want::nothing;
        bool is_again = false;
    };

    Slot& slot_of(int fd) {
        return slots_[static_cast<std::size_t>(fd)];
    }

    static int milliseconds_until(Clock::time_point until) {
        using std::chrono::milliseconds;
        const Clock::duration zero{};
        const auto left = std::max(until - Clock::now(), zero);
        // Rounded up: a wait that ends early would only be repeated.
        return static_cast<int>(std::chrono::ceil<milliseconds>(left).count());
    }

    Fd epoll_;
    // By descriptor.
    std::vector<Slot> slots_;
    // At most this many events come in one wait. The rest come in the next.
    std::array<epoll_event, 256> events_{};
    // What the last wait has found, and nobody has taken yet.
    std::vector<int> ready_;
    // What the next wait returns in any case: a ready list of our own.
    std::vector<int> again_;
};
