"""How many entries does ppoll() get, after nine of ten clients have left?"""

import re
import sys

from tests.exercises.experiment import server

with server(sys.argv[1], trace="ppoll,accept4,close") as running:
    clients = []
    for _ in range(10):
        clients.append(running.connect())
        running.settle()
    for client in clients[:9]:
        client.close()
        running.settle()
    # Only now is the last wait interrupted, and with that its line is complete.
    clients[9].close()
    running.settle()
    before_last_close = [call for call in running.calls() if call.startswith("ppoll")][-2]
    found = re.search(r"\], (\d+), ", before_last_close)
    print(found[1] if found else before_last_close)
