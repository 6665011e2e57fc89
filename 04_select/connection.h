// One client as a state machine. In 03_threaded, conversation.h makes the same
// calls in loops, and waits in each of them. Here nothing waits: the server
// asks for one call at a time, and the connection remembers how far it is.
#pragma once

#include "common.h"
#include "console.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

// A response of at most this size is on its way once send() has taken it. A
// longer one may take many packets, and wait for the client.
constexpr std::size_t short_response = 1024; // bytes
// We read at most this much from a client that has its response already.
constexpr std::size_t most_drained = 64'000'000; // bytes

enum class State {
    // We read the head of the request.
    receiving,
    // We send the response.
    sending,
    // The response is sent. We throw away what the client still sends.
    draining,
    // The connection can be closed.
    over
};

// One client's connection, and how far it is. Its functions throw when
// something goes wrong with this client.
class Connection {
public:
    Connection(Fd socket, const Options& options, const Responses& responses,
               Console& console)
        : socket_(std::move(socket)), deadline_(options.deadline()),
          options_(options), responses_(responses), console_(console) {}

    [[nodiscard]] int descriptor() const {
        return socket_.get();
    }

    [[nodiscard]] State state() const {
        return state_;
    }

    // The current state must be finished by this time.
    [[nodiscard]] Clock::time_point deadline() const {
        return deadline_;
    }

    // Whether the last call said EAGAIN: there is nothing to do right now.
    [[nodiscard]] bool is_blocked() const {
        return is_blocked_;
    }

    // Makes the one call that the state asks for.
    void make_call() {
        is_blocked_ = false;
        switch (state_) {
        case State::receiving:
            receive_head();
            break;
        case State::sending:
            send_response();
            break;
        case State::draining:
            drain();
            break;
        case State::over:
            break;
        }
    }

    // Ends the current state, because the deadline has passed.
    void expire() {
        if (state_ == State::receiving) {
            respond(responses_.too_late);
            return;
        }
        const std::size_t missing = std::min(unacknowledged(), sent_);
        if (state_ == State::draining && missing == 0) {
            end();
            return;
        }
        // However slow a client is, it keeps its connection as long as it takes
        // a byte before each deadline. Events can't tell us that: the kernel
        // calls a socket writable only when a good part of its send buffer is
        // free, which can take minutes. So we ask for the acknowledgements.
        const std::size_t before = acknowledged_;
        acknowledged_ = sent_ - missing;
        if (acknowledged_ <= before) {
            throw std::runtime_error("the client does not read");
        }
        deadline_ = options_.deadline();
    }

    // Begins to send this response.
    void respond(const Response& response) {
        response_ = &response;
        state_ = State::sending;
        // The old deadline was for the head. This one is for the response.
        deadline_ = options_.deadline();
    }

private:
    // recv(), but returns 0 for every client that has left, be it with an end
    // of file or with a reset; and -1 only if there is nothing to do right now.
    ssize_t receive(std::span<char> buffer) {
        const ssize_t n =
            ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (n == -1 && errno == ECONNRESET) {
            return 0;
        }
        if (n == -1) {
            note_failure("recv");
        }
        return n;
    }

    // Reads whatever part of the head has arrived.
    void receive_head() {
        std::array<char, RequestHead::max_bytes> buffer;
        const ssize_t n = receive(buffer);
        if (n == -1) {
            return;
        }
        // The client has left. The article's loop does not ask, and spins
        // forever.
        if (n == 0) {
            throw std::runtime_error("the client left before the blank line");
        }
        head_.add({buffer.data(), static_cast<std::size_t>(n)});
        if (head_.complete()) {
            print_request();
            respond(responses_.hello);
        } else if (head_.too_long()) {
            respond(responses_.too_large);
        }
    }

    // Prints the request as the article does: a line of dashes, then the
    // request without its last two bytes, which are a line end as a rule.
    void print_request() {
        if (options_.quiet) {
            return;
        }
        std::string text = std::string(40, '-') + "\n" + head_.text();
        text.resize(text.size() - 2);
        console_.print_request(text + "\n");
    }

    // Sends as much as there is room for. A long response takes several calls.
    void send_response() {
        const std::string_view piece = response_->from(sent_);
        int flags = 0;
        // MSG_MORE keeps the last bytes back until shutdown() adds the end of
        // file. So both leave in one packet.
        if (sent_ + piece.size() == response_->size()) {
            flags = MSG_MORE;
        }
        const ssize_t n =
            ::send(socket_.get(), piece.data(), piece.size(), flags);
        if (n == -1) {
            note_failure("send");
            return;
        }
        sent_ += static_cast<std::size_t>(n);
        if (sent_ == response_->size()) {
            finish_response();
        }
    }

    void finish_response() {
        // The end of file leaves now, together with the last bytes. We don't
        // leave that to close(), which sends a reset if there is unread input.
        // This can only fail if the client has left, and then there is nothing
        // to do.
        ::shutdown(socket_.get(), SHUT_WR);
        // A client that sends more must not meet our close(), and neither may
        // a long response that is not on its way yet. So we wait for the client
        // to close first.
        if (head_.more_follows() || response_->size() > short_response) {
            state_ = State::draining;
            deadline_ = options_.deadline();
        } else {
            end();
        }
    }

    // Reads and throws away what the client still sends, until it closes.
    // Without this, our close() could meet unread input. The kernel would then
    // send a reset, and the client might lose the part of the response that it
    // has not read yet (RFC 9112, section 9.6).
    void drain() {
        std::array<char, 2 * RequestHead::max_bytes> buffer;
        const ssize_t n = receive(buffer);
        if (n == -1) {
            return;
        }
        drained_ += static_cast<std::size_t>(n);
        const bool has_left = n == 0;
        if (has_left || drained_ > most_drained) {
            end();
        }
    }

    void end() {
        state_ = State::over;
        if (response_ != &responses_.hello) {
            console_.explain(response_->status().c_str());
        }
    }

    // The number of bytes that we have sent and that the client's kernel has
    // not acknowledged yet. After shutdown() the end of file counts as one
    // byte, too.
    [[nodiscard]] std::size_t unacknowledged() const {
        int bytes = 0;
        check(::ioctl(socket_.get(), SIOCOUTQ, &bytes), "ioctl");
        return static_cast<std::size_t>(bytes);
    }

    // After a call has returned -1. EAGAIN says that there is nothing to do
    // right now, EINTR that a signal interrupted the call.
    void note_failure(const char* call) {
        if (errno == EAGAIN) {
            is_blocked_ = true;
        } else if (errno != EINTR) {
            throw_errno(call);
        }
    }

    // Comes from accept(), and is closed together with the connection.
    Fd socket_;
    State state_ = State::receiving;
    bool is_blocked_ = false;
    Clock::time_point deadline_;
    RequestHead head_;
    // Is set as soon as we know what to answer.
    const Response* response_ = nullptr;
    // Bytes of the response that send() has taken.
    std::size_t sent_ = 0;
    // Bytes of it that the client had acknowledged when we last asked.
    std::size_t acknowledged_ = 0;
    // Bytes that came after the head, and that we have thrown away.
    std::size_t drained_ = 0;
    // These outlive the server.
    const Options& options_;
    const Responses& responses_;
    Console& console_;
};
