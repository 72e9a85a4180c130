"""WireGuard keys: made on the node, kept there (0600), never shown.

cryptography maps 7 MiB for what an agent asks once: `load_or_make` works in a child process, `python -m tunnels.keys`, which gets a private key
on its standard input (nothing: it makes one), and answers with the private and the public one.
"""

import base64
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from federation.errors import InvalidInput

LENGTH = 32
"""Bytes."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`private` stays out of every text form of this object."""

    public: str
    """Base64."""
    private: bytes = field(repr=False)
    """32 bytes."""


def load_or_make(path: Path) -> KeyPair:
    """The node's pair; made at the first call. Raises InvalidInput for a key that others can read or that is none, and when
    the file cannot be read or written."""
    try:
        if not path.exists():
            _make(path)
        mode, private = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"the WireGuard key {path.name}: {error.strerror}", hint="is the state directory ours?"
        ) from error
    if mode & 0o077:
        hint = (
            "chmod 600 the file; if others may have read it, delete it: the agent makes and tells a new one"
        )
        raise InvalidInput(f"the WireGuard key {path.name} is readable by others", hint=hint)
    if len(private) != LENGTH:
        hint = "delete it: the agent makes and tells a new one"
        raise InvalidInput(f"the WireGuard key {path.name} is not {LENGTH} bytes long", hint=hint)
    return _in_child(private)


def public_key_of(private: bytes) -> str:
    """The public key (base64) of a private one; empty for the all-zero key, which WireGuard takes for none."""
    if not any(private):
        return ""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    public = X25519PrivateKey.from_private_bytes(private).public_key()
    return base64.b64encode(public.public_bytes_raw()).decode()


def _make(path: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_in_child(b"").private)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _in_child(private: bytes) -> KeyPair:
    words = [sys.executable, "-m", __name__]
    answer = subprocess.run(words, input=private, stdout=subprocess.PIPE, check=True).stdout
    return KeyPair(answer[LENGTH:].decode(), answer[:LENGTH])


def _answer(private: bytes) -> bytes:
    if not private:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        private = X25519PrivateKey.generate().private_bytes_raw()
    return private + public_key_of(private).encode()


if __name__ == "__main__":
    sys.stdout.buffer.write(_answer(sys.stdin.buffer.read()))
