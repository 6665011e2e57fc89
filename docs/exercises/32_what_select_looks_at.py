"""How many bits does the kernel look at, after 20 clients have come and gone?"""

import re
import sys

from tests.exercises.experiment import server

with server(sys.argv[1], trace="pselect6") as running:
    clients = [running.connect() for _ in range(20)]
    running.settle()
    for client in clients:
        client.close()
    running.settle()
    running.get()
    running.settle()
    # The one before the last: of the last one, which still waits, there may be only a part.
    waits = running.calls("pselect6")
    first_for_the_new_client = [call for call in waits if "in [3]" in call][-1]
    found = re.match(r"pselect6\((\d+),", first_for_the_new_client)
    print(found[1] if found else first_for_the_new_client)
