"""What it costs to store each request before it is answered: stage 08, with and without workers."""

from __future__ import annotations

import pathlib
import subprocess
import threading
import time
from collections.abc import Callable
from statistics import median

from bench import load
from bench.experiments import Result, Settings, ratio, spread
from bench.servers import Server, get, running, stage

WORKERS = [0, 1, 2, 4]
CROWD = 64  # clients at the same time
# A client whose head is too long is told so without the database.
NEEDS_NO_DISK = b"GET / HTTP/1.0\r\n" + 9000 * b"x"


def name_of(workers: int) -> str:
    return "the event loop itself" if workers == 0 else f"--workers {workers}"


def start_of(workers: int, folder: pathlib.Path) -> Callable[[], Server]:
    database = folder / f"with_{workers}_workers.db"
    options = ["--workers", str(workers), "--database", str(database)]
    return stage("08", *options, name=name_of(workers))


def store(settings: Settings) -> Result:
    """In turn: requests a second from one client and from many; and how long somebody waits beside
    the many who needs no disk. Then it is counted how many requests share a sync."""
    alone: dict[str, list[float]] = {}
    crowd: dict[str, list[float]] = {}
    waits: dict[str, list[float]] = {}
    shared: dict[str, float] = {}
    with running(*(start_of(workers, settings.folder) for workers in WORKERS)) as started:
        for turn in range(settings.rounds):
            for server in started:
                settings.progress(f"round {turn + 1} of {settings.rounds}: {server.name}")
                seconds = settings.seconds
                one = load.wrk(server, 1, seconds).requests / seconds
                alone.setdefault(server.name, []).append(one)
                many, wait = beside_a_crowd(server, seconds)
                crowd.setdefault(server.name, []).append(many)
                waits.setdefault(server.name, []).append(wait)
        for server in started:
            shared[server.name] = requests_for_a_sync(server, settings)
    rows = [
        [
            name,
            median(alone[name]),
            median(crowd[name]),
            spread(crowd[name]),
            ratio(crowd[name], crowd[name_of(0)]),
            shared[name],
            median(waits[name]),
        ]
        for name in crowd
    ]
    return Result(
        "Storing each request",
        f"Stage 08. Requests a second of one client and of {CROWD}, which ask without pause; how "
        "many requests go to the disk with one fdatasync(); and how long a client waits beside the "
        "many whose request needs no disk (431). Ratios are taken round by round.",
        [
            "who stores",
            "1 client",
            f"{CROWD} clients",
            "spread",
            "× the loop",
            "requests a sync",
            "beside: ms",
        ],
        rows,
        {"alone": alone, "crowd": crowd, "waits": waits},
        [("a worker: requests × the loop", ratio(crowd[name_of(1)], crowd[name_of(0)]), ">", 1)],
    )


def beside_a_crowd(server: Server, seconds: int) -> tuple[float, float]:
    """Requests a second of the crowd, and the median of the waits of one client beside it, in
    milliseconds."""
    waits: list[float] = []
    wrong: list[bytes] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.02):
            start = time.perf_counter()
            answer = get(server.port, NEEDS_NO_DISK)
            if b" 431 " not in answer:
                wrong.append(answer)
            waits.append((time.perf_counter() - start) * 1000)

    bystander = threading.Thread(target=ask)
    bystander.start()
    try:
        requests = load.wrk(server, CROWD, seconds).requests
    finally:
        done.set()
        bystander.join()
    if wrong:
        raise RuntimeError(f"{server.name} gives a wrong answer: {wrong[0]!r}")
    return requests / seconds, median(waits)


def requests_for_a_sync(server: Server, settings: Settings) -> float:
    """How many requests of the crowd share a call of fdatasync(), by the count of strace."""
    log = settings.folder / "syncs.log"
    words = [
        "strace",
        "-fcqq",
        "-e",
        "trace=fdatasync,fsync",
        "-o",
        str(log),
        "-p",
        str(server.pid),
    ]
    with subprocess.Popen(words) as strace:
        tracer = f"/proc/{server.pid}/status"
        while "TracerPid:\t0\n" in pathlib.Path(tracer).read_text() and strace.poll() is None:
            time.sleep(0.005)
        requests = load.wrk(server, CROWD, settings.seconds).requests
        strace.terminate()
    total = [line.split() for line in log.read_text().splitlines() if line.endswith("total")]
    return requests / int(total[0][3])
