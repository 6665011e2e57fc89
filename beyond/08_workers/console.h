// You may skip this file. Every server needs it, and no stage is about it: it
// prints without ever waiting, and it reads the command line. All that you need
// to know is that run(), at the end, calls the serve() of main.cpp. The same
// file is in the folder of each stage.
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
// another. These are the ones that Unicode calls default-ignorable, and some
// more.
inline bool is_deceptive(wchar_t c) {
    struct Range {
        wchar_t first;
        wchar_t last;
    };
    static constexpr Range ranges[] = {
        {0x00AD, 0x00AD},   // the soft hyphen
        {0x034F, 0x034F},   // a joiner
        {0x061C, 0x061C},   // a mark that sets the direction
        {0x115F, 0x1160},   // fillers
        {0x17B4, 0x17B5},   // vowels without a form
        {0x180B, 0x180F},   // selectors of a variant, a separator
        {0x200B, 0x200F},   // no width, and two marks of direction
        {0x2028, 0x202E},   // separators of lines, and directions
        {0x2060, 0x206F},   // no width, and directions
        {0x3164, 0x3164},   // a filler
        {0xFE00, 0xFE0F},   // selectors of a variant
        {0xFEFF, 0xFEFF},   // no width (the byte order mark)
        {0xFFA0, 0xFFA0},   // a filler
        {0xFFF0, 0xFFFB},   // annotations
        {0x1BCA0, 0x1BCA3}, // controls of shorthand
        {0x1D173, 0x1D17A}, // controls of musical notes
        {0xE0000, 0xE0FFF}, // tags, and selectors of a variant
    };
    return std::any_of(std::begin(ranges), std::end(ranges), [c](Range range) {
        return c >= range.first && c <= range.last;
    });
}

// The length in bytes of the first character, or 0 if we must not print it. We
// print well-formed UTF-8. Of the control characters we only print tabs and
// line ends.
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
// and the server goes on.
//
// We share the open file with the shell and with other programs. So we don't
// make it non-blocking, because that would change it for all of them. We open a
// terminal or a pipe once more, for us alone and non-blocking. We don't do that
// with a log file. Opened again, it has a position of its own, and we would
// write over what the other programs write.
//
// A write can still wait for a slow disk, and for a terminal or a pipe that
// belongs to another user, because we can't open that once more.
class Output {
public:
    explicit Output(int fd) : fd_(fd) {
        struct stat about {};
        const int result = ::fstat(fd, &about);
        is_file_ = result == 0 && S_ISREG(about.st_mode);
        const bool is_pipe = result == 0 && S_ISFIFO(about.st_mode);
        if (is_pipe || ::isatty(fd) == 1) {
            open_once_more();
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
    // To ask poll() before each write is not enough. It says that a terminal
    // has room even if that is for one byte only, and a longer write would
    // wait. And another program may fill a pipe between our poll() and our
    // write().
    void open_once_more() {
        // If ours is for reading only, we must not open it for writing.
        if ((::fcntl(fd_, F_GETFL) & O_ACCMODE) == O_RDONLY) {
            return;
        }
        std::array<char, 32> path{};
        std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", fd_);
        const int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
        own_ = Fd(::open(path.data(), flags));
        if (own_.get() != -1) {
            fd_ = own_.get();
        }
    }

    // Nobody has to read a regular file before we can write to it, so it gets
    // everything at once. If poll() says that a pipe has room, then it has room
    // for PIPE_BUF bytes (pipe(7)).
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
        pollfd output{fd_, POLLOUT, 0};
        ::poll(&output, 1, 0);
        return (output.revents & POLLOUT) != 0;
    }

    int fd_;
    // The terminal or pipe, opened once more.
    Fd own_;
    bool is_file_ = false;
    // Whether the last text was cut. Then the next one starts on a new line.
    bool cut_ = false;
};

// The two outputs of a server: requests go to stdout, everything else goes to
// stderr. Several threads may use a Console at the same time.
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

    // Reports trouble of the server itself. There may be many reports in a row.
    // We print a report only if there was none in the second before it, so we
    // print the first of a row.
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
        // One byte stays free for the line end.
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
// them with descriptors that nothing can be written to.
inline void fill_standard_descriptors() {
    int fd = -1;
    do {
        fd = ::open("/", O_PATH | O_CLOEXEC);
    } while (fd != -1 && fd <= STDERR_FILENO);
    // The last one is one too many.
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
// leading zeros. As CLI11 wants it, this returns what is wrong, or "" if
// nothing is.
inline std::string make_decimal(std::string& text) {
    if (text.find_first_not_of("0123456789") != std::string::npos) {
        return "Value " + text + " is not a decimal number";
    }
    while (text.size() > 1 && text.front() == '0') {
        text.erase(0, 1);
    }
    return "";
}

// Accepts decimal digits and a point. That rules out "nan" and "0x1p3".
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

// Runs the program. Prints an error to stderr, and returns the exit code.
inline int run(const Program& program, int argc, char** argv) {
    fill_standard_descriptors();
    // For mbrtowc(), in printable_bytes().
    std::setlocale(LC_CTYPE, "C.UTF-8");
    // A log file at its size limit would otherwise end the program, and a
    // terminal that belongs to another job could stop it.
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
        const Responses responses(options);
        program.serve(options, responses, console);
        return 0;
    } catch (const std::exception& error) {
        console.say(reason_of(error));
        return 1;
    }
}
