// All clients: accepting them, giving each its turn, and closing the
// connections that are over.
//
// Read run_round() first.
#pragma once

#include "common.h"
#include "connection.h"
#include "console.h"
#include "poller.h"
#include "workers.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <iterator>
#include <list>
#include <unordered_map>
#include <utility>

// No client and no signal may be kept waiting for long. So there are limits to
// what we do in one round of the event loop.

// At most this many ready descriptors have their turn.
constexpr int max_served = 256;
// At most this many clients are accepted.
constexpr int max_accepted = 64;
// At most this many clients whose time is up are dealt with.
constexpr int max_expired = 64;
// In its turn, a client gets at most this many calls, or twice as many if its
// time is up.
constexpr int max_calls = 16;

// When we are out of descriptors or memory, we accept nobody for this long, or
// until a client leaves.
constexpr auto retry_pause = 100ms;

// --defer-accept sets this. The kernel then holds a new client back until its
// first bytes have come.
inline bool defer_accept = false;

// Returns the connection to the next client in the backlog, or none (-1) if
// nobody waits there. Throws if we are out of descriptors or memory.
inline Fd accept_client(int listener) {
    // accept4() is accept() with flags. A connection does not inherit these two
    // from the listener.
    const int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    while (true) {
        Fd socket(::accept4(listener, nullptr, nullptr, flags));
        if (socket.get() != -1) {
            return socket;
        }
        if (errno == EAGAIN) {
            return Fd();
        }
        if (!should_accept_again(errno)) {
            throw_errno("accept");
        }
    }
}

class Server {
public:
    Server(Fd listener, const Options& options, const Responses& responses,
           Console& console, Workers& workers)
        : options_(options), responses_(responses), console_(console),
          workers_(workers), listener_(std::move(listener)) {
        poller_.add(workers_.descriptor());
        poller_.watch(workers_.descriptor(), Want::read);
        poller_.add(listener_.get());
        resume_accepting();
    }

    // One round of the event loop: waits until there is something to do, and
    // does it, or some of it.
    void run_round() {
        // The last round may have left something to do.
        if (!poller_.has_ready()) {
            // This is the only place where the program waits for clients.
            poller_.wait(next_deadline());
        }
        int count = 0;
        while (poller_.has_ready() && count < max_served) {
            const int fd = poller_.take_ready();
            handle_ready(fd);
            ++count;
        }
        expire_connections();
        if (!accepting_ && retry_at_ <= Clock::now()) {
            resume_accepting();
        }
    }

private:
    // Where a connection is in the list. This stays valid when other
    // connections come and go.
    using Place = std::list<Connection>::iterator;

    // ---- Deadlines ----------------------------------------------------------

    [[nodiscard]] Clock::time_point next_deadline() const {
        // If there is no deadline, any long time will do.
        auto until = Clock::now() + 1h;
        if (!accepting_) {
            until = retry_at_;
        }
        if (!connections_.empty()) {
            until = std::min(until, connections_.front().deadline());
        }
        return until;
    }

    // Serves the clients whose time is up. They come first in the list. Each of
    // them is removed or gets a new deadline, and then the next one comes
    // first.
    void expire_connections() {
        const auto now = Clock::now();
        for (int count = 0; count < max_expired; ++count) {
            if (connections_.empty() || connections_.front().deadline() > now) {
                return;
            }
            serve_client(connections_.begin());
        }
    }

    // ---- What is ready ------------------------------------------------------

    void handle_ready(int fd) {
        if (fd == listener_.get()) {
            accept_clients();
            return;
        }
        if (fd == workers_.descriptor()) {
            take_finished_jobs();
            return;
        }
        // The event may be stale: since the wait, we may have closed the
        // connection, because its time was up. Another client may even have its
        // number now. Then the first call says EAGAIN, or reads what has come.
        const auto found = by_descriptor_.find(fd);
        if (found != by_descriptor_.end()) {
            serve_client(found->second);
        }
    }

    // Gives the jobs that the workers have finished back to their connections.
    void take_finished_jobs() {
        for (const Job& job : workers_.take_finished()) {
            const auto found = by_descriptor_.find(job.descriptor);
            if (found == by_descriptor_.end()) {
                continue;
            }
            const Place place = found->second;
            // The client may have left while its request was stored. Another
            // one may have its descriptor now, and must not get its answer.
            if (place->generation() == job.generation) {
                place->note_job(job);
                // Its turn comes soon.
                poller_.again(job.descriptor);
            }
        }
    }

    // ---- The listener -------------------------------------------------------

    void accept_clients() {
        try {
            for (int count = 0; count < max_accepted; ++count) {
                Fd socket = accept_client(listener_.get());
                if (socket.get() == -1) {
                    return;
                }
                admit(std::move(socket));
            }
            // More clients may wait in the backlog.
            poller_.again(listener_.get());
        } catch (const std::exception& error) {
            // We are out of descriptors or memory. If accept4() has failed, the
            // client is still in the backlog. If admit() has failed, its
            // connection has been closed. If we went on now, we would fail
            // again, and spin.
            console_.complain(reason_of(error));
            pause_accepting();
        }
    }

    void pause_accepting() {
        accepting_ = false;
        retry_at_ = Clock::now() + retry_pause;
        poller_.watch(listener_.get(), Want::nothing);
    }

    void resume_accepting() {
        accepting_ = true;
        // If clients are waiting in the backlog, the next wait says so.
        poller_.watch(listener_.get(), Want::read);
    }

    // Takes on a client. This allocates all that we need in order to serve it,
    // except for the text of its request. If there is too little memory, this
    // throws. Then the client is lost, and everything else is as before. (With
    // --defer-accept, the kernel takes its memory for it later, see below.)
    void admit(Fd socket) {
        const int fd = socket.get();
        poller_.add(fd);
        ++generation_;
        connections_.emplace_back(std::move(socket), generation_, options_,
                                  responses_, console_, workers_);
        const auto place = std::prev(connections_.end());
        try {
            by_descriptor_[fd] = place;
            if (!defer_accept) {
                poller_.watch(fd, Want::read);
            }
        } catch (const std::exception&) {
            remove(place);
            throw;
        }
        // With --defer-accept the request is usually here already. So we serve
        // the client now. Most connections are over then, and we never call
        // epoll_ctl() for them. The others are watched after this turn. If that
        // fails for want of memory, we lose the client, but don't pause.
        if (defer_accept) {
            serve_client(place);
        }
    }

    // ---- One client's turn --------------------------------------------------

    // Gives a client its turn: makes its calls, looks at its deadline, and
    // tells the poller what it waits for next. Removes the client if its
    // connection is over.
    void serve_client(Place place) {
        Connection& connection = *place;
        const auto deadline_before = connection.deadline();
        try {
            // We make the calls first. While we were busy, the client may have
            // sent something in time that we have not read yet. `now` is from
            // before the calls, so that their time does not count.
            const auto now = Clock::now();
            make_calls(connection);
            if (is_late(connection, now)) {
                connection.handle_deadline();
                make_calls(connection);
            }
            update_interest(connection);
        } catch (const std::exception& error) {
            // This ends one client, not the server.
            console_.explain(reason_of(error));
            remove(place);
            return;
        }
        if (connection.state() == State::over) {
            remove(place);
        } else if (connection.deadline() != deadline_before) {
            // The list is in the order of the deadlines. All clients get the
            // same time, so a new deadline is the latest.
            connections_.splice(connections_.end(), connections_, place);
        }
    }

    // Goes on until there is nothing to do right now, or until the other
    // clients must have their turn.
    static void make_calls(Connection& connection) {
        for (int calls = 0; calls < max_calls; ++calls) {
            connection.make_call();
            if (connection.is_blocked() || connection.state() == State::over) {
                return;
            }
        }
    }

    static bool is_late(const Connection& connection, Clock::time_point now) {
        if (connection.state() == State::over) {
            return false;
        }
        return connection.deadline() <= now;
    }

    void update_interest(const Connection& connection) {
        if (connection.state() == State::over) {
            return;
        }
        const int fd = connection.descriptor();
        if (connection.state() == State::sending) {
            poller_.watch(fd, Want::write);
        } else {
            poller_.watch(fd, Want::read);
        }
        // The client has used up its calls, but there may be more to do.
        if (!connection.is_blocked()) {
            poller_.again(fd);
        }
    }

    void remove(Place place) {
        const int fd = place->descriptor();
        poller_.forget(fd);
        by_descriptor_.erase(fd);
        // This closes the socket.
        connections_.erase(place);
        // A descriptor is free again, so a client in the backlog can have it.
        if (!accepting_) {
            resume_accepting();
        }
    }

    const Options& options_;
    const Responses& responses_;
    Console& console_;
    Workers& workers_;
    Fd listener_;
    Poller poller_;
    // The connection with the earliest deadline comes first.
    std::list<Connection> connections_;
    std::unordered_map<int, Place> by_descriptor_;
    // The newest connection's.
    std::uint64_t generation_ = 0;
    bool accepting_ = true;
    // If we don't accept now, we try it again at this time, at the latest.
    Clock::time_point retry_at_;
};
