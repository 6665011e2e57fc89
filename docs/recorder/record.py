"""What clients and server do, moment by moment, in each program: see ./tour record.

Plays the scenarios to every server and every bare program, each under strace, and writes
docs/recordings/SCENARIO/PROGRAM.json. draw.py draws the figures from these files alone, and the
pages replay them.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench import servers
from bench.servers import PATIENCE
from docs.recorder.draw import ACCEPTS, RECORDINGS, WAITS, Event, draw_all


# ---- The scenarios -------------------------------------------------------------------------------

WHOLE = b"GET / HTTP/1.0\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Visit:
    """What one client does: connects, in ms after the first one; sends each piece, after so many ms;
    and leaves at once, or reads to the end."""

    connects: int
    pieces: tuple[tuple[int, bytes], ...]
    leaves: bool = False


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Clients, whose names are in the order in which they connect; and when the recording ends: so
    many ms after the first client has come, or so many after the last one has left."""

    visits: dict[str, Visit]
    in_words: str
    lasts: int = 0
    afterwards: int = 0


QUICK = {"B": Visit(50, ((0, WHOLE),)), "C": Visit(100, ((0, WHOLE),))}
AFTERWARDS, LASTS = 40, 340  # ms
QUICK_IN_WORDS = "B and C connect 50 and 100 ms after A and send whole requests."
SCENARIOS = {
    "pauses": Scenario(
        {"A": Visit(0, ((0, WHOLE[:-2]), (300, WHOLE[-2:]))), **QUICK},
        "A connects and sends half a request; 300 ms later, the rest. "
        + QUICK_IN_WORDS
        + f" All read to the end. {AFTERWARDS} ms later the recording ends: "
        + "a server that still runs gets SIGTERM.",
        afterwards=AFTERWARDS,
    ),
    "leaves": Scenario(
        {"A": Visit(0, ((0, b"GET"),), leaves=True), **QUICK},
        "A connects, sends three bytes, and leaves. "
        + QUICK_IN_WORDS
        + f" {LASTS} ms after A has come the recording ends: "
        + "a server that still runs gets SIGTERM.",
        lasts=LASTS,
    ),
}


class Client(threading.Thread):
    """One client. Notes what it does and when, by the clock that strace reads, too."""

    def __init__(self, name: str, visit: Visit, port: int, start: float):
        super().__init__(name=name, daemon=True)  # if the recorder ends, no client keeps it
        self.visit = visit
        self.port = port
        self.start_time = start
        self.events: list[Event] = []
        self.trouble: BaseException | None = None

    def note(self, what: str, **more: int) -> None:
        self.events.append({"time": time.time(), "what": what, **more})

    def run(self) -> None:
        try:
            self.play()
        except ConnectionRefusedError:
            self.note("refused")
        except ConnectionResetError:
            self.note("reset")
        except BaseException as trouble:  # for the main thread, which raises it
            self.trouble = trouble

    def play(self) -> None:
        time.sleep(max(0.0, self.start_time + self.visit.connects / 1000 - time.time()))
        with socket.socket() as connection:
            connection.settimeout(PATIENCE)
            self.note("connect")
            connection.connect(("127.0.0.1", self.port))
            self.note("connected")
            for pause, piece in self.visit.pieces:
                time.sleep(pause / 1000)
                self.note("send", bytes=len(piece))
                connection.sendall(piece)
            if self.visit.leaves:
                self.note("left")
                return
            answer = connection.recv(65536)
            if answer:
                self.note("first byte", status=int(answer.split()[1]))
            while answer:
                answer = connection.recv(65536)
            self.note("end of file")


def play(scenario: Scenario, port: int, stop: Callable[[], float]) -> tuple[list[Client], float]:
    """Plays the scenario, and calls stop() at its end, which ends the server and says when. Returns
    the clients, each with its events."""
    start = time.time() + 0.02  # by then all threads run
    clients = [Client(name, visit, port, start) for name, visit in scenario.visits.items()]
    for client in clients:
        client.start()
    stopped = 0.0
    if scenario.lasts:
        time.sleep(start + scenario.lasts / 1000 - time.time())
        stopped = stop()
    for client in clients:
        client.join(2 * PATIENCE)
        if client.trouble:
            raise RuntimeError(f"client {client.name}: {client.trouble}") from client.trouble
        if client.is_alive():
            raise TimeoutError(f"client {client.name} has not come to its end")
    if not stopped:
        time.sleep(scenario.afterwards / 1000)
        stopped = stop()
    return clients, stopped


# ---- The server, traced --------------------------------------------------------------------------

CALLS = (
    "accept,accept4,recvfrom,sendto,close,shutdown,select,pselect6,poll,ppoll,epoll_wait,"
    "epoll_pwait,epoll_ctl,clone,clone3,exit_group"
)
NAMES = {"recvfrom": "recv", "sendto": "send", "pselect6": "pselect", "clone": "clone3"}
# What the bare programs call. For some of these, the C library makes the system call of the other name.
NAMES_IN_BARE = {"pselect": "select", "ppoll": "poll", "epoll_pwait": "epoll_wait"}


def strace(trace: pathlib.Path) -> list[str]:
    """The command that goes before the program's. -D makes the program our child and strace its
    own grandchild, so that the pid we have is the server's; -ff writes a file for each thread."""
    if not shutil.which("strace"):
        raise RuntimeError("strace is missing; it is what shows the server's calls")
    calls = ",".join("?" + call for call in CALLS.split(","))  # ?: not every machine has each
    options = ["-D", "-ff", "-ttt", "-T", "-y", "-qq", "-e", "signal=none", "-e", f"trace={calls}"]
    return ["strace", *options, "-o", str(trace)]


def is_listened_on(port: int) -> bool:
    """By the kernel's table (proc(5)), since a try to connect would be a client."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(re.match(rf" *\d+: \w+:{port:04X} \S+ 0A ", line) for line in lines)


def adopt_orphans() -> None:
    """Makes strace our child once the server, its parent, has ended (PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(36, 1)


def no_child_is_left() -> bool:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return False
    return True


def is_bare(program: pathlib.Path) -> bool:
    return program.name.endswith("_bare")


class TracedServer:
    """A program under strace. Both end with the `with` block, whatever happens in it."""

    def __init__(self, program: pathlib.Path, trace: pathlib.Path):
        self.said = b""
        self.chosen = servers.free_port() if is_bare(program) else 0
        options = (
            [str(self.chosen)] if self.chosen else ["--host", "127.0.0.1", "--port", "0", "--quiet"]
        )
        self.process = subprocess.Popen(
            [*strace(trace), str(program), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=servers.child_settings(servers.SERVER_CPU),
        )
        self.pid = self.process.pid

    def __enter__(self) -> TracedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def _listen(self, until: float) -> bool:
        """Takes in what comes on stderr; whether there may be more, and time is left."""
        assert self.process.stderr
        left = until - time.monotonic()
        if left <= 0 or not select.select([self.process.stderr], [], [], left)[0]:
            raise TimeoutError(f"the traced server is silent: {self.said.decode().strip()}")
        piece = os.read(self.process.stderr.fileno(), 65536)
        self.said += piece
        return bool(piece)

    def port(self) -> int:
        """The port that the kernel gave it, or that we did, once it listens."""
        if self.chosen:
            servers.eventually(lambda: is_listened_on(self.chosen), "the bare program listens")
            return self.chosen
        until = time.monotonic() + PATIENCE
        while True:
            if found := re.search(rb"listening on http://[\d.]+:(\d+)/", self.said):
                return int(found[1])
            if not self._listen(until):
                said = self.said.decode().strip()
                raise RuntimeError(f"the server did not start under strace, which says: {said}")

    def end(self, number: int) -> float:
        """Ends the server by a signal, if it still runs, and waits for it and for strace, whose
        files are complete then: stderr, which both have, is at its end. The time of the signal."""
        now = time.time()
        if self.process.poll() is None:
            os.kill(self.pid, number)
        with contextlib.suppress(ValueError):  # closed: this has been done
            until = time.monotonic() + PATIENCE
            while self._listen(until):
                pass
        assert self.process.stderr
        self.process.stderr.close()
        self.process.wait(PATIENCE)
        servers.eventually(no_child_is_left, "strace ends")
        return now


# ---- From strace's lines to events ---------------------------------------------------------------

LINE = re.compile(r"(\d+\.\d+) (\w+)\((.*?)\)? += (.*?)(?: <([\d.]+)>)?$")
SOCKET = re.compile(r"(\d+)<socket:\[(\d+)\]>")  # the descriptor, and what it stands for: an inode
# What select, poll and epoll say is ready: in [5 6], {fd=5, revents=POLLIN}, data={u32=5, u64=5}
READY = re.compile(r"(?:in|out) \[([\d ]+)\]|fd=(\d+), revents|u32=(\d+)")


class Reader:
    """Reads the threads' calls. Whose a socket is follows from the order of accept(): the queue
    keeps the order of connect(), and the scenario's clients connect one after another. (strace -yy
    would know the peers' ports, but takes milliseconds to find them out.)"""

    def __init__(self, clients: list[str], names: dict[str, str]):
        self.to_come = list(clients)
        self.names = names  # of calls, where strace has another one
        self.by_inode: dict[str, str] = {}
        self.by_number: dict[str, str] = {}  # for the answers of waits: one thread's at all times

    def sockets(self, text: str) -> list[str]:
        """Whose the sockets in `text` are. The one that was not accepted is the listener."""
        found = SOCKET.findall(text)
        for number, inode in found:
            self.by_number[number] = self.by_inode.get(inode, "listener")
        return [self.by_number[number] for number, _ in found]

    def calls(self, path: pathlib.Path) -> Iterator[Event]:
        for line in path.read_text().splitlines():
            if not (found := LINE.match(line)):
                continue  # cut off: the thread was ended in mid-call
            start, name, arguments, result, duration = found.groups()
            call = NAMES.get(name, name)
            call = self.names.get(call, call)
            whose = self.sockets(arguments)
            if call in ("close", "shutdown", "poll") and not whose:
                continue  # no socket
            yield {
                "call": call,
                "for": "any" if call in WAITS else whose[0] if whose else "",
                "start": float(start),
                "end": float(start) + float(duration or 0),
                "result": self.result(call, arguments, result),
            }

    def result(self, call: str, arguments: str, result: str) -> Any:
        """What matters of a result: an error's name, who is ready or accepted, or a number."""
        if error := re.match(r"(?:-1|\?) (E\w+)", result):
            return error[1]
        if call in WAITS:
            found = READY.findall(arguments if call.startswith("epoll") else result)
            return [self.by_number.get(n, n) for some in found for n in " ".join(some).split()]
        if call in ACCEPTS:
            return self.accepted(result)
        if call == "epoll_ctl":
            return arguments.split(", ")[1]
        return int(number[0]) if (number := re.match(r"\d+", result)) else ""

    def accepted(self, result: str) -> str:
        found = SOCKET.findall(result)
        if not found or not self.to_come:
            raise RuntimeError(f"accept() returned {result}, which is no client of the scenario")
        _, inode = found[0]
        self.by_inode[inode] = self.to_come.pop(0)
        return self.by_inode[inode]


def threads(trace: pathlib.Path, pid: int, reader: Reader) -> list[Event]:
    """The server's threads with their calls, the first thread first, the others by their client."""
    numbers = [int(path.suffix[1:]) for path in trace.parent.glob(trace.name + ".*")]
    numbers.sort(key=lambda number: (number != pid, number))  # first whoever accepts
    lanes: list[Event] = []
    serves: dict[int, str] = {}  # by thread
    for number in numbers:
        calls = list(reader.calls(trace.with_suffix(f".{number}")))
        serves[number] = next((call["for"] for call in calls if call["call"] == "recv"), "")
        name = "main" if number == pid else f"for {serves[number]}"
        lanes.append({"name": name, "calls": calls})
    for call in lanes[0]["calls"]:
        if call["call"] == "clone3":
            call["for"] = serves.get(call["result"], "")
    return lanes[:1] + sorted(lanes[1:], key=lambda lane: lane["name"])


LONGEST_TURN = 4  # calls


def folded(calls: list[Event]) -> list[Event]:
    """Calls that repeat themselves, as one: a program that spins makes thousands. It has the first
    one's beginning and the last one's end, how many `times` the turn was made, and in `then` what
    else is in a turn."""
    result: list[Event] = []
    at = 0
    while at < len(calls):
        turn, times = next(
            ((n, t) for n in range(1, LONGEST_TURN + 1) if (t := repeats(calls, at, n)) >= 3),
            (1, 1),
        )
        event = dict(calls[at])
        if times > 1:
            event["end"] = calls[at + turn * times - 1]["end"]
            event["times"] = times
            event["then"] = [signature(call) for call in calls[at + 1 : at + turn]]
        result.append(event)
        at += turn * times
    return result


def signature(call: Event) -> Event:
    """What makes a call the same as another one."""
    return {key: call[key] for key in ("call", "for", "result")}


def repeats(calls: list[Event], start: int, length: int) -> int:
    """How many times in a row these calls are made from there on."""
    turn = [signature(call) for call in calls[start : start + length]]
    times = 0
    while [signature(call) for call in calls[start : start + length]] == turn:
        times += 1
        start += length
    return times


ALMOST = 0.005  # s


def in_ms(event: Event, zero: float, stop: float) -> Event:
    """With times in ms since `zero`. What had not ended when the recording stopped has no end."""
    result = dict(event)
    for key in {"time", "start", "end"} & set(event):
        result[key] = round((event[key] - zero) * 1000, 2) + 0.0  # + 0.0: not -0.0
    if "times" in event and event["end"] >= stop - ALMOST:
        result["end"] = None  # it was about to make the call again
    elif event.get("end", 0) >= stop:
        result["end"] = result["result"] = None
    return result


def record(program: pathlib.Path, scenario: Scenario) -> dict[str, Any]:
    """Plays a scenario to one program."""
    with tempfile.TemporaryDirectory(prefix="record.") as folder:
        trace = pathlib.Path(folder) / "trace"
        with TracedServer(program, trace) as server:
            clients, stop = play(scenario, server.port(), lambda: server.end(signal.SIGTERM))
        names = NAMES_IN_BARE if is_bare(program) else {}
        lanes = threads(trace, server.pid, Reader(list(scenario.visits), names))
    zero = clients[0].events[0]["time"]
    for lane in lanes:
        # strace's clock may be a little off where a call was waiting for A.
        kept = [c for c in lane["calls"] if c["end"] > zero - 0.001 and c["start"] < stop]
        lane["calls"] = [in_ms(call, zero, stop) for call in folded(kept)]
    return {
        "program": program.name,
        "scenario": scenario.in_words,
        "times": "ms since A called connect(), under strace, which makes each call take longer",
        "kernel": f"{platform.system()} {platform.release()}",
        "date": time.strftime("%Y-%m-%d"),
        "recorded until": in_ms({"time": stop}, zero, stop)["time"],
        "clients": [
            {"name": c.name, "events": [in_ms(e, zero, stop) for e in c.events if e["time"] < stop]}
            for c in clients
        ],
        "threads": lanes,
    }


# ---- The command ---------------------------------------------------------------------------------


def programs() -> list[pathlib.Path]:
    """The servers and the bare programs of all stages, which must have been built."""
    stages = [path.parent.name for path in sorted(servers.ROOT.glob("[0-9][0-9]_*/main.cpp"))]
    found = [servers.STAGES / (stage + kind) for stage in stages for kind in ("", "_bare")]
    for program in found:
        if not program.exists():
            raise RuntimeError(f"{program.relative_to(servers.ROOT)} is not there: build it first")
    return found


def interrupted(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def record_all() -> None:
    adopt_orphans()
    for name, scenario in SCENARIOS.items():
        folder = RECORDINGS / name
        folder.mkdir(parents=True, exist_ok=True)
        for program in programs():
            print(f"    recording {program.name}, where A {name}", flush=True)
            data = json.dumps(record(program, scenario), indent=1, sort_keys=True)
            (folder / f"{program.name}.json").write_text(data + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./tour record", description="Records each program with three clients, and draws it."
    )
    parser.add_argument("--draw", action="store_true", help="only draw anew what was recorded")
    chosen = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        if not chosen.draw:
            record_all()
        for path in draw_all():
            print(f"    {path.relative_to(servers.ROOT)}")
    except KeyboardInterrupt:
        print("record: interrupted; what had been recorded before is kept", file=sys.stderr)
        return 130
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"record: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.chdir(servers.ROOT)
    sys.exit(main())
