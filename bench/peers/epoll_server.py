"""The same answer from Python: one thread, level-triggered epoll, no deadlines and no limits.

A peer for `./tour bench`, in the manner of the article: what the language costs, the calls being
about the same. Prints where it listens, and serves until it is killed.
"""

import select
import socket
import sys

RESPONSE = (
    b"HTTP/1.0 200 OK\r\nDate: Mon, 1 Jan 1996 01:01:01 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"
)


def serve(listener: socket.socket) -> None:
    listener.setblocking(False)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    peers: dict[int, tuple[socket.socket, bytearray]] = {}
    while True:
        for number, _ in epoll.poll():
            if number == listener.fileno():
                accept_all(listener, epoll, peers)
            elif number in peers:
                advance(number, peers)


def accept_all(listener: socket.socket, epoll: select.epoll, peers: dict) -> None:
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:  # nobody is left in the backlog, or the client has gone
            return
        peer.setblocking(False)
        peers[peer.fileno()] = (peer, bytearray())
        epoll.register(peer, select.EPOLLIN)


def advance(number: int, peers: dict) -> None:
    peer, head = peers[number]
    try:
        piece = peer.recv(4096)
        head += piece
        if piece and b"\n\r\n" not in head and b"\n\n" not in head:
            return
        if piece:
            peer.send(RESPONSE)  # 112 bytes find room in a fresh socket
    except OSError:  # a reset, or nothing there after all
        pass
    del peers[number]
    peer.close()  # which takes it off epoll's list, too


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        port = server.getsockname()[1]
        print(
            f"epoll_server.py: listening on http://127.0.0.1:{port}/", file=sys.stderr, flush=True
        )
        serve(server)
