"""Example 3 of the article "How To Use Linux epoll with Python", told anew: many clients, in one loop.

To try it:  python3 server.py 8080     and, in another terminal:  curl -i http://127.0.0.1:8080/

Its faults are those of the article. docs/reference/others.md says what comes of them.
"""

import select
import socket
import sys

BLANK_LINES = (b"\n\n", b"\n\r\n")
RESPONSE = (
    b"HTTP/1.0 200 OK\r\n"
    b"Date: Mon, 1 Jan 1996 01:01:01 GMT\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 13\r\n"
    b"\r\n"
    b"Hello, world!"
)

# What is known of each client, by its descriptor.
connections: dict[int, socket.socket] = {}
requests: dict[int, bytes] = {}  # what has come so far
responses: dict[int, bytes] = {}  # what is still to be sent


def accept_one(listener: socket.socket, epoll: select.epoll) -> None:
    connection, _ = listener.accept()
    connection.setblocking(False)
    descriptor = connection.fileno()
    connections[descriptor] = connection
    requests[descriptor] = b""
    responses[descriptor] = RESPONSE
    epoll.register(descriptor, select.EPOLLIN)


def receive(descriptor: int, epoll: select.epoll) -> None:
    """One recv() an event: level-triggered, epoll reports what is left once more."""
    requests[descriptor] += connections[descriptor].recv(1024)
    if any(line in requests[descriptor] for line in BLANK_LINES):
        print("-" * 40)
        print(requests[descriptor].decode()[:-2])
        epoll.modify(descriptor, select.EPOLLOUT)


def send(descriptor: int, epoll: select.epoll) -> None:
    """One send() an event, too."""
    count = connections[descriptor].send(responses[descriptor])
    responses[descriptor] = responses[descriptor][count:]
    if not responses[descriptor]:
        epoll.modify(descriptor, 0)  # no more events, but the hang-up that the next line causes
        connections[descriptor].shutdown(socket.SHUT_RDWR)


def close(descriptor: int, epoll: select.epoll) -> None:
    epoll.unregister(descriptor)
    connections.pop(descriptor).close()
    del requests[descriptor], responses[descriptor]


def serve(listener: socket.socket, epoll: select.epoll) -> None:
    while True:
        for descriptor, event in epoll.poll(1):
            if descriptor == listener.fileno():
                accept_one(listener, epoll)
            elif event & select.EPOLLIN:
                receive(descriptor, epoll)
            elif event & select.EPOLLOUT:
                send(descriptor, epoll)
            elif event & select.EPOLLHUP:
                close(descriptor, epoll)


def main() -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen(1)
    listener.setblocking(False)

    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    try:
        serve(listener, epoll)
    finally:
        epoll.close()
        listener.close()


main()
