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
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))))


def page(results: Iterable[Mapping[str, Any]]) -> str:
    """The page for such files' contents; areas without results keep no section."""
    sections = [HEAD]
    for body in results:
        lines = [
            f"\n## {body['area']}\n",
            f"{body['date']}, {body['machine']}\n",
            _line(TITLES),
            _line("---" for _ in TITLES),
            *(_line(cells(Row(**row))) for row in body["rows"]),
        ]
        sections.append("\n".join(lines) + "\n")
    return "".join(sections)


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |"


if __name__ == "__main__":
    main()
