// What the tests of this folder share. They show what the pages say about the kernel by the
// calls themselves: no stage takes part, both ends of every connection are in the test's program. A
// test says nothing of how long a thing takes: it brings a state about, waits until that is
// certain, and looks.
#pragma once

#include "harness/support.h"
#include "harness/time_limits.h"

#include <cerrno>
#include <cstdint>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>

/// What a call failed with, 0 if it did not.
int failure(std::int64_t result);

Descriptor tcp_socket(int flags = SOCK_NONBLOCK);

/// Sets an option of socket(7).
template <typename Value> void set(const Descriptor& socket, int option, Value value) {
    checked(setsockopt(socket.number(), SOL_SOCKET, option, &value, sizeof value), "setsockopt");
}

/// Binds to a port of 127.0.0.1, 0 for a free one.
int bind_to(const Descriptor& socket, std::uint16_t port);

/// A listener that does not block, with one option on or none.
Descriptor open_listener(int option = 0, std::uint16_t port = 0);

sockaddr_in own_address(const Descriptor& socket);

std::uint16_t port_of(const Descriptor& socket);

/// A client that does not block, once it is connected.
Descriptor connect_to(const Descriptor& listener);

/// Waits until poll(2) reports one of these events, or an error or hang-up.
bool await_events(const Descriptor& socket, short events);

/// What poll(2) reports about a descriptor, at once.
int polled(const Descriptor& descriptor, short events);

int accept_now(const Descriptor& listener);

/// The next connection of the backlog, once there is one.
Descriptor accept_from(const Descriptor& listener);

/// Both ends of a TCP connection.
struct Ends {
    explicit Ends(const Descriptor& listener) : client{connect_to(listener)} {
        server = accept_from(listener);
    }
    Ends() : Ends{open_listener()} {}

    Descriptor client;
    Descriptor server;
};

/// How many bytes are sent and not yet acknowledged (SIOCOUTQ in tcp(7)).
int bytes_under_way(const Descriptor& socket);

/// Sends, and waits until it is acknowledged: then the connection and the bytes are in the other
/// end's queues, and those who wait for them have been woken.
void deliver(const Descriptor& socket, std::string_view bytes);

/// What recv() gave: bytes, or none at the end of file, or errno.
struct Received {
    std::string bytes;
    int error;

    bool end() const { return bytes.empty() && error == 0; }
};

/// Receives once, when there is something: bytes, the end or an error.
Received receive(const Descriptor& socket, std::size_t most = 1 << 16);

/// Sends until the socket takes no more, and returns how many bytes it took.
std::size_t fill(const Descriptor& socket);

/// Closes with a reset instead of the end of file.
void reset(Descriptor& socket);

int control(const Descriptor& epoll, int operation, int fd, std::uint32_t events);

void add(const Descriptor& epoll, const Descriptor& watched, std::uint32_t events);

void modify(const Descriptor& epoll, const Descriptor& watched, std::uint32_t events);

Descriptor new_epoll();

/// An epoll with one descriptor on its interest list.
Descriptor epoll_of(const Descriptor& watched, std::uint32_t events);

/// The next report of an epoll; no events and descriptor -1 if there is none in time.
epoll_event next_report(const Descriptor& epoll, Clock::duration limit = patience);

std::uint32_t events_of(const Descriptor& epoll, Clock::duration limit = patience);

/// That nothing is reported, now that there is no more to come.
bool silent(const Descriptor& epoll);

/// How many descriptors are on an epoll's interest list (/proc/PID/fdinfo in proc(5)).
std::size_t interests(const Descriptor& epoll);

/// A file in memory: whether a FUSE file system polls its files is its own affair.
Descriptor open_regular_file();
