"""What the experiments in docs/exercises/ are made of: a server under strace, and clients of it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
PATIENCE = 20  # seconds


def until(condition: Callable[[], object]) -> None:
    """Waits until it holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("what the experiment waits for does not come")
        time.sleep(0.01)


class Server:
    """A stage that runs, by itself or under strace."""

    def __init__(self, command: list[str], trace: str = "") -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="experiment.")
        self.log = pathlib.Path(self.folder.name) / "calls"
        self.said = pathlib.Path(self.folder.name) / "said"
        strace = ["strace", "-f", "-qq", "-o", str(self.log), "-e", f"trace={trace}"]
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [*(strace if trace else []), *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
            )  # fmt: skip
        until(lambda: self.port or self.process.poll() is not None)

    @property
    def port(self) -> int:
        found = re.search(r"listening on http://[\d.]+:(\d+)/", self.said.read_text())
        return int(found[1]) if found else 0

    @property
    def pid(self) -> int:
        """Of the stage, not of strace."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        own = children.read_text().split()
        return int(own[0]) if own else self.process.pid

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return client

    def get(self) -> bytes:
        """One plain request; returns the whole response."""
        with self.connect() as client:
            client.sendall(REQUEST)
            return read_all(client)

    def settle(self) -> None:
        """Waits until it has nothing to do: it sleeps whenever we look, several times on end."""

        def sleeps() -> bool:
            for _ in range(10):
                if state_of(self.pid) != "S":
                    return False
                time.sleep(0.01)
            return True

        until(sleeps)

    def send(self, client: socket.socket, data: bytes) -> None:
        """Sends, and waits until the server has dealt with it."""
        client.sendall(data)
        until(lambda: bytes_unread(client, self.port) == 0)
        self.settle()

    def calls(self, name: str = "") -> list[str]:
        """The system calls so far, or those of this name, without the process number."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        calls = [line.split(None, 1)[1] for line in lines if " " in line]
        return [call for call in calls if call.startswith(f"{name}(")] if name else calls

    def end(self) -> None:
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
                self.process.kill()
                self.process.wait()
            self.folder.cleanup()


@contextlib.contextmanager
def server(program: str, *options: str, trace: str = "") -> Iterator[Server]:
    """Starts it on a free port, and stops it afterwards. `trace` names system calls for strace."""
    command = [program, "--host", "127.0.0.1", "--port", "0", *options]
    running = Server(command, trace)
    try:
        yield running
    finally:
        running.end()


def read_all(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def state_of(pid: int) -> str:
    """S: it sleeps. T: it is stopped."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def bytes_unread(client: socket.socket, port: int) -> int:
    """How many bytes the server has not read from this connection: tcp_rx in /proc/net/tcp."""
    ours, theirs = f":{port:04X}", f":{client.getsockname()[1]:04X}"
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(ours) and fields[2].endswith(theirs):
            return int(fields[4].split(":")[1], 16)
    return 0


def wake_ups(pid: int, seconds: float) -> int:
    """How often it wakes up in this time."""

    def count() -> int:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    before = count()
    time.sleep(seconds)
    return count() - before
