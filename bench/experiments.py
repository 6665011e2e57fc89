"""What is measured. Each experiment returns the rounds as they came and the table made of them."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from bench import load, servers
from bench.report import cell
from bench.servers import Server, eventually, listen_overflows, running, stage

STAGES = ["03", "04", "05", "06", "07"]


@dataclasses.dataclass
class Settings:
    """What the reader may choose, and what the set-up has found."""

    rounds: int
    seconds: int  # of one run of wrk
    descriptors: int  # the most that one process may have
    folder: pathlib.Path  # for files that need not last
    nginx: str  # the program
    lighttpd: str  # the program
    lighttpd_modules: str  # its folder of modules
    progress: Callable[[str], None]


@dataclasses.dataclass
class Result:
    title: str
    note: str  # under the table: what was done
    columns: list[str]
    rows: list[list[Any]]
    rounds: Any
    claims: Sequence[tuple[str, float, str, float]] = ()
    """What must hold: its name, the figure, "<=" or ">", and the limit."""
    redone: Sequence[str] = ()
    """Runs that were set aside and done again, by the server's name: see load.undisturbed()."""


def spread(values: list[float]) -> str:
    """The lowest and the highest of the rounds, beside the median."""
    return f"{cell(min(values))} to {cell(max(values))}"


def ratio(values: list[float], others: list[float]) -> float:
    """The median of the ratios round by round: what slows the machine down slows down both."""
    return median(mine / other for mine, other in zip(values, others))


# ---- 1. The cost of a request --------------------------------------------------------------------


def request(settings: Settings) -> Result:
    """All servers in turn under 64 connections; then the system calls of each are counted."""
    starts = [
        servers.floor,
        servers.floor_in_one_segment,
        servers.nginx(settings.nginx, settings.folder),
        servers.nginx(settings.nginx, settings.folder, deferred=True),
        servers.lighttpd(settings.lighttpd, settings.lighttpd_modules, settings.folder),
        servers.python_server,
        *(stage(number) for number in ["02", *STAGES]),
        stage("07", "--defer-accept", name="07 --defer-accept"),
        stage("07", name="07, two segments", folder=servers.TWO_SEGMENTS),
        stage(
            "07",
            "--defer-accept",
            name="07 --defer-accept, two segments",
            folder=servers.TWO_SEGMENTS,
        ),
    ]
    redone: list[str] = []
    waits: dict[str, float] = {}
    with running(*starts) as started:
        cost = cost_in_turn(started, settings, redone)
        for server in started:
            usage = server.stop()
            assert usage
            waits[server.name] = usage.ru_nvcsw / server.requests
    calls: dict[str, Calls] = {}
    for start in starts:  # once more, because counting interrupts a server
        with running(start) as (server,):
            settings.progress(f"counting the system calls of {server.name}")
            calls[server.name] = Calls(
                {count: calls_counted(server, count, settings) for count in (64, 16, 1)},
                calls_traced(server, settings),
            )
    return request_result(cost, calls, waits, redone)


def cost_in_turn(
    started: list[Server], settings: Settings, redone: list[str]
) -> dict[str, list[float]]:
    """The µs of CPU time for a request under 64 connections, by name, a figure a round. Every other
    round goes backwards: so each of two neighbours comes first as often as last."""
    cost: dict[str, list[float]] = {}
    for server in started:
        settings.progress(f"warming up {server.name}")
        load.wrk(server, 64, 1)
        cost[server.name] = []
    for turn in range(settings.rounds):
        for server in started if turn % 2 == 0 else started[::-1]:
            settings.progress(f"round {turn + 1} of {settings.rounds}: {server.name}")
            run = load.undisturbed(server, 64, settings.seconds, redone)
            cost[server.name].append(run.cpu_us)
    return cost


@dataclasses.dataclass
class Calls:
    """System calls of a server for a request, counted in two ways."""

    counted: dict[int, float | None]
    """By the kernel, by the number of connections; None where perf may not ask it."""
    traced: dict[str, float]
    """Under strace with 50 connections, by name. strace slows the server down, so that more clients
    are ready at each of its turns: it makes fewer calls."""


def calls_counted(server: Server, connections: int, settings: Settings) -> float | None:
    """What the tracepoint raw_syscalls:sys_enter counts. It hardly slows the server down. None if
    perf is not installed (on Debian: linux-perf), or may not count."""
    if not shutil.which("perf"):
        return None
    output = settings.folder / "perf"
    output.write_text("")
    command = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o", str(output)]
    counter = subprocess.Popen(
        [*command, "-p", str(server.pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=servers.child_settings(load.LOAD_CPU),
    )
    try:
        eventually(lambda: counter.poll() is not None or counts(counter.pid), "perf attaches")
        asked = load.wrk(server, connections, settings.seconds).requests
    finally:
        counter.send_signal(signal.SIGINT)  # it writes what it has counted
        counter.wait(servers.PATIENCE)
    found = re.search(r"^(\d+),,raw_syscalls:sys_enter", output.read_text(), re.MULTILINE)
    return int(found[1]) / asked if found else None


def counts(perf: int) -> bool:
    """Whether perf has opened its counters."""
    links = pathlib.Path(f"/proc/{perf}/fd").glob("*")
    with contextlib.suppress(FileNotFoundError):
        return any("perf_event" in str(link.readlink()) for link in links)
    return False


def calls_traced(server: Server, settings: Settings) -> dict[str, float]:
    """What strace -c counts, by name."""
    output = settings.folder / "strace"
    tracer = subprocess.Popen(
        ["strace", "-f", "-c", "-o", str(output), "-p", str(server.pid)],
        stderr=subprocess.DEVNULL,
        preexec_fn=servers.child_settings(servers.SERVER_CPU),
    )
    try:
        eventually(lambda: tracer_pid(server) == tracer.pid, "strace attaches")
        asked = load.wrk(server, 50, settings.seconds).requests
    finally:
        tracer.send_signal(signal.SIGINT)  # it lets go, and writes what it has counted
        tracer.wait(servers.PATIENCE)
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", output.read_text(), re.M)
    return {name: int(count) / asked for count, name in rows if name != "total"}


def tracer_pid(server: Server) -> int:
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"^TracerPid:\t(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0


def request_result(
    cost: dict[str, list[float]],
    calls: dict[str, Calls],
    waits: dict[str, float],
    redone: list[str],
) -> Result:
    def times(name: str, other: str) -> float:
        return ratio(cost[name], cost[other])

    rows = [
        [
            name,
            median(values),
            spread(values),
            times(name, "floor, one segment"),
            times(name, "nginx"),
            *calls[name].counted.values(),
            sum(calls[name].traced.values()),
            waits[name],
        ]
        for name, values in cost.items()
    ]
    return Result(
        "What a request costs",
        "64 connections without pause, a new one for each request. Ratios are taken round by round. "
        "nginx and lighttpd send the end of file in a segment of its own, as the servers called "
        '"two segments" do. System calls per request: counted by the kernel (perf stat, '
        "raw_syscalls:sys_enter) under 64, 16 and 1 connections, and under strace with 50. Waits: how "
        "often the server slept, per request.",
        ["server", "CPU µs", "spread", "× floor", "× nginx"]
        + ["calls: 64", "calls: 16", "calls: 1", "under strace", "waits"],
        rows,
        {
            "cpu_us": cost,
            "calls": {name: dataclasses.asdict(each) for name, each in calls.items()},
            "waits": waits,
        },
        [
            ("06: CPU × nginx", times("06_epoll_level", "nginx"), "<=", 1.0),
            ("07: CPU × nginx", times("07_epoll_edge", "nginx"), "<=", 1.0),
            (
                "07 --defer-accept: CPU × nginx deferred",
                times("07 --defer-accept", "nginx deferred"),
                "<=",
                0.8,
            ),
            (
                "07, two segments: CPU × nginx",
                times("07, two segments", "nginx"),
                "<=",
                1.25,
            ),
            (
                "07 --defer-accept, two segments: CPU × nginx deferred",
                times("07 --defer-accept, two segments", "nginx deferred"),
                "<=",
                1.0,
            ),
            (
                "07 --defer-accept: CPU × floor, one segment",
                times("07 --defer-accept", "floor, one segment"),
                "<=",
                1.15,
            ),
        ],
        redone,
    )


# ---- 2 and 3. Idle clients: what they cost the active ones, and in memory ------------------------


def idle_counts(settings: Settings) -> list[int]:
    """Up to what the descriptors allow: one for each client, and a thousand for all else."""
    most = min(settings.descriptors - 1000, 19000)
    return [count for count in [0, 100, 1000, 2500, 5000, 10000] if count < most] + [most]


def idle_stage(number: str) -> Callable[[], Server]:
    return stage(number, *(["--max-threads", "30000"] if number == "03" else []))


def can_hold(number: str, count: int) -> bool:
    """select() ends at descriptor 1024, of which it has 16 active clients and some of its own."""
    return number != "04" or count <= 1000


CONTROL = "06, none idle"


def idle(settings: Settings) -> Result:
    """16 active clients beside more and more idle ones. Each round takes all numbers of idle clients
    in turn, and beside each number a control that has no idle clients: so a slow minute is not taken
    for a number."""
    rounds: dict[str, dict[int, list[float]]] = {}
    redone: list[str] = []
    for turn in range(settings.rounds):
        for count in idle_counts(settings):
            where = f"round {turn + 1} of {settings.rounds}, {count} idle"
            for name, cpu_us in beside_idle(count, where, settings, redone).items():
                rounds.setdefault(name, {}).setdefault(count, []).append(cpu_us)
    return idle_result(rounds, redone)


def beside_idle(count: int, where: str, settings: Settings, redone: list[str]) -> dict[str, float]:
    """The µs of CPU time for a request, by server, while `count` clients are idle at each of them
    but the control."""
    starts = [idle_stage(number) for number in STAGES if can_hold(number, count)]
    figures = {}
    with running(*starts, stage("06", name=CONTROL)) as started, contextlib.ExitStack() as held:
        for server in started:
            if server.name != CONTROL:
                settings.progress(f"{where}: {server.name}: they connect")
                held.enter_context(load.idle_clients(server, count))
        for server in started:
            settings.progress(f"{where}: {server.name}")
            load.wrk(server, 16, 1)  # to warm up
            figures[server.name] = load.undisturbed(server, 16, 1, redone).cpu_us
    return figures


def idle_result(rounds: dict[str, dict[int, list[float]]], redone: list[str]) -> Result:
    counts = list(rounds[CONTROL])
    us = {
        name: {n: median(all_) for n, all_ in by_count.items()} for name, by_count in rounds.items()
    }

    def grown(name: str, count: int, since: int) -> float:
        """How much more it costs with so many idle clients, measured by the control."""
        more = ratio(rounds[name][count], rounds[CONTROL][count])
        return more / ratio(rounds[name][since], rounds[CONTROL][since])

    claims = []
    if 10000 in counts:
        claims = [
            ("06: CPU at 10,000 idle × none", grown("06_epoll_level", 10000, 0), "<=", 1.10),
            ("07: CPU at 10,000 idle × none", grown("07_epoll_edge", 10000, 0), "<=", 1.10),
            ("05: CPU at 10,000 idle × none", grown("05_poll", 10000, 0), ">", 5),
            ("05: CPU at 5,000 idle × 1,000", grown("05_poll", 5000, 1000), ">", 2),
        ]
    return Result(
        "CPU time per request as idle clients grow",
        "µs of the server's CPU time, 16 connections without pause beside the idle ones. Each round "
        "took all numbers of idle clients in turn. The control is 06 without idle clients, measured "
        "beside each number.",
        ["idle clients", *us],
        [[n, *(us[name].get(n) for name in us)] for n in counts],
        rounds,
        claims,
        redone,
    )


def memory(settings: Settings) -> Result:
    """The server's memory without clients and with idle ones; a new server for each round."""
    counts = [1000, min(10000, idle_counts(settings)[-1])]
    rounds: dict[str, dict[int, list[int]]] = {}
    for turn in range(settings.rounds):
        for number in STAGES:
            with running(idle_stage(number)) as (server,):
                figures = rounds.setdefault(server.name, {})
                figures.setdefault(0, []).append(server.memory_bytes())
                for count in (count for count in counts if can_hold(number, count)):
                    settings.progress(
                        f"round {turn + 1} of {settings.rounds}: {server.name}, {count} idle"
                    )
                    with load.idle_clients(server, count):
                        figures.setdefault(count, []).append(server.memory_bytes())
    return memory_result(rounds, counts)


def memory_result(rounds: dict[str, dict[int, list[int]]], counts: list[int]) -> Result:
    """The bytes for each are counted from the fewest idle clients on: the first of them find room
    in what the start of the program has left over."""
    least, most = counts[0], counts[-1]
    rows, each = [], {}
    for name, figures in rounds.items():
        total = {count: median(values) for count, values in figures.items()}
        if most in total:
            each[name] = (total[most] - total[least]) / (most - least)
        kib = [total[count] / 1024 if count in total else None for count in [0, *counts]]
        rows.append([name, each.get(name), *kib])
    claims = [
        (f"{name[:2]}: bytes per idle client", each[name], "<=", 300.0)
        for name in ("06_epoll_level", "07_epoll_edge")
    ]
    return Result(
        "Memory of an idle client",
        "Bytes of the server's own memory (Pss) that each idle client adds, between "
        f"{least:,} and {most:,} of them; and the whole, in KiB. The kernel's memory for the sockets "
        "is not in it.",
        ["stage", "bytes each", *(f"KiB with {n:,}" for n in [0, *counts])],
        rows,
        rounds,
        claims,
    )


# ---- 4. The listen backlog -----------------------------------------------------------------------


BACKLOG_LIMIT = 10  # seconds; who has no answer by then counts as if it came just then


def backlog(settings: Settings) -> Result:
    """Clients in one burst meet a server that is held, and answers when it is let go."""
    lengths = [1, 8, 50, 511]
    rounds: dict[int, dict[str, list[float]]] = {length: {} for length in lengths}

    def note(length: int, what: str, value: float) -> None:
        rounds[length].setdefault(what, []).append(value)

    for turn in range(settings.rounds):
        for length in lengths:
            settings.progress(f"round {turn + 1} of {settings.rounds}: --backlog {length}")
            with running(stage("06", "--backlog", str(length))) as (server,):
                before = listen_overflows()
                crowd = held_burst(server, 600)
                note(length, "completed", crowd.connections(0.2))
                note(length, "overflows", listen_overflows() - before)
                crowd.close()
            with running(stage("06", "--backlog", str(length))) as (server,):
                clients = held_burst(server, 100)
                server.process.send_signal(signal.SIGCONT)
                times = clients.first_bytes(BACKLOG_LIMIT)
                clients.close()
                note(length, "median_ms", median(times) * 1000)
                note(length, "worst_ms", max(times) * 1000)
    rows = [[length, *(median(values) for values in rounds[length].values())] for length in lengths]
    return Result(
        "The listen backlog",
        "06_epoll_level. While it is held (SIGSTOP), 600 clients connect at once: the connections "
        "that the kernel completes, and its ListenOverflows. Then, in a run of its own, the times to "
        "the first byte of 100 clients that connect at once just before it is let go "
        "(10,000: none by then).",
        ["--backlog", "completed of 600", "ListenOverflows", "median ms of 100", "worst ms of 100"],
        rows,
        rounds,
    )


def held_burst(server: Server, count: int) -> load.Burst:
    server.process.send_signal(signal.SIGSTOP)
    state = pathlib.Path(f"/proc/{server.pid}/stat")
    eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "SIGSTOP")
    return load.Burst(server.port, count)


# ---- 5. TCP_CORK and TCP_NODELAY -----------------------------------------------------------------


def cork(settings: Settings) -> Result:
    """One response in pieces: the data segments that arrive, and the time until all has."""
    options: dict[str, list[str]] = {
        "neither": [],
        "--tcp-cork": ["--tcp-cork"],
        "--tcp-nodelay": ["--tcp-nodelay"],
    }
    rows, rounds = [], {}
    for chunk in [16, 100, 1000, 10000]:
        starts = [
            stage("06", "--body-bytes", "10000", "--chunk-bytes", str(chunk), *words, name=name)
            for name, words in options.items()
        ]
        figures: dict[str, list[tuple[int, float]]] = {name: [] for name in options}
        settings.progress(f"--chunk-bytes {chunk}")
        with running(*starts) as started:
            for _ in range(settings.rounds * 4):
                for server in started:
                    figures[server.name].append(one_response(server))
        rounds[chunk] = figures
        segments = [median(s for s, _ in figures[name]) for name in options]
        times = [median(t for _, t in figures[name]) * 1000 for name in options]
        rows.append([chunk, *segments, *times])
    return Result(
        "TCP_CORK and TCP_NODELAY",
        "06_epoll_level, a body of 10,000 bytes sent in pieces of --chunk-bytes. Segments with data "
        "at the client (TCP_INFO), and milliseconds from the request to the end of file. Four "
        "responses in each round.",
        ["--chunk-bytes", *(f"{n}: segments" for n in options), *(f"{n}: ms" for n in options)],
        rows,
        rounds,
    )


def one_response(server: Server) -> tuple[int, float]:
    with socket.create_connection(("127.0.0.1", server.port), servers.PATIENCE) as client:
        start = time.perf_counter()
        client.sendall(load.REQUEST)
        while client.recv(65536):
            pass
        return load.data_segments_in(client), time.perf_counter() - start


# ---- 6. The slow-client cure ---------------------------------------------------------------------


def slow(settings: Settings) -> Result:
    """20 quick clients, while one holds on to half a request for a second."""
    starts = [stage(number) for number in ["02", *STAGES]]
    rounds: dict[str, list[float]] = {}
    with running(*starts) as started:
        alone = {server.name: server.descriptors() for server in started}
        for turn in range(settings.rounds):
            for server in started:
                settings.progress(f"round {turn + 1} of {settings.rounds}: {server.name}")
                seconds = beside_a_slow_one(server, alone[server.name])
                rounds.setdefault(server.name, []).append(seconds * 1000)
    rows = [[name, median(values), spread(values)] for name, values in rounds.items()]
    return Result(
        "Quick clients beside a slow one",
        "Milliseconds until 20 clients have their first byte. Just before, another has sent half a "
        "request, and sends the rest after one second.",
        ["stage", "ms", "spread"],
        rows,
        rounds,
    )


def beside_a_slow_one(server: Server, alone: int) -> float:
    """`alone`: the server's descriptors without a client."""
    eventually(lambda: server.descriptors() == alone, "the earlier clients have gone")
    with socket.create_connection(("127.0.0.1", server.port), servers.PATIENCE) as slow_one:
        slow_one.sendall(load.REQUEST[:9])
        eventually(lambda: server.descriptors() == alone + 1, "the slow client is accepted")
        rest = threading.Timer(1.0, slow_one.sendall, [load.REQUEST[9:]])
        rest.start()
        quick = load.Burst(server.port, 20)
        last = max(quick.first_bytes())
        quick.close()
        rest.join()
        while slow_one.recv(4096):
            pass
    return last


# ---- 7. The flags that harden a program ----------------------------------------------------------


def hardening(settings: Settings) -> Result:
    """Each stage as the release preset builds it, and beside it without the flags that harden it."""
    starts = []
    for number in ["02", *STAGES]:
        starts.append(stage(number))
        starts.append(stage(number, name=f"{number} plain", folder=servers.PLAIN))
    redone: list[str] = []
    with running(*starts) as started:
        cost = cost_in_turn(started, settings, redone)
    names = [server.name for server in started[::2]]
    pairs = {name: (cost[name], cost[f"{name[:2]} plain"]) for name in names}
    ratios = {name: ratio(*pair) for name, pair in pairs.items()}
    rows = [
        [name, median(hardened), spread(hardened), median(plain), spread(plain), ratios[name]]
        for name, (hardened, plain) in pairs.items()
    ]
    return Result(
        "What hardening costs",
        "64 connections without pause, a new one for each request. Hardened: as the release preset "
        "builds it; plain: as the preset of that name does. Ratios are taken round by round.",
        ["stage", "CPU µs", "spread", "plain: CPU µs", "plain: spread", "× plain"],
        rows,
        cost,
        [(f"{name[:2]}: CPU × plain", ratios[name], "<=", 1.10) for name in names],
        redone,
    )


EXPERIMENTS = {f.__name__: f for f in (request, idle, memory, backlog, cork, slow, hardening)}
