#include "tcp_table.h"

#include "support.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace {

constexpr unsigned listen_state = 10;   // TCP_LISTEN of the kernel
constexpr unsigned time_wait_state = 6; // TCP_TIME_WAIT

struct Question {
    nlmsghdr header;
    inet_diag_req_v2 query;
};

Question question(std::uint16_t flags, std::uint32_t states) {
    Question result{};
    result.header.nlmsg_len = sizeof result;
    result.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    result.header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    result.query.sdiag_family = AF_INET;
    result.query.sdiag_protocol = IPPROTO_TCP;
    result.query.idiag_states = states;
    result.query.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
    result.query.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    return result;
}

/// Looks at the messages of one datagram. False if the last of them says that no more follow.
bool read_messages(const char* bytes, std::size_t size, std::vector<inet_diag_msg>& sockets) {
    while (size >= sizeof(nlmsghdr)) {
        nlmsghdr header;
        std::memcpy(&header, bytes, sizeof header);
        if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY || header.nlmsg_len > size) return false;
        inet_diag_msg& socket = sockets.emplace_back();
        std::memcpy(&socket, bytes + NLMSG_HDRLEN, sizeof socket);
        if ((header.nlmsg_flags & NLM_F_MULTI) == 0) return false;
        const auto step = std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), size);
        bytes += step;
        size -= step;
    }
    return true;
}

/// Asks, and collects the sockets that the kernel names; none where it answers with an error, as
/// when there is no such socket.
std::vector<inet_diag_msg> ask(const Question& question) {
    const Descriptor netlink{
        checked(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), "netlink")};
    checked(static_cast<int>(send(netlink.number(), &question, sizeof question, 0)), "sock_diag");
    std::vector<inet_diag_msg> sockets;
    std::array<char, 32768> buffer;
    for (bool more = true; more;) {
        const auto size = recv(netlink.number(), buffer.data(), buffer.size(), 0);
        checked(static_cast<int>(size), "sock_diag");
        more = read_messages(buffer.data(), static_cast<std::size_t>(size), sockets);
    }
    return sockets;
}

/// What the kernel says of a connection's end at the side of `local`.
std::optional<inet_diag_msg> end_of_connection(const Address& local, const Address& remote) {
    Question exact = question(0, ~0U);
    exact.query.id.idiag_src[0] = inet_addr(local.host.c_str());
    exact.query.id.idiag_sport = htons(local.port);
    exact.query.id.idiag_dst[0] = inet_addr(remote.host.c_str());
    exact.query.id.idiag_dport = htons(remote.port);
    const auto sockets = ask(exact);
    const bool found = !sockets.empty() && sockets.front().idiag_state != listen_state;
    return found ? std::optional{sockets.front()} : std::nullopt;
}

Address local_address(const inet_diag_msg& socket) {
    return {inet_ntoa({socket.id.idiag_src[0]}), ntohs(socket.id.idiag_sport)};
}

} // namespace

std::vector<Listener> listeners() {
    std::vector<Listener> result;
    for (const auto& socket : ask(question(NLM_F_DUMP, 1U << listen_state))) {
        result.push_back(
            {local_address(socket), socket.idiag_inode, socket.idiag_rqueue, socket.idiag_wqueue});
    }
    return result;
}

std::optional<std::uint32_t> unread_bytes(const Address& local, const Address& remote) {
    const auto end = end_of_connection(local, remote);
    return end ? std::optional{end->idiag_rqueue} : std::nullopt;
}

std::optional<std::uint32_t> unacknowledged_bytes(const Address& local, const Address& remote) {
    const auto end = end_of_connection(local, remote);
    return end ? std::optional{end->idiag_wqueue} : std::nullopt;
}

bool in_time_wait(const Address& local, const Address& remote) {
    const auto end = end_of_connection(local, remote);
    return end && end->idiag_state == time_wait_state;
}
