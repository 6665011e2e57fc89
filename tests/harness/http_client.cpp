#include "http_client.h"

#include "subject.h"

#include "time_limits.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cctype>
#include <cerrno>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <ostream>
#include <poll.h>
#include <sys/socket.h>
#include <system_error>

namespace {

constexpr int established = 1; // TCP_ESTABLISHED, which only netinet/tcp.h names, without tcp_info

sockaddr_in socket_address(const Address& address) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(address.port);
    result.sin_addr.s_addr = inet_addr(address.host.c_str());
    return result;
}

[[noreturn]] void fail(int reason, const char* call) {
    throw std::system_error(reason, std::generic_category(), call);
}

/// body_text over and over, so that any stretch of a body up to 64 KiB is a stretch of this.
const std::string& body_pattern() {
    static const std::string pattern = [] {
        std::string text;
        while (text.size() < 65536 + body_text.size()) text += body_text;
        return text;
    }();
    return pattern;
}

/// The value of Content-Length; 0 if the field is missing. A server that is tried may write its
/// name in small letters (RFC 9110 §5.1).
std::size_t announced_length(const std::string& response) {
    constexpr std::string_view field = "\r\nContent-Length: ";
    const auto same = [](char one, char other) { return std::tolower(one) == std::tolower(other); };
    const auto found =
        std::search(response.begin(), response.end(), field.begin(), field.end(), same);
    if (found == response.end()) return 0;
    const auto start = static_cast<std::size_t>(found - response.begin()) + field.size();
    return std::strtoul(response.c_str() + start, nullptr, 10);
}

void compare(std::string_view piece, CheckedBody& body) {
    while (!piece.empty()) {
        const auto length = std::min<std::size_t>(piece.size(), 65536);
        const auto expected =
            std::string_view{body_pattern()}.substr(body.bytes % body_text.size(), length);
        body.intact = body.intact && piece.substr(0, length) == expected;
        body.bytes += length;
        piece.remove_prefix(length);
    }
}

/// What the kernel knows of a connection (tcp(7)).
tcp_info information_of(int socket) {
    tcp_info info{};
    socklen_t size = sizeof info;
    checked(getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size), "TCP_INFO");
    return info;
}

} // namespace

std::ostream& operator<<(std::ostream& out, End end) {
    constexpr std::array<const char*, 3> names{"end of file", "reset", "no end"};
    return out << names.at(static_cast<std::size_t>(end));
}

int Reply::status() const {
    constexpr std::string_view version = "HTTP/1.0 ";
    // A server that is tried may name the highest version that it knows (RFC 9110 §6.2).
    const bool is_newer = subject() != nullptr && bytes.starts_with("HTTP/1.1 ");
    if (!bytes.starts_with(version) && !is_newer) return 0;
    return static_cast<int>(std::strtol(bytes.c_str() + version.size(), nullptr, 10));
}

std::string Reply::body() const {
    const auto blank_line = bytes.find("\r\n\r\n");
    return blank_line == std::string::npos ? "" : bytes.substr(blank_line + 4);
}

std::string Reply::summary() const {
    if (end == End::reset) return "reset";
    if (bytes.empty()) return end == End::eof ? "closed" : "no answer";
    if (end == End::timeout) return "unfinished";
    if (status() == 0) return "not HTTP";
    return body().size() < announced_length(bytes) ? "cut off" : std::to_string(status());
}

std::string expected_response(std::uint64_t body_bytes) {
    if (subject() != nullptr) throw NotApplicable("compares each byte of the stages' response");
    std::string response = "HTTP/1.0 200 OK\r\nDate: Mon, 1 Jan 1996 01:01:01 GMT\r\n"
                           "Content-Type: text/plain\r\nContent-Length: " +
                           std::to_string(body_bytes) + "\r\n\r\n";
    const auto size = response.size() + body_bytes;
    while (response.size() < size) response += body_text;
    response.resize(size);
    return response;
}

HttpClient::HttpClient(const Address& server, const ClientOptions& options)
    : socket_{begin_to_connect(server, options)} {
    if (subject() != nullptr && subject()->has_short_queue()) knock(server, options);
    if (!options.await_connect) return;
    if (!wait(POLLOUT, Clock::now() + patience)) fail(ETIMEDOUT, "connect");
    int error = 0;
    socklen_t size = sizeof error;
    checked(getsockopt(socket_.number(), SOL_SOCKET, SO_ERROR, &error, &size), "SO_ERROR");
    if (error != 0) fail(error, "connect");
}

Descriptor HttpClient::begin_to_connect(const Address& server, const ClientOptions& options) {
    Descriptor socket{
        checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket")};
    if (options.receive_buffer > 0) {
        checked(setsockopt(socket.number(), SOL_SOCKET, SO_RCVBUF, &options.receive_buffer,
                           sizeof options.receive_buffer),
                "SO_RCVBUF");
    }
    const auto address = socket_address(server);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    const int result = ::connect(socket.number(), generic, sizeof address);
    if (result != 0 && errno != EINPROGRESS) fail(errno, "connect");
    return socket;
}

void HttpClient::knock(const Address& server, const ClientOptions& options) {
    const auto deadline = Clock::now() + scaled(options.await_connect ? 3000ms : 100ms);
    while (!wait(POLLOUT, Clock::now() + 20ms)) {
        if (Clock::now() >= deadline && options.await_connect) fail(ETIMEDOUT, "connect");
        if (Clock::now() >= deadline) return;
        socket_ = begin_to_connect(server, options);
    }
}

bool HttpClient::connected() const {
    tcp_info info{};
    socklen_t size = sizeof info;
    checked(getsockopt(socket_.number(), IPPROTO_TCP, TCP_INFO, &info, &size), "TCP_INFO");
    return info.tcpi_state == established;
}

Address HttpClient::address() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    checked(getsockname(socket_.number(), generic, &size), "getsockname");
    return {inet_ntoa(address.sin_addr), ntohs(address.sin_port)};
}

void HttpClient::send(std::string_view bytes) {
    const auto deadline = Clock::now() + patience;
    while (!bytes.empty()) {
        const auto sent = ::send(socket_.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent >= 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
        if (sent < 0 && errno != EAGAIN) fail(errno, "send");
        if (sent < 0 && !wait(POLLOUT, deadline)) fail(ETIMEDOUT, "send");
    }
}

std::size_t HttpClient::send_what_fits(std::string_view bytes) {
    const auto sent = ::send(socket_.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) refused_ = true;
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
}

bool HttpClient::await_all_read(const Address& server) const {
    const auto ours = address();
    return eventually([&] { return unread_bytes(server, ours) == 0U; });
}

void HttpClient::finish_sending() { checked(::shutdown(socket_.number(), SHUT_WR), "shutdown"); }

void HttpClient::send_and_finish(std::string_view bytes) {
    const auto sent = ::send(socket_.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_MORE);
    if (sent != static_cast<ssize_t>(bytes.size())) fail(errno, "send");
    finish_sending();
}

void HttpClient::reset() {
    const linger at_once{1, 0};
    checked(setsockopt(socket_.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once),
            "SO_LINGER");
    socket_.close();
}

bool HttpClient::readable() const { return wait(POLLIN, Clock::now()); }

Reply HttpClient::read_some(std::size_t most, Clock::duration limit) {
    Reply reply;
    if (!wait(POLLIN, Clock::now() + limit)) return reply;
    reply.bytes.resize(most);
    const auto count = ::recv(socket_.number(), reply.bytes.data(), most, 0);
    const int error = count < 0 ? errno : 0;
    reply.bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    if (error == EAGAIN) return reply;
    if (error == ECONNRESET || error == EPIPE) reply.end = End::reset;
    else if (error != 0) fail(error, "recv");
    else if (count == 0) reply.end = refused_ ? End::reset : End::eof;
    return reply;
}

Reply HttpClient::read_to_end(Clock::duration limit) { return exchange("", limit); }

Reply HttpClient::exchange(std::string_view bytes, Clock::duration limit) {
    const auto deadline = Clock::now() + limit;
    Reply all;
    while (all.end == End::timeout && Clock::now() < deadline) {
        const auto piece = bytes.substr(0, 65536);
        if (!piece.empty()) bytes.remove_prefix(send_what_fits(piece));
        if (refused_) bytes = {};
        if (!wait(static_cast<short>(bytes.empty() ? POLLIN : POLLIN | POLLOUT), deadline)) break;
        if (!readable()) continue;
        const Reply part = read_some(65536, 0s);
        all.bytes += part.bytes;
        all.end = part.end;
    }
    return all;
}

CheckedBody HttpClient::check_body(std::size_t step, Clock::duration pause) {
    CheckedBody body;
    Reply head;
    while (head.bytes.find("\r\n\r\n") == std::string::npos) {
        const Reply part = read_some(1);
        if (part.bytes.empty()) return {0, 0, false, part.end};
        head.bytes += part.bytes;
    }
    body.status = head.status();
    std::uint64_t next_pause = step;
    for (Reply part; part.end == End::timeout; body.end = part.end) {
        part = read_some(1 << 18);
        if (part.end == End::timeout && part.bytes.empty()) break;
        compare(part.bytes, body);
        if (step == 0 || body.bytes < next_pause) continue;
        std::this_thread::sleep_for(pause);
        next_pause += step;
    }
    return body;
}

std::size_t HttpClient::discard_some(std::size_t most, Clock::duration limit) {
    if (!wait(POLLIN, Clock::now() + limit)) return 0;
    const auto count = ::recv(socket_.number(), nullptr, most, MSG_TRUNC);
    return count > 0 ? static_cast<std::size_t>(count) : 0;
}

unsigned HttpClient::data_segments() const {
    return information_of(socket_.number()).tcpi_data_segs_in;
}

unsigned HttpClient::segments() const { return information_of(socket_.number()).tcpi_segs_in; }

void HttpClient::delay_acknowledgements() {
    const int off = 0;
    checked(setsockopt(socket_.number(), IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off),
            "TCP_QUICKACK");
}

bool HttpClient::wait(short events, Clock::time_point deadline) const {
    pollfd poll_for{socket_.number(), events, 0};
    return ::poll(&poll_for, 1, milliseconds_left(deadline)) > 0;
}

Reply fetch(const Address& server, std::string_view request) {
    HttpClient client{server};
    client.send(request);
    Reply reply = client.read_to_end();
    client.leave_no_trace();
    return reply;
}

FastReader::FastReader(const Address& server) : client_{server} {
    client_.send(simple_request);
    thread_ = std::thread([this] { read(); });
}

FastReader::~FastReader() {
    leave_ = true;
    thread_.join();
}

void FastReader::read() {
    while (!leave_) {
        const auto count = client_.discard_some(1 << 20, 100ms);
        received_ += count;
        if (count == 0 && client_.readable()) break;
    }
    client_.close(); // as a browser would: the server may linger until then
    done_ = true;
}

ConstantLoad::ConstantLoad(const Address& server, int readers) {
    for (int i = 0; i < readers; ++i) {
        threads_.emplace_back([this, server] { read_again_and_again(server); });
    }
}

ConstantLoad::~ConstantLoad() {
    leave_ = true;
    for (auto& thread : threads_) thread.join();
}

void ConstantLoad::read_again_and_again(const Address& server) {
    try {
        while (!leave_) {
            HttpClient client{server};
            client.send(simple_request);
            for (bool more = true; more && !leave_;) {
                const auto count = client.discard_some(1 << 20, 100ms);
                received_ += count;
                more = count > 0 || !client.readable();
            }
            client.leave_no_trace();
        }
    } catch (const std::system_error&) { // the server has ended, as it was told to
    }
}
