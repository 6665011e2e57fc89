// One client as a state machine. In 03_threaded, conversation.h makes the same
// calls in loops, and waits in each of them. Here the socket is non-blocking,
// so no call waits. The server asks for one call at a time, and the connection
// remembers how far it has come.
//
// A side that has sent everything sends an end of file (TCP calls it FIN). A
// side that gives up sends a reset (RST). "The article" is "How To Use Linux
// epoll with Python", which this tutorial follows.
#pragma once

#include "common.h"
#include "console.h"
#include "segments.h"
#include "workers.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

// A response of at most this size fits into the receive buffer of the client's
// kernel. So the kernel can send it even if the client does not read.
constexpr std::size_t short_response = 1024; // bytes
// When the response is sent, we read at most this much more from a client.
constexpr std::size_t most_drained = 64'000'000; // bytes
// One recv() in drain() reads at most this much.
constexpr std::size_t drain_size = 16384; // bytes

enum class State {
    // We read the head of the request.
    receiving,
    // A worker stores the request. We wait for it.
    storing,
    // We send the response.
    sending,
    // The response is sent. We throw away what the client still sends.
    draining,
    // The connection can be closed.
    over
};

// One client's connection, and how far it has come. Its functions throw when
// something goes wrong with this client.
class Connection {
public:
    Connection(Fd socket, std::uint64_t generation, const Options& options,
               const Responses& responses, Console& console, Workers& workers)
        : socket_(std::move(socket)), generation_(generation),
          deadline_(options.new_deadline()), options_(options),
          responses_(responses), console_(console), workers_(workers) {}

    [[nodiscard]] int descriptor() const {
        return socket_.get();
    }

    // A number that no other connection has ever had. A descriptor is used
    // again when its connection has been closed.
    [[nodiscard]] std::uint64_t generation() const {
        return generation_;
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
        case State::storing:
            wait_for_job();
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

    // Call this when the deadline has passed. This answers or ends the
    // connection, or gives it a new deadline.
    void handle_deadline() {
        const bool is_draining = state_ == State::draining;
        const bool is_storing = state_ == State::storing;
        if (state_ == State::receiving) {
            respond(responses_.too_late);
        } else if (is_blocked_ && is_draining && unacknowledged() == 0) {
            // We don't wait for a client that has everything.
            end();
        } else if (is_blocked_ && !is_storing && !has_taken_more()) {
            throw std::runtime_error("the client does not read");
        } else {
            // The client gets more time. Either it still takes its response, or
            // our last call for it was not blocked, or its request is still
            // being stored. Then we are late, not the client.
            deadline_ = options_.new_deadline();
        }
    }

    // Call this when the job has come back. The next call of make_call() begins
    // the response.
    void note_job(const Job& job) {
        response_ = &responses_.unavailable;
        if (job.is_stored) {
            response_ = &responses_.hello;
        }
    }

    // Begins to send this response.
    void respond(const Response& response) {
        response_ = &response;
        state_ = State::sending;
        // The old deadline was for the head. This one is for the response.
        deadline_ = options_.new_deadline();
    }

private:
    // Like recv(), but this returns 0 after a reset, too, because the client
    // sends no more then. Returns -1 if there is nothing to read yet, or if a
    // signal has interrupted the call.
    ssize_t receive(std::span<char> buffer) {
        const ssize_t n =
            ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (n != -1) {
            return n;
        }
        if (errno == ECONNRESET) {
            return 0;
        }
        note_failure("recv");
        return -1;
    }

    // Reads whatever part of the head has arrived.
    void receive_head() {
        std::array<char, RequestHead::max_bytes> buffer;
        const ssize_t n = receive(buffer);
        if (n == -1) {
            return;
        }
        // The client sends no more. The loop in the article does not check
        // this, and spins forever.
        if (n == 0) {
            throw std::runtime_error("the client left before the blank line");
        }
        const auto size = static_cast<std::size_t>(n);
        head_.add(std::string_view(buffer.data(), size));
        if (head_.complete()) {
            print_request();
            store_request();
        } else if (head_.too_long()) {
            respond(responses_.too_large);
        }
    }

    // Gives the request to the workers, or turns the client away if they have
    // too much to do.
    void store_request() {
        Job job{descriptor(), generation_, head_.text()};
        if (workers_.submit(std::move(job))) {
            state_ = State::storing;
            deadline_ = options_.new_deadline();
        } else {
            respond(responses_.unavailable);
        }
    }

    // Begins the response if the job has come back. Until then there is nothing
    // to do. But a client that has reset its connection does not want the
    // answer any more, and should not keep its descriptor.
    void wait_for_job() {
        if (response_ != nullptr) {
            respond(*response_);
            return;
        }
        int error = 0;
        socklen_t size = sizeof error;
        const int result =
            ::getsockopt(descriptor(), SOL_SOCKET, SO_ERROR, &error, &size);
        check(result, "getsockopt");
        if (error != 0) {
            errno = error;
            throw_errno("the client left while its request was stored");
        }
        is_blocked_ = true;
    }

    // Prints the request as the article does: below a line of dashes. The last
    // two bytes, usually the "\r\n" of the blank line, become one line end.
    void print_request() {
        if (options_.quiet) {
            return;
        }
        const std::string dashes(40, '-');
        std::string text = dashes + "\n" + head_.text();
        text.resize(text.size() - 2);
        console_.print_request(text + "\n");
    }

    // Sends as much as there is room for. A long response takes several calls.
    void send_response() {
        if (sent_ == 0) {
            hold_back_segments(socket_.get());
        }
        const std::string_view whole = response_->from(sent_);
        const std::string_view piece = whole.substr(0, chunk_bytes);
        int flags = 0;
        const bool is_last_piece = sent_ + piece.size() == response_->size();
        // MSG_MORE keeps the last bytes back until shutdown() adds the end of
        // file. So both travel in one packet.
        if (is_last_piece) {
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
        // This sends the end of file after the last bytes. close() would send
        // a reset instead if there were unread input. shutdown() can only fail
        // if the client has left, and then there is nothing to do.
        ::shutdown(socket_.get(), SHUT_WR);
        // If the client sends anything after our close(), the kernel answers
        // with a reset, and what is left of the response is lost. So if there
        // is more to come, or if a long response may still be under way, we
        // wait for the client to finish first.
        if (head_.more_follows() || response_->size() > short_response) {
            state_ = State::draining;
            deadline_ = options_.new_deadline();
        } else {
            end();
        }
    }

    // Reads and throws away what the client still sends, as long as we allow
    // it. Without this, there could be unread input when we close. The kernel
    // would then send a reset, and the client might lose the part of the
    // response that it has not read yet (RFC 9112, section 9.6).
    void drain() {
        std::array<char, drain_size> buffer;
        const ssize_t n = receive(buffer);
        if (n == -1) {
            return;
        }
        drained_ += static_cast<std::size_t>(n);
        const bool is_last = (n == 0);
        if (is_last || drained_ > most_drained) {
            end();
        } else if (deadline_ <= Clock::now() && !has_more_time_) {
            // There was something to read, so we may be late, not the client.
            // Then it gets more time, but only once. Otherwise a client that
            // sends a byte now and then could hold the connection for hours.
            has_more_time_ = true;
            deadline_ = options_.new_deadline();
        }
    }

    // The connection can be closed. If we have sent an error in place of the
    // 200 response, this reports it.
    void end() {
        state_ = State::over;
        if (response_ != &responses_.hello) {
            console_.explain(response_->status().c_str());
        }
    }

    // Returns whether the client has taken any bytes since the last call.
    // However slow it is, it may go on as long as its kernel acknowledges
    // something before each deadline.
    //
    // Events can't tell us that. The kernel says that there is room to write
    // only when a good part of the send buffer is free, which can take minutes.
    // So we ask it how much the client has acknowledged.
    bool has_taken_more() {
        const std::size_t before = acknowledged_;
        // The end of file may count, too, so this could be more than sent_.
        const std::size_t missing = std::min(unacknowledged(), sent_);
        acknowledged_ = sent_ - missing;
        return acknowledged_ > before;
    }

    // The number of bytes that send() has taken and that the client's kernel
    // has not acknowledged yet. After shutdown() the end of file counts as one
    // byte, too.
    [[nodiscard]] std::size_t unacknowledged() const {
        int bytes = 0;
        check(::ioctl(socket_.get(), SIOCOUTQ, &bytes), "ioctl");
        return static_cast<std::size_t>(bytes);
    }

    // Call this when a call has returned -1. EAGAIN means that there is nothing
    // to do right now. EINTR means that a signal has interrupted the call, and
    // that we can just make it again. For all other errors this throws.
    void note_failure(const char* call) {
        if (errno == EAGAIN) {
            is_blocked_ = true;
        } else if (errno != EINTR) {
            throw_errno(call);
        }
    }

    // accept_client() has made it. It is closed together with the connection.
    Fd socket_;
    std::uint64_t generation_;
    State state_ = State::receiving;
    bool is_blocked_ = false;
    Clock::time_point deadline_;
    RequestHead head_;
    // This is null until we know what to answer.
    const Response* response_ = nullptr;
    // Bytes of the response that send() has taken.
    std::size_t sent_ = 0;
    // Bytes of the response that the client had acknowledged when we last
    // asked.
    std::size_t acknowledged_ = 0;
    // Bytes that came after the head, and that we have thrown away.
    std::size_t drained_ = 0;
    // Whether drain() has put off the deadline.
    bool has_more_time_ = false;
    // These outlive the connection.
    const Options& options_;
    const Responses& responses_;
    Console& console_;
    Workers& workers_;
};
