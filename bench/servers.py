"""The servers under measurement: each a child process on a port of its own, pinned to one CPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAGES = ROOT / "build" / "bin"
RESULTS = ROOT / "bench" / "results"
PLAIN = ROOT / "build-plain" / "bin"  # without the flags that harden them
TWO_SEGMENTS = ROOT / "build" / "two-segments"  # 07 without MSG_MORE
BODY = b"Hello, world!"
PATIENCE = 20  # seconds, for whatever should take none

# One CPU for the server and another for the load, where there are two.
CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU = CPUS[0]
LOAD_CPU = CPUS[1 if len(CPUS) > 1 else 0]


def raise_descriptor_limit() -> int:
    """Raises this process's limit, which children inherit, to the most it may have: that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def child_settings(cpu: int) -> Callable[[], None]:
    """What a child does before it becomes another program: it stays on `cpu`, and it dies with the
    bench, however that ends (prctl(2), PR_SET_PDEATHSIG)."""
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def apply() -> None:
        prctl(1, signal.SIGKILL)
        if os.getppid() != parent:  # too late for the signal
            os._exit(1)
        os.sched_setaffinity(0, {cpu})

    return apply


def eventually(done: Callable[[], bool], what: str) -> None:
    """Waits until `done()`; raises TimeoutError with `what` after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {PATIENCE} s")
        time.sleep(0.005)


class Server:
    """A server that listens and has given the right answer once."""

    def __init__(self, name: str, command: list[str], port: int = 0, log: int | None = None):
        """Port 0: the server chooses, and says so on stderr. Otherwise it was told `port`."""
        self.name = name
        self.requests = 0  # that wrk has counted
        stderr = subprocess.PIPE if log is None else log
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            preexec_fn=child_settings(SERVER_CPU),
        )
        self.pid = self.process.pid
        try:
            self.port = port or self._announced_port()
            eventually(self._answers, f"{name} answers")
            eventually(self._sleeps, f"{name} comes to rest")
        except BaseException:
            self.stop()
            raise

    def _announced_port(self) -> int:
        assert self.process.stderr
        for line in self.process.stderr:
            if found := re.search(rb"listening on http://[\d.]+:(\d+)/", line):
                return int(found[1])
        raise RuntimeError(f"{self.name} ended before it listened: exit code {self.process.wait()}")

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended: exit code {self.process.returncode}")
        with contextlib.suppress(ConnectionRefusedError):
            answer = get(self.port)
            if b"\r\n\r\n" + BODY not in answer:
                raise RuntimeError(f"{self.name} gives a wrong answer: {answer!r}")
            return True
        return False

    def _sleeps(self) -> bool:
        """Whether all threads do. A client has the end of file before the server calls close()."""
        try:
            stats = pathlib.Path(f"/proc/{self.pid}/task").glob("*/stat")
            return all(") S " in stat.read_text() for stat in stats)
        except FileNotFoundError:  # a thread has just ended
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def cpu_seconds(self) -> float:
        """User and system time of all threads so far, ended ones too (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory_bytes(self) -> int:
        """The share of physical memory: Pss of smaps_rollup (proc(5))."""
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self) -> resource.struct_rusage | None:
        """Ends it, and returns what the kernel counted for it; None if it had ended before."""
        if self.process.returncode is not None:
            return None
        # Not through Popen, whose methods would collect a process that has just ended.
        os.kill(self.pid, signal.SIGCONT)
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.005)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.stderr:
            self.process.stderr.close()
        return usage


def get(port: int, request: bytes = b"GET / HTTP/1.0\r\n\r\n") -> bytes:
    """All that one request is answered with, a plain GET unless told."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


@contextlib.contextmanager
def running(*servers: Callable[[], Server]) -> Iterator[list[Server]]:
    """Starts servers one after another, and stops those that have been started."""
    started: list[Server] = []
    try:
        for start in servers:
            started.append(start())
        yield started
    finally:
        for server in started:
            server.stop()


# ---- How each is started ------------------------------------------------------------------------


def stage(
    number: str, *options: str, name: str = "", folder: pathlib.Path = STAGES
) -> Callable[[], Server]:
    """A stage of the tutorial, by its two digits. Its clients may take as long as they like."""
    (program,) = (p for p in folder.glob(f"{number}_*") if not p.name.endswith("_bare"))
    command = [str(program), "--host", "127.0.0.1", "--port", "0", "--quiet"]
    return lambda: Server(name or program.name, [*command, "--timeout", "3600", *options])


def floor() -> Server:
    return Server("floor", [str(STAGES / "floor")])


def floor_in_one_segment() -> Server:
    """What the stages send: the response and the end of file in one segment."""
    return Server("floor, one segment", [str(STAGES / "floor"), "--one-segment"])


def python_server() -> Server:
    program = ROOT / "bench" / "peers" / "epoll_server.py"
    return Server("Python epoll", ["python3", str(program)])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_rlimit_nofile 10000;
events {{ worker_connections 4096; multi_accept {multi_accept}; }}
http {{
    access_log off;
    keepalive_timeout 0;
    default_type text/plain;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096{options};
        location / {{ return 200 "Hello, world!"; }}
    }}
}}
"""

LIGHTTPD = """
server.bind = "127.0.0.1"
server.port = {port}
server.listen-backlog = 4096
server.document-root = "{folder}"
server.errorlog = "{folder}/error.log"
server.event-handler = "linux-sysepoll"
server.max-keep-alive-requests = 0
server.modules = ()
index-file.names = ("index.txt")
mimetype.assign = (".txt" => "text/plain")
"""


def nginx(program: str, folder: pathlib.Path, deferred: bool = False) -> Callable[[], Server]:
    """One process, no keep-alive, no access log; the answer comes from memory. Deferred: with
    TCP_DEFER_ACCEPT on its listener, and with as many accept() per event as it can make."""

    def start() -> Server:
        port = free_port()
        name = "nginx deferred" if deferred else "nginx"
        own_folder = folder / name.replace(" ", "-")
        own_folder.mkdir(exist_ok=True)
        configuration = own_folder / "nginx.conf"
        text = NGINX.format(
            folder=own_folder,
            port=port,
            options=" deferred" if deferred else "",
            multi_accept="on" if deferred else "off",
        )
        configuration.write_text(text)
        command = [program, "-p", str(own_folder), "-e", "stderr", "-c", str(configuration)]
        return Server(name, command, port, subprocess.DEVNULL)

    return start


def lighttpd(program: str, modules: str, folder: pathlib.Path) -> Callable[[], Server]:
    """One process, no keep-alive, no access log; the answer is a file of 13 bytes."""

    def start() -> Server:
        port = free_port()
        (folder / "index.txt").write_bytes(BODY)
        configuration = folder / "lighttpd.conf"
        configuration.write_text(LIGHTTPD.format(folder=folder, port=port))
        command = [program, "-D", "-m", modules, "-f", str(configuration)]
        return Server("lighttpd", command, port, subprocess.DEVNULL)

    return start


def listen_overflows() -> int:
    """Connections the kernel has dropped for want of a place: ListenOverflows of netstat(8)."""
    names, figures = (
        line.split() for line in pathlib.Path("/proc/net/netstat").read_text().splitlines()[:2]
    )
    return int(figures[names.index("ListenOverflows")])
