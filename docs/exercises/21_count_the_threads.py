"""How many threads does the server have for five silent clients, of which it serves three?"""

import contextlib
import os
import sys

from tests.exercises.experiment import server

with contextlib.ExitStack() as clients, server(sys.argv[1], "--max-threads", "3") as running:
    for _ in range(5):
        clients.enter_context(running.connect())
    running.settle()
    print(len(os.listdir(f"/proc/{running.pid}/task")))
