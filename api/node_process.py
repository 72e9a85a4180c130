"""The process of `causeway agent`, without the command line's libraries: `python -m api.node_process STATE_DIR [METRICS]`.

The command line becomes it (exec), so that the process keeps its number.
"""

import sys
from pathlib import Path

from api import frugal


def command(state_dir: Path, metrics: str) -> list[str]:
    """How it is started."""
    return [sys.executable, "-m", "api.node_process", str(state_dir), metrics]


def main(state_dir: Path, metrics: str = "") -> int:
    """The exit code. An error is said as the command line says it."""
    frugal.begin()
    from api.agent import run
    from federation.errors import CausewayError

    try:
        return run(state_dir, metrics)
    except CausewayError as error:
        from api.cli.client import exit_code, harmless

        sys.stderr.write(f"causeway: {harmless(str(error))}\n")
        return exit_code(error)
    except KeyboardInterrupt:
        sys.stderr.write("causeway: stopped\n")
        return 130


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
