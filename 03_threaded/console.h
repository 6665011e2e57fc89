// You may skip this file. It holds what every server needs and no stage is
// about: printing without ever waiting, and the command line. The same file is
// in all seven folders.
#pragma once

#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

// ---- Text that is safe to print ---------------------------------------------

// Some characters are not controls, but are invisible or reverse the direction
// of the text. With them a client could make one line on our screen look like
// another.
inline bool is_deceptive(wchar_t c) {
    struct Range {
        wchar_t first;
        wchar_t last;
    };
    static constexpr Range ranges[] = {
        {0x061C, 0x061C},   // a mark that sets the direction
        {0x180E, 0x180E},   // no width
        {0x200B, 0x200F},   // no width, and two marks of direction
        {0x2028, 0x202E},   // separators of lines, and directions
        {0x2060, 0x206F},   // no width, and directions
        {0xFEFF, 0xFEFF},   // no width (the byte order mark)
        {0xFFF9, 0xFFFB},   // annotations
        {0xE0000, 0xE007F}, // tags
    };
    return std::any_of(std::begin(ranges), std::end(ranges), [c](Range range) {
        return c >= range.first && c <= range.last;
    });
}

// The length in bytes of the first character, if a terminal may show it. It is
// well-formed UTF-8 then, and not a control. 0 if a terminal may not show it.
inline std::size_t printable_bytes(std::string_view text) {
    const char first = text.front();
    if (first == '\t' || first == '\n') {
        return 1;
    }
    if (first >= ' ' && first <= '~') {
        return 1;
    }
    if (text.starts_with("\r\n")) {
        return 2;
    }
    std::mbstate_t state{};
    wchar_t c = 0;
    const std::size_t length =
        std::mbrtowc(&c, text.data(), text.size(), &state);
    // mbrtowc() leaves c at 0 if the bytes are no character. The characters
    // from 0x80 to 0x9F are controls, too.
    if (c < 0xA0 || c > 0x10FFFF || is_deceptive(c)) {
        return 0;
    }
    return length;
}

// The text with every unprintable byte escaped, for example ESC as \x1b.
inline std::string escaped(std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string result;
    while (!text.empty()) {
        const std::size_t length = printable_bytes(text);
        if (length > 0) {
            result += text.substr(0, length);
            text.remove_prefix(length);
        } else {
            const auto byte = static_cast<unsigned char>(text.front());
            result += "\\x";
            result += digits[byte / 16];
            result += digits[byte % 16];
            text.remove_prefix(1);
        }
    }
    return result;
}

// ---- Printing without ever waiting ------------------------------------------

// Writes to stdout or stderr without waiting. If nobody reads, text is lost,
// and the server goes on. The open file is shared with the shell and with other
// programs, so we change neither its flags nor its offset.
//
// One case is left in which a write can wait: another program fills a pipe that
// it shares with us, just between our poll() and our write().
class Output {
public:
    explicit Output(int fd) : fd_(fd) {
        struct stat about {};
        is_file_ = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
        if (::isatty(fd) == 1) {
            open_terminal();
        }
    }

    // Writes the text, or as much of it as there is room for.
    void write(std::string_view text) {
        if (cut_) {
            cut_ = !write_now("\n");
        }
        while (!text.empty() && !cut_) {
            const std::string_view piece = text.substr(0, largest_piece());
            cut_ = !write_now(piece);
            text.remove_prefix(piece.size());
        }
    }

private:
    // poll() calls a terminal writable even if it has room for one byte only,
    // and a longer write would wait. So we open the terminal once more, for us
    // alone and non-blocking. It has no file offset, so nothing is lost.
    void open_terminal() {
        std::array<char, 32> path{};
        std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", fd_);
        const int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
        terminal_ = Fd(::open(path.data(), flags));
        if (terminal_.get() != -1) {
            fd_ = terminal_.get();
        }
    }

    // A regular file never makes us wait, so it gets everything at once. If
    // poll() says that something else has room, it has room for this much
    // (pipe(7), PIPE_BUF).
    [[nodiscard]] std::size_t largest_piece() const {
        return is_file_ ? std::string_view::npos : PIPE_BUF;
    }

    // Returns whether all of the piece has been written.
    [[nodiscard]] bool write_now(std::string_view piece) const {
        if (!is_file_ && !has_room()) {
            return false;
        }
        ssize_t n = -1;
        do {
            n = ::write(fd_, piece.data(), piece.size());
        } while (n == -1 && errno == EINTR);
        return n == static_cast<ssize_t>(piece.size());
    }

    [[nodiscard]] bool has_room() const {
        pollfd question{fd_, POLLOUT, 0};
        ::poll(&question, 1, 0);
        return (question.revents & POLLOUT) != 0;
    }

    int fd_;
    Fd terminal_;
    bool is_file_ = false;
    // The last text is not complete, so the next one starts on a new line.
    bool cut_ = false;
};

// The two outputs of a server: requests go to stdout, everything else goes to
// stderr. Several threads may use it at the same time.
class Console {
public:
    explicit Console(const char* name) : name_(name) {}

    void set_verbose(bool verbose) {
        verbose_ = verbose;
    }

    void print_request(const std::string& text) {
        const std::string safe = escaped(text);
        const std::lock_guard lock(mutex_);
        out_.write(safe);
    }

    // Prints a line that begins with the program's name.
    void say(const char* text) {
        const std::lock_guard lock(mutex_);
        write_line(text);
    }

    // With --verbose: says why a client did not get a complete 200 response.
    void explain(const char* reason) {
        if (verbose_) {
            say(reason);
        }
    }

    // Reports trouble of the server itself. That may come again and again, so
    // this prints the first report, and the next one only after a second
    // without any.
    void complain(const char* reason) {
        const std::lock_guard lock(mutex_);
        const auto now = Clock::now();
        if (now > silent_until_) {
            write_line(reason);
        }
        silent_until_ = now + 1s;
    }

private:
    static constexpr std::size_t longest_line = 256; // bytes

    // This allocates nothing, because memory may have run out.
    void write_line(const char* text) {
        std::array<char, longest_line> line{};
        std::snprintf(line.data(), line.size() - 1, "%s: %s", name_, text);
        const std::size_t length = std::strlen(line.data());
        line[length] = '\n';
        err_.write({line.data(), length + 1});
    }

    const char* name_;
    bool verbose_ = false;
    // Guards the members below.
    std::mutex mutex_;
    Output out_{STDOUT_FILENO};
    Output err_{STDERR_FILENO};
    Clock::time_point silent_until_{};
};

// The program that starts us may have closed descriptors 0 to 2. Our sockets
// would then get these numbers, and clients would get what we print. So we fill
// them with descriptors that nothing can be written to. The last one that we
// open is one too many.
inline void fill_standard_descriptors() {
    int fd = -1;
    do {
        fd = ::open("/", O_PATH | O_CLOEXEC);
    } while (fd != -1 && fd <= STDERR_FILENO);
    ::close(fd);
}

// Says where the server listens. With --port 0 the kernel has chosen the port,
// so we ask for it.
inline void announce(int listener, const Options& options, Console& console) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    auto* pointer = reinterpret_cast<sockaddr*>(&address);
    check(::getsockname(listener, pointer, &length), "getsockname");
    const std::string port = std::to_string(ntohs(address.sin_port));
    const std::string url = "http://" + options.host + ":" + port + "/";
    console.say(("listening on " + url).c_str());
}

// ---- The command line -------------------------------------------------------

// Accepts decimal digits only. CLI11 would take 010 for eight, so we drop
// leading zeros. Like all of CLI11's checks it returns what is wrong, or "".
inline std::string make_decimal(std::string& text) {
    if (text.find_first_not_of("0123456789") != std::string::npos) {
        return "Value " + text + " is not a decimal number";
    }
    while (text.size() > 1 && text.front() == '0') {
        text.erase(0, 1);
    }
    return "";
}

// Accepts decimal digits and a point, so neither "nan" nor "0x1p3".
inline std::string check_seconds(const std::string& text) {
    if (text.find_first_not_of("0123456789.") != std::string::npos) {
        return "Value " + text + " is not a number of seconds such as 2.5";
    }
    return "";
}

inline std::string check_ipv4(const std::string& text) {
    in_addr address{};
    if (::inet_pton(AF_INET, text.c_str(), &address) == 1) {
        return "";
    }
    return "Value " + text + " is not an IPv4 address such as 127.0.0.1";
}

// Adds an option that takes a whole number from `least` to `most`.
template <typename Number> void add_number(CLI::App& app, const char* name,
                                           Number& number, const char* help,
                                           long least, long most) {
    const CLI::Validator decimal(make_decimal, "");
    app.add_option(name, number, help)
        ->transform(decimal)
        ->check(CLI::Range(least, most));
}

// Adds the options that all stages have.
inline void add_options(CLI::App& app, Options& options) {
    constexpr long most_in_16_bits = 65535;
    constexpr long one_gibibyte = 1'073'741'824;
    app.add_option("--host", options.host, "IPv4 address to bind")
        ->check(check_ipv4);
    add_number(app, "--port", options.port, "0: the kernel picks a free one", 0,
               most_in_16_bits);
    add_number(app, "--backlog", options.backlog,
               "Clients that may wait for accept(). Default: as many as the "
               "system allows",
               0, most_in_16_bits);
    app.add_option("--timeout", options.timeout, "Seconds a client may take")
        ->check(check_seconds)
        ->check(CLI::Range(0.001, 1e6));
    add_number(app, "--body-bytes", options.body_bytes, "Size of the body", 0,
               one_gibibyte);
    app.add_flag("--quiet", options.quiet, "Do not print requests");
    app.add_flag("--verbose", options.verbose,
                 "Say why a client did not get a complete 200 response");
}

// What a stage hands to run().
struct Program {
    const char* name;
    const char* description;
    // Does the work. What it throws ends the program.
    void (*serve)(const Options&, const Responses&, Console&);
    // Adds the options that only this stage has.
    void (*add_options)(CLI::App&) = nullptr;
};

// Reads the command line into `options`. Returns the exit code if the program
// must end now, because of --help or a bad value.
inline std::optional<int> read_command_line(const Program& program, int argc,
                                            char** argv, Options& options) {
    CLI::App app(program.description, program.name);
    add_options(app, options);
    if (program.add_options != nullptr) {
        program.add_options(app);
    }
    try {
        app.parse(argc, argv);
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        // This prints what is wrong, or the help.
        return app.exit(error);
    }
}

// Runs the program, and prints what goes wrong to stderr. Returns the exit
// code.
inline int run(const Program& program, int argc, char** argv) {
    fill_standard_descriptors();
    // For mbrtowc(), in printable_bytes().
    std::setlocale(LC_CTYPE, "C.UTF-8");
    // A log file at its size limit would otherwise end the program, and a
    // terminal that belongs to another job would stop it.
    ::signal(SIGXFSZ, SIG_IGN);
    ::signal(SIGTTOU, SIG_IGN);
    Console console(program.name);
    try {
        Options options;
        const auto exit_code = read_command_line(program, argc, argv, options);
        if (exit_code) {
            return *exit_code;
        }
        console.set_verbose(options.verbose);
        program.serve(options, Responses(options), console);
        return 0;
    } catch (const std::exception& error) {
        console.say(reason_of(error));
        return 1;
    }
}
