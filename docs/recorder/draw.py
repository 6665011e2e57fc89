"""Draws what has been recorded: docs/recordings/pauses/*.json become figures. See ./tour record.

strip.svg shows four recordings side by side. A NN_name_timeline.svg shows one of them, and which
calls the server makes. In all of them time goes to the right, and the same thing looks the same.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from bench import drawing, servers
from bench.drawing import LINE, WIDTH, horizontal, path, rect, text, vertical, width_of

Event = dict[str, Any]
FIGURES = servers.ROOT / "docs" / "figures"
RECORDINGS = servers.ROOT / "docs" / "recordings"
ACCEPTS = ("accept", "accept4")
WAITS = ("select", "pselect", "poll", "ppoll", "epoll_wait", "epoll_pwait")
LAST_MS = 345  # of what is shown
BLOCKED_MS = 3  # a call as long as this has waited; shorter ones are told together
AT_ONCE_MS = 10  # a client that has its answer within this time has not waited
BAR = 20  # height of a bar

SHAPES = """
.one { fill: url(#hatch); stroke-width: 1.5px; }
.hatch { stroke-width: 2.5px; }
.any { stroke-width: 2.5px; }
.queue { fill: none; stroke-width: 1.5px; stroke-dasharray: 5 3; }
.served { stroke-width: 1.5px; }
.cross { fill: none; stroke-width: 3px; }
.moment { stroke-width: 1px; stroke-dasharray: 2 4; }
.plate { stroke-width: 1.5px; }
"""
COLOURS = """
.one, .hatch { stroke: $one; }
.any { fill: $anyfill; stroke: $any; }
.works { fill: $text; }
.queue { stroke: $quiet; }
.served { fill: $pale; stroke: $quiet; }
.cross { stroke: $text; }
.sign { fill: $text; }
.moment { stroke: $quiet; }
.plate { fill: $page; stroke: $quiet; }
"""
HATCH = (
    '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><line class="hatch" x1="1" y1="0" x2="1" y2="7"/></pattern>'
    "</defs>"
)


# ---- What the recordings say ---------------------------------------------------------------------


def events_of(client: Event, what: str) -> list[Event]:
    return [event for event in client["events"] if event["what"] == what]


def accepted_at(data: Event, name: str) -> float | None:
    """When the server took a client off the queue, if ever."""
    for thread in data["threads"]:
        for call in thread["calls"]:
            if call["call"] in ACCEPTS and call["result"] == name:
                return call["end"]
    return None


@dataclasses.dataclass
class Block:
    """A call that waits, or calls one after another that don't."""

    start: float
    end: float
    calls: list[Event]

    def waits(self) -> bool:
        return self.end - self.start >= BLOCKED_MS and len(self.calls) == 1


def blocks(calls: list[Event], stopped: float) -> Iterator[Block]:
    """Each long call by itself, and short ones that follow each other together."""
    together: list[Event] = []
    for call in calls:
        end = stopped if call["end"] is None else call["end"]
        long = end - call["start"] >= BLOCKED_MS
        if together and (long or call["start"] - together[-1]["end"] >= BLOCKED_MS):
            yield Block(together[0]["start"], together[-1]["end"], together)
            together = []
        if long:
            yield Block(call["start"], end, [call])
        elif call["end"] is not None:
            together.append(call)
    if together:
        yield Block(together[0]["start"], together[-1]["end"], together)


def waits_for(call: Event) -> str:
    """For whom a long call waits, in words."""
    if call["call"] in WAITS:
        return "any"
    return "a client" if call["for"] == "listener" else call["for"]


def tenths(ms: float) -> str:
    return f"{round(ms, 1):g}"


def story(data: Event) -> str:
    """The figure in words."""
    sentences = [data["scenario"]]
    for client in data["clients"]:
        name, last = client["name"], client["events"][-1]
        accepted = accepted_at(data, name)
        taken = "is never accepted" if accepted is None else f"is accepted at {tenths(accepted)} ms"
        got = "".join(f", gets {e['status']}" for e in events_of(client, "first byte"))
        end = "has its end of file" if last["what"] == "end of file" else f"is {last['what']}"
        sentences.append(f"{name} {taken}{got}, and {end} at {tenths(last['time'])} ms.")
    for thread in data["threads"]:
        waits = [
            f"{b.calls[0]['call']} for {waits_for(b.calls[0])} from {tenths(max(b.start, 0))} "
            f"to {tenths(b.end)} ms"
            for b in blocks(thread["calls"], data["recorded until"])
            if b.waits() and b.end >= BLOCKED_MS
        ]
        long = "waits in " + ", ".join(waits) if waits else "waits in no call"
        sentences.append(f"Server thread {thread['name']} {long}.")
    return " ".join(sentences)


# ---- Lanes: time to the right --------------------------------------------------------------------


@dataclasses.dataclass
class Scale:
    left: float
    px_per_ms: float

    def x(self, ms: float) -> float:
        return self.left + min(max(ms, 0), LAST_MS) * self.px_per_ms


def bar(scale: Scale, start: float, end: float, y: float, kind: str) -> str:
    """From one moment to another. However short it is, it can be seen."""
    x = scale.x(start)
    return rect(x, y, max(scale.x(end) - x, 4), BAR, kind)


def label(
    scale: Scale, start: float, end: float, y: float, choices: list[str], on_hatch: bool = False
) -> Iterator[str]:
    """The first of these texts that has room inside a bar, if there is one."""
    for words in choices:
        width = width_of(words)
        if width <= scale.x(end) - scale.x(start):
            middle = (scale.x(start) + scale.x(end)) / 2
            if on_hatch:
                yield rect(middle - width * 0.42, y + 1, width * 0.84, BAR - 2, "page")
            yield text(middle, y + BAR - 4.5, words, "middle over" if on_hatch else "middle")
            return


def cross(x: float, y: float) -> str:
    return path(f"M{x - 7:.4g},{y - 7:.4g} l14,14 m0,-14 l-14,14", "cross")


def outcome(scale: Scale, client: Event, y: float, cross_says_all: bool) -> Iterator[str]:
    """How it ended, to the right of the client's bar."""
    first, last = client["events"][0], client["events"][-1]
    x = scale.x(last["time"]) + 6
    answers = events_of(client, "first byte")
    if not answers:
        yield cross(x + 8, y + BAR / 2)
        if not cross_says_all:
            yield text(x + 22, y + BAR - 4.5, last["what"])
        return
    at_once = last["time"] - first["time"] < AT_ONCE_MS
    words = f"{answers[0]['status']}{' at once' if at_once else ''}"
    yield text(x, y + BAR - 4.5, words, "over")


def client_lane(data: Event, client: Event, scale: Scale, y: float, small: bool) -> Iterator[str]:
    """From connect() to the end: dashed before it is accepted, grey from then on."""
    first, last = client["events"][0], client["events"][-1]
    start, end = first["time"], last["time"]
    accepted = accepted_at(data, client["name"])
    if accepted is None:
        yield bar(scale, start, end, y, "queue")
        yield from label(scale, start, end, y, ["never accepted"])
    elif accepted - start < BLOCKED_MS:
        yield bar(scale, start, end, y, "served")
    else:
        yield bar(scale, start, accepted, y, "queue")
        yield from label(scale, start, accepted, y, ["in the queue"])
        yield bar(scale, accepted, end, y, "served")
    sends = events_of(client, "send")
    if len(sends) > 1:
        pause = round((sends[1]["time"] - sends[0]["time"]) / 100) * 100
        words = [f"pauses for {pause} ms"]
        yield from label(scale, start, end, y, words)
    yield from outcome(scale, client, y, cross_says_all=small)


def thread_lane(
    data: Event, thread: Event, scale: Scale, y: float, names_call: bool
) -> Iterator[str]:
    """Hatched where it waits for one, framed where it waits for any, full where it works."""
    every = list(blocks(thread["calls"], data["recorded until"]))
    for block in every:
        if block.waits() and block.end >= BLOCKED_MS:  # or it had waited before A came
            yield from waiting(block, scale, y, names_call)
    for block in every:
        if not block.waits():
            yield bar(scale, block.start, block.end, y, "works")
    served = [call for call in thread["calls"] if call["call"] == "recv"]
    if thread["name"] != "main" and not any(block.waits() for block in every):
        x = scale.x(every[-1].end) + 6
        yield text(x, y + BAR - 4.5, f"serves {served[0]['for']}", "over")


def waiting(block: Block, scale: Scale, y: float, names_call: bool) -> Iterator[str]:
    call = block.calls[0]
    waits_for_any = call["call"] in WAITS
    yield bar(scale, block.start, block.end, y, "any" if waits_for_any else "one")
    words = f"waits for {waits_for(call)}"
    choices = [f"{call['call']} {words}"] if names_call else []
    choices += [words, f"for {waits_for(call)}"]
    yield from label(scale, block.start, block.end, y, choices, on_hatch=not waits_for_any)


# ---- What the signs mean -------------------------------------------------------------------------


def swatch(x: float, y: float, kind: str, words: str) -> Iterator[str]:
    yield rect(x, y - 15, 34, BAR, kind)
    yield text(x + 42, y, words)


def legend(y: float) -> Iterator[str]:
    yield from swatch(1.5, y, "one", "waits for one")
    yield from swatch(196, y, "any", "waits for any")
    yield from swatch(391, y, "works", "works")
    y += 30
    yield from swatch(1.5, y, "queue", "not accepted yet")
    yield from swatch(196, y, "served", "accepted")
    yield cross(408, y - 5)
    yield text(433, y, "reset")


# ---- The strip -----------------------------------------------------------------------------------

GAP = 24
PANEL_WIDTH = (WIDTH - GAP) / 2
STRIP_ROW = 26
STRIP_SCALE = 0.7  # px per ms
STRIP_ZOOM = 1.15
PANELS = [
    ("01_blocking_single", "01: serves one, and ends", "B and C are turned away"),
    ("02_blocking_loop", "02: one after the other", "B and C wait behind A"),
    ("03_threaded", "03: a thread for each", "B and C are served at once"),
    ("06_epoll_level", "04–07: one thread for all", "B and C are served at once"),
]
STRIP_TITLE = "One slow client and two quick ones, at four kinds of server"
STRIP_STORY = (
    "Client A sends half a request, and the rest 300 ms later. B and C come in between with whole "
    "requests. 01: the only thread waits for A; B and C are never accepted, and are reset when the "
    "program ends. 02: the only thread waits for A; B and C wait in the queue until A is done, and "
    "are served then. 03: one thread waits for A; two others serve B and C at once. 04 to 07: one "
    "thread waits for any of them, and serves B and C at once, and A when its second half comes."
)


def panel(data: Event, x: float, y: float, name: str, says: str) -> Iterator[str]:
    scale = Scale(x + 22, STRIP_SCALE)
    yield text(x, y + 16, name, "strong")
    yield text(x, y + 16 + LINE, says)
    y += 2 * LINE + 10
    for client in data["clients"]:
        yield text(x, y + BAR - 4.5, client["name"], "strong")
        yield from client_lane(data, client, scale, y, small=True)
        y += STRIP_ROW
    threads = data["threads"]
    yield horizontal(y + 2, x, x + PANEL_WIDTH)
    count = {1: "one thread", 4: "four threads"}[len(threads)]
    yield text(x, y + 21, f"server: {count}", "quiet")
    y += STRIP_ROW + 3
    for thread in threads:
        yield from thread_lane(data, thread, scale, y, names_call=False)
        y += STRIP_ROW


def panel_height(data: Event) -> float:
    return 2 * LINE + 13 + (len(data["clients"]) + 1 + len(data["threads"])) * STRIP_ROW


def axis(scale: Scale, y: float, step: int) -> Iterator[str]:
    for ms in range(0, 301, step):
        x = scale.x(ms)
        yield vertical(x, y, y + 6, "axis")
        yield text(x, y + 22, f"{ms} ms" if ms == 300 else str(ms), "quiet middle")
    yield horizontal(y, scale.x(0), scale.x(LAST_MS), "axis")


def strip_parts(recordings: dict[str, Event]) -> tuple[list[str], float]:
    """Two panels and two more below them. Also returns where they end."""
    parts = [
        text(0, 16, "A sends half a request, and the rest 300 ms later."),
        text(0, 16 + LINE, "B and C come in between with whole requests."),
    ]
    y = 2 * LINE + 14.0
    for row in (PANELS[:2], PANELS[2:]):
        height = max(panel_height(recordings[stage]) for stage, _, _ in row)
        for place, (stage, name, says) in enumerate(row):
            x = place * (PANEL_WIDTH + GAP)
            parts += panel(recordings[stage], x, y, name, says)
            parts += axis(Scale(x + 22, STRIP_SCALE), y + height, 100)
        parts.append(vertical(PANEL_WIDTH + GAP / 2, y, y + height + 24))
        y += height + 44
    return parts, y


def strip(recordings: dict[str, Event]) -> str:
    parts, y = strip_parts(recordings)
    parts += legend(y + 6)
    look = drawing.style(SHAPES, COLOURS)
    return drawing.document(STRIP_TITLE, STRIP_STORY, y + 46, look, [HATCH, *parts], STRIP_ZOOM)


# ---- One recording, with its calls ---------------------------------------------------------------

ROW = 30
LEFT = 84
COLUMN = 284  # from the left column of calls to the right one
CHARACTERS = 30  # that fit in a column
NOTES = [
    "→ is what a call returned. Time is in ms since A connects;",
    "strace, which recorded this, makes each call take longer.",
]


@dataclasses.dataclass
class Moment:
    """A time at which a client does something, and the calls that the server makes then."""

    time: float
    says: str
    calls: list[tuple[str, list[Event]]] = dataclasses.field(default_factory=list)


def moments(data: Event) -> list[Moment]:
    found = []
    for client in data["clients"]:
        name, sends = client["name"], events_of(client, "send")
        amount = "half" if len(sends) > 1 else "all"
        found.append(Moment(client["events"][0]["time"], f"{name} sends {amount}"))
        found += [Moment(send["time"], f"{name} sends the rest") for send in sends[1:]]
    found.sort(key=lambda moment: moment.time)
    for place, moment in enumerate(found):
        following = found[place + 1].time if place + 1 < len(found) else LAST_MS
        for thread in data["threads"]:
            ended = [c for c in thread["calls"] if c["end"] is not None]
            calls = [c for c in ended if moment.time - 1 <= c["end"] < following - 1]
            if calls:
                moment.calls.append((thread["name"], calls))
    return found


def returned(call: Event) -> str:
    """What a call returned, where that tells something; an arrow before it."""
    name, result = call["call"], call["result"]
    if name in WAITS and isinstance(result, list):
        return " → " + (", ".join(result) or "nobody")
    if name == "accept4" and result:
        return f" → {result}"
    return f" → {result}" if re.match("E[A-Z]+$", str(result)) else ""


def lines_of(calls: list[Event], names_client: bool) -> list[str]:
    """A line for each call that returns something to look at, and one for all others of a client
    that follow each other."""
    lines: list[str] = []
    together: list[str] = []
    whose = ""

    def end_line() -> None:
        if together:
            lines.append(", ".join(together) + (f" {whose}" if names_client else ""))
            together.clear()

    for call in calls:
        if returned(call):
            end_line()
            who = f" {call['for']}" if call["call"] == "recv" and names_client else ""
            lines.append(call["call"] + who + returned(call))
            continue
        if call["call"] == "exit_group":
            end_line()
            lines.append("exit_group: the program ends")
            continue
        if whose != call["for"]:
            end_line()
        whose = call["for"]
        together.append(call["call"])
    end_line()
    return lines


def wrapped(words: str, indent: str) -> list[str]:
    lines = [""]
    for word in words.split(" "):
        if lines[-1].strip() and len(lines[-1]) + 1 + len(word) > CHARACTERS:
            lines.append(indent)
        lines[-1] += (" " if lines[-1].strip() else "") + word
    return lines


def told(data: Event, moment: Moment) -> list[str]:
    """The lines about one moment."""
    alone = len(data["threads"]) == 1
    result = []
    for name, calls in moment.calls:
        if alone:
            result += [line for words in lines_of(calls, True) for line in wrapped(words, "   ")]
        else:
            words = f"{name}: " + ", ".join(lines_of(calls, False))
            result += wrapped(words, "   ")
    return result or ["no call: it still waits for A"]


def call_list(data: Event, found: list[Moment], y: float) -> tuple[list[str], float]:
    """The moments with their calls, in two columns. Also returns where it ends."""
    parts = []
    for row in range(0, len(found), 2):
        tallest = 0
        for place, moment in enumerate(found[row : row + 2]):
            x = place * COLUMN
            parts += numbered(x + 12, y, row + place + 1)
            parts.append(text(x + 31, y + 5.5, f"{moment.time:.0f} ms: {moment.says}", "strong"))
            lines = told(data, moment)
            for number, line in enumerate(lines, 1):
                spaces = len(line) - len(line.lstrip())
                parts.append(text(x + 6 * spaces, y + 8 + number * LINE, line.strip()))
            tallest = max(tallest, len(lines))
        y += (tallest + 1) * LINE + 24
    return parts, y


def numbered(x: float, y: float, number: int) -> list[str]:
    circle = f'<circle class="plate" cx="{x:.4g}" cy="{y:.4g}" r="10.5"/>'
    return [circle, text(x, y + 5.5, str(number), "middle")]


def lanes(data: Event, found: list[Moment], y: float) -> tuple[list[str], float]:
    """All clients and threads. Also returns where they end."""
    scale = Scale(LEFT, 1.3)
    top = y
    parts = []
    y += 26
    for client in data["clients"]:
        parts.append(text(0, y + BAR - 4.5, f"client {client['name']}"))
        parts += client_lane(data, client, scale, y, small=False)
        y += ROW
    parts.append(horizontal(y, 0, WIDTH))
    y += 10
    for thread in data["threads"]:
        alone = len(data["threads"]) == 1
        name = "server" if alone else thread["name"].replace("for", "thread")
        parts.append(text(0, y + BAR - 4.5, name))
        parts += thread_lane(data, thread, scale, y, names_call=True)
        y += ROW
    dotted = []
    for number, moment in enumerate(found, 1):
        x = scale.x(moment.time)
        dotted.append(vertical(x, top + 10, y, "moment"))
        dotted += numbered(x, top + 8, number)
    parts += axis(scale, y, 50)
    return dotted + parts, y + 28


def timeline(data: Event, title: str, notes: list[str]) -> str:
    found = moments(data)
    parts = [HATCH, text(0, 18, title, "head")]
    drawn, y = lanes(data, found, 36)
    parts += drawn
    drawn, y = call_list(data, found, y + 28)
    parts += drawn
    parts.append(horizontal(y - 12, 0, WIDTH))
    y += 12
    parts += legend(y)
    y += 60
    for words in [*NOTES, *notes]:
        parts.append(text(0, y, words))
        y += LINE
    look = drawing.style(SHAPES, COLOURS)
    name = f"{title}: one slow client and two quick ones"
    return drawing.document(name, story(data), y - 6, look, parts)


# ---- All of them ---------------------------------------------------------------------------------

# 05, 06 and 07 do the same, but for these calls.
ALIKE = ("06_epoll_level", "05_to_07")
ALIKE_NOTES = ["05 waits in ppoll, and has no epoll_ctl. 07 makes the calls of 06."]


def draw_all() -> Iterator[pathlib.Path]:
    """Draws all that has been recorded; yields the files it has written."""
    recordings = {}
    for source in sorted((RECORDINGS / "pauses").glob("*.json")):
        recordings[source.stem] = json.loads(source.read_text())
    drawn = {"strip.svg": strip(recordings)}
    for stage in ("01_blocking_single", "02_blocking_loop", "03_threaded", "04_select"):
        drawn[f"{stage}_timeline.svg"] = timeline(recordings[stage], stage, [])
    stage, name = ALIKE
    title = f"05, 06 and 07, recorded with {stage}"
    drawn[f"{name}_timeline.svg"] = timeline(recordings[stage], title, ALIKE_NOTES)
    for name, picture in drawn.items():
        (FIGURES / name).write_text(picture)
        yield FIGURES / name
