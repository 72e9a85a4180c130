"""WireGuard keys: private, kept, refused when they are not private any more."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from federation.errors import InvalidInput
from tunnels.keys import load_or_make, public_key_of


def test_a_key_is_made_once_for_its_owner_alone_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "wireguard.key"
    first = load_or_make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_make(path) == first
    assert list(tmp_path.iterdir()) == [path]


def test_no_text_shows_the_private_key(tmp_path: Path) -> None:
    keys = load_or_make(tmp_path / "wireguard.key")
    said = f"{keys} {keys!r} {(keys,)}"
    assert keys.public in said
    assert keys.private.hex() not in said
    assert repr(keys.private) not in said


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "wireguard.key"
    load_or_make(path)
    path.chmod(mode)
    with pytest.raises(InvalidInput, match="readable by others") as caught:
        load_or_make(path)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_key_of_the_wrong_length_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wireguard.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match="not 32 bytes"):
        load_or_make(path)


def test_a_key_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        load_or_make(tmp_path / "gone" / "wireguard.key")


def test_two_nodes_agree_on_a_secret_by_their_public_keys(tmp_path: Path) -> None:
    one, other = (load_or_make(tmp_path / name) for name in ("one", "other"))

    def shared(private: bytes, public: str) -> bytes:
        peer = X25519PublicKey.from_public_bytes(base64.b64decode(public))
        return X25519PrivateKey.from_private_bytes(private).exchange(peer)

    assert shared(one.private, public_key_of(other.private)) == shared(
        other.private, public_key_of(one.private)
    )
    assert public_key_of(bytes(32)) == ""
