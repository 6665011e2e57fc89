"""How often does the server call epoll_ctl() for ten clients with a short request each?"""

import sys

from tests.exercises.experiment import server

with server(sys.argv[1], trace="epoll_ctl") as running:
    before = len(running.calls("epoll_ctl"))
    for _ in range(10):
        running.get()
    running.settle()
    print(len(running.calls("epoll_ctl")) - before)
