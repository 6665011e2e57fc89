// One client, from the first byte of its request to the last byte of its
// response. Each function is a part of the conversation, and waits until its
// part is done. So where the program is in this file is where we are in the
// conversation.
//
// Read converse() first. It is at the end. "The article" is the one that this
// tutorial retells: "How To Use Linux epoll with Python".
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

// A response of at most this size is on its way once send() has taken it. A
// longer one may take many packets, and wait for the client.
constexpr std::size_t short_response = 1024; // bytes
// We read at most this much from a client that has its response already.
constexpr std::size_t most_drained = 64'000'000; // bytes

// ---- Calls with a deadline --------------------------------------------------

// From now on recv() (SO_RCVTIMEO) or send() (SO_SNDTIMEO) waits this long at
// most, and then fails with EAGAIN.
inline void set_timeout(int socket, int option, Clock::duration wait) {
    using std::chrono::microseconds;
    constexpr auto second = microseconds(1s).count();
    // Rounded up, because a timeout of 0 would mean to wait forever.
    const auto count = std::chrono::ceil<microseconds>(wait).count();
    const timeval value{static_cast<time_t>(count / second),
                        static_cast<suseconds_t>(count % second)};
    const int result =
        ::setsockopt(socket, SOL_SOCKET, option, &value, sizeof value);
    check(result, "setsockopt");
}

// Lets the next call wait until the deadline, and returns the flags for it. If
// the deadline has passed, the call is a last try that does not wait: what we
// wait for may have come in time, and only we are late.
inline int wait_until(Clock::time_point deadline, int socket, int option) {
    const auto left = deadline - Clock::now();
    if (left <= 0s) {
        return MSG_DONTWAIT;
    }
    set_timeout(socket, option, left);
    return 0;
}

// After recv() or send() has returned -1: throws, unless we should go on.
// EAGAIN says that there was nothing to do in time, EINTR that a signal
// interrupted the call.
inline void throw_unless_again(const char* call) {
    if (errno != EAGAIN && errno != EINTR) {
        throw_errno(call);
    }
}

// recv() with a deadline. Returns the number of bytes, 0 if the client has
// left, and -1 if nothing has come by the deadline.
inline ssize_t receive(int socket, std::span<char> buffer,
                       Clock::time_point deadline) {
    while (true) {
        const int flags = wait_until(deadline, socket, SO_RCVTIMEO);
        const ssize_t n = ::recv(socket, buffer.data(), buffer.size(), flags);
        if (n != -1) {
            return n;
        }
        // A client may also leave with a reset, without an end of file.
        if (errno == ECONNRESET) {
            return 0;
        }
        throw_unless_again("recv");
        const bool is_last_try = flags == MSG_DONTWAIT;
        if (is_last_try && errno == EAGAIN) {
            return -1;
        }
    }
}

// ---- What the client has taken of its response ------------------------------

// The number of bytes that we have sent and that the client's kernel has not
// acknowledged yet. After shutdown() the end of file counts as one byte, too.
inline std::size_t unacknowledged(int socket) {
    int bytes = 0;
    check(::ioctl(socket, SIOCOUTQ, &bytes), "ioctl");
    return static_cast<std::size_t>(bytes);
}

// Whether a client takes its response. However slow it is, it keeps its
// connection as long as it takes a byte before each deadline.
//
// send() can't tell us: it only fills the kernel's send buffer, and waits until
// a good part of that is free again, which can take minutes. So we ask for the
// acknowledgements.
class Progress {
public:
    explicit Progress(int socket) : socket_(socket) {}

    // Whether the client has taken any bytes since we last asked. `sent` is the
    // number of bytes that send() has taken.
    bool has_taken_more(std::size_t sent) {
        const std::size_t before = acknowledged_;
        const std::size_t missing = std::min(unacknowledged(socket_), sent);
        acknowledged_ = sent - missing;
        return acknowledged_ > before;
    }

private:
    int socket_;
    std::size_t acknowledged_ = 0;
};

// ---- The steps of a conversation --------------------------------------------

// Reads until the blank line. The head stays incomplete if it is too long, or
// if it does not arrive in time.
inline RequestHead receive_head(int socket, const Options& options) {
    RequestHead head;
    const auto deadline = options.deadline();
    while (!head.complete() && !head.too_long()) {
        std::array<char, RequestHead::max_bytes> buffer;
        const ssize_t n = receive(socket, buffer, deadline);
        if (n == -1) {
            return head;
        }
        // The client has left. The article's loop does not ask, and spins
        // forever.
        if (n == 0) {
            throw std::runtime_error("the client left before the blank line");
        }
        head.add({buffer.data(), static_cast<std::size_t>(n)});
    }
    return head;
}

// Prints the request as the article does: all of it, and a line end.
inline void print_request(const RequestHead& head, Console& console) {
    console.print_request(head.text() + "\n");
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

// Sends all of the response. A long one takes several calls: send() returns
// when it has handed over as much as there is room for.
inline void send_response(int socket, const Response& response,
                          Progress& progress, const Options& options) {
    std::size_t sent = 0;
    auto deadline = options.deadline();
    while (sent < response.size()) {
        const std::string_view piece = response.from(sent);
        int flags = wait_until(deadline, socket, SO_SNDTIMEO);
        const bool is_last_try = flags == MSG_DONTWAIT;
        // MSG_MORE keeps the last bytes back until shutdown() adds the end of
        // file. So both leave in one packet.
        if (sent + piece.size() == response.size()) {
            flags |= MSG_MORE;
        }
        const ssize_t n = ::send(socket, piece.data(), piece.size(), flags);
        if (n != -1) {
            sent += static_cast<std::size_t>(n);
            continue;
        }
        throw_unless_again("send");
        if (is_last_try && errno == EAGAIN) {
            if (!progress.has_taken_more(sent)) {
                throw std::runtime_error("the client does not read");
            }
            deadline = options.deadline();
        }
    }
}

// Reads and throws away what the client still sends, until it closes. Without
// this, our close() could meet unread input. The kernel would then send a
// reset, and the client might lose the part of the response that it has not
// read yet (RFC 9112, section 9.6).
inline void drain(int socket, const Response& response, Progress& progress,
                  const Options& options) {
    std::size_t drained = 0;
    auto deadline = options.deadline();
    while (drained <= most_drained) {
        std::array<char, 2 * RequestHead::max_bytes> buffer;
        const ssize_t n = receive(socket, buffer, deadline);
        // The client has closed, too.
        if (n == 0) {
            return;
        }
        if (n > 0) {
            drained += static_cast<std::size_t>(n);
            continue;
        }
        // Time is up. A client that is still taking its response gets more.
        if (unacknowledged(socket) == 0) {
            return;
        }
        if (!progress.has_taken_more(response.size())) {
            throw std::runtime_error("the client does not read");
        }
        deadline = options.deadline();
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
    // The end of file leaves now, together with the last bytes. We don't leave
    // that to close(), which sends a reset if there is unread input. This can
    // only fail if the client has left, and then there is nothing to do.
    ::shutdown(socket, SHUT_WR);
    // A client that sends more must not meet our close(), and neither may a
    // long response that is not on its way yet. So we wait for the client to
    // close first.
    if (head.more_follows() || response.size() > short_response) {
        drain(socket, response, progress, options);
    }
    if (!head.complete()) {
        throw std::runtime_error(response.status());
    }
}
