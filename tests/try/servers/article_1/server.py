"""Example 1 of the article "How To Use Linux epoll with Python", told anew: one client, and then the end.

To try it:  python3 server.py 8080     and, in another terminal:  curl -i http://127.0.0.1:8080/

Its faults are those of the article. docs/reference/others.md says what comes of them.
"""

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


def receive_request(connection: socket.socket) -> bytes:
    """Receives until there is a blank line. A client that leaves before sends nothing, for ever."""
    request = b""
    while not any(line in request for line in BLANK_LINES):
        request += connection.recv(1024)
    return request


def main() -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen(1)

    connection, _ = listener.accept()
    request = receive_request(connection)
    print(request.decode())
    connection.send(RESPONSE)  # once, however many bytes it takes

    connection.close()
    listener.close()


main()
