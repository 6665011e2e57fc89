"""What all drawn figures share: their look, and the parts that they are made of.

A figure is an SVG with a column of WIDTH px and a margin. A telephone shows it at 360 px. Then its
text is still 10 px high. The hand-made figures in docs/figures/ have the same look.
"""

from __future__ import annotations

import html
import string
from collections.abc import Iterable

WIDTH = 560
MARGIN = 7  # on each side
LINE = 22  # from one line of text to the next
LETTER = 9.4  # px, on average, in the widest of the usual fonts

# The colours are of the Okabe-Ito palette, which the colour-blind can tell apart: made darker for
# a light page, or lighter for a dark one, so that each stands out. No figure needs the colours
# alone: they go with hatching, outlines, shapes or names.
LIGHT = {
    "page": "#ffffff",
    "text": "#1f2328",
    "quiet": "#59636e",
    "rule": "#d1d9e0",
    "pale": "#d1d9e0",
    "one": "#d55e00",
    "any": "#0072b2",
    "anyfill": "#e0f0fa",
    "s02": "#6e7781",
    "s03": "#c07f00",
    "s04": "#2f8fc9",
    "s05": "#b8578f",
    "s06": "#00875f",
    "s07": "#d55e00",
}
DARK = {
    "page": "#0d1117",
    "text": "#f0f6fc",
    "quiet": "#9198a1",
    "rule": "#3d444d",
    "pale": "#4a525c",
    "one": "#f0873d",
    "any": "#56b4e9",
    "anyfill": "#10293b",
    "s02": "#9198a1",
    "s03": "#e69f00",
    "s04": "#56b4e9",
    "s05": "#d98bb8",
    "s06": "#2bb88c",
    "s07": "#f0873d",
}

FONTS = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
SHAPES = f"""
text {{ font-family: {FONTS}; font-size: 16px; }}
.head {{ font-size: 18px; font-weight: bold; }}
.strong {{ font-weight: bold; }}
.middle {{ text-anchor: middle; }}
.end {{ text-anchor: end; }}
.thick {{ fill: none; stroke-width: 3px; }}
.rule, .axis, .leader {{ fill: none; stroke-width: 1px; }}
"""
COLOURS = """
.page { fill: $page; }
text { fill: $text; }
.quiet { fill: $quiet; }
.over { stroke: $page; stroke-width: 5px; stroke-linejoin: round; paint-order: stroke; }
.rule { stroke: $rule; }
.axis, .leader { stroke: $quiet; }
"""


def style(shapes: str, colours: str) -> str:
    """`colours` has names such as $text, which mean another colour on a dark page."""
    rules = string.Template((COLOURS + colours).strip())
    dark = rules.substitute(DARK)
    light = rules.substitute(LIGHT)
    return (
        f"<style>{SHAPES}{shapes.strip()}\n{light}\n"
        f"@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n</style>"
    )


def document(
    title: str,
    story: str,
    height: float,
    look: str,
    parts: Iterable[str],
    zoom: float = 1,
) -> str:
    """A whole SVG. `story` is the figure in words, for those who do not see it. It has a page of
    its own, so that it can be read even where the page around it is dark and it is not told so."""
    x, width, tall = -MARGIN, WIDTH + 2 * MARGIN, height + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x} {x} {width} {tall:g}" '
        f'width="{width * zoom:.0f}" height="{tall * zoom:.0f}" role="img" '
        'aria-labelledby="title desc">',
        f'<title id="title">{escaped(title)}</title>',
        f'<desc id="desc">{escaped(story)}</desc>',
        look,
        f'<rect class="page" x="{x}" y="{x}" width="{width}" height="{tall:g}" rx="6"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def escaped(words: str) -> str:
    return html.escape(words, quote=False)


def width_of(words: str) -> float:
    """About how wide a text is. Fonts differ, so leave some room."""
    return LETTER * len(words)


def text(x: float, y: float, words: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x:.4g}" y="{y:.4g}">{escaped(words)}</text>'


def rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.4g}" y="{y:.4g}" '
        f'width="{width:.4g}" height="{height:.4g}"/>'
    )


def path(points: str, kind: str) -> str:
    return f'<path class="{kind}" d="{points}"/>'


def horizontal(y: float, start: float, end: float, kind: str = "rule") -> str:
    return path(f"M{start:.4g},{y:.4g} H{end:.4g}", kind)


def vertical(x: float, start: float, end: float, kind: str = "rule") -> str:
    return path(f"M{x:.4g},{start:.4g} V{end:.4g}", kind)
