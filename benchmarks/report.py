"""Makes docs/performance.md from benchmarks/results/*.json. Run by `./dev docs`."""

import json
from pathlib import Path

from benchmarks.rows import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """# Performance

Made by `./dev docs` from the files that `./dev bench AREA` writes. Machines are noisy: read the ratios, each from one run.
"""


def main() -> None:
    """Write the page; areas without results keep no section."""
    sections = [HEAD]
    for path in sorted(RESULTS.glob("*.json")):
        body = json.loads(path.read_text())
        lines = [f"\n## {body['area']}\n", f"{body['date']}, {body['machine']}\n"]
        lines += [
            "| what | unit | ours | peers | ratio | aim | met | note |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in body["rows"]:
            peers = ", ".join(f"{name} {value:,.4g}" for name, value in row["peers"].items())
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            met = {None: "", True: "yes", False: "no"}[row["met"]]
            cells = (
                row["name"],
                row["unit"],
                f"{row['ours']:,.4g}",
                peers,
                ratio,
                row["aim"],
                met,
                row["note"],
            )
            lines.append("| " + " | ".join(cells) + " |")
        sections.append("\n".join(lines) + "\n")
    PAGE.write_text("".join(sections))


if __name__ == "__main__":
    main()
