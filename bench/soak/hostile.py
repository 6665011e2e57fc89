"""The clients of ./tour soak: a few who behave and are patient, and crowds who do neither."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import os
import random
import re
import socket
import struct
import time
from collections.abc import Coroutine, Iterator

from bench.load import IP_BIND_ADDRESS_NO_PORT
from bench.servers import BODY, LOAD_CPU, Server, child_settings

PATIENT_SECONDS = 60  # a well-behaved client waits so long for the end of its response
MODES = ("-H", "-B", "-X")  # slowhttptest: slow headers, slow body, slow read
UNAVAILABLE = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n\r\n"
    b"503 Service Unavailable\n"
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a stage is started, and how much of each load it gets."""

    timeout: float = 5  # --timeout
    body_bytes: int = 200_000  # more than the kernel takes for a client that reads slowly
    descriptors: int = 512  # RLIMIT_NOFILE
    crowd: int = 600  # idle clients in a wave: more than there are descriptors
    slow: int = 50  # clients of one slowhttptest
    resets: float = 10  # a second
    wrk_seconds: int = 2  # of one run of wrk


# 02 serves one at a time. A slow client costs it up to two timeouts, and the others wait: so it
# gets few of them, and a response that fits in the kernel's buffers. Its crowd waits in the
# backlog. 04 may have more descriptors than select() has places: those beyond get 503.
PLANS = {
    "02": Plan(timeout=1, body_bytes=13, crowd=100, slow=3, resets=3, wrk_seconds=8),
    "03": Plan(),
    "04": Plan(descriptors=1200, crowd=1300),
    "05": Plan(),
    "06": Plan(),
    "07": Plan(),
}


@dataclasses.dataclass
class Tally:
    """What came of the well-behaved clients, and how much of the rest there was."""

    asked: int = 0
    right: int = 0
    unavailable: int = 0  # answered 503, where that is the documented answer
    lost: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    longest: float = 0  # seconds from the first step of a client to the end of its response
    from_wrk: int = 0  # requests answered
    slow: int = 0
    resets: int = 0


class Victim:
    """A server under the soak."""

    def __init__(self, number: str, server: Server):
        self.plan = PLANS[number]
        self.name = server.name
        self.server = server
        self.tally = Tally()
        self.wrk_turns = 0
        self.crowded = False
        body = BODY * (self.plan.body_bytes // len(BODY) + 1)
        self.response = (
            b"HTTP/1.0 200 OK\r\nDate: Mon, 1 Jan 1996 01:01:01 GMT\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\n\r\n" % self.plan.body_bytes
        ) + body[: self.plan.body_bytes]
        # Numbers from 0: so a limit above 1024 lets in descriptors that no fd_set has a place for.
        self.may_refuse = number == "04" and self.plan.descriptors > 1024

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.server.port)


def new_client(source: str) -> socket.socket:
    """A socket that does not block. Each kind of client has a source address of its own, so that
    their ports do not get scarce; and the port is left to connect() (ip(7))."""
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((source, 0))
    return client


def request(dice: random.Random) -> bytes:
    fields = b"".join(b"X-%d: %s\r\n" % (n, b"x" * dice.randrange(80)) for n in range(3))
    return b"GET /%d HTTP/1.0\r\n%s\r\n" % (dice.randrange(1000), fields)


# ---- Those who behave ----------------------------------------------------------------------------


async def exchange(victim: Victim, dice: random.Random) -> bytes:
    """Sends a request in one to three pieces, and returns all that comes up to the end of file."""
    loop = asyncio.get_running_loop()
    text = request(dice)
    cuts = sorted(dice.sample(range(1, len(text)), dice.randrange(3)))
    with new_client("127.0.0.3") as client:
        await loop.sock_connect(client, victim.address)
        for begin, end in zip([0, *cuts], [*cuts, len(text)]):
            if begin:
                await asyncio.sleep(dice.uniform(0, 0.05))
            await loop.sock_sendall(client, text[begin:end])
        answer = bytearray()
        while data := await loop.sock_recv(client, 65536):
            answer += data
        return bytes(answer)


def fault(answer: bytes, right: bytes) -> str:
    """What is wrong with an answer."""
    status = answer.partition(b"\r\n")[0]
    if not answer:
        return "closed without a response"
    if right.startswith(answer):
        return "response cut short"
    if answer.startswith(right):
        return "more than the response"
    if not right.startswith(status):
        return "answered " + ascii(status[:60].decode(errors="replace"))
    return "wrong bytes"


async def ask(victim: Victim, dice: random.Random) -> bool:
    """One client asks; whether it got what it should, which its tally notes."""
    tally, start = victim.tally, time.monotonic()
    tally.asked += 1
    problem = ""
    try:
        answer = await asyncio.wait_for(exchange(victim, dice), PATIENT_SECONDS)
        if answer == victim.response:
            tally.right += 1
        elif answer == UNAVAILABLE and victim.may_refuse:
            tally.unavailable += 1
        else:
            problem = fault(answer, victim.response)
    except asyncio.TimeoutError:
        problem = f"no end of the response in {PATIENT_SECONDS} s"
    except OSError as error:
        problem = os.strerror(error.errno or 0)
    tally.longest = max(tally.longest, time.monotonic() - start)
    if problem:
        tally.lost[problem] += 1
    return not problem


async def keep_asking(victim: Victim, dice: random.Random, until: float) -> None:
    """A client after another; the last one is served to its end, however late that is."""
    while time.monotonic() < until:
        await ask(victim, dice)
        await asyncio.sleep(dice.uniform(0.1, 0.6))


# ---- Those who do not ----------------------------------------------------------------------------


@contextlib.contextmanager
def crowd(victim: Victim) -> Iterator[None]:
    """Clients that connect, all at once, and say nothing. They neither read nor take leave."""
    held: list[socket.socket] = []
    try:
        for _ in range(victim.plan.crowd):
            held.append(new_client("127.0.0.2"))
            held[-1].connect_ex(victim.address)  # the kernel completes it, whatever the server does
        victim.crowded = True
        yield
    finally:
        victim.crowded = False
        for client in held:
            client.close()


async def keep_crowding(victim: Victim, dice: random.Random) -> None:
    while True:
        await asyncio.sleep(dice.uniform(2, 15))
        with crowd(victim):
            await asyncio.sleep(dice.uniform(6, 9))


async def reset_one(victim: Victim, dice: random.Random) -> None:
    """Connects, may send some, may read some, and goes with a reset (SO_LINGER of socket(7))."""
    loop = asyncio.get_running_loop()
    text = request(dice)
    part = text[: dice.choice([0, dice.randrange(len(text)), len(text)])]
    with new_client("127.0.0.4") as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await loop.sock_connect(client, victim.address)
        victim.tally.resets += 1
        await loop.sock_sendall(client, part)
        if dice.random() < 0.5:
            most = dice.choice([1, 1000, 65536])
            await asyncio.wait_for(loop.sock_recv(client, most), dice.uniform(0.01, 0.3))


async def keep_resetting(victim: Victim, dice: random.Random) -> None:
    while True:
        await asyncio.sleep(dice.uniform(0, 2 / victim.plan.resets))
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await reset_one(victim, dice)


async def output_of(*command: str) -> str:
    """Runs a program to its end, or ends it; all that it prints."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=child_settings(LOAD_CPU),
    )
    try:
        text, _ = await child.communicate()
        return text.decode(errors="replace")
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def keep_slow(victim: Victim, turn: int) -> None:
    """One slowhttptest after another, each in the next mode. A slow body, which no stage waits for,
    is over at once; the others last until the server's timeout."""
    count = str(victim.plan.slow)
    options = f"-c {count} -r {count} -i 1 -l 10 -x 24 -w 10 -y 20 -n 1 -z 5 -p 10".split()
    while True:
        mode = MODES[turn % len(MODES)]
        text = await output_of("slowhttptest", mode, *options, "-u", victim.server.url)
        if re.search("No open connections left|Hit test time limit", text):
            victim.tally.slow += victim.plan.slow
        turn += 1
        await asyncio.sleep(2)


async def wrk_in_turn(victims: list[Victim]) -> None:
    """A run of wrk for each server, and after each three seconds of rest for the machine. It begins
    where there is no crowd just then: beside a full one it would get nothing but a place in the
    backlog."""
    while True:
        calm = [victim for victim in victims if not victim.crowded]
        victim = min(calm or victims, key=lambda victim: victim.wrk_turns)
        victim.wrk_turns += 1
        command = f"wrk -t1 -c3 -d{victim.plan.wrk_seconds}s --timeout 10s".split()
        text = await output_of(*command, victim.server.url)
        counted = re.search(r"(\d+) requests in", text)
        victim.tally.from_wrk += int(counted[1]) if counted else 0
        await asyncio.sleep(3)


def hostilities(victims: list[Victim], seed: str) -> list[Coroutine[None, None, None]]:
    """All that does not behave, to be run side by side until it is cancelled."""
    everything = [wrk_in_turn(victims)]
    for turn, victim in enumerate(victims):
        everything.append(keep_slow(victim, turn))
        everything.append(keep_crowding(victim, random.Random(f"{seed} crowd {victim.name}")))
        everything.append(keep_resetting(victim, random.Random(f"{seed} resets {victim.name}")))
    return everything
