"""How many bytes of memory does the server have for each of 400 clients that say nothing?"""

import contextlib
import pathlib
import re
import sys

from tests.exercises.experiment import server

CLIENTS = 400


def memory(pid: int) -> int:
    """In bytes: what it has written to, and shares with nobody."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Private_Dirty:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


with contextlib.ExitStack() as clients, server(sys.argv[1], "--timeout", "60") as running:
    running.get()
    running.settle()
    before = memory(running.pid)
    for _ in range(CLIENTS):
        clients.enter_context(running.connect())
    running.settle()
    print((memory(running.pid) - before) // CLIENTS)
