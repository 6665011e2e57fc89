// What clients do to a server, made up from a number; and what they must get for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What a script is about, and so which servers it is for.
enum class Kind {
    short_response, ///< --body-bytes 13; no deadline passes
    long_response,  ///< more than a socket takes at once; no deadline passes
    silent          ///< no head is ever complete, and the deadline is near
};

enum class Act {
    connect,
    send,           ///< `bytes`
    pause,          ///< for `amount` µs
    finish_sending, ///< shutdown(2) with SHUT_WR
    read,           ///< up to `amount` bytes, at least one where something is due
    read_to_end,    ///< and close
    close,          ///< whatever is still on its way
    reset           ///< close with SO_LINGER of 0 seconds
};

/// One thing that one client does.
struct Step {
    std::size_t client;
    Act act;
    std::size_t amount = 0;
    std::string bytes{};
};

/// How a client connects.
struct Setup {
    int receive_buffer = 0; ///< SO_RCVBUF in bytes; 0: the kernel's choice
    int segment_size = 0;   ///< TCP_MAXSEG in bytes; 0: the kernel's choice, up to 64 KiB
};

/// A few clients and what they do, in this order.
struct Script {
    Kind kind;
    std::vector<Setup> clients;
    std::vector<Step> steps;
};

/// The script with this number of all those that belong to a seed.
Script make_script(std::uint64_t seed, std::uint64_t number);

/// The script as a reader can follow it: a line for each step, long texts cut in their middle.
std::string describe(const Script& script);

/// The bytes in quotes, "\r\n" and other controls written out.
std::string quoted(std::string_view bytes);

/// What a client can get; the last for one that leaves before it has got it all.
enum class Outcome { hello, too_large, too_late, nothing, cut_short };

/// The bytes that a server sends for each outcome.
struct Answers {
    std::string hello;
    std::string too_large;
    std::string too_late;

    explicit Answers(std::uint64_t body_bytes);
    const std::string& of(Outcome outcome) const;
};

/// What design says a client is due after what it has sent so far. It knows all bytes at once, and
/// finds the end of the head with std::string::find.
class Model {
public:
    Model(Kind kind, const Setup& setup) : kind_{kind}, setup_{setup} {}

    /// The client sends this with one call.
    void send(std::string_view bytes);
    void finish_sending() { finished_ = true; }

    /// Whether the server has heard enough to answer, or to close.
    bool decided() const { return outcome() != Outcome::cut_short; }
    /// What is due; cut_short if the server still waits for more.
    Outcome outcome() const;
    /// Whether the client must get all of it, and then the end of file. Not if it went on sending
    /// after a plain head with a short answer, which the server may close at once (see send()).
    bool sure() const { return sure_; }

private:
    std::size_t end_of_head() const;
    bool announces_more(std::size_t end) const;

    Kind kind_;
    Setup setup_;
    std::string sent_;
    bool finished_ = false;
    bool sure_ = true;
};
