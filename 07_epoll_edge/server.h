// All clients: admitting them, giving each its turn, and ending those whose
// time is up.
//
// Read run_round() first.
#pragma once

#include "common.h"
#include "connection.h"
#include "console.h"
#include "poller.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <iterator>
#include <list>
#include <unordered_map>
#include <utility>

// We do at most this much in one round of the event loop, so that nobody waits
// for long: clients accepted, clients whose time is up, calls for one client.
constexpr int max_accepted = 64;
constexpr int max_expired = 64;
constexpr int max_calls = 16;

// How long we wait when we are out of descriptors or memory.
constexpr auto retry_pause = 100ms;

// With --defer-accept the kernel keeps a client to itself until its first bytes
// are there.
inline bool defer_accept = false;

// Returns the connection to the next client in the backlog, or none if nobody
// waits there. Throws if we are out of descriptors or memory.
inline Fd accept_client(int listener) {
    const int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    while (true) {
        Fd socket(::accept4(listener, nullptr, nullptr, flags));
        if (socket.get() != -1 || errno == EAGAIN) {
            return socket;
        }
        if (!should_accept_again(errno)) {
            throw_errno("accept");
        }
    }
}

class Server {
public:
    Server(Fd listener, const Options& options, const Responses& responses,
           Console& console)
        : options_(options), responses_(responses), console_(console),
          listener_(std::move(listener)) {
        poller_.add(listener_.get());
        resume_accepting();
    }

    // One round of the event loop: waits until there is something to do, and
    // does it.
    void run_round() {
        // This is the only place where the program waits for clients.
        poller_.wait(next_deadline());
        while (poller_.has_ready()) {
            handle_ready(poller_.take_ready());
        }
        expire_connections();
        if (!accepting_ && retry_at_ <= Clock::now()) {
            resume_accepting();
        }
    }

private:
    // A list's iterator stays valid when other connections come and go.
    using Place = std::list<Connection>::iterator;

    // ---- Deadlines ----------------------------------------------------------

    [[nodiscard]] Clock::time_point next_deadline() const {
        // Without any deadline, any long time will do.
        auto until = Clock::now() + 1h;
        if (!accepting_) {
            until = retry_at_;
        }
        if (!connections_.empty()) {
            until = std::min(until, connections_.front().deadline());
        }
        return until;
    }

    // The first connection is the one with the earliest deadline. Serving a
    // late client gives it a new deadline or removes it. Either way there is
    // another first one then.
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
            if (accepting_) {
                accept_clients();
            }
            return;
        }
        // The event may be stale: an earlier one in this round may have ended
        // the client.
        const auto found = by_descriptor_.find(fd);
        if (found != by_descriptor_.end()) {
            serve_client(found->second);
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
            // We are out of descriptors or memory. At worst, one client is
            // lost. The next ones wait in the backlog, and we must not spin
            // here.
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
        poller_.watch(listener_.get(), Want::read);
        // Clients may be waiting in the backlog.
        poller_.again(listener_.get());
    }

    // Takes on a client, with all the memory that serving it can need, apart
    // from its own request. Throws if there is too little. Then this client is
    // lost, and everything else is as before.
    void admit(Fd socket) {
        const int fd = socket.get();
        poller_.add(fd);
        connections_.emplace_back(std::move(socket), options_, responses_,
                                  console_);
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
        // With --defer-accept the head is usually here already. So we read it
        // before we ask the kernel for events, and often need none.
        if (defer_accept) {
            serve_client(place);
        }
    }

    // ---- One client's turn --------------------------------------------------

    // Gives a client its turn.
    void serve_client(Place place) {
        Connection& connection = *place;
        const auto deadline_before = connection.deadline();
        try {
            make_calls(connection);
            // A deadline counts only now, after a try at the socket. What we
            // wait for may have come in time, and only we are late.
            if (is_late(connection)) {
                connection.expire();
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
            // The list is in the order of the deadlines. A renewed deadline is
            // the latest.
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

    static bool is_late(const Connection& connection) {
        if (connection.state() == State::over) {
            return false;
        }
        return connection.deadline() <= Clock::now();
    }

    void update_interest(const Connection& connection) {
        const int fd = connection.descriptor();
        if (connection.state() == State::over) {
            return;
        }
        if (connection.state() == State::sending) {
            poller_.watch(fd, Want::write);
        } else {
            poller_.watch(fd, Want::read);
        }
        // The turn was over, but there may be more to do.
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
        // A descriptor has come back, so a waiting client can have it.
        if (!accepting_) {
            resume_accepting();
        }
    }

    const Options& options_;
    const Responses& responses_;
    Console& console_;
    Fd listener_;
    Poller poller_;
    // In the order of their deadlines.
    std::list<Connection> connections_;
    std::unordered_map<int, Place> by_descriptor_;
    bool accepting_ = true;
    // When we try to accept again, if we don't accept now.
    Clock::time_point retry_at_;
};
