// A client that can do what real ones do by accident: stop half-way, read nothing, leave.
#pragma once

#include "support.h"
#include "tcp_table.h"
#include "time_limits.h"

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

/// How a connection ended for the client.
enum class End {
    eof,    ///< the server ended its stream in good order: recv() gave 0
    reset,  ///< ECONNRESET: bytes on the way may have been lost
    timeout ///< it had not ended when the test gave up
};

std::ostream& operator<<(std::ostream& out, End end);

/// What a client received, and how that ended.
struct Reply {
    std::string bytes{};
    End end = End::timeout;

    /// The number in a first line "HTTP/1.0 200 OK"; 0 if the bytes do not begin with one. HTTP/1.1
    /// will do from a server that is tried, and from no stage.
    int status() const;
    /// What follows the first blank line.
    std::string body() const;
    /// "200" for an answer that came to its end, else what came instead: "reset", "no answer", ….
    std::string summary() const;
};

/// The article's request, as complete as any.
inline constexpr std::string_view simple_request = "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
/// A request that lacks its blank line.
inline constexpr std::string_view half_request = "GET / HTTP/1.0\r\nHost: loc";
/// What completes half_request.
inline constexpr std::string_view other_half = "alhost\r\n\r\n";
/// The text that response bodies repeat.
inline constexpr std::string_view body_text = "Hello, world!";

/// The head and body of the article's response for `--body-bytes`.
std::string expected_response(std::uint64_t body_bytes = body_text.size());

/// The result of reading a response without keeping it.
struct CheckedBody {
    int status = 0;
    std::uint64_t bytes = 0;
    bool intact = true; ///< every byte was the one of body_text that belongs there
    End end = End::timeout;
};

struct ClientOptions {
    int receive_buffer = 0;    ///< SO_RCVBUF in bytes, set before connect(); 0: the kernel's choice
    bool await_connect = true; ///< false: the constructor returns while connect() is under way
};

class HttpClient {
public:
    /// Connects. Throws std::system_error if the server refuses or does not answer.
    explicit HttpClient(const Address& server, const ClientOptions& options = {});

    /// Whether the handshake is complete. That proves nothing about the server's program: the
    /// kernel completes it from the backlog (listen(2)).
    bool connected() const;
    Address address() const;

    /// Sends it all, waiting where the socket is full. Throws std::system_error if the connection
    /// fails or takes nothing until the test's patience ends.
    void send(std::string_view bytes);
    /// Sends what the socket takes now, without waiting; 0 if nothing, or if the connection failed.
    std::size_t send_what_fits(std::string_view bytes);
    /// Whether send_what_fits() met a connection that takes nothing any more (ECONNRESET, EPIPE).
    bool refused() const { return refused_; }
    /// Waits until the server's program has read everything that was sent: false if it does not.
    bool await_all_read(const Address& server) const;
    /// Ends the sending side, shutdown(2) with SHUT_WR: the client can still receive.
    void finish_sending();
    /// The same with these bytes in front, in one segment with the FIN (MSG_MORE of send(2)).
    void send_and_finish(std::string_view bytes);
    /// Leaves with a FIN, or an RST where received bytes are unread (RFC 2525 §2.17).
    void close() { socket_.close(); }
    /// Leaves with an RST: close() with SO_LINGER of 0 seconds (socket(7)).
    void reset();
    /// Leaves after the server's end of file. An RST ends the server's TIME_WAIT (RFC 9293 §3.5.3),
    /// of which tens of thousands would come together in one run of the suite.
    void leave_no_trace() { reset(); }

    /// Whether a byte, the end of file or an error can be read at this moment.
    bool readable() const;
    /// Receives up to `most` bytes, at least one unless the stream ends or `limit` passes.
    Reply read_some(std::size_t most, Clock::duration limit = patience);
    /// Receives until the end of file or a reset.
    Reply read_to_end(Clock::duration limit = patience);
    /// Sends and receives at the same time, until the end of file or a reset. Sending stops where
    /// the server takes no more.
    Reply exchange(std::string_view bytes, Clock::duration limit = patience);
    /// Receives a response to its end and compares each byte of its body. Where `step` is not 0 it
    /// pauses for `pause` after every `step` bytes.
    CheckedBody check_body(std::size_t step = 0, Clock::duration pause = {});
    /// Receives up to `most` bytes and throws them away, uncopied (MSG_TRUNC of tcp(7)); their
    /// number, 0 at the end of the stream or if `limit` passes.
    std::size_t discard_some(std::size_t most, Clock::duration limit = patience);

    /// Segments with data received so far: tcpi_data_segs_in of TCP_INFO (tcp(7)).
    unsigned data_segments() const;
    /// All segments received so far, those without data included: tcpi_segs_in.
    unsigned segments() const;
    /// Lets acknowledgements wait for data to travel with: TCP_QUICKACK off (tcp(7)).
    void delay_acknowledgements();

private:
    static Descriptor begin_to_connect(const Address& server, const ClientOptions& options);
    /// Tries again every 20 ms, for as long as a short queue has no room: the kernel would do so
    /// after a second, and then after two.
    void knock(const Address& server, const ClientOptions& options);
    bool wait(short events, Clock::time_point deadline) const;

    Descriptor socket_;
    bool refused_ = false; ///< a send() failed, and took the error that recv() would have reported
};

/// Connects, sends `request`, receives to the end and leaves no trace.
Reply fetch(const Address& server, std::string_view request = simple_request);

/// A client on a thread of its own that reads a response as fast as it can, and then closes.
class FastReader {
public:
    /// Sends a request and starts to read.
    explicit FastReader(const Address& server);
    FastReader(const FastReader&) = delete;
    FastReader& operator=(const FastReader&) = delete;
    ~FastReader();

    /// Bytes so far.
    std::uint64_t received() const { return received_; }
    /// Whether the response has come to its end, or the connection to another.
    bool done() const { return done_; }

private:
    void read();

    HttpClient client_;
    std::atomic<std::uint64_t> received_{0};
    std::atomic<bool> done_{false};
    std::atomic<bool> leave_{false};
    std::thread thread_;
};

/// Readers that leave the server no pause: whenever one has received its response it asks again.
class ConstantLoad {
public:
    ConstantLoad(const Address& server, int readers);
    ConstantLoad(const ConstantLoad&) = delete;
    ConstantLoad& operator=(const ConstantLoad&) = delete;
    ~ConstantLoad();

    /// Bytes so far, of all responses together.
    std::uint64_t received() const { return received_; }

private:
    void read_again_and_again(const Address& server);

    std::atomic<std::uint64_t> received_{0};
    std::atomic<bool> leave_{false};
    std::vector<std::thread> threads_;
};
