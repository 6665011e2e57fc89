"""How often does the server call recv() for a head of 1,000 bytes that is there at once?"""

import sys

from tests.exercises.experiment import read_all, server

HEAD = b"GET / HTTP/1.0\r\nX: ".ljust(996, b"x") + b"\r\n\r\n"

with server(sys.argv[1], trace="recvfrom") as running:
    with running.connect() as client:
        client.sendall(HEAD)
        read_all(client)
    running.settle()
    print(len(running.calls("recvfrom")))
