"""The matrix of all pairs as a picture: one page of HTML with an SVG, no script, nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from federation.simulation.words import reasons

CELL, LETTER = 22, 7
"""Pixels: a cell's side, and how wide a letter is taken to be."""
COLOURS = {"Allow": "#2e7d32", "Deny": "#c62828", None: "#f9a825"}
SIGNS = {"Allow": "+", "Deny": "-", None: "?"}


def html(ends: Sequence[str], found: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """The page. Each cell says its reason when pointed at; colour is not its only sign."""
    left = 20 + LETTER * max(map(len, ends), default=0)
    top = left  # the names of columns lean
    width, height = left * 2 + CELL * len(ends), top + CELL * len(ends) + 20
    parts = []
    for row, source in enumerate(ends):
        y = top + row * CELL
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(source)}</text>')
        x = left + row * CELL + 15
        parts.append(
            f'<text x="{x}" y="{top - 8}" transform="rotate(-60 {x} {top - 8})">{escape(source)}</text>'
        )
        for column, destination in enumerate(ends):
            parts.append(_cell(left + column * CELL, y, found[source, destination]))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Who reaches whom</title>'
        "<style>body{font:14px sans-serif}text{font-size:12px}</style>"
        f"<h1>Who reaches whom</h1><p>Rows: from. Columns: to. + allowed, - denied, ? cannot be said.</p>"
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img">{"".join(parts)}</svg></html>\n'
    )


def _cell(x: int, y: int, answer: Mapping[str, Any]) -> str:
    verdict = answer.get("verdict")
    said = f"{answer.get('from')} to {answer.get('to')}: {verdict or answer.get('error')}"
    if verdict:
        said += "\negress {}\ningress {}".format(*reasons(answer))
    return (
        f'<g><title>{escape(said)}</title><rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" fill="{COLOURS[verdict]}"/>'
        f'<text x="{x + CELL / 2 - 1}" y="{y + 15}" fill="white" text-anchor="middle">{SIGNS[verdict]}</text></g>'
    )
