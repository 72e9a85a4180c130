"""WireGuard keys: made on the node, kept there (0600), never shown."""

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`private` stays out of every text form of this object."""

    public: str
    """Base64."""
    private: bytes = field(repr=False)
    """32 bytes."""


def load_or_make(path: Path) -> KeyPair:
    """The node's pair; made at the first call. Raises OSError when the file cannot be written."""
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(X25519PrivateKey.generate().private_bytes_raw())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    private = X25519PrivateKey.from_private_bytes(path.read_bytes())
    public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    return KeyPair(public, private.private_bytes_raw())
