"""What clients and server do, moment by moment, in each stage: see ./tour record.

Plays one scenario to every stage, each under strace, and writes docs/figures/NN_name_timeline.json.
From these files alone it draws NN_name_timeline.svg: one figure a stage, all to the same scale.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import html
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
from collections.abc import Iterator
from typing import Any

from bench import servers
from bench.report import STYLES, TEXT
from bench.servers import PATIENCE

FIGURES = servers.ROOT / "docs" / "figures"
Event = dict[str, Any]


# ---- The scenario --------------------------------------------------------------------------------

# When each client connects, in ms after the first; and what it sends, after pauses of so many ms.
SCENARIO: dict[str, tuple[int, list[tuple[int, bytes]]]] = {
    "A": (0, [(0, b"GET / HTTP/1.0\r\n"), (300, b"\r\n")]),
    "B": (50, [(0, b"GET / HTTP/1.0\r\n\r\n")]),
    "C": (100, [(0, b"GET / HTTP/1.0\r\n\r\n")]),
}
AFTERWARDS = 40  # ms from the last client's end to SIGTERM: to see what the server waits for then
IN_WORDS = (
    "A connects and sends half a request; 300 ms later, the rest. B and C connect 50 and 100 ms "
    f"after A and send whole requests. All read to the end. {AFTERWARDS} ms later the recording "
    "ends: a server that still runs gets SIGTERM."
)


class Client(threading.Thread):
    """One client. Notes what it does and when, by the clock that strace reads, too."""

    def __init__(self, name: str, port: int, start: float):
        super().__init__(name=name, daemon=True)  # if the recorder ends, no client keeps it
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
        delay, pieces = SCENARIO[self.name]
        time.sleep(max(0.0, self.start_time + delay / 1000 - time.time()))
        with socket.socket() as connection:
            connection.settimeout(PATIENCE)
            self.note("connect")
            connection.connect(("127.0.0.1", self.port))
            self.note("connected")
            for pause, piece in pieces:
                time.sleep(pause / 1000)
                self.note("send", bytes=len(piece))
                connection.sendall(piece)
            answer = connection.recv(65536)
            if answer:
                self.note("first byte", status=int(answer.split()[1]))
            while answer:
                answer = connection.recv(65536)
            self.note("end of file")


def play(port: int) -> list[Client]:
    """Plays the scenario; returns the clients, each with its events."""
    start = time.time() + 0.02  # by then all three threads run
    clients = [Client(name, port, start) for name in SCENARIO]
    for client in clients:
        client.start()
    for client in clients:
        client.join(2 * PATIENCE)
        if client.trouble:
            raise RuntimeError(f"client {client.name}: {client.trouble}") from client.trouble
        if client.is_alive():
            raise TimeoutError(f"client {client.name} has not come to its end")
    return clients


# ---- The server, traced --------------------------------------------------------------------------

WAITS = ("pselect", "ppoll", "epoll_pwait")
CALLS = (
    "accept4,recvfrom,sendto,close,shutdown,pselect6,ppoll,epoll_pwait,epoll_ctl,"
    "clone,clone3,exit_group"
)
NAMES = {"recvfrom": "recv", "sendto": "send", "pselect6": "pselect", "clone": "clone3"}


def strace(trace: pathlib.Path) -> list[str]:
    """The command that goes before the program's. -D makes the program our child and strace its
    own grandchild, so that the pid we have is the server's; -ff writes a file for each thread."""
    if not shutil.which("strace"):
        raise RuntimeError("strace is missing; it is what shows the server's calls")
    calls = ",".join("?" + call for call in CALLS.split(","))  # ?: not every machine has each
    options = ["-D", "-ff", "-ttt", "-T", "-y", "-qq", "-e", "signal=none", "-e", f"trace={calls}"]
    return ["strace", *options, "-o", str(trace)]


def adopt_orphans() -> None:
    """Makes strace our child once the server, its parent, has ended (PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(36, 1)


def no_child_is_left() -> bool:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return False
    return True


class TracedServer:
    """A stage under strace. Both end with the `with` block, whatever happens in it."""

    def __init__(self, program: pathlib.Path, trace: pathlib.Path):
        self.said = b""
        self.process = subprocess.Popen(
            [*strace(trace), str(program), "--host", "127.0.0.1", "--port", "0", "--quiet"],
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
        """The port that the kernel gave it, once it listens."""
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

    def __init__(self, clients: list[str]):
        self.to_come = list(clients)
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
            whose = self.sockets(arguments)
            if call in ("close", "shutdown") and not whose:
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
            found = READY.findall(arguments if call == "epoll_pwait" else result)
            return [self.by_number.get(n, n) for some in found for n in " ".join(some).split()]
        if call == "accept4":
            return self.accepted(result)
        if call == "epoll_ctl":
            return arguments.split(", ")[1]
        return int(number[0]) if (number := re.match(r"\d+", result)) else ""

    def accepted(self, result: str) -> str:
        found = SOCKET.findall(result)
        if not found or not self.to_come:
            raise RuntimeError(f"accept4() returned {result}, which is no client of the scenario")
        _, inode = found[0]
        self.by_inode[inode] = self.to_come.pop(0)
        return self.by_inode[inode]


def threads(trace: pathlib.Path, pid: int) -> list[Event]:
    """The server's threads with their calls, the first thread first, the others by their client."""
    reader = Reader(list(SCENARIO))
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


def in_ms(event: Event, zero: float, stop: float) -> Event:
    """With times in ms since `zero`. What had not ended when the recording stopped has no end."""
    result = dict(event)
    for key in {"time", "start", "end"} & set(event):
        result[key] = round((event[key] - zero) * 1000, 1) + 0.0  # + 0.0: not -0.0
    if event.get("end", 0) >= stop:
        result["end"] = result["result"] = None
    return result


def record(program: pathlib.Path) -> dict[str, Any]:
    """Plays the scenario to one stage."""
    with tempfile.TemporaryDirectory(prefix="record.") as folder:
        trace = pathlib.Path(folder) / "trace"
        with TracedServer(program, trace) as server:
            clients = play(server.port())
            time.sleep(AFTERWARDS / 1000)
            stop = server.end(signal.SIGTERM)
        lanes = threads(trace, server.pid)
    zero = clients[0].events[0]["time"]
    for lane in lanes:
        # strace's clock may be a little off where a call was waiting for A.
        kept = [c for c in lane["calls"] if c["end"] > zero - 0.001 and c["start"] < stop]
        lane["calls"] = [in_ms(call, zero, stop) for call in kept]
    return {
        "stage": program.name,
        "scenario": IN_WORDS,
        "times": "ms since A called connect(), under strace, which makes each call take longer",
        "kernel": f"{platform.system()} {platform.release()}",
        "date": time.strftime("%Y-%m-%d"),
        "recorded until": in_ms({"time": stop}, zero, stop)["time"],
        "clients": [
            {"name": c.name, "events": [in_ms(e, zero, stop) for e in c.events]} for c in clients
        ],
        "threads": lanes,
    }


# ---- The figure ----------------------------------------------------------------------------------

# Time runs down, so that the calls' names, which are wide, have room beside their moment, and
# figures laid side by side can be compared along a line. All lengths in px; the same in all seven.
WIDTH, TOP, LAST_MS, PX_PER_MS = 600, 92, 350, 2.0
EARLIER_MS = -6  # how much is shown of what waits before A connects
BOTTOM = TOP + LAST_MS * PX_PER_MS
HEIGHT = BOTTOM + 150
CLIENTS_X, CLIENT_WIDTH = 42, 62
SERVER_X, THREAD_WIDTH, MOST_THREADS = 234, 88, 4
STRIP = 14  # width of a thread's bar
LINE_HEIGHT = 18
UNNAMED = ("recv", "send", "shutdown", "close")  # a thread of its own says for whom
BLOCKED_MS = 3  # a call as long as this has waited; shorter ones are told together
CHARACTERS = 34  # that fit beside the bar of an only thread

CSS = """
text { font-family: sans-serif; font-size: 15px; fill: #1f2328; stroke: #ffffff; stroke-width: 4px;
  stroke-linejoin: round; paint-order: stroke; }
.head { font-size: 17px; font-weight: bold; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.wait { font-style: italic; }
.rule { stroke: #6e7781; stroke-width: 1px; stroke-dasharray: 2 5; }
.queued { fill: url(#hatch); stroke: #6e7781; stroke-width: 1.5px; }
.hatch { stroke: #6e7781; stroke-width: 2px; }
.served { fill: #6e7781; stroke: #6e7781; stroke-width: 1.5px; }
.mark { fill: #3f88c5; stroke: #3f88c5; stroke-width: 3px; }
.sign { fill: #3f88c5; }
.waits { fill: STAGE; fill-opacity: 0.22; stroke: STAGE; stroke-width: 1.5px; }
.works { fill: STAGE; stroke: STAGE; stroke-width: 1.5px; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; stroke: #0d1117; }
.rule, .queued, .hatch { stroke: #8b949e; }
.served { fill: #8b949e; stroke: #8b949e; }
.mark { fill: #58a6e6; stroke: #58a6e6; }
.sign { fill: #58a6e6; }
}
"""
HATCH = (
    '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="7"/></pattern>'
    "</defs>"
)


def y_of(ms: float) -> float:
    return round(TOP + min(max(ms, EARLIER_MS), LAST_MS) * PX_PER_MS, 1)


def text(x: float, y: float, words: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x:g}" y="{y:g}">{html.escape(words, quote=False)}</text>'


def bar(x: float, y: float, until: float, kind: str, width: float = STRIP) -> str:
    height = max(until - y, 3)  # however short, it can be seen
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'


def triangle(x: float, y: float) -> str:
    return f'<path class="sign" d="M{x:g},{y - 6:g} l12,6 l-12,6 z"/>'


def dot(x: float, y: float) -> str:
    return f'<circle class="sign" cx="{x:g}" cy="{y:g}" r="5.5"/>'


def cap(x: float, y: float) -> str:
    return f'<path class="mark" d="M{x - 12:g},{y:g} h24"/>'


def cross(x: float, y: float) -> str:
    return f'<path class="mark" d="M{x - 7:g},{y - 7:g} l14,14 m0,-14 l-14,14"/>'


def duration(ms: float) -> str:
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def events_of(client: Event, what: str) -> list[Event]:
    return [event for event in client["events"] if event["what"] == what]


def accepted_at(data: dict[str, Any], name: str) -> float | None:
    """When the server took a client off the queue, if ever."""
    for thread in data["threads"]:
        for call in thread["calls"]:
            if call["call"] == "accept4" and call["result"] == name:
                return call["end"]
    return None


def client_lane(data: dict[str, Any], client: Event, x: float) -> Iterator[str]:
    """From connect() to the end: hatched while in the accept queue, full once accepted."""
    middle = x + CLIENT_WIDTH / 2
    first, last = client["events"][0], client["events"][-1]
    accepted = accepted_at(data, client["name"])
    start, end = y_of(first["time"]), y_of(last["time"])
    left_queue = end if accepted is None else y_of(accepted)
    yield bar(middle - STRIP / 2, start, left_queue, "queued")
    if accepted is not None:
        yield bar(middle - STRIP / 2, left_queue, end, "served")
    yield from (triangle(x + 5, y_of(sent["time"])) for sent in events_of(client, "send"))
    yield from (dot(middle, y_of(e["time"])) for e in events_of(client, "first byte"))
    outcome = last["what"]
    for answer in events_of(client, "first byte"):
        outcome = str(answer["status"])
    yield cap(middle, end) if last["what"] == "end of file" else cross(middle, end)
    yield text(middle, end + 24, outcome, "middle")
    yield text(middle, end + 24 + LINE_HEIGHT, duration(last["time"] - first["time"]), "middle")


def returned(call: Event) -> str:
    """What a call returned, where that tells something; an arrow before it."""
    name, result = call["call"], call["result"]
    if name in WAITS and isinstance(result, list):
        return " → " + (", ".join(result) or "nobody")
    if name == "accept4" and result:
        return f" → {result}"
    return f" → {result}" if re.match("E[A-Z]+$", str(result)) else ""


def token(call: Event, alone: bool) -> str:
    """A short call in a few characters; of a thread that serves one client, without its name."""
    name = call["call"]
    if name in WAITS or name == "accept4" or not alone and name in UNNAMED:
        return name + returned(call)
    return f"{name} {call['for']}".strip() + returned(call)


def waiting(call: Event, alone: bool) -> list[str]:
    """A long call: its name, for whom, and what came of it."""
    words = [call["call"], call["for"], returned(call).strip()]
    return [f"{words[0]}: {words[1]} {words[2]}".strip()] if alone else [w for w in words if w]


def wrapped(tokens: list[str], alone: bool) -> list[str]:
    if not alone:
        return tokens
    lines = [""]
    for number, word in enumerate(tokens):
        word += "," if number < len(tokens) - 1 else ""
        if lines[-1] and len(lines[-1]) + 1 + len(word) > CHARACTERS:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def blocks(calls: list[Event], stopped: float) -> Iterator[tuple[float, float, list[Event]]]:
    """Each long call by itself, and short ones that follow each other together: start, end."""
    together: list[Event] = []
    for call in calls:
        end = stopped if call["end"] is None else call["end"]
        long = end - call["start"] >= BLOCKED_MS
        if together and (long or call["start"] - together[-1]["end"] >= BLOCKED_MS):
            yield together[0]["start"], together[-1]["end"], together
            together = []
        if long:
            yield call["start"], end, [call]
        elif call["end"] is not None:
            together.append(call)
    if together:
        yield together[0]["start"], together[-1]["end"], together


def thread_lane(data: dict[str, Any], thread: Event, x: float, alone: bool) -> Iterator[str]:
    """Bars for calls that wait, full blocks for those that do not, and beside them which."""
    free = TOP - 6.0  # from here on down the lane has no words yet
    earlier: list[str] = []  # what had waited for A's coming: it is told with what follows
    for start, end, calls in blocks(thread["calls"], data["recorded until"]):
        top, bottom = y_of(start), y_of(end)
        waits = end - start >= BLOCKED_MS and len(calls) == 1
        yield bar(x, top, bottom, "waits" if waits else "works")
        if waits and end < BLOCKED_MS:
            earlier = [token(calls[0], alone)] if alone else []
            continue
        if waits:
            lines = waiting(calls[0], alone)
            free = max(free, (max(top, free) + bottom - len(lines) * LINE_HEIGHT) / 2)
        else:
            lines = wrapped(earlier + [token(call, alone) for call in calls], alone)
            free = max(free, top - 6)
            earlier = []
        for line in lines:
            free += LINE_HEIGHT
            yield text(x + STRIP + 5, free - 4, line, "wait" if waits else "")


def legend(y: float) -> Iterator[str]:
    yield triangle(8, y - 5)
    yield text(28, y, "sends")
    yield dot(100, y - 5)
    yield text(114, y, "first byte of the answer")
    yield cap(330, y - 5)
    yield text(350, y, "end of file")
    yield cross(464, y - 5)
    yield text(480, y, "reset")
    y += 30
    yield bar(8, y - 14, y + 4, "queued")
    yield text(30, y, "connected, in the accept queue")
    yield bar(330, y - 14, y + 4, "served")
    yield text(352, y, "accepted")
    y += 30
    yield bar(8, y - 14, y + 4, "waits")
    yield text(30, y, "a call that waits: for whom", "wait")
    yield bar(330, y - 14, y + 4, "works")
    yield text(352, y, "calls that do not wait")
    yield text(8, y + 34, "Time runs down, in ms since A connects. → is what a call returned.")


def story(data: dict[str, Any]) -> str:
    """The figure in words, for those who do not see it."""
    sentences = [data["scenario"]]
    for client in data["clients"]:
        name, last = client["name"], client["events"][-1]
        accepted = accepted_at(data, name)
        taken = "is never accepted" if accepted is None else f"is accepted at {accepted:g} ms"
        got = "".join(f", gets {e['status']}" for e in events_of(client, "first byte"))
        end = "has its end of file" if last["what"] == "end of file" else f"is {last['what']}"
        sentences.append(f"{name} {taken}{got}, and {end} at {last['time']:g} ms.")
    for thread in data["threads"]:
        waits = [
            f"{b[2][0]['call']} for {b[2][0]['for']} from {max(b[0], 0):g} to {b[1]:g} ms"
            for b in blocks(thread["calls"], data["recorded until"])
            if b[1] - b[0] >= BLOCKED_MS and b[1] >= BLOCKED_MS and len(b[2]) == 1
        ]
        long = "waits in " + ", ".join(waits) if waits else "waits in no call"
        sentences.append(f"Server thread {thread['name']} {long}.")
    return " ".join(sentences)


def lane_parts(data: dict[str, Any]) -> Iterator[str]:
    for ms in range(0, LAST_MS + 1, 50):
        y = y_of(ms)
        yield f'<path class="rule" d="M{CLIENTS_X},{y:g} H{SERVER_X}"/>'
        yield text(CLIENTS_X - 6, y + 5, str(ms), "end")
    yield text(8, 24, data["stage"], "head")
    yield text(CLIENTS_X + 1.5 * CLIENT_WIDTH, 50, "clients", "middle")
    yield text(SERVER_X, 50, "server: its threads")
    for number, client in enumerate(data["clients"]):
        x = CLIENTS_X + number * CLIENT_WIDTH
        yield text(x + CLIENT_WIDTH / 2, 70, client["name"], "head middle")
        yield from client_lane(data, client, x)
    alone = len(data["threads"]) == 1
    for number, thread in enumerate(data["threads"][:MOST_THREADS]):
        x = SERVER_X + number * THREAD_WIDTH
        yield text(x, 70, thread["name"], "head")
        yield from thread_lane(data, thread, x, alone)


def figure(data: dict[str, Any]) -> str:
    colour = STYLES.get(data["stage"][:2], (TEXT, 0))[0]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT:g}" '
        f'width="{WIDTH}" height="{HEIGHT:g}" role="img" aria-labelledby="title desc">',
        f'<title id="title">{data["stage"]}: one slow client and two quick ones</title>',
        f'<desc id="desc">{html.escape(story(data), quote=False)}</desc>',
        f"<style>{CSS.replace('STAGE', colour)}</style>",
        HATCH,
        *lane_parts(data),
        *legend(BOTTOM + 36),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# ---- The command ---------------------------------------------------------------------------------


def stages() -> list[pathlib.Path]:
    """The programs of all stages, which must have been built."""
    programs = [
        servers.STAGES / path.parent.name
        for path in sorted(servers.ROOT.glob("[0-9][0-9]_*/main.cpp"))
    ]
    for program in programs:
        if not program.exists():
            raise RuntimeError(f"{program.relative_to(servers.ROOT)} is not there: build it first")
    return programs


def interrupted(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def record_all() -> None:
    adopt_orphans()
    for program in stages():
        print(f"    recording {program.name}", flush=True)
        data = json.dumps(record(program), indent=1, sort_keys=True)
        (FIGURES / f"{program.name}_timeline.json").write_text(data + "\n")


def draw_all() -> Iterator[pathlib.Path]:
    for path in sorted(FIGURES.glob("*_timeline.json")):
        drawn = path.with_suffix(".svg")
        drawn.write_text(figure(json.loads(path.read_text())))
        yield drawn


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./tour record", description="Records each stage with three clients, and draws it."
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
