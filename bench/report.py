"""Results as text on the terminal, as Markdown tables, and as SVG figures drawn by gnuplot."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

# One colour for each stage in all figures (of the Okabe-Ito palette, which the colour-blind can
# tell apart), none of them lost on a light or a dark page; and one shape of point.
STYLES = {
    "02": ("#8c8c8c", 1),
    "03": ("#e69f00", 4),
    "04": ("#56b4e9", 6),
    "05": ("#cc79a7", 8),
    "06": ("#009e73", 10),
    "07": ("#d55e00", 12),
}
OTHERS = [("#8c8c8c", 2), ("#3f88c5", 6), ("#b5478f", 8)]  # lines that are no stages
TEXT = "#808080"


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
    claims = ["", *(f"- {claim_line(claim)}" for claim in data["claims"])] if data["claims"] else []
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
    return "\n".join([f"### {data['title']}", "", head, rule, *rows, "", measured, *claims, ""])


# ---- Figures -------------------------------------------------------------------------------------

COMMON = f"""
set terminal svg size 800,480 dynamic font 'sans-serif,14'
set border 3 linecolor '{TEXT}'
set tics nomirror textcolor '{TEXT}'
set grid ytics linecolor '{TEXT}' linewidth 0.3
set key outside top center horizontal textcolor '{TEXT}'
set label textcolor '{TEXT}'
set title textcolor '{TEXT}'
set xlabel textcolor '{TEXT}'
set ylabel textcolor '{TEXT}'
"""


def style(name: str, other: int) -> tuple[str, int]:
    return STYLES.get(name[:2], OTHERS[other % len(OTHERS)])


def bars(data: dict[str, Any], column: int, ylabel: str, log: bool) -> str:
    """A bar for each row, labelled with its figure."""
    rows = [(row[0], row[column]) for row in data["rows"] if row[column] is not None]
    plots, blocks = [], []
    for place, (name, value) in enumerate(rows):
        colour, _ = style(name, 0)
        blocks.append(f'$bar{place} << END\n{place} {value} "{cell(value)}"\nEND')
        plots.append(f"$bar{place} using 1:2 with boxes linecolor '{colour}' notitle")
        plots.append(f"$bar{place} using 1:2:3 with labels offset 0,0.7 textcolor '{TEXT}' notitle")
    tics = ", ".join(f"'{name}' {place}" for place, (name, _) in enumerate(rows))
    scale = "set logscale y" if log else "set yrange [0:*]"
    return f"""{COMMON}
set title {quoted(data['title'])} noenhanced
set ylabel {quoted(ylabel)}
set boxwidth 0.6
set style fill solid
set offsets 0.5, 0.5, 0, 0
set xtics rotate by -25 noenhanced ({tics})
set rmargin 9
{scale}
{chr(10).join(blocks)}
plot {', '.join(plots)}
"""


def lines(data: dict[str, Any], columns: list[int], xlabel: str, ylabel: str) -> str:
    """A line for each column over the first one, both axes logarithmic; none stands left of all."""
    plots, blocks = [], []
    zero = min(row[0] for row in data["rows"] if row[0] > 0) / 4
    first = data["rows"][0][0] or zero
    for number, column in enumerate(columns):
        name = data["columns"][column]
        colour, point = style(name, number)
        points = [f"{row[0] or zero} {row[column]}" for row in data["rows"] if row[column]]
        blocks.append(f"$line{number} << END\n{chr(10).join(points)}\nEND")
        plots.append(
            f"$line{number} using 1:2 with linespoints linewidth 2 linecolor '{colour}' "
            f"pointtype {point} title {quoted(name)} noenhanced"
        )
    tics = ", ".join(f"'{row[0]:,}' {row[0] or zero}" for row in data["rows"])
    last = max(row[0] for row in data["rows"])
    return f"""{COMMON}
set title {quoted(data['title'])} noenhanced
set xlabel {quoted(xlabel)}
set ylabel {quoted(ylabel)}
set logscale xy
set xrange [{first / 1.3}:{last * 1.3}]
set xtics ({tics})
{chr(10).join(blocks)}
plot {', '.join(plots)}
"""


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def figure(name: str, data: dict[str, Any]) -> str:
    every = list(range(1, len(data["columns"])))
    match name:
        case "request":
            return bars(data, 1, "CPU time of the server for a request, µs", log=False)
        case "idle":
            return lines(data, every, "idle clients", "CPU time for an active client's request, µs")
        case "memory":
            return bars(data, 1, "bytes of the server's memory for each", log=True)
        case "backlog":
            return lines(data, [3, 4], "--backlog", "time to the first byte, ms")
        case "cork":
            return lines(data, [1, 2, 3], "--chunk-bytes", "segments with data for one response")
        case "slow":
            return bars(data, 1, "time for 20 quick clients, ms", log=True)
        case "soak" | "hardening":
            return ""  # its table says it all
    raise ValueError(name)


def draw(results: pathlib.Path, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Draws all that has been measured anew; yields the files it has written."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(results.glob("*.json")):
        data = json.loads(source.read_text())
        table = folder / f"{source.stem}.md"
        table.write_text(markdown(data))
        yield table
        script = figure(source.stem, data)
        if not script:
            continue
        picture = folder / f"{source.stem}.svg"
        done = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True)
        if done.returncode or done.stderr.strip():
            raise RuntimeError(f"gnuplot: {done.stderr.strip()}")
        picture.write_text(done.stdout)
        yield picture
