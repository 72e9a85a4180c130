"""Joining: the token goes up, the credential comes down and stays in a file of the node."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from api.cli.client import Client
from federation.errors import InvalidInput


def enrol(client: Client, token_file: str, request: dict[str, Any], state_dir: Path) -> None:
    """Join and write `credential` (0600) and `agent.toml`. Raises InvalidInput before the token is spent, when it can tell."""
    try:
        text = sys.stdin.read() if token_file == "-" else Path(token_file).read_text()
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{error.filename}: {error.strerror}") from error
    answer = client.ask("POST", "/agent/v1/join", {**request, "token": text.strip()})
    fresh = state_dir / "credential.new"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(answer["credential"] + "\n")
    fresh.replace(state_dir / "credential")
    facts = {"server": client.server, "cluster": request["cluster"], "node": request["node"]}
    lines = [f"{key} = {json.dumps(value)}" for key, value in facts.items()]
    (state_dir / "agent.toml").write_text("\n".join(lines) + "\n")
