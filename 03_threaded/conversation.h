// One client, from the first byte of its request to the last byte of its
// response. Each step is a function that returns when the step is done. So the
// line that the program is at shows how far the conversation is.
//
// Read converse() first. It is at the end.
//
// A side that has sent everything sends an end of file (TCP calls it FIN). A
// side that gives up sends a reset (RST). "The article" is "How To Use Linux
// epoll with Python", which this tutorial follows.
#pragma once

#include "common.h"
#include "console.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

// A response of at most this size fits into the receive buffer of the client's
// kernel. So the kernel can send it even if the client does not read.
constexpr std::size_t short_response = 1024; // bytes
// When the response is sent, we read at most this much more from a client.
constexpr std::size_t most_drained = 64'000'000; // bytes
// One recv() in drain() reads at most this much.
constexpr std::size_t drain_size = 16384; // bytes

// ---- Calls with a deadline --------------------------------------------------

// Limits how long each recv() (SO_RCVTIMEO) or send() (SO_SNDTIMEO) may wait
// after this. A call that has moved no bytes in that time fails with EAGAIN.
inline void set_timeout(int socket, int option, Clock::duration wait) {
    using std::chrono::microseconds;
    constexpr auto second = microseconds(1s).count();
    // We round up, because a timeout of 0 would mean forever.
    const auto count = std::chrono::ceil<microseconds>(wait).count();
    timeval value{};
    value.tv_sec = static_cast<time_t>(count / second);
    value.tv_usec = static_cast<suseconds_t>(count % second);
    const int result =
        ::setsockopt(socket, SOL_SOCKET, option, &value, sizeof value);
    check(result, "setsockopt");
}

// Makes the next recv() or send() return by the deadline, at the latest.
// Returns the flags for that call. After the deadline, the call does not wait.
// It is a last try: the client may have been in time, while we were busy.
inline int limit_wait(Clock::time_point deadline, int socket, int option) {
    const auto left = deadline - Clock::now();
    if (left <= 0s) {
        return MSG_DONTWAIT;
    }
    set_timeout(socket, option, left);
    return 0;
}

// Call this when recv() or send() has returned -1. EAGAIN means that the call
// could do nothing in time. EINTR means that a signal has interrupted it. For
// all other errors this throws.
inline void throw_unless_again(const char* call) {
    if (errno != EAGAIN && errno != EINTR) {
        throw_errno(call);
    }
}

// recv() with a deadline. Returns the number of bytes, 0 if the client sends no
// more, and -1 if nothing has come by the deadline. (A std::span, new in C++20,
// is a pointer to some elements, and their number.)
inline ssize_t receive(int socket, std::span<char> buffer,
                       Clock::time_point deadline) {
    while (true) {
        const int flags = limit_wait(deadline, socket, SO_RCVTIMEO);
        const bool is_last_try = flags == MSG_DONTWAIT;
        const ssize_t n = ::recv(socket, buffer.data(), buffer.size(), flags);
        if (n != -1) {
            return n;
        }
        // After a reset the client sends no more, either.
        if (errno == ECONNRESET) {
            return 0;
        }
        throw_unless_again("recv");
        if (is_last_try && errno == EAGAIN) {
            return -1;
        }
    }
}

// ---- What the client has taken of its response ------------------------------

// When bytes arrive, the client's kernel acknowledges them: it tells our kernel
// that it has them. This returns the number of bytes that send() has taken and
// that have not been acknowledged yet. After shutdown() the end of file counts
// as one byte, too.
inline std::size_t unacknowledged(int socket) {
    int bytes = 0;
    check(::ioctl(socket, SIOCOUTQ, &bytes), "ioctl");
    return static_cast<std::size_t>(bytes);
}

// Watches whether a client takes its response. However slow it is, it may go on
// as long as its kernel acknowledges something before each deadline.
//
// send() can't tell us that. It only fills the kernel's send buffer. When that
// is full, send() waits until a good part of it is free again, which can take
// minutes. So we ask the kernel how much the client has acknowledged.
class Progress {
public:
    explicit Progress(int socket) : socket_(socket) {}

    // Returns whether the client has taken any bytes since the last call.
    // `sent` says how many bytes we have sent.
    bool has_taken_more(std::size_t sent) {
        const std::size_t before = acknowledged_;
        // The end of file may count, too, so this could be more than `sent`.
        const std::size_t missing = std::min(unacknowledged(socket_), sent);
        acknowledged_ = sent - missing;
        return acknowledged_ > before;
    }

private:
    int socket_;
    std::size_t acknowledged_ = 0;
};

// ---- The steps of a conversation --------------------------------------------

// Reads the head of the request, up to the blank line. It stays incomplete if
// it is too long, or if it does not arrive in time.
inline RequestHead receive_head(int socket, const Options& options) {
    RequestHead head;
    const auto deadline = options.new_deadline();
    while (!head.complete() && !head.too_long()) {
        std::array<char, RequestHead::max_bytes> buffer;
        const ssize_t n = receive(socket, buffer, deadline);
        if (n == -1) {
            return head;
        }
        // The client sends no more. The loop in the article does not check
        // this, and spins forever.
        if (n == 0) {
            throw std::runtime_error("the client left before the blank line");
        }
        const auto size = static_cast<std::size_t>(n);
        head.add(std::string_view(buffer.data(), size));
    }
    return head;
}

// Prints the request as the article does: below a line of dashes. The last two
// bytes, usually the "\r\n" of the blank line, become one line end.
inline void print_request(const RequestHead& head, Console& console) {
    const std::string dashes(40, '-');
    std::string text = dashes + "\n" + head.text();
    text.resize(text.size() - 2);
    console.print_request(text + "\n");
}

inline const Response& choose_response(const RequestHead& head,
                                       const Responses& responses) {
    if (head.complete()) {
        return responses.hello;
    }
    if (head.too_long()) {
        return responses.too_large;
    }
    return responses.too_late;
}

// Sends all of the response. A long one takes several calls: from() returns it
// in pieces, and send() takes only a part of a piece if the time is up.
inline void send_response(int socket, const Response& response,
                          Progress& progress, const Options& options) {
    std::size_t sent = 0;
    auto deadline = options.new_deadline();
    while (sent < response.size()) {
        const std::string_view piece = response.from(sent);
        int flags = limit_wait(deadline, socket, SO_SNDTIMEO);
        const bool is_last_try = flags == MSG_DONTWAIT;
        const bool is_last_piece = sent + piece.size() == response.size();
        // MSG_MORE keeps the last bytes back until shutdown() adds the end of
        // file. So both travel in one packet.
        if (is_last_piece) {
            flags |= MSG_MORE;
        }
        const ssize_t n = ::send(socket, piece.data(), piece.size(), flags);
        if (n != -1) {
            sent += static_cast<std::size_t>(n);
            continue;
        }
        throw_unless_again("send");
        // Time is up. A client that still takes its response gets more time.
        if (is_last_try && errno == EAGAIN) {
            if (!progress.has_taken_more(sent)) {
                throw std::runtime_error("the client does not read");
            }
            deadline = options.new_deadline();
        }
    }
}

// Reads and throws away what the client still sends, as long as we allow it.
// Without this, there could be unread input when we close. The kernel would
// then send a reset, and the client might lose the part of the response that it
// has not read yet (RFC 9112, section 9.6).
//
// When the deadline has passed, there may still be something to read. Perhaps
// the client was in time, and we are late. So we set a new deadline, but only
// once. Otherwise a client could keep us for hours with a byte now and then.
inline void drain(int socket, const Response& response, Progress& progress,
                  const Options& options) {
    std::size_t drained = 0;
    bool has_more_time = false;
    auto deadline = options.new_deadline();
    while (drained <= most_drained) {
        std::array<char, drain_size> buffer;
        const ssize_t n = receive(socket, buffer, deadline);
        if (n == 0) {
            return;
        }
        if (n > 0) {
            drained += static_cast<std::size_t>(n);
            if (deadline <= Clock::now() && !has_more_time) {
                has_more_time = true;
                deadline = options.new_deadline();
            }
            continue;
        }
        // Time is up. We don't wait for a client that has everything.
        if (unacknowledged(socket) == 0) {
            return;
        }
        // A client that still takes its response gets more time.
        if (!progress.has_taken_more(response.size())) {
            throw std::runtime_error("the client does not read");
        }
        deadline = options.new_deadline();
    }
}

// The whole conversation. Throws when something goes wrong with this client.
inline void converse(int socket, const Options& options,
                     const Responses& responses, Console& console) {
    const RequestHead head = receive_head(socket, options);
    if (head.complete() && !options.quiet) {
        print_request(head, console);
    }
    const Response& response = choose_response(head, responses);
    Progress progress(socket);
    send_response(socket, response, progress, options);
    // This sends the end of file after the last bytes. close() would send a
    // reset instead if there were unread input. shutdown() can only fail if the
    // client has left, and then there is nothing to do.
    ::shutdown(socket, SHUT_WR);
    // If the client sends anything after our close(), the kernel answers with a
    // reset, and what is left of the response is lost. So if there is more to
    // come, or if a long response may still be under way, we wait for the
    // client to finish first.
    if (head.more_follows() || response.size() > short_response) {
        drain(socket, response, progress, options);
    }
    // We have sent an error in place of the 200 response. The caller prints it.
    if (!head.complete()) {
        throw std::runtime_error(response.status());
    }
}
