#include "sockets.h"

#include "harness/time_limits.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int failure(std::int64_t result) { return result == -1 ? errno : 0; }

Descriptor tcp_socket(int flags) {
    return Descriptor{checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket")};
}

int bind_to(const Descriptor& socket, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bind(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

Descriptor open_listener(int option, std::uint16_t port) {
    Descriptor listener = tcp_socket();
    if (option != 0) set(listener, option, 1);
    checked(bind_to(listener, port), "bind");
    checked(listen(listener.number(), SOMAXCONN), "listen");
    return listener;
}

sockaddr_in own_address(const Descriptor& socket) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    checked(getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length), "name");
    return address;
}

std::uint16_t port_of(const Descriptor& socket) { return ntohs(own_address(socket).sin_port); }

Descriptor connect_to(const Descriptor& listener) {
    Descriptor client = tcp_socket(0);
    const sockaddr_in server = own_address(listener);
    checked(connect(client.number(), reinterpret_cast<const sockaddr*>(&server), sizeof server),
            "connect");
    checked(fcntl(client.number(), F_SETFL, O_NONBLOCK), "fcntl");
    return client;
}

bool await_events(const Descriptor& socket, short events) {
    pollfd entry{socket.number(), events, 0};
    return poll(&entry, 1, milliseconds_left(Clock::now() + patience)) == 1;
}

int polled(const Descriptor& descriptor, short events) {
    pollfd entry{descriptor.number(), events, 0};
    checked(poll(&entry, 1, 0), "poll");
    return entry.revents;
}

int accept_now(const Descriptor& listener) {
    return accept4(listener.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

Descriptor accept_from(const Descriptor& listener) {
    await_events(listener, POLLIN);
    return Descriptor{checked(accept_now(listener), "accept4")};
}

int bytes_under_way(const Descriptor& socket) {
    int count = -1;
    checked(ioctl(socket.number(), SIOCOUTQ, &count), "SIOCOUTQ");
    return count;
}

void deliver(const Descriptor& socket, std::string_view bytes) {
    checked(static_cast<int>(send(socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL)),
            "send");
    ASSERT_TRUE(eventually([&] { return bytes_under_way(socket) == 0; }));
}

Received receive(const Descriptor& socket, std::size_t most) {
    await_events(socket, POLLIN);
    std::string bytes(most, '\0');
    const auto count = recv(socket.number(), bytes.data(), most, 0);
    if (count == -1) return {"", errno};
    bytes.resize(static_cast<std::size_t>(count));
    return {bytes, 0};
}

std::size_t fill(const Descriptor& socket) {
    const std::string bytes(1 << 20, 'x');
    for (std::size_t taken = 0;;) {
        const auto count = send(socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count == -1 && errno == EAGAIN) return taken;
        taken += static_cast<std::size_t>(checked(static_cast<int>(count), "send"));
    }
}

void reset(Descriptor& socket) {
    set(socket, SO_LINGER, linger{1, 0});
    socket.close();
}

int control(const Descriptor& epoll, int operation, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return epoll_ctl(epoll.number(), operation, fd, &event);
}

void add(const Descriptor& epoll, const Descriptor& watched, std::uint32_t events) {
    checked(control(epoll, EPOLL_CTL_ADD, watched.number(), events), "EPOLL_CTL_ADD");
}

void modify(const Descriptor& epoll, const Descriptor& watched, std::uint32_t events) {
    checked(control(epoll, EPOLL_CTL_MOD, watched.number(), events), "EPOLL_CTL_MOD");
}

Descriptor new_epoll() { return Descriptor{checked(epoll_create1(EPOLL_CLOEXEC), "epoll")}; }

Descriptor epoll_of(const Descriptor& watched, std::uint32_t events) {
    Descriptor epoll = new_epoll();
    add(epoll, watched, events);
    return epoll;
}

epoll_event next_report(const Descriptor& epoll, Clock::duration limit) {
    epoll_event event{};
    const int left = milliseconds_left(Clock::now() + limit);
    if (epoll_wait(epoll.number(), &event, 1, left) < 1) event.data.fd = -1;
    return event;
}

std::uint32_t events_of(const Descriptor& epoll, Clock::duration limit) {
    return next_report(epoll, limit).events;
}

bool silent(const Descriptor& epoll) { return events_of(epoll, 0s) == 0; }

std::size_t interests(const Descriptor& epoll) {
    std::size_t count = 0;
    const auto lines = read_file("/proc/self/fdinfo/" + std::to_string(epoll.number()));
    for (const auto& line : lines_of(lines)) count += line.starts_with("tfd:") ? 1 : 0;
    return count;
}

Descriptor open_regular_file() {
    return Descriptor{checked(memfd_create("file", MFD_CLOEXEC), "memfd_create")};
}
