// What every stage needs and none is about: closing descriptors, printing, the text of HTTP, the
// command line. The same file is in all seven folders, so that each stands alone. Read it last.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <clocale>
#include <cstdint>
#include <cstring>
#include <cwchar>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

using Clock = std::chrono::steady_clock; // never set back, as the time of day can be
using namespace std::chrono_literals;    // 100ms

// An open descriptor, or -1. Whoever holds the Fd owns the descriptor; letting it go closes it.
class Fd {
public:
    explicit Fd(int fd = -1) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    void reset(Fd other = Fd()) noexcept { std::swap(fd_, other.fd_); } // closes the old one
    // Not tried again after EINTR: Linux has freed the number by then (close(2)).
    ~Fd() {
        if (fd_ != -1) ::close(fd_);
    }
    [[nodiscard]] int get() const { return fd_; }
private:
    int fd_;
};

// Passes on what a call returned, or throws its reason. For the set-up, without which no server.
inline int check(int result, const std::string& call) {
    return result != -1 ? result : throw std::system_error(errno, std::generic_category(), call);
}

// Bytes of the first character of `text` if it is safe to send to a terminal, else 0: well-formed
// UTF-8 and not a control. "\r" passes only as part of a line end.
inline std::size_t printable_bytes(std::string_view text) {
    const char first = text.front();
    if (first == '\t' || first == '\n' || (first >= ' ' && first <= '~')) return 1;
    if (first == '\r') return text.starts_with("\r\n") ? 2 : 0;
    std::mbstate_t state{};
    wchar_t c = 0; // stays 0 if the bytes are no character
    const std::size_t length = std::mbrtowc(&c, text.data(), text.size(), &state);
    return c >= 0xA0 && c <= 0x10FFFF ? length : 0; // from 0x80 to 0x9F there are controls again
}

// The text with all else written as \x1b, so that no client's escape sequence reaches a screen.
inline std::string escaped(std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string result;
    while (!text.empty()) {
        const std::size_t length = printable_bytes(text);
        const auto byte = static_cast<unsigned char>(text.front());
        if (length > 0) result += text.substr(0, length);
        else result.append({'\\', 'x', digits[byte / 16], digits[byte % 16]});
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return result;
}

// stdout or stderr, never waited for: a pipe that nobody reads or a full disk costs text, but not
// service. For one thread at a time.
class Console {
public:
    explicit Console(int fd) : fd_(fd) {
        // A standard descriptor left closed would become the next socket's number.
        while (::fcntl(fd, F_GETFD) == -1 && ::open("/dev/null", O_RDWR) != -1) continue;
        // O_NONBLOCK belongs to the open file, which the shell shares. Opened once more, it is ours
        // alone; only what cannot be opened by name (a socket) is set for all.
        const std::string path = "/proc/self/fd/" + std::to_string(fd);
        own_.reset(
            Fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)));
        if (own_.get() != -1) fd_ = own_.get();
        else ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    }

    // Prints with one write(2); what does not fit in is lost.
    void print(std::string_view text) {
        const std::string line = (cut_ ? "\n" : "") + escaped(text);
        ssize_t n = -1;
        while ((n = ::write(fd_, line.data(), line.size())) == -1 && errno == EINTR) continue;
        if (n > 0) cut_ = static_cast<std::size_t>(n) < line.size();
    }
private:
    int fd_;
    Fd own_;
    bool cut_ = false; // the last text came out in part: the next one starts a new line
};

// The head of a request: everything up to the first blank line, "\n\n" or "\n\r\n", and that too.
class RequestHead {
public:
    static constexpr std::size_t max_bytes = 8192, piece_bytes = 4096; // in all; from one recv()

    // Takes in the bytes received next. Each is looked at once, into however many pieces they fall.
    void add(std::string_view piece) {
        const std::size_t most = std::min(piece.size(), max_bytes - text_.size());
        std::size_t used = 0;
        while (used < most && !complete_) {
            const char byte = piece[used++];
            complete_ = byte == '\n' && line_ != Line::begun;
            if (byte == '\n') line_ = Line::empty;
            else line_ = byte == '\r' && line_ == Line::empty ? Line::only_cr : Line::begun;
        }
        text_ += piece.substr(0, used);
        surplus_ = surplus_ || used < piece.size() || (complete_ && used == piece_bytes);
    }

    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] bool complete() const { return complete_; }
    // Full and no blank line yet: whatever comes now, the head is over the limit.
    [[nodiscard]] bool too_long() const { return !complete_ && text_.size() == max_bytes; }

    // Whether the client sent more than this, may have (the last piece was full), or is going to:
    // the rest of the head, or a body, which one of two fields announces (RFC 9112 §6.3).
    [[nodiscard]] bool more_follows() const {
        std::string lower = text_;
        for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        return !complete_ || surplus_ || lower.find("\ncontent-length:") != std::string::npos ||
               lower.find("\ntransfer-encoding:") != std::string::npos;
    }
private:
    enum class Line { begun, empty, only_cr }; // what there is so far of the line under way
    std::string text_;
    Line line_ = Line::begun;
    bool complete_ = false;
    bool surplus_ = false;
};

// A response. However long its body, not more than 65,000 bytes of it are kept in memory.
class Response {
public:
    Response(const std::string& status, const std::string& text, std::uint64_t body_bytes)
        : bytes_("HTTP/1.0 " + status + "\r\nContent-Type: text/plain\r\nContent-Length: " +
                 std::to_string(body_bytes) + "\r\n\r\n"),
          head_(bytes_.size()), size_(head_ + body_bytes) {
        const std::uint64_t kept = std::min<std::uint64_t>(body_bytes, 5000 * text.size());
        while (bytes_.size() < head_ + kept) bytes_ += text;
        bytes_.resize(head_ + kept);
    }
    static Response error(const std::string& s) { return {s, s + "\n", s.size() + 1}; }
    [[nodiscard]] std::uint64_t size() const { return size_; }
    // The bytes from `offset`, less than the size, on: as many as lie together in memory.
    [[nodiscard]] std::string_view from(std::uint64_t offset) const {
        const std::uint64_t kept = bytes_.size() - head_;
        const std::uint64_t begin = offset < head_ ? offset : head_ + (offset - head_) % kept;
        return std::string_view(bytes_).substr(begin, size_ - offset);
    }
private:
    std::string bytes_;  // the head, then the body: all of it, or what repeats
    std::uint64_t head_; // size of the head
    std::uint64_t size_; // size of the whole response
};

// What all connections of a server share: its options, its answers, and where it prints.
struct Service {
    std::string name;
    std::string host = "0.0.0.0";
    std::uint16_t port = 8080;
    int backlog = SOMAXCONN;
    double timeout = 10; // seconds
    std::uint64_t body_bytes = 13;
    bool quiet = false;
    Response hello{"200 OK", "", 0}; // made anew when body_bytes is known
    Response too_late = Response::error("408 Request Timeout");
    Response too_large = Response::error("431 Request Header Fields Too Large");
    Console out{STDOUT_FILENO};
    Console err{STDERR_FILENO};
    Clock::time_point quiet_until{};
    [[nodiscard]] Clock::time_point deadline() const {
        return Clock::now() + std::chrono::round<Clock::duration>(timeout * 1.0s);
    }
    // For a trouble that recurs: a line on stderr, and not another before a second without it.
    void complain(const char* call, const char* why) try {
        if (Clock::now() > quiet_until) err.print(name + ": " + call + ": " + why + "\n");
        quiet_until = Clock::now() + 1s;
    } catch (const std::bad_alloc&) { // not even the memory to say so
    }
};

// Says where the server listens. With --port 0 the kernel has chosen the port: ask for it.
inline void announce(Service& service, int listener) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    check(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
    service.err.print(service.name + ": listening on http://" + service.host + ":" +
                      std::to_string(ntohs(address.sin_port)) + "/\n");
}

// Adds the options of all stages. For a bad value CLI11 says what the option takes.
inline void add_options(CLI::App& app, Service& service) {
    const auto ipv4 = [](const std::string& text) {
        in_addr address{};
        const bool good = ::inet_pton(AF_INET, text.c_str(), &address) == 1;
        return good ? "" : "Value " + text + " is not an IPv4 address such as 127.0.0.1";
    };
    const CLI::Range small(0, 65535), large(0, 1 << 30), seconds(0.001, 1e6);
    app.add_option("--host", service.host, "IPv4 address to bind")->check(ipv4);
    app.add_option("--port", service.port, "0: a free one, picked by the kernel")->check(small);
    app.add_option("--backlog", service.backlog, "Length of the accept queue")->check(small);
    app.add_option("--timeout", service.timeout, "Seconds a client may take")->check(seconds);
    app.add_option("--body-bytes", service.body_bytes, "Size of the body")->check(large);
    app.add_flag("--quiet", service.quiet, "Do not print requests");
}

// Reads the command line and calls `serve`. Returns the exit code; of trouble, stderr has a line.
template <typename Serve> int run(CLI::App& app, int argc, char** argv, Serve serve) {
    Service service{app.get_name()};
    std::setlocale(LC_CTYPE, "C.UTF-8"); // for printable_bytes()
    try {
        add_options(app, service);
        app.parse(argc, argv);
        if (!(service.timeout > 0)) // a NaN: CLI::Range finds it neither below nor above
            throw CLI::ValidationError("--timeout", "Value nan not in range [0.001 - 1e+06]");
        service.hello = {"200 OK\r\nDate: Mon, 1 Jan 1996 01:01:01 GMT", "Hello, world!",
                         service.body_bytes};
        serve(service);
        return 0;
    } catch (const CLI::ParseError& error) {
        return app.exit(error); // prints what is wrong, or what --help asks for
    } catch (const std::exception& error) {
        service.err.print(service.name + ": " + error.what() + "\n");
        return 1;
    }
}
