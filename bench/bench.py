"""What each stage costs, measured side by side: see ./tour bench, which sets this up.

Writes bench/results/*.json, and draws the tables and figures in docs/figures/ from them.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from bench import experiments, servers
from bench.experiments import Result, Settings
from bench.machine import machine
from bench.report import clear_progress, draw, holds, progress, terminal_table
from bench.servers import RESULTS
from bench.store import store

EXPERIMENTS = {**experiments.EXPERIMENTS, "store": store}


def as_json(result: Result, where: dict[str, object], settings: Settings) -> dict[str, object]:
    claims = [
        {
            "claim": name,
            "measured": round(value, 3),
            "must be": f"{sign} {limit:g}",
            "holds": holds(value, sign, limit),
        }
        for name, value, sign, limit in result.claims
    ]
    return {
        "title": result.title,
        "note": result.note,
        "machine": where,
        "settings": {"rounds": settings.rounds, "seconds": settings.seconds},
        "columns": result.columns,
        "rows": result.rows,
        "claims": claims,
        "redone": result.redone,
        "rounds": result.rounds,
    }


def positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 1000")
    return int(text)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./tour bench", description="Measures what the stages cost."
    )
    names = ", ".join(EXPERIMENTS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {names}; none: all of them")
    parser.add_argument(
        "--rounds", type=positive, default=5, help="rounds, of which the median counts (5)"
    )
    parser.add_argument("--seconds", type=positive, default=2, help="length of a run of wrk (2)")
    parser.add_argument("--draw", action="store_true", help="only draw anew what has been measured")
    parser.add_argument("--peers", type=pathlib.Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in EXPERIMENTS:
            parser.error(f"there is no '{name}' to measure; there are: {names}")
    return chosen


def measure(chosen: argparse.Namespace, folder: str) -> list[str]:
    """Measures what was chosen, and keeps it. Returns the claims that do not hold."""
    where = machine()
    if int(str(where["descriptors"])) < 3000:
        raise RuntimeError(
            "a process may have too few descriptors here (ulimit -Hn): 3000 at least"
        )
    settings = Settings(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        descriptors=int(str(where["descriptors"])),
        folder=pathlib.Path(folder),
        nginx=str(chosen.peers / "usr/sbin/nginx"),
        lighttpd=str(chosen.peers / "usr/sbin/lighttpd"),
        lighttpd_modules=str(chosen.peers / "usr/lib/lighttpd"),
        progress=progress,
    )
    RESULTS.mkdir(exist_ok=True)
    failed: list[str] = []
    for name in chosen.names or EXPERIMENTS:
        start = time.monotonic()
        result = EXPERIMENTS[name](settings)
        clear_progress()
        data = as_json(result, where, settings)
        (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
        print(terminal_table(data))
        print(f"({name}: {time.monotonic() - start:.0f} s)\n", flush=True)
        for claim, value, sign, limit in result.claims:
            if not holds(value, sign, limit):
                failed.append(f"{name}: {claim}")
    return failed


def interrupted(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    chosen = options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    failed: list[str] = []
    try:
        if not chosen.draw:
            with tempfile.TemporaryDirectory(prefix="bench.") as folder:
                failed = measure(chosen, folder)
        for path in draw(RESULTS, servers.ROOT / "docs" / "figures"):
            print(f"    {path.relative_to(servers.ROOT)}")
    except KeyboardInterrupt:
        clear_progress()
        print("bench: interrupted; what had been measured before is kept", file=sys.stderr)
        return 130
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        clear_progress()
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for claim in failed:
        print(f"bench: does not hold: {claim}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    os.chdir(servers.ROOT)
    sys.exit(main())
