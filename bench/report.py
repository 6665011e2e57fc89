"""Results as text on the terminal, and as Markdown tables and figures in docs/figures/."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from bench.charts import DRAWN


# ---- On the terminal -----------------------------------------------------------------------------


def progress(text: str) -> None:
    """A line that is overwritten on a terminal, and one after another elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K    {text}")
        sys.stderr.flush()
    else:
        print(f"    {text}", file=sys.stderr, flush=True)


def clear_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


# ---- Tables --------------------------------------------------------------------------------------


def cell(value: Any) -> str:
    """Three digits that count, and thousands apart; "-" where nothing was measured."""
    if value is None:
        return "-"
    if isinstance(value, float) and abs(value) < 100:
        return f"{value:.3g}"
    return value if isinstance(value, str) else f"{round(value):,}"


def terminal_table(data: dict[str, Any]) -> str:
    rows = [data["columns"], *([cell(value) for value in row] for row in data["rows"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["", f"{data['title']}. {data['note']}", ""]
    for number, row in enumerate(rows):
        cells = [
            row[0].ljust(widths[0]),
            *(text.rjust(width) for text, width in zip(row[1:], widths[1:])),
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("-" * (sum(widths) + 2 * len(widths) - 2))
    return "\n".join([*lines, "", *map(claim_line, data["claims"])])


def holds(value: float, sign: str, limit: float) -> bool:
    return value <= limit if sign == "<=" else value > limit


def claim_line(claim: dict[str, Any]) -> str:
    verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
    return f"{verdict}: {claim['claim']}: {claim['measured']:g} (must be {claim['must be']})"


def markdown(data: dict[str, Any]) -> str:
    where = data["machine"]
    head = "| " + " | ".join(data["columns"]) + " |"
    rule = "| --- |" + " ---: |" * (len(data["columns"]) - 1)
    rows = ["| " + " | ".join(map(cell, row)) + " |" for row in data["rows"]]
    redone = len(data["redone"])
    again = f" Runs done again, as the host had other work: {redone}." if redone else ""
    settings = data["settings"]
    runs = (
        f"Medians of {settings['rounds']} rounds"
        if "rounds" in settings
        else f"One run of {settings['seconds']} s"
    )
    measured = (
        f"{data['note']} {runs}, {where['date']}: "
        f"{where['cpu']}, {where['cpus']} CPUs, {where['kernel']}, {where['compiler']}.{again}"
    )
    return "\n".join([f"### {data['title']}", "", head, rule, *rows, "", measured, ""])


# ---- Files ---------------------------------------------------------------------------------------


def draw(results: pathlib.Path, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Draws all that has been measured anew; yields the files it has written."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(results.glob("*.json")):
        data = json.loads(source.read_text())
        table = folder / f"{source.stem}.md"
        table.write_text(markdown(data))
        yield table
        if source.stem in DRAWN:  # of the others, the table says it all
            picture = folder / f"{source.stem}.svg"
            picture.write_text(DRAWN[source.stem](data))
            yield picture
