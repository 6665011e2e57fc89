"""Ten minutes of hostile clients on all stages at once: see ./tour soak, which sets this up.

A warm-up comes first. What each server holds at rest after it is compared with what it holds at
rest after the soak; and none of the well-behaved clients may lose its response meanwhile.
A complete run writes bench/results/soak.json and docs/figures/soak.md, a shorter one build/soak.*.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from bench import servers
from bench.machine import machine
from bench.report import clear_progress, holds, markdown, progress, terminal_table
from bench.servers import RESULTS, Server, listen_overflows, running
from bench.soak.hostile import PLANS, Victim, ask, crowd, hostilities, keep_asking

COMPLETE = 600  # seconds: what is shorter is a try
PATIENT_CLIENTS = 3  # at a time, for each server
REST = 60  # seconds in which a server must have let go of all clients: many timeouts
DESCRIPTORS = 6000  # that this process may need: all crowds at once, and the rest
RUN_OUT = "accept: Too many open files"

NOTE = (
    "Each has a crowd of idle clients in waves (more than it has "
    "descriptors; 02: 100), slow clients (slowhttptest: headers, bodies, reading), bursts of wrk, "
    "and resets. The well-behaved clients ask in one to three pieces and compare every byte; they "
    "are those in the columns up to the longest wait. From wrk: its requests that were answered. "
    "KiB: the server's own memory (Pss_Anon) at rest, after a warm-up and after the soak."
)
COLUMNS = (
    "stage|asked|right|503|lost|longest wait, s|from wrk|slow|resets|"
    "most descriptors|most threads|KiB before|KiB after"
).split("|")


# ---- Looking at a server -------------------------------------------------------------------------


def own_kib(pid: int) -> int:
    """Heap, stacks and written data. Not Pss as a whole: the pages of the libraries count in part
    for each process that maps them, and so change with what else runs on the machine."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss_Anon: +(\d+) kB", text, re.MULTILINE)
    if not found:
        raise RuntimeError("this kernel has no Pss_Anon in smaps_rollup: Linux 5.9 or newer has")
    return int(found[1])


def status_of(pid: int) -> tuple[str, int]:
    """The state ("Z": it has ended) and the number of threads."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    state, threads = (re.search(rf"^{key}:\t(\w+)", text, re.M) for key in ("State", "Threads"))
    return (state[1] if state else "Z", int(threads[1]) if threads else 0)


@dataclasses.dataclass
class Look:
    """What a server holds at one moment."""

    descriptors: int
    threads: int
    kib: int
    cpu_seconds: float


class Watched(Victim):
    """A victim, and what is seen of its server."""

    def __init__(self, number: str, server: Server):
        super().__init__(number, server)
        pipe = server.process.stderr
        assert pipe
        self.stderr = os.dup(pipe.fileno())  # it is still there when the server has ended
        os.set_blocking(self.stderr, False)
        self.said = b""
        limit = (self.plan.descriptors,) * 2
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limit)
        # The lowest of several: the client of the start may still be leaving.
        looks = [look for look in (self.look() for _ in range(50)) if look]
        self.descriptors_before = min((look.descriptors for look in looks), default=0)
        self.threads_before = min((look.threads for look in looks), default=0)
        self.most_descriptors = self.most_threads = 0
        self.samples: list[list[float]] = []
        self.full_cpu: list[float] = []  # % of a CPU while all descriptors are taken
        self.rests: list[Look] = []  # after the warm-up, and after the soak
        self.answers = False  # the last client of all has its response
        self.idle_ms: float | None = None  # CPU time in two seconds of rest

    def alive(self) -> bool:
        return self.look() is not None

    def look(self) -> Look | None:
        """None if the server has ended, which shows as its exit code."""
        pid = self.server.pid
        try:
            kib, (state, threads) = own_kib(pid), status_of(pid)
            descriptors = self.server.descriptors()
        except (ProcessLookupError, FileNotFoundError, PermissionError):
            return None
        if state == "Z":
            return None
        return Look(descriptors, threads, kib, round(self.server.cpu_seconds(), 3))

    def sample(self, seconds: float | None) -> None:
        """Looks, and keeps it if it has a time."""
        self.listen_to_stderr()
        if look := self.look():
            self.most_descriptors = max(self.most_descriptors, look.descriptors)
            self.most_threads = max(self.most_threads, look.threads)
            if seconds is not None:
                self.samples.append([round(seconds), *dataclasses.astuple(look)])

    def listen_to_stderr(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.stderr, 65536):
                self.said += data

    def stderr_lines(self, expected: bool) -> list[str]:
        """Its lines: those of descriptors running out, or all others."""
        right = f"{self.name}: {RUN_OUT}"
        lines = self.said.decode(errors="replace").splitlines()
        return [line for line in lines if (line == right) is expected]

    def let_go(self) -> bool:
        """Whether it holds no more than before the first client."""
        now = self.look()
        return not now or (
            now.descriptors <= self.descriptors_before and now.threads <= self.threads_before
        )


def warm_up(seconds: int) -> int:
    """How long the same load goes on before what is measured: a fifth, but long enough for each
    kind of client to have come."""
    return max(40, seconds // 5)


async def reached(done: Callable[[], bool], seconds: float) -> bool:
    """Waits until `done()`, not longer than so many seconds; whether it came to that."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def living(watched: Iterable[Watched]) -> list[Watched]:
    return [victim for victim in watched if victim.alive()]


# ---- The soak ------------------------------------------------------------------------------------


async def cpu_of(watched: list[Watched], seconds: float) -> dict[str, float]:
    """The CPU seconds that each server takes in so many seconds from now."""
    start = {victim.name: victim.server.cpu_seconds() for victim in watched}
    await asyncio.sleep(seconds)
    return {v.name: v.server.cpu_seconds() - start[v.name] for v in living(watched)}


async def wave(watched: list[Watched]) -> None:
    """All crowds at once and nothing else: the descriptors run out, and no server may spin."""
    with contextlib.ExitStack() as crowds:
        for victim in living(watched):
            crowds.enter_context(crowd(victim))
        full = [
            victim
            for victim in living(watched)
            if victim.plan.crowd > victim.plan.descriptors
            and await reached(lambda: is_full(victim), victim.plan.timeout)
        ]
        used = await cpu_of(full, 1)
        for victim in full:
            victim.full_cpu.append(used.get(victim.name, 0) * 100)
            victim.sample(None)


def is_full(victim: Watched) -> bool:
    look = victim.look()
    return look is not None and look.descriptors >= victim.plan.descriptors


async def rest(victim: Watched, dice: random.Random) -> None:
    """Waits until the server has let go of its clients; what it then holds. Each is accepted in
    its turn: so when a client that comes now has its answer, no earlier one is left in the
    backlog. And 03 joins a thread that has ended when the next client comes."""
    for _ in range(2):
        victim.answers = await ask(victim, dice)
        await reached(victim.let_go, REST)
    if look := victim.look():
        victim.rests.append(look)


async def load(watched: list[Watched], seconds: float, seed: str) -> None:
    """All clients for so many seconds; then those who behave are served to their end."""
    start = time.monotonic()
    patient = [
        asyncio.create_task(
            keep_asking(victim, random.Random(f"{seed} {n} {victim.name}"), start + seconds)
        )
        for victim in watched
        for n in range(PATIENT_CLIENTS)
    ]
    hostile = [asyncio.create_task(one) for one in hostilities([*watched], seed)]
    try:
        while (passed := time.monotonic() - start) < seconds:
            if failed := [task for task in hostile if task.done()]:
                failed[0].result()  # raises what has ended it
            show(watched, passed, seconds)
            await asyncio.sleep(min(5, seconds - passed))
    finally:
        for task in hostile:
            task.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)
    progress("the load has stopped; the last clients are served")
    await asyncio.gather(*patient)


def show(watched: list[Watched], passed: float, seconds: float) -> None:
    """Samples all servers, and says how it goes."""
    for victim in watched:
        victim.sample(passed)
    tallies = [victim.tally for victim in watched]
    lost = sum(tally.lost.total() for tally in tallies)
    held = ", ".join(
        f"{v.name[:2]}: {v.samples[-1][1]:.0f}" if v.alive() else f"{v.name[:2]}: ENDED"
        for v in watched
    )
    progress(
        f"{passed:3.0f} of {seconds:.0f} s: {sum(tally.asked for tally in tallies):,} asked, "
        f"{lost} lost, longest wait {max(tally.longest for tally in tallies):.1f} s; "
        f"descriptors {held}"
    )


async def soak(watched: list[Watched], seconds: int, seed: int) -> None:
    """The warm-up, the soak, and after each a wave and a rest. Cancelled by SIGINT and SIGTERM."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    for name, length in (("warm-up", warm_up(seconds)), ("soak", seconds)):
        for victim in watched:
            victim.samples.clear()
            victim.answers = False
        await load(watched, length, f"{seed} {name}")
        progress(f"{name}: a last wave; then all come to rest")
        await wave(watched)
        await asyncio.gather(
            *(rest(v, random.Random(f"{seed} {name} {v.name}")) for v in living(watched))
        )
    used = await cpu_of(living(watched), 2)
    for victim in living(watched):
        victim.idle_ms = used[victim.name] * 1000


# ---- What must hold ------------------------------------------------------------------------------


@dataclasses.dataclass
class Check:
    name: str
    sign: str  # "<=" or ">"
    limit: float
    figure: Callable[[Watched], float | None]  # None: not for this server
    why: Callable[[Watched], str] = lambda victim: ""  # more to say where it does not hold


def at_end(victim: Watched, field: str, before: float | None = None) -> float | None:
    """What a server holds at the end beyond `before`, or beyond what it held after the warm-up."""
    if len(victim.rests) < 2:
        return None
    first, last = (getattr(look, field) for look in victim.rests)
    return last - (first if before is None else before)


# "Back" for memory: a heap of small blocks stays as large as the most that it has held at once, and
# chance sets a new record now and then, more and more rarely (03: in each of its arenas). So a few
# hundred KiB more are no leak. One block of malloc's smallest size, 32 bytes, lost for each of the
# 250,000 requests of wrk would be 8,000 KiB.
CHECKS = [
    Check(
        "lost responses of well-behaved clients",
        "<=",
        0,
        lambda v: v.tally.lost.total(),
        lambda v: ", ".join(f"{what}: {count}" for what, count in v.tally.lost.items()),
    ),
    Check(
        "descriptors at the end, more than at first",
        "<=",
        0,
        lambda v: at_end(v, "descriptors", v.descriptors_before),
    ),
    Check(
        "threads at the end, more than at first",
        "<=",
        0,
        lambda v: at_end(v, "threads", v.threads_before),
    ),
    Check("KiB at rest after the soak, more than before", "<=", 512, lambda v: at_end(v, "kib")),
    Check("CPU time in two seconds at rest, ms", "<=", 10, lambda v: v.idle_ms),
    Check(
        "% of a CPU while all descriptors are taken",
        "<=",
        20,
        lambda v: max(v.full_cpu, default=None),
    ),
    Check("a last client without the right answer", "<=", 0, lambda v: not v.answers),
    Check(
        "lines on stderr, other than of descriptors running out",
        "<=",
        0,
        lambda v: len(v.stderr_lines(expected=False)),
        lambda v: " / ".join(v.stderr_lines(expected=False)[:5]),
    ),
    Check(
        "exit code after SIGTERM, or earlier",
        "<=",
        0,
        lambda v: abs(v.server.process.returncode),
        lambda v: "by a signal" if v.server.process.returncode < 0 else "",
    ),
    # That there was a load at all.
    Check("requests of wrk that were answered", ">", 0, lambda v: v.tally.from_wrk),
    Check("clients of slowhttptest", ">", 0, lambda v: v.tally.slow),
    Check("clients that reset their connection", ">", 0, lambda v: v.tally.resets),
    Check(
        "lines on stderr of descriptors running out",
        ">",
        0,
        lambda v: len(v.stderr_lines(True)) if v.plan.crowd > v.plan.descriptors else None,
    ),
]


def judged(check: Check, watched: list[Watched]) -> tuple[dict[str, object], list[str]]:
    """The claim with the worst figure of all servers, and a line for each that fails."""
    figures = {v.name: float(value) for v in watched if (value := check.figure(v)) is not None}
    worst = (max if check.sign == "<=" else min)(figures.values(), default=float("nan"))
    claim = {
        "claim": check.name,
        "measured": round(worst, 3),
        "must be": f"{check.sign} {check.limit:g}",
        "holds": holds(worst, check.sign, check.limit),
    }
    failed = [
        f"{v.name}: {check.name}: {figures[v.name]:g} (must be {claim['must be']})"
        + (f": {why}" if (why := check.why(v)) else "")
        for v in watched
        if v.name in figures and not holds(figures[v.name], check.sign, check.limit)
    ]
    return claim, failed


def row(victim: Watched) -> list[Any]:
    tally = victim.tally
    kib = [look.kib for look in victim.rests]
    return [
        victim.name,
        tally.asked,
        tally.right,
        tally.unavailable if victim.may_refuse else None,
        tally.lost.total(),
        tally.longest,
        tally.from_wrk,
        tally.slow,
        tally.resets,
        victim.most_descriptors,
        victim.most_threads,
        *(kib + [None, None])[:2],
    ]


def as_json(watched: list[Watched], where: dict[str, object], settings: dict) -> dict[str, Any]:
    return {
        "title": "Hostile clients, on all stages at once",
        "note": NOTE,
        "machine": where,
        "settings": settings,
        "columns": COLUMNS,
        "rows": [row(victim) for victim in watched],
        "claims": [judged(check, watched)[0] for check in CHECKS],
        "redone": [],
        "rounds": {
            "of each sample": ["seconds", "descriptors", "threads", "KiB", "CPU seconds"],
            **{victim.name: victim.samples for victim in watched},
        },
    }


def write(data: dict[str, Any], results: pathlib.Path, figures: pathlib.Path) -> None:
    """Writes the results and their table; a sample, or a row, takes one line."""
    text = json.dumps(data, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    for path, content in (
        (results / "soak.json", text + "\n"),
        (figures / "soak.md", markdown(data)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        print(f"    {path.relative_to(servers.ROOT)}")


# ---- The program ---------------------------------------------------------------------------------


def number_between(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} to {most}")
        return int(text)

    return parse


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./tour soak",
        description="Hostile clients on all stages at once, and whether any harm is left.",
    )
    parser.add_argument(
        "--seconds",
        type=number_between(60, 86400),
        default=COMPLETE,
        help=f"length of the soak, from 60 to 86400, after a warm-up ({COMPLETE}); what is shorter "
        "than that does not touch bench/results and docs/figures",
    )
    parser.add_argument(
        "--seed",
        type=number_between(0, 2**32 - 1),
        default=random.SystemRandom().randrange(2**32),
        help="for what the clients do at random (another each time)",
    )
    parser.add_argument(
        "--stages",
        type=pathlib.Path,
        default=servers.STAGES,
        metavar="FOLDER",
        help="where the stages' programs are (build/bin); of others nothing is kept, either",
    )
    chosen = parser.parse_args()
    for number in PLANS:
        if len(list(chosen.stages.glob(f"{number}_*"))) != 1:
            parser.error(f"--stages: {chosen.stages} must have one program {number}_*")
    return chosen


def start(number: str, folder: pathlib.Path) -> Callable[[], Server]:
    """A stage as its plan says. Its limit of descriptors is set later, by Watched."""
    (program,) = folder.resolve().glob(f"{number}_*")
    plan = PLANS[number]
    words = f"--host 127.0.0.1 --port 0 --quiet --timeout {plan.timeout:g}".split()
    words += ["--body-bytes", str(plan.body_bytes)]

    def begin() -> Server:
        try:
            return Server(program.name, [str(program), *words])
        except OSError as error:
            raise RuntimeError(
                f"{program.name} does not answer its first client: {error}"
            ) from error

    return begin


def measure(chosen: argparse.Namespace) -> int:
    where, overflows = machine(), listen_overflows()
    if int(str(where["descriptors"])) < DESCRIPTORS:
        raise RuntimeError(
            f"a process may have too few descriptors here (ulimit -Hn): {DESCRIPTORS} at least"
        )
    begin = time.monotonic()
    with running(*(start(number, chosen.stages) for number in PLANS)) as started:
        watched = [Watched(number, server) for number, server in zip(PLANS, started)]
        asyncio.run(soak(watched, chosen.seconds, chosen.seed))
        for victim in watched:
            victim.server.stop()
            victim.listen_to_stderr()
    overflows = listen_overflows() - overflows
    clear_progress()
    settings = {"seconds": chosen.seconds, "seed": chosen.seed, "listen_overflows": overflows}
    data = as_json(watched, where, settings)
    print(terminal_table(data))
    print(f"({time.monotonic() - begin:.0f} s; connections that no backlog had room for in this")
    print(f"time, on the whole machine: {overflows})\n", flush=True)
    return conclude(data, [line for check in CHECKS for line in judged(check, watched)[1]], chosen)


def conclude(data: dict[str, Any], failed: list[str], chosen: argparse.Namespace) -> int:
    """Writes what is to be kept, and says what has failed. The exit code."""
    for line in failed:
        print(f"soak: FAILED: {line}", file=sys.stderr)
    good = all(claim["holds"] for claim in data["claims"])
    own = chosen.stages.resolve() == servers.STAGES.resolve()
    if good and own and chosen.seconds >= COMPLETE:
        write(data, RESULTS, servers.ROOT / "docs" / "figures")
    else:
        print("Not a complete run in which all holds, with the stages of build/bin: kept only as")
        write(data, servers.ROOT / "build", servers.ROOT / "build")
    print(f"To do the same again: ./tour soak --seconds {chosen.seconds} --seed {chosen.seed}")
    return 0 if good and not failed else 1


def main() -> int:
    chosen = options()
    first = warm_up(chosen.seconds)
    print(f"    {chosen.seconds} s, after {first} s of warm-up; --seed {chosen.seed}", flush=True)
    try:
        return measure(chosen)
    except (asyncio.CancelledError, KeyboardInterrupt):
        clear_progress()
        print("soak: interrupted; nothing is kept", file=sys.stderr)
        return 130
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        clear_progress()
        print(f"soak: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    os.chdir(servers.ROOT)
    sys.exit(main())
