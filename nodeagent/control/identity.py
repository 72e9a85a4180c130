"""What a node shows, and what it trusts: `identity.pem` (0600: facts, private key, certificate, intermediate) and `ca.pem` in its state directory.

One file, so that key and certificate are never of two renewals. The facts stand before it as comments, which PEM allows: no library is needed to know
when a certificate ends.
"""

import hashlib
import json
import os
import re
import ssl
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from federation.errors import InvalidInput, Unavailable

FILE, CA_FILE = "identity.pem", "ca.pem"
MARK = "causeway: "
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)
KEY = re.compile(r"-----BEGIN PRIVATE KEY-{5}.*?-----END PRIVATE KEY-{5}\n", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate that the node has. Times are aware, by the control plane's clock."""

    serial: str
    issuer: str
    """Id of the authority that signed it."""
    issued: datetime
    not_after: datetime


def load(state_dir: Path) -> Identity | None:
    """What the node has; None: nothing. Raises InvalidInput for a file that is not as it should be."""
    path = state_dir / FILE
    try:
        mode, text = stat.S_IMODE(path.stat().st_mode), path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", hint="is the state directory ours?") from error
    if mode & 0o077:
        raise InvalidInput(
            f"{path} is open to other users (mode {mode:04o}): whoever read it can act as this node",
            hint=f"run: chmod 600 {path}; if others may have read it, run `causeway join` again for a new one",
        )
    first = text.partition("\n")[0]
    try:
        return _read(json.loads(first.removeprefix(MARK)))
    except (ValueError, KeyError, TypeError) as error:
        hint = "run `causeway join` again"
        raise InvalidInput(f"{path} is not what joining wrote: {error}", hint=hint) from error


def _read(facts: Mapping[str, Any]) -> Identity:
    issued, not_after = (datetime.fromisoformat(facts[name]) for name in ("issued", "notAfter"))
    if issued.tzinfo is None or not_after.tzinfo is None:
        raise ValueError("a time has no zone")
    return Identity(serial=facts["serial"], issuer=facts["issuer"], issued=issued, not_after=not_after)


def key_and_certificate(state_dir: Path) -> tuple[str, str]:
    """The private key and the node's own certificate, in PEM. Raises InvalidInput."""
    path = state_dir / FILE
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", hint="run `causeway join`") from error
    key, certificate = KEY.search(text), CERTIFICATE.search(text)
    if key is None or certificate is None:
        raise InvalidInput(f"{path} is not what joining wrote", hint="run `causeway join` again")
    return key.group(), certificate.group()


def save(state_dir: Path, key: str, answer: Mapping[str, Any]) -> Identity:
    """Keep what the control plane has answered: first what is to be trusted, then what is to be shown. Raises InvalidInput for an answer that is
    none (what there is to show stays), Unavailable when the disk refuses."""
    try:
        facts = {name: str(answer[name]) for name in ("serial", "issuer", "issued", "notAfter")}
        bundle, certificate = str(answer["bundle"]), str(answer["certificate"])
        found = _read(facts)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the control plane gave no certificate", hint="is its release older?") from error
    save_bundle(state_dir, bundle)
    _write(state_dir / FILE, f"{MARK}{json.dumps(facts)}\n{key}{certificate}", _must_be_shown)
    return found


def save_bundle(state_dir: Path, bundle: str) -> None:
    """Trust other roots. Raises InvalidInput for what holds none (what is there stays), Unavailable when the disk refuses."""
    _write(state_dir / CA_FILE, bundle, _must_be_trusted)


def _must_be_trusted(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise InvalidInput(f"the trust bundle holds no certificates: {error}") from error


def _must_be_shown(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path)
    except ssl.SSLError as error:
        raise InvalidInput(f"the certificate that was given does not belong to the key: {error}") from error


def trust_digest(state_dir: Path) -> str:
    """SHA-256 of the bundle that is trusted; empty: none."""
    try:
        return hashlib.sha256((state_dir / CA_FILE).read_bytes()).hexdigest()
    except OSError:
        return ""


def context(state_dir: Path, *, shows: bool = True) -> ssl.SSLContext:
    """Trusts `ca.pem` and nothing else; `shows` the node's certificate. Raises InvalidInput."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_verify_locations(cafile=state_dir / CA_FILE)
        if shows:
            made.load_cert_chain(state_dir / FILE)
    except (OSError, ssl.SSLError) as error:
        hint = "run `causeway join` again"
        raise InvalidInput(f"{state_dir}/{FILE} or {CA_FILE} cannot be used: {error}", hint=hint) from error
    return made


def _write(path: Path, text: str, check: Callable[[Path], None]) -> None:
    """Replace a file by what has passed a check. Raises InvalidInput, Unavailable; what was there stays then."""
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        check(fresh)
        fresh.replace(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}", hint="is the disk full?") from error
