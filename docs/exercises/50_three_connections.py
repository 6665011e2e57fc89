"""Three clients connect while the server is stopped: how many events does the next wait report?"""

import contextlib
import os
import re
import signal
import sys

from tests.exercises.experiment import server, state_of, until

with contextlib.ExitStack() as clients, server(sys.argv[1], trace="epoll_pwait") as running:
    running.settle()
    before = len(running.calls("epoll_pwait"))
    os.kill(running.pid, signal.SIGSTOP)
    until(lambda: state_of(running.pid) in "Tt")
    for _ in range(3):
        clients.enter_context(running.connect())
    os.kill(running.pid, signal.SIGCONT)
    running.settle()
    for call in running.calls("epoll_pwait")[max(before - 1, 0) :]:
        found = re.search(r"\) = (\d+)$", call)
        if found and found[1] != "0":
            print(found[1])
            break
