"""The clients: wrk for requests without pause, and our own to be idle, many at once, or slow."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import pathlib
import re
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.servers import LOAD_CPU, PATIENCE, ROOT, SERVER_CPU, Server, child_settings, eventually

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
IP_BIND_ADDRESS_NO_PORT = 24  # Python has no name for it


@dataclasses.dataclass
class Load:
    """What one run of wrk asked for, and what it took the server."""

    requests: int
    cpu_seconds: float
    stolen: float  # the share of the run in which its CPU or wrk's was taken from this machine

    @property
    def cpu_us(self) -> float:
        """The server's CPU time for a request, in microseconds."""
        return self.cpu_seconds / self.requests * 1e6


def stolen_seconds() -> float:
    """Time that the two CPUs spent on other guests of the same host: steal of proc(5). It counts as
    time of whichever process would have had the CPU."""
    text = pathlib.Path("/proc/stat").read_text()
    lines = re.findall(rf"^cpu(?:{SERVER_CPU}|{LOAD_CPU}) (.*)", text, re.MULTILINE)
    return sum(int(line.split()[7]) for line in lines) / os.sysconf("SC_CLK_TCK")


def wrk(server: Server, connections: int, seconds: int) -> Load:
    """Asks without pause. A new connection for each request: no server here keeps one alive."""
    start, cpu, stolen = time.monotonic(), server.cpu_seconds(), stolen_seconds()
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", server.url]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + PATIENCE,
        preexec_fn=child_settings(LOAD_CPU),
    )
    used = server.cpu_seconds() - cpu
    share = (stolen_seconds() - stolen) / (time.monotonic() - start)
    counted = re.search(r"(\d+) requests in", done.stdout)
    trouble = re.search(
        r"Non-2xx|Socket errors: (?!connect 0, read 0, write 0, timeout 0)", done.stdout
    )
    if not counted or int(counted[1]) == 0 or trouble:
        raise RuntimeError(f"{server.name}: wrk reports trouble:\n{done.stdout}")
    server.requests += int(counted[1])
    return Load(int(counted[1]), used, share)


def undisturbed(server: Server, connections: int, seconds: int, redone: list[str]) -> Load:
    """The same, again while the host took more than 2 % of a CPU, up to three times in all: then the
    run with the least of it. `redone` gets the server's name for each run that is set aside."""
    runs = [wrk(server, connections, seconds)]
    while runs[-1].stolen > 0.02 and len(runs) < 3:
        redone.append(server.name)
        runs.append(wrk(server, connections, seconds))
    return min(runs, key=lambda run: run.stolen)


@contextlib.contextmanager
def idle_clients(server: Server, count: int) -> Iterator[None]:
    """Holds `count` connections to the server open that say nothing. In a process of its own: this
    one's descriptors would not do for several servers."""
    if count == 0:
        yield
        return
    before = server.descriptors()
    holder = subprocess.Popen(
        [sys.executable, "-B", "-m", "bench.load", str(server.port), str(count)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=child_settings(LOAD_CPU),
    )
    assert holder.stdin and holder.stdout
    try:
        if not holder.stdout.readline():
            raise RuntimeError(f"{server.name}: {count} clients could not all connect")
        # Connected is not accepted: the kernel does the one without the server.
        eventually(lambda: server.descriptors() >= before + count, f"{count} clients accepted")
        yield
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
        with contextlib.suppress(FileNotFoundError):  # the server has ended
            eventually(lambda: server.descriptors() <= before, "idle clients gone")


def hold(port: int, count: int) -> None:
    """The process behind idle_clients(): connects, says so, and waits for the end of its stdin."""
    held = []
    for _ in range(count):
        client = socket.socket()
        # From another address than wrk, whose connections need ports, too; and the port is left to
        # connect(), so that it may serve for other destinations as well (ip(7)).
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind(("127.0.0.2", 0))
        client.connect(("127.0.0.1", port))
        held.append(client)
    print("holding", flush=True)
    sys.stdin.read()


# ---- Many at once --------------------------------------------------------------------------------


class Burst:
    """Clients that all connect in the same moment, none waiting for another."""

    def __init__(self, port: int, count: int):
        self.selector = selectors.DefaultSelector()
        self.start = time.monotonic()
        self.connecting: set[socket.socket] = set()
        self.connected: set[socket.socket] = set()
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            if client.connect_ex(("127.0.0.1", port)) not in (0, errno.EINPROGRESS):
                raise RuntimeError("connect: not even under way")
            self.connecting.add(client)
            self.selector.register(client, selectors.EVENT_WRITE, client)

    def connections(self, quiet_seconds: float) -> int:
        """How many the kernel has completed, once no further one came for `quiet_seconds`."""
        while events := self.selector.select(quiet_seconds):
            for key, _ in events:
                self._connected(key.data)
        return len(self.connected)

    def _connected(self, client: socket.socket) -> None:
        if error := client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        self.connecting.discard(client)
        self.connected.add(client)
        self.selector.unregister(client)

    def first_bytes(self, limit: float = PATIENCE) -> list[float]:
        """Sends each client's request as soon as it is connected. Returns the times from the start
        to each one's first byte, in seconds; `limit` for those that have none by then."""
        times: list[float] = []
        for client in list(self.connected):
            self._ask(client)
        while self.selector.get_map() and (left := self.start + limit - time.monotonic()) > 0:
            for key, events in self.selector.select(left):
                client = key.data
                if events & selectors.EVENT_WRITE:
                    self._connected(client)
                    self._ask(client)
                elif client.recv(1):
                    times.append(time.monotonic() - self.start)
                    self.selector.unregister(client)
                else:
                    raise RuntimeError("end of file in place of a first byte")
        return times + [limit] * len(self.selector.get_map())

    def _ask(self, client: socket.socket) -> None:
        client.send(REQUEST)
        self.selector.register(client, selectors.EVENT_READ, client)

    def close(self) -> None:
        for client in self.connecting | self.connected:
            client.close()
        self.selector.close()


def data_segments_in(client: socket.socket) -> int:
    """Segments with data that have come in: tcpi_data_segs_in of TCP_INFO (tcp(7))."""
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("I", info, 152)[0]


if __name__ == "__main__":
    hold(int(sys.argv[1]), int(sys.argv[2]))
