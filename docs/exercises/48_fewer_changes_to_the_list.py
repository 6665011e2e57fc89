"""How often does the server call epoll_ctl() for one client that sends its request in pieces?"""

import sys

from tests.exercises.experiment import REQUEST, read_all, server

with server(sys.argv[1], trace="epoll_ctl") as running:
    before = len(running.calls("epoll_ctl"))
    with running.connect() as client:
        running.settle()
        running.send(client, REQUEST[:6])
        running.send(client, REQUEST[6:12])
        client.sendall(REQUEST[12:])
        read_all(client)
    running.settle()
    print(len(running.calls("epoll_ctl")) - before)
