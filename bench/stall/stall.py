"""A server that stops for two seconds, as a closed and an open load see it at the same time.

    python3 bench/stall/stall.py                        measures build/bin/06_epoll_level
    python3 bench/stall/stall.py COMMAND [OPTION...]    a server that says where it listens

A client of the closed load waits for its answer before it asks again. The open load asks on a
schedule, answered or not, and counts each latency from the scheduled time. As long as the server
answers, each of the two loads asks about 200 times per second.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import mean

DEFAULT = ["build/bin/06_epoll_level", "--host", "127.0.0.1", "--port", "0", "--quiet"]
REQUEST = b"GET / HTTP/1.0\r\n\r\n"

SECONDS = 5  # of both loads
STOP_AT, STOP_FOR = 1.5, 2  # seconds
RATE = 200  # requests per second of each load
CLIENTS = 2  # of the closed load
PERIOD = CLIENTS / RATE  # seconds from one request of such a client to its next


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Starts a server that says on stderr where it listens. Gives its process and its port."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
        try:
            line = server.stderr.readline() if server.stderr else b""
            listening = re.search(rb"listening on http://[\d.]+:(\d+)/", line)
            if not listening:
                raise RuntimeError(f"the server does not listen: {line.decode()}")
            yield server, int(listening[1])
        finally:
            server.send_signal(signal.SIGCONT)
            server.terminate()


async def latency(port: int, start: float) -> float:
    """Asks once, on a connection of its own. Returns the seconds from `start` to the end of file."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    answer = await reader.read()
    seconds = time.monotonic() - start
    writer.close()
    if b" 200 OK\r\n" not in answer:
        raise RuntimeError(f"a wrong answer: {answer!r}")
    return seconds


async def closed_client(port: int, end: float) -> list[float]:
    latencies = []
    while (start := time.monotonic()) < end:
        latencies.append(await latency(port, start))
        await asyncio.sleep(start + PERIOD - time.monotonic())
    return latencies


async def closed_load(port: int, end: float) -> list[float]:
    clients = [closed_client(port, end) for _ in range(CLIENTS)]
    return sum(await asyncio.gather(*clients), [])


async def open_load(port: int, start: float) -> list[float]:
    requests = []
    for number in range(SECONDS * RATE):
        scheduled = start + number / RATE
        await asyncio.sleep(scheduled - time.monotonic())
        requests.append(asyncio.create_task(latency(port, scheduled)))
    return await asyncio.gather(*requests)


async def stop_and_continue(server: subprocess.Popen[bytes]) -> None:
    await asyncio.sleep(STOP_AT)
    server.send_signal(signal.SIGSTOP)
    await asyncio.sleep(STOP_FOR)
    server.send_signal(signal.SIGCONT)


async def measure(server: subprocess.Popen[bytes], port: int) -> tuple[list[float], list[float]]:
    """The latencies of the closed load, and those of the open load."""
    start = time.monotonic()
    closed, opened, _ = await asyncio.gather(
        closed_load(port, start + SECONDS), open_load(port, start), stop_and_continue(server)
    )
    return closed, opened


def percentile(latencies: list[float], percent: int) -> float:
    """The least latency that `percent` of them do not exceed."""
    return sorted(latencies)[math.ceil(len(latencies) * percent / 100) - 1]


def shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def main() -> None:
    with running(sys.argv[1:] or DEFAULT) as (server, port):
        closed, opened = asyncio.run(measure(server, port))
    print(f"{'':8}{'closed':>10}{'open':>10}")
    print(f"{'asked':8}{len(closed):10,}{len(opened):10,}")
    print(f"{'mean':8}{shown(mean(closed)):>10}{shown(mean(opened)):>10}")
    for name, percent in {"p50": 50, "p90": 90, "p99": 99, "max": 100}.items():
        cells = [shown(percentile(load, percent)) for load in (closed, opened)]
        print(f"{name:8}{cells[0]:>10}{cells[1]:>10}")


if __name__ == "__main__":
    main()
