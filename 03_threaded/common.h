// What you meet in the main.cpp of every stage: descriptors and errors, the
// head of a request, the response. The same file is in all seven folders, so
// that each folder builds by itself.
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

// A clock that is never set back, as the time of day can be.
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// ---- Descriptors and errors -------------------------------------------------

// Owns one open descriptor, or none (-1). The destructor closes it.
class Fd {
public:
    explicit Fd(int fd = -1) : fd_(fd) {}

    Fd(Fd&& other) noexcept : fd_(other.fd_) {
        other.fd_ = -1;
    }

    // Takes the other's descriptor. The other gets ours, and closes it.
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }

    // If close() fails with EINTR we don't try it again: Linux has freed the
    // number already, and another thread may have got it (close(2)).
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

// Throws an exception that says why the last call has failed. `call` is its
// name.
[[noreturn]] inline void throw_errno(const char* call) {
    // The first thing we do here: anything else might change errno.
    const int error = errno;
    throw std::system_error(error, std::generic_category(), call);
}

// Returns what the call has returned, or throws if that is -1.
inline int check(int result, const char* call) {
    if (result == -1) {
        throw_errno(call);
    }
    return result;
}

// After accept4() has returned -1: whether we should just call it again. A
// signal has interrupted it (EINTR); or the error is about one client, which
// has left already or whose network fails, and the next client may be fine
// (accept(2), "Error handling").
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

// What to tell a person about an error. This needs no memory, because a lack of
// memory may be the error.
inline const char* reason_of(const std::exception& error) {
    if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
        return "out of memory";
    }
    return error.what();
}

// Sets an option of a socket (socket(7), tcp(7)).
inline void set_option(int socket, int level, int name, int value) {
    const int result = ::setsockopt(socket, level, name, &value, sizeof value);
    check(result, "setsockopt");
}

// ---- The head of a request --------------------------------------------------

// The head of a request: everything up to and including the first blank line.
class RequestHead {
public:
    static constexpr std::size_t max_bytes = 8192;

    // Adds the bytes that have just arrived. A head may arrive in any number of
    // pieces, so we remember how far we are and look at each byte once.
    void add(std::string_view piece) {
        const std::size_t room = max_bytes - text_.size();
        const std::size_t most = std::min(piece.size(), room);
        std::size_t used = 0;
        while (used < most && !complete_) {
            look_at(piece[used]);
            ++used;
        }
        text_ += piece.substr(0, used);
        if (used < piece.size()) {
            surplus_ = true;
        }
        // We never ask recv() for more than this. So there may be more behind a
        // piece of this size.
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

    // Whether we have read all that we allow and found no blank line.
    [[nodiscard]] bool too_long() const {
        return !complete_ && text_.size() == max_bytes;
    }

    // Whether the client has sent or will send more than what is in text(): the
    // rest of its head, or a body, which one of two header fields announces
    // (RFC 9112, section 6.3).
    [[nodiscard]] bool more_follows() const {
        if (!complete_ || surplus_) {
            return true;
        }
        return has_field("content-length:") || has_field("transfer-encoding:");
    }

private:
    // How much of the current line we have seen.
    enum class Line { empty, only_cr, begun };

    void look_at(char byte) {
        if (byte == '\n') {
            complete_ = (line_ != Line::begun);
            line_ = Line::empty;
        } else if (byte == '\r' && line_ == Line::empty) {
            line_ = Line::only_cr;
        } else {
            line_ = Line::begun;
        }
    }

    // `name` is in lower case. A client may write it in any case.
    [[nodiscard]] bool has_field(std::string_view name) const {
        const auto same = [](char ours, char wanted) {
            return std::tolower(static_cast<unsigned char>(ours)) == wanted;
        };
        const std::string field = "\n" + std::string(name);
        const auto found = std::search(text_.begin(), text_.end(),
                                       field.begin(), field.end(), same);
        return found != text_.end();
    }

    std::string text_;
    // A blank line in front of the request is not its end, hence `begun`.
    Line line_ = Line::begun;
    bool complete_ = false;
    // Bytes have arrived that are not part of the head.
    bool surplus_ = false;
};

// ---- The response -----------------------------------------------------------

// A response. Its body is one text, repeated and cut, so only the first 5,000
// copies of the text are kept in memory, however long the body is.
class Response {
public:
    Response(const std::string& status, const std::string& fields,
             std::string_view text, std::size_t body_bytes)
        : status_(status) {
        bytes_ = "HTTP/1.0 " + status + "\r\n" + fields;
        bytes_ += "Content-Type: text/plain\r\n";
        bytes_ += "Content-Length: " + std::to_string(body_bytes) + "\r\n\r\n";
        head_bytes_ = bytes_.size();
        size_ = head_bytes_ + body_bytes;
        const std::size_t most = text.size() * max_copies;
        kept_bytes_ = std::min(body_bytes, most);
        while (bytes_.size() < head_bytes_ + kept_bytes_) {
            bytes_ += text;
        }
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

    // The bytes from `offset` on, as many as lie together in memory. There is
    // at least one as long as `offset` is less than the size.
    [[nodiscard]] std::string_view from(std::size_t offset) const {
        std::size_t begin = offset;
        if (offset >= bytes_.size()) {
            begin = head_bytes_ + (offset - head_bytes_) % kept_bytes_;
        }
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
    std::string host = "0.0.0.0";
    std::uint16_t port = 8080;
    // The kernel cuts this down to its own limit, net.core.somaxconn.
    int backlog = std::numeric_limits<int>::max();
    double timeout = 10; // seconds
    std::size_t body_bytes = 13;
    bool quiet = false;
    bool verbose = false;

    // A client must have finished a step that it begins now by this time.
    [[nodiscard]] Clock::time_point deadline() const {
        const auto wait = std::chrono::duration<double>(timeout);
        return Clock::now() + std::chrono::round<Clock::duration>(wait);
    }
};

// All that the server can answer. It is made once and never changes.
struct Responses {
    explicit Responses(const Options& options)
        : hello("200 OK", "Date: Mon, 1 Jan 1996 01:01:01 GMT\r\n",
                "Hello, world!", options.body_bytes) {}

    Response hello;
    Response too_late = Response::error("408 Request Timeout");
    Response too_large = Response::error("431 Request Header Fields Too Large");
    Response unavailable = Response::error("503 Service Unavailable");
};
