"""How does the read of a client end that waits behind the only client of stage 01?"""

import sys

from tests.exercises.experiment import REQUEST, server

with server(sys.argv[1]) as running, running.connect() as first, running.connect() as second:
    second.sendall(REQUEST)
    first.sendall(REQUEST)
    try:
        data = second.recv(1000)
        print("served" if data else "eof")
    except ConnectionResetError:
        print("reset")
    except TimeoutError:
        print("timeout")
