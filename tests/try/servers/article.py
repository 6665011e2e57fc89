"""Examples 1 to 4 of the article "How To Use Linux epoll with Python", retold,
with the article's faults. docs/reference/others.md says what comes of them.

To try Example 3:  python3 article.py 3 8080     and, in another terminal:  curl -i http://127.0.0.1:8080/
"""

from __future__ import annotations

import select
import socket
import sys

RESPONSE = (
    b"HTTP/1.0 200 OK\r\n"
    b"Date: Mon, 1 Jan 1996 01:01:01 GMT\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 13\r\n"
    b"\r\n"
    b"Hello, world!"
)


def is_complete(request: bytes) -> bool:
    return b"\n\n" in request or b"\n\r\n" in request


# ---- Examples 1 and 2: one client at a time ------------------------------------------------------


def receive_request(connection: socket.socket) -> bytes:
    """Receives until there is a blank line. After a client has left, that is forever."""
    request = b""
    while not is_complete(request):
        request += connection.recv(1024)
    return request


def serve_one(listener: socket.socket) -> None:
    """Example 1."""
    connection, _ = listener.accept()
    print(receive_request(connection).decode())
    connection.send(RESPONSE)  # once, however many bytes it takes
    connection.close()


def serve_in_turn(listener: socket.socket) -> None:
    """Example 2."""
    while True:
        connection, _ = listener.accept()
        print_request(receive_request(connection))
        connection.send(RESPONSE)
        connection.close()


def print_request(request: bytes) -> None:
    print("-" * 40)
    print(request.decode()[:-2])


# ---- Examples 3 and 4: many clients, in one loop -------------------------------------------------


class EventLoop:
    """Example 3, level-triggered: one call for each event. What is left is reported once more."""

    trigger = 0  # added to the events of each descriptor

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.epoll = select.epoll()
        # What is known of each client, by its descriptor.
        self.connections: dict[int, socket.socket] = {}
        self.requests: dict[int, bytes] = {}  # what has come so far
        self.responses: dict[int, bytes] = {}  # what is still to be sent

    def run(self) -> None:
        self.listener.setblocking(False)
        self.epoll.register(self.listener.fileno(), select.EPOLLIN | self.trigger)
        while True:
            for descriptor, event in self.epoll.poll(1):
                if descriptor == self.listener.fileno():
                    self.accept()
                elif event & select.EPOLLIN:
                    self.receive(descriptor)
                    self.look_at_request(descriptor)
                elif event & select.EPOLLOUT:
                    self.send(descriptor)
                    self.look_at_response(descriptor)
                elif event & select.EPOLLHUP:
                    self.close(descriptor)

    def accept(self) -> None:
        connection, _ = self.listener.accept()
        connection.setblocking(False)
        descriptor = connection.fileno()
        self.connections[descriptor] = connection
        self.requests[descriptor] = b""
        self.responses[descriptor] = RESPONSE
        self.epoll.register(descriptor, select.EPOLLIN | self.trigger)

    def receive(self, descriptor: int) -> None:
        self.requests[descriptor] += self.connections[descriptor].recv(1024)

    def look_at_request(self, descriptor: int) -> None:
        if is_complete(self.requests[descriptor]):
            self.epoll.modify(descriptor, select.EPOLLOUT | self.trigger)
            print_request(self.requests[descriptor])

    def send(self, descriptor: int) -> None:
        count = self.connections[descriptor].send(self.responses[descriptor])
        self.responses[descriptor] = self.responses[descriptor][count:]

    def look_at_response(self, descriptor: int) -> None:
        if not self.responses[descriptor]:
            self.epoll.modify(descriptor, self.trigger)  # only a hang-up is reported now
            self.connections[descriptor].shutdown(socket.SHUT_RDWR)

    def close(self, descriptor: int) -> None:
        self.epoll.unregister(descriptor)
        self.connections.pop(descriptor).close()
        del self.requests[descriptor], self.responses[descriptor]


class EdgeTriggeredLoop(EventLoop):
    """Example 4. An edge is reported once, so each function goes on until its call would block. It
    takes any error for that."""

    trigger = select.EPOLLET

    def accept(self) -> None:
        try:
            while True:
                super().accept()
        except OSError:
            pass

    def receive(self, descriptor: int) -> None:
        try:
            while True:
                super().receive(descriptor)
        except OSError:
            pass

    def send(self, descriptor: int) -> None:
        try:
            while self.responses[descriptor]:
                super().send(descriptor)
        except OSError:
            pass


# ---- The command ---------------------------------------------------------------------------------


def main() -> None:
    example, port = sys.argv[1], int(sys.argv[2])
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1)
    if example == "1":
        serve_one(listener)
    elif example == "2":
        serve_in_turn(listener)
    elif example == "3":
        EventLoop(listener).run()
    else:
        EdgeTriggeredLoop(listener).run()


main()
