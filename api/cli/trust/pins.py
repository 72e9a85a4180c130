"""Which server is spoken to: one whose certificate comes from a given root, or from the root whose hash was given."""

import re
import ssl
from pathlib import Path

import httpx

from federation.errors import InvalidInput, Unavailable

PIN = re.compile(r"sha256:[0-9a-f]{64}")
FETCH_SECONDS = 10.0


def context_for(server: str, ca_file: str, ca_hash: str) -> ssl.SSLContext | None:
    """What verifies a server; None: nothing was given. Raises InvalidInput, or Unavailable when it does not answer."""
    if ca_file:
        return context_of(_read(ca_file), ca_file)
    return context_of(pinned_root(server, ca_hash), server) if ca_hash else None


def context_of(bundle: str, named: str) -> ssl.SSLContext:
    """Trusts these roots (PEM), and no others. Raises InvalidInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=bundle)
    except ssl.SSLError as error:
        raise InvalidInput(f"{named}: no certificates in PEM ({error})") from error
    return context


def pinned_root(server: str, pin: str) -> str:
    """The root whose public key has this hash, in PEM. It is asked of the server itself, over a connection that nothing vouches for: what comes is
    held against the pin, and all else is thrown away. Raises InvalidInput, Unavailable."""
    if not PIN.fullmatch(pin):
        raise InvalidInput(f"{pin!r} is not the hash of a certificate authority", hint="it is sha256: and 64 hexadecimal digits, as causeway serve prints it")  # fmt: skip
    from controlplane.pki import x509  # brings cryptography, which most commands do not need

    try:
        answer = httpx.get(f"{server}/api/v1/ca", verify=_unverified(), timeout=FETCH_SECONDS)
        bundle = str(answer.json()["bundle"])
    except httpx.HTTPError as error:
        raise Unavailable(f"the control plane at {server} does not answer ({error})", hint="is it running, and does it serve TLS?") from error  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{server} tells of no certificate authority: is it a control plane?") from error
    root = x509.pinned(bundle, pin)
    if not root:
        told = ", ".join(x509.pins_of(bundle)) or "none"
        raise InvalidInput(
            f"{server} has another certificate authority than the one that was pinned: somebody may be in between (told: {told})",
            hint="compare with what causeway serve has printed, or with causeway ca show",
        )
    return root


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"CA file {path}: {error}", hint="causeway serve prints its path") from error
