"""What a relay is told, and where it keeps things: `relay.toml`, which joining writes, in its state directory."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from federation.errors import InvalidInput

FILE = "relay.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Of one relay."""

    server: str
    """URL of the control plane, https."""
    cluster: str
    """The cluster that it serves."""
    name: str
    """Its own name there."""
    state_dir: Path
    """Folder of key, certificate, roots and the last state; given on the command line."""
    listen: tuple[str, int] = ("127.0.0.1", 8441)
    """Where its nodes ask it; given on the command line."""


def load(state_dir: Path, listen: tuple[str, int]) -> RelaySettings:
    """What joining wrote. Raises InvalidInput."""
    path = state_dir / FILE
    try:
        found = tomllib.loads(path.read_text())
        values = {name: str(found[name]) for name in ("server", "cluster", "name")}
    except (OSError, UnicodeDecodeError) as error:
        hint = "run: causeway relay join"
        raise InvalidInput(f"this relay has not joined: {path}: {error}", hint=hint) from error
    except (tomllib.TOMLDecodeError, KeyError) as error:
        hint = "correct it, or join again"
        raise InvalidInput(f"{path} is not what joining wrote: {error}", hint=hint) from error
    return RelaySettings(state_dir=state_dir, listen=listen, **values)


def save(settings: RelaySettings) -> None:
    """Raises OSError."""
    lines = [f"{key} = {json.dumps(getattr(settings, key))}" for key in ("server", "cluster", "name")]
    (settings.state_dir / FILE).write_text("\n".join(lines) + "\n")
