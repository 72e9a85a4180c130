"""What a relay trusts, as the control plane said last: the roots, the authorities below them, and which of these signs now. On disk, so that it can tell
a node's certificate from another one though the control plane is away when it starts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.pki import x509
from controlplane.pki.authorities import Authority, Trust, write_private
from federation.errors import InvalidInput, NotFound
from nodeagent.control import identity

FILE = "authorities.json"


class Roots:
    """Of one relay; what `controlplane.pki.authorities.Authorities` is to the control plane, without keys."""

    def __init__(self, state_dir: Path) -> None:
        self.all: tuple[Authority, ...] = ()
        """Empty until the control plane has said them: nobody is let in then."""
        self.trust = Trust("", "")
        self._state_dir = state_dir
        self._issuing = ""

    def load(self) -> None:
        """What is on disk. Raises InvalidInput."""
        path = self._state_dir / FILE
        try:
            kept = json.loads(path.read_text())
            self._issuing = str(kept["issuing"])
            self.all = _read(kept)
        except FileNotFoundError:
            self.all = ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = f"remove it: it is asked for again when the control plane is there ({path})"
            raise InvalidInput(f"{path} cannot be used: {error}", hint=hint) from error
        self.look()

    def take(self, answer: Mapping[str, Any]) -> None:
        """What the control plane has answered of its authorities. Raises InvalidInput, OSError."""
        try:
            found = _read(answer)
        except (KeyError, TypeError) as error:
            raise InvalidInput("the control plane does not tell its authorities: is its release older?") from error  # fmt: skip
        self.all = found
        self._write()
        self.look()

    def note_issuing(self, issuing: str) -> None:
        """Another authority signs now. Raises OSError."""
        self._issuing = issuing
        self._write()
        self.look()

    def look(self) -> None:
        """Read the bundle again that is trusted. Raises InvalidInput."""
        found = identity.load(self._state_dir)
        issuing = self._issuing or (found.issuer if found else "")
        try:
            self.trust = Trust((self._state_dir / identity.CA_FILE).read_text(), issuing)
        except OSError as error:
            raise InvalidInput(f"{error.filename}: {error.strerror}", hint="join again") from error

    @property
    def server_pin(self) -> str:
        """`sha256:…` of the root above this relay's certificate. Raises NotFound."""
        found = identity.load(self._state_dir)
        for authority in self.all:
            if found and authority.id == found.issuer:
                return authority.pin
        raise NotFound("this relay does not know the control plane's authorities yet")

    def _write(self) -> None:
        issuers = [
            {"id": a.id, "domain": a.domain, "root": a.root, "intermediate": a.intermediate} for a in self.all
        ]
        text = json.dumps({"issuing": self._issuing, "issuers": issuers})
        write_private(self._state_dir / FILE, text.encode())


def _read(kept: Mapping[str, Any]) -> tuple[Authority, ...]:
    found = []
    for item in kept["issuers"]:
        named = {name: str(item[name]) for name in ("id", "domain", "root", "intermediate")}
        x509.key_identifier(named["intermediate"])
        found.append(Authority(**named, key="", state="", created=""))
    return tuple(found)
