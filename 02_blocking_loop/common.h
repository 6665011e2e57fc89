// What all servers share: descriptors and errors, the head of a request, the
// response. The same file is in the folder of each stage, so that each folder
// builds by itself.
//
// Read "Descriptors and errors" first. You can come back for the rest when
// conversation.h (connection.h from 04_select on) uses it.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

// ---- Time -------------------------------------------------------------------

// Unlike the time of day, this clock is never set back.
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// ---- Descriptors and errors -------------------------------------------------

// A descriptor is the number of an open file or socket. An Fd owns one, or none
// (-1). Its destructor closes it.
class Fd {
public:
    explicit Fd(int fd = -1) : fd_(fd) {}

    Fd(Fd&& other) noexcept : fd_(other.fd_) {
        other.fd_ = -1;
    }

    // Swaps the two descriptors. The other Fd closes ours when it is destroyed.
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }

    // If close() fails with EINTR we don't try it again. Linux has closed the
    // descriptor already, and another thread may use its number (close(2)).
    ~Fd() {
        if (fd_ != -1) {
            ::close(fd_);
        }
    }

    [[nodiscard]] int get() const {
        return fd_;
    }

private:
    int fd_;
};

// Throws an exception that says what failed, and why.
[[noreturn]] inline void throw_errno(const char* what) {
    // We save errno first, because any other call might change it.
    const int error = errno;
    throw std::system_error(error, std::generic_category(), what);
}

// Returns what a call has returned, or throws if that is -1.
inline int check(int result, const char* what) {
    if (result == -1) {
        throw_errno(what);
    }
    return result;
}

// Whether to call accept4() again without a pause after this error. A signal
// may have interrupted the call (EINTR). The other errors here are about one
// client, and the next one may be fine (accept(2), "Error handling").
inline bool should_accept_again(int error) {
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPROTO:
        return true;
    default:
        return false;
    }
}

// The text of an error, for people. For std::bad_alloc, what() is only
// "std::bad_alloc", so we have a text of our own. This allocates no memory,
// because there may be none left.
inline const char* reason_of(const std::exception& error) {
    if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
        return "out of memory";
    }
    return error.what();
}

// Sets an option of a socket. `level` is the protocol that the option belongs
// to (socket(7), tcp(7)).
inline void set_option(int socket, int level, int name, int value) {
    const int result = ::setsockopt(socket, level, name, &value, sizeof value);
    check(result, "setsockopt");
}

// ---- The head of a request --------------------------------------------------

// The head of a request: the request line, the header fields, and the blank
// line that ends them.
class RequestHead {
public:
    static constexpr std::size_t max_bytes = 8192;

    // Adds the bytes that have just arrived. A head may arrive in any number of
    // pieces, so we remember how far we are and look at each byte once.
    void add(std::string_view piece) {
        const std::size_t room = max_bytes - text_.size();
        const std::size_t usable = std::min(piece.size(), room);
        std::size_t used = 0;
        while (used < usable && !complete_) {
            look_at(piece[used]);
            ++used;
        }
        text_ += piece.substr(0, used);
        if (used < piece.size()) {
            surplus_ = true;
        }
        // receive_head() reads at most max_bytes with one call. So a piece of
        // that size has filled its buffer, and more bytes may be waiting.
        if (piece.size() == max_bytes) {
            surplus_ = true;
        }
    }

    [[nodiscard]] const std::string& text() const {
        return text_;
    }

    [[nodiscard]] bool complete() const {
        return complete_;
    }

    // Whether the head has reached its limit without a blank line.
    [[nodiscard]] bool too_long() const {
        return !complete_ && text_.size() == max_bytes;
    }

    // Whether the client has sent more than text(), or has announced more: the
    // rest of its head, or a body. Content-Length and Transfer-Encoding
    // announce a body (RFC 9112, section 6.3).
    [[nodiscard]] bool more_follows() const {
        if (!complete_ || surplus_) {
            return true;
        }
        return has_line("\ncontent-length:") ||
               has_line("\ntransfer-encoding:");
    }

private:
    // How much of the current line we have seen.
    enum class Line { empty, only_cr, begun };

    void look_at(char byte) {
        if (byte == '\n') {
            // If nothing else is on the line, it is the blank line.
            complete_ = (line_ != Line::begun);
            line_ = Line::empty;
        } else if (byte == '\r' && line_ == Line::empty) {
            line_ = Line::only_cr;
        } else {
            line_ = Line::begun;
        }
    }

    // Whether a line of the head begins with `begin`, in capital or small
    // letters. `begin` starts with the '\n' that ends the line before, and is
    // in lower case.
    [[nodiscard]] bool has_line(std::string_view begin) const {
        const auto same = [](char in_head, char in_begin) {
            const auto byte = static_cast<unsigned char>(in_head);
            return std::tolower(byte) == in_begin;
        };
        const auto found = std::search(text_.begin(), text_.end(),
                                       begin.begin(), begin.end(), same);
        return found != text_.end();
    }

    std::string text_;
    // We start as if a line had begun. So one blank line before the request
    // line does not end the head (RFC 9112, section 2.2).
    Line line_ = Line::begun;
    bool complete_ = false;
    // Bytes that are not part of the head have arrived, or may have.
    bool surplus_ = false;
};

// ---- The response -----------------------------------------------------------

// A response. --body-bytes can ask for a very long body, to see how the server
// sends it. The body is one short text, repeated and cut. So it is enough to
// keep some copies of the text in memory, and to send these again and again.
class Response {
public:
    // `fields` are header lines. Each ends with "\r\n".
    Response(const std::string& status, const std::string& fields,
             std::string_view text, std::size_t body_bytes)
        : status_(status) {
        bytes_ = "HTTP/1.0 " + status + "\r\n" + fields;
        bytes_ += "Content-Type: text/plain\r\n";
        bytes_ += "Content-Length: " + std::to_string(body_bytes) + "\r\n\r\n";
        head_bytes_ = bytes_.size();
        size_ = head_bytes_ + body_bytes;
        kept_bytes_ = std::min(body_bytes, text.size() * max_copies);
        while (bytes_.size() < head_bytes_ + kept_bytes_) {
            bytes_ += text;
        }
        // The last copy may be too long.
        bytes_.resize(head_bytes_ + kept_bytes_);
    }

    // A response whose body is one line that repeats the status.
    static Response error(const std::string& status) {
        const std::string line = status + "\n";
        return {status, "", line, line.size()};
    }

    // For example "408 Request Timeout".
    [[nodiscard]] const std::string& status() const {
        return status_;
    }

    // The size of the whole response, head and body.
    [[nodiscard]] std::size_t size() const {
        return size_;
    }

    // A piece of the response that begins at `offset`, which must be less than
    // the size. Together, the pieces are the whole response.
    [[nodiscard]] std::string_view from(std::size_t offset) const {
        std::size_t begin = offset;
        // We keep a number of whole copies of the text. When they are used up,
        // we go on with the first one.
        if (offset >= bytes_.size()) {
            const std::size_t in_body = offset - head_bytes_;
            begin = head_bytes_ + in_body % kept_bytes_;
        }
        // substr() stops where the kept bytes end, at the latest.
        return std::string_view(bytes_).substr(begin, size_ - offset);
    }

private:
    static constexpr std::size_t max_copies = 5000;

    std::string status_;
    // The head, then as much of the body as is kept.
    std::string bytes_;
    std::size_t head_bytes_ = 0;
    std::size_t kept_bytes_ = 0;
    std::size_t size_ = 0;
};

// ---- Options and responses --------------------------------------------------

// What the command line says.
struct Options {
    // All IPv4 addresses of this machine.
    std::string host = "0.0.0.0";
    std::uint16_t port = 8080;
    // The kernel cuts this down to its own limit, net.core.somaxconn.
    int backlog = std::numeric_limits<int>::max();
    double timeout = 10; // seconds
    // The size of "Hello, world!".
    std::size_t body_bytes = 13;
    bool quiet = false;
    bool verbose = false;

    // The time by which a step that begins now must be finished.
    [[nodiscard]] Clock::time_point new_deadline() const {
        const auto wait = std::chrono::duration<double>(timeout);
        return Clock::now() + std::chrono::round<Clock::duration>(wait);
    }
};

// All responses of the server. They are made once and never change.
struct Responses {
    // The date is the one that the article sends.
    explicit Responses(const Options& options)
        : hello("200 OK", "Date: Mon, 1 Jan 1996 01:01:01 GMT\r\n",
                "Hello, world!", options.body_bytes) {}

    Response hello;
    Response too_late = Response::error("408 Request Timeout");
    Response too_large = Response::error("431 Request Header Fields Too Large");
    // 04_select sends this one, and 08_workers.
    Response unavailable = Response::error("503 Service Unavailable");
};
