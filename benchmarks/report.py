"""Makes docs/performance.md from benchmarks/results/*.json. Run by `./dev docs`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import RESULTS, TITLES, Row, cells

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """# Performance

Made by `./dev docs` from the files that `./dev bench AREA` writes. Machines are noisy: read the ratios, each from one run of
contenders in turns. A ratio is ours over the first peer; an aim is about the ratio, or about our figure where there is no peer.
Growth is our figure (of a rate: the time of one) over that of the smallest size, "of" how many times as large the size is: the first number at most the second
is linear or better.
"""
REMARKS = {
    "policy": """Instructions of one build (callgrind, the build's share alone), which no noise changes: the fleet 1,042 million at 1x, 5,937 million
at 8x, 5.7 times as many; the world of which all is local 263 million at 1x, 2,180 million at 8x, 8.3 times as many: this one grows a
little faster than its world. What the time of a build grows beyond its instructions is caches and memory; counters that would tell
the two apart do not exist on the machine.
""",
}
"""What is said under an area's table."""
START = "\n## "
"""How a section begins."""


def main() -> None:
    """Write the page."""
    results = (json.loads(path.read_text()) for path in RESULTS.glob("*.json"))
    PAGE.write_text(page(results, PAGE.read_text() if PAGE.exists() else ""))


def page(results: Iterable[Mapping[str, Any]], before: str = "") -> str:
    """The page for such files' contents. An area that has none here keeps the section that the page had before."""
    _, *known = before.split(START)
    sections = {text.partition("\n")[0]: text for text in known} | {
        body["area"]: _section(body) for body in results
    }
    return HEAD + "".join(START + sections[area].rstrip("\n") + "\n" for area in sorted(sections))


def _section(body: Mapping[str, Any]) -> str:
    lines = [
        f"{body['area']}\n",
        f"{body['date']}, {body['machine']}\n",
        _line(TITLES),
        _line("---" for _ in TITLES),
        *(_line(cells(Row(**row))) for row in body["rows"]),
    ]
    remark = REMARKS.get(body["area"])
    return "\n".join(lines + (["", remark] if remark else []))


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |"


if __name__ == "__main__":
    main()
