// What the kernel knows about the TCP sockets of other processes, asked through sock_diag(7): one
// socket costs one question, however many there are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// An IPv4 address in dotted form and a port.
struct Address {
    std::string host;
    std::uint16_t port;

    bool operator==(const Address&) const = default;
};

struct Listener {
    Address address;
    std::uint64_t inode;         ///< as /proc/PID/fd shows it
    std::uint32_t waiting_count; ///< connections that are complete and not yet accepted
    std::uint32_t backlog;       ///< how many of these there may be
};

/// Every IPv4 listener of this network namespace. Throws std::system_error if sock_diag fails.
std::vector<Listener> listeners();

/// Bytes that the connection between these two has received at the side of `local`, and that the
/// program there has not read; nothing if there is no such connection.
std::optional<std::uint32_t> unread_bytes(const Address& local, const Address& remote);

/// Bytes that the end at the side of `local` holds because the other has not acknowledged them,
/// most of them not sent yet; nothing if there is no such connection.
std::optional<std::uint32_t> unacknowledged_bytes(const Address& local, const Address& remote);

/// Whether the end of a connection at the side of `local` is in TIME_WAIT (RFC 9293 §3.3.2). No
/// program holds it any more; the kernel keeps it for a minute.
bool in_time_wait(const Address& local, const Address& remote);
