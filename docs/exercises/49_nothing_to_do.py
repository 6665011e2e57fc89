"""How often does the server wake up in two seconds in which nothing happens?"""

import sys

from tests.exercises.experiment import server, wake_ups

with server(sys.argv[1], "--timeout", "60") as running:
    running.settle()
    alone = wake_ups(running.pid, 1)
    with running.connect():
        running.settle()
        print(alone + wake_ups(running.pid, 1))
