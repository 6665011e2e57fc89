"""How many clients can connect to a server that accepts nobody?"""

import contextlib
import os
import signal
import socket
import sys

from tests.exercises.experiment import server, state_of, until

with contextlib.ExitStack() as clients, server(sys.argv[1], "--backlog", "3") as running:
    os.kill(running.pid, signal.SIGSTOP)
    until(lambda: state_of(running.pid) == "T")
    connected = 0
    try:
        while connected < 10:
            client = socket.create_connection(("127.0.0.1", running.port), timeout=2)
            clients.enter_context(client)
            connected += 1
    except TimeoutError:
        pass
    print(connected)
