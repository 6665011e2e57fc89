"""The figures of what was measured. Their axes are linear and begin at zero, so that a bar that is
twice as long means twice as much. Names stand beside what they name, and not in a legend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from bench import drawing
from bench.drawing import LINE, WIDTH, horizontal, path, rect, text, vertical

Data = dict[str, Any]

SHAPES = """
.plain { fill: none; stroke-width: 2px; }
.line { fill: none; stroke-width: 3px; stroke-linejoin: round; }
.broad { stroke-width: 7px; }
.mark { stroke-width: 2px; stroke-dasharray: 7 4; fill: none; }
.cross { fill: none; stroke-width: 3.5px; }
"""
BENEATH = ("04", "06")  # lines that the next stage's covers, so they are broader
STAGES = ("02", "03", "04", "05", "06", "07")
COLOURS = """
.plain { stroke: $quiet; }
.mark { stroke: $text; }
.cross { stroke: $text; }
""" + "".join(
    f".b{n} {{ fill: $s{n}; }} .l{n} {{ stroke: $s{n}; }}\n" for n in STAGES
)


def number(value: float) -> str:
    """As in the tables: three digits that count, and thousands apart."""
    return f"{value:.3g}" if abs(value) < 100 else f"{round(value):,}"


# ---- Bars ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Bar:
    name: str
    value: float | None  # None: there is no bar, only the words
    words: str  # at its end
    kind: str  # how it is drawn

    def length(self) -> float:
        return self.value or 0


@dataclasses.dataclass
class Mark:
    """A line across the bars, for what they are compared with."""

    value: float
    words: str


@dataclasses.dataclass
class Bars:
    title: str
    lines: list[str]  # below the title: what the bars mean
    groups: list[tuple[str, list[Bar]]]  # each with a heading, or with none: ""
    left: float  # where the bars begin; the names stand left of it
    room: float  # for the words right of the longest bar
    mark: Mark | None = None

    def scale(self) -> float:
        """px for each unit."""
        longest = max(bar.length() for _, bars in self.groups for bar in bars)
        return (WIDTH - self.left - self.room) / longest


BAR_ROW = 29
BAR_HEIGHT = 19


def bar_kind(name: str) -> str:
    """Full in the stage's colour, or hollow for what is no stage."""
    return f"b{name[:2]}" if name[:2] in STAGES else "plain"


def draw_bars(chart: Bars) -> str:
    parts = [text(0, 18, chart.title, "head")]
    y = 18.0
    for line in chart.lines:
        y += LINE
        parts.append(text(0, y, line, "quiet"))
    y += 18
    if chart.mark:
        parts.append(mark_words(chart, chart.mark, y + 16))
        y += 26
    top = y
    words = []
    for heading, bars in chart.groups:
        if heading:
            words.append(text(0, y + 18, heading, "strong over"))
            y += 26
        parts.append(vertical(chart.left, y, y + len(bars) * BAR_ROW - 4, "axis"))
        for bar in bars:
            parts += one_bar(chart, bar, y)
            words += its_words(chart, bar, y)
            y += BAR_ROW
        y += 8 if heading else 0
    if chart.mark:
        x = chart.left + chart.mark.value * chart.scale()
        parts.append(vertical(x, top, y - 4, "mark"))
    look = drawing.style(SHAPES, COLOURS)
    return drawing.document(chart.title, story(chart), y + 4, look, parts + words)


def mark_words(chart: Bars, mark: Mark, y: float) -> str:
    x = chart.left + mark.value * chart.scale()
    return text(x + 6, y, mark.words, "end") if x > WIDTH / 2 else text(x - 6, y, mark.words)


def one_bar(chart: Bars, bar: Bar, y: float) -> Iterator[str]:
    if bar.value is None:
        return
    frame = 1 if bar.kind == "plain" else 0  # it is drawn around the edge: half of it outside
    length = max(bar.value * chart.scale() - frame, 2)
    yield rect(chart.left, y + 2 + frame, length, BAR_HEIGHT - 2 * frame, bar.kind)


def its_words(chart: Bars, bar: Bar, y: float) -> Iterator[str]:
    yield text(chart.left - 10, y + 17, bar.name, "end")
    yield text(chart.left + bar.length() * chart.scale() + 8, y + 17, bar.words, "over")


def story(chart: Bars) -> str:
    """The figure in words."""
    told = [f"{head} {bar.name}: {bar.words}." for head, bars in chart.groups for bar in bars]
    marked = [f"Marked: {chart.mark.words}."] if chart.mark else []
    return " ".join([f"{chart.title}.", *chart.lines, *map(str.strip, told), *marked])


def by_value(bars: list[Bar]) -> list[Bar]:
    """The shortest first; what has no value last."""
    return sorted(bars, key=lambda bar: (bar.value is None, bar.value))


def stage_bars(data: Data, words: Callable[[float], str]) -> list[Bar]:
    """A bar for each row, by the table's first column of figures."""
    return by_value([Bar(r[0], r[1], words(r[1]), bar_kind(r[0])) for r in data["rows"] if r[1]])


def request(data: Data) -> str:
    floor = "floor, one segment"
    bars = stage_bars(data, number)
    lowest = next(bar for bar in bars if bar.name == floor)
    return draw_bars(
        Bars(
            "What a request costs",
            [
                "µs of the server's CPU time per request, with 64 clients.",
                "Full bars are stages. Hollow bars are for comparison.",
            ],
            [("", [bar for bar in bars if bar.name != floor])],
            left=250,
            room=60,
            mark=Mark(lowest.length(), f"{floor}: {lowest.words} µs"),
        )
    )


def memory(data: Data) -> str:
    bars = stage_bars(data, lambda value: f"{number(value)} bytes")
    for row in data["rows"]:
        if row[1] is None:
            words = "not measured: ends at descriptor 1024"
            bars.append(Bar(row[0], None, words, bar_kind(row[0])))
    return draw_bars(
        Bars(
            "What an idle client takes in memory",
            ["Bytes of the server's own memory that each client adds."],
            [("", bars)],
            left=160,
            room=125,
        )
    )


def slow(data: Data) -> str:
    bars = stage_bars(data, lambda value: f"{number(value)} ms")
    return draw_bars(
        Bars(
            "How long 20 quick clients wait beside a slow one",
            ["ms until all of them have their first byte."],
            [("", bars)],
            left=160,
            room=95,
            mark=Mark(1000, "1,000 ms: the slow client sends the rest"),
        )
    )


def backlog(data: Data) -> str:
    groups = []
    for length, _, _, median, worst in data["rows"]:
        late = "no answer in 10 s" if worst >= 10000 else f"{number(worst)} ms"
        bars = [
            Bar("median", median, f"{number(median)} ms", "b06"),
            Bar("slowest", worst, late, "plain"),
        ]
        groups.append((f"--backlog {length}", bars))
    return draw_bars(
        Bars(
            "100 clients connect at once: how long they wait",
            [
                "ms to the first byte. The clients connect while",
                "06_epoll_level is stopped, just before it goes on.",
            ],
            groups,
            left=80,
            room=165,
            mark=Mark(1000, "1 s: the client's kernel sends its SYN again"),
        )
    )


def cork(data: Data) -> str:
    names = [column.split(":")[0] for column in data["columns"][1:4]]
    kinds = ["plain", "b06", "b04"]
    groups = []
    for chunk, *segments in data["rows"]:
        rows = zip(names, segments, kinds)
        bars = by_value([Bar(name, value, number(value), kind) for name, value, kind in rows])
        groups.append((f"in pieces of {chunk:,} bytes", bars))
    return draw_bars(
        Bars(
            "How many segments one response takes",
            ["Segments with data, for a body of 10,000 bytes."],
            groups,
            left=130,
            room=60,
        )
    )


# ---- Lines ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Plot:
    """The place of a graph: its corners in px, and what its axes reach."""

    left: float
    top: float
    right: float
    bottom: float
    most_x: float
    most_y: float

    def x(self, value: float) -> float:
        return self.left + value / self.most_x * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - value / self.most_y * (self.bottom - self.top)


def highest(data: Data, most_x: int) -> int:
    """A round number that no curve exceeds up to there."""
    rows = [row for row in data["rows"] if row[0] <= most_x]
    most = max(value for row in rows for value in row[1:] if value is not None)
    ten = 10 ** (len(str(int(most))) - 1)
    return next(int(n * ten) for n in (1, 2, 2.5, 5, 10) if n * ten >= most)


def grid(plot: Plot, x_step: int, x_name: str) -> Iterator[str]:
    for value in range(0, int(plot.most_y) + 1, int(plot.most_y) // 5):
        yield horizontal(plot.y(value), plot.left, plot.right, "rule" if value else "axis")
        yield text(plot.left - 8, plot.y(value) + 5.5, f"{value:,}", "quiet end")
    for value in range(0, int(plot.most_x) + 1, x_step):
        yield vertical(plot.x(value), plot.bottom, plot.bottom + 6, "axis")
        yield text(plot.x(value), plot.bottom + 23, f"{value:,}", "quiet middle")
    yield text((plot.left + plot.right) / 2, plot.bottom + 23 + LINE, x_name, "quiet middle")


def apart(wished: list[float], lowest: float) -> list[float]:
    """Places for labels, from the bottom up: as wished, but a line apart, and none too low."""
    places: list[float] = []
    for wish in wished:
        below = places[-1] - LINE if places else lowest
        places.append(min(wish, below))
    return places


def end_words(name: str, value: float) -> str:
    return f"{' '.join(name.split('_')[:2])}: {number(value)}"


def stage_columns(data: Data) -> Iterator[tuple[int, str]]:
    """The columns of the stages, by number: not that of the control."""
    return ((column, name) for column, name in enumerate(data["columns"]) if "_" in name)


def curves(data: Data, plot: Plot) -> Iterator[str]:
    """A line for each column, and its name where it ends."""
    ends = []
    on_top: list[str] = []
    for column, name in stage_columns(data):
        rows = [(row[0], row[column]) for row in data["rows"] if row[column] is not None]
        points = [(plot.x(x), plot.y(y)) for x, y in rows if x <= plot.most_x]
        corners = " L".join(f"{x:.4g},{y:.4g}" for x, y in points)
        broad = " broad" if name[:2] in BENEATH else ""
        yield path(f"M{corners}", f"line l{name[:2]}{broad}")
        radius = 6.5 if name[:2] in BENEATH else 4.5
        yield from (dot(x, y, radius, f"b{name[:2]}") for x, y in points)
        if rows[-1][0] < plot.most_x:
            on_top += ends_early(*points[-1])
        else:
            ends.append((*points[-1], end_words(name, rows[len(points) - 1][1])))
    yield from on_top
    ends.sort(key=lambda end: -end[1])
    places = apart([y for _, y, _ in ends], plot.bottom)
    for (x, y, name), place in zip(ends, places):
        yield path(f"M{x + 4:.4g},{y:.4g} L{x + 18:.4g},{place:.4g}", "leader")
        yield text(x + 22, place + 5.5, name)


def dot(x: float, y: float, radius: float, kind: str) -> str:
    return f'<circle class="{kind}" cx="{x:.4g}" cy="{y:.4g}" r="{radius}"/>'


def ends_early(x: float, y: float) -> Iterator[str]:
    yield path(f"M{x - 7:.4g},{y - 7:.4g} l14,14 m0,-14 l-14,14", "cross")
    yield vertical(x, y - 11, y - 96, "leader")
    yield text(x - 6, y - 104 - LINE, "04 select ends:", "over")
    yield text(x - 6, y - 104, "descriptor 1024", "over")


NEAR = 1000  # the idle clients of the enlarged part


def idle_story(data: Data) -> Iterator[str]:
    for column, name in stage_columns(data):
        rows = [(row[0], row[column]) for row in data["rows"] if row[column] is not None]
        (_, first), (count, last) = rows[0], rows[-1]
        yield f"{name}: {number(first)} with none, {number(last)} with {count:,}."


def idle(data: Data) -> str:
    title = "What idle clients cost"
    lines = ["µs of the server's CPU time per request of an active client."]
    most = data["rows"][-1][0]
    whole = Plot(54, 64, 384, 334, most, highest(data, most))
    near = Plot(54, 446, 384, 596, NEAR, highest(data, NEAR))
    parts = [
        text(0, 18, title, "head"),
        text(0, 18 + LINE, lines[0], "quiet"),
        *grid(whole, 5000, "idle clients"),
        *curves(data, whole),
        text(0, 424, f"The first {NEAR:,}, enlarged", "strong"),
        *grid(near, 250, "idle clients"),
        *curves(data, near),
    ]
    story = f"{title}. {lines[0]}. " + " ".join(idle_story(data))
    return drawing.document(title, story, 652, drawing.style(SHAPES, COLOURS), parts)


DRAWN: dict[str, Callable[[Data], str]] = {
    f.__name__: f for f in (request, idle, memory, backlog, cork, slow)
}
