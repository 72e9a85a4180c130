"""Authorities in both databases: made once, opened by who has the secret, changed in steps."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.pki import x509
from controlplane.pki.authorities import Authorities
from controlplane.service import ControlPlane
from federation.errors import Conflict, InvalidInput, NotFound

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def opened(plane: ControlPlane, folder: Path) -> Authorities:
    found = Authorities(plane.database)
    await found.open(folder, NOW)
    return found


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("ca*")}


async def test_the_first_start_makes_an_authority_and_the_next_finds_it(
    plane: ControlPlane, tmp_path: Path
) -> None:
    first = await opened(plane, tmp_path)
    again = await opened(plane, tmp_path)
    assert again.all == first.all
    assert first.issuing.key not in repr(first.issuing)
    assert modes(tmp_path) == {"ca.secret": 0o600, f"ca-root-{first.issuing.id}.key": 0o600}
    x509.check_issuer(first.issuing.root, first.issuing.issuer, NOW)


async def test_a_replica_needs_the_secret_of_the_others(plane: ControlPlane, tmp_path: Path) -> None:
    first = await opened(plane, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InvalidInput, match="No such file") as caught:
        await opened(plane, other)
    assert "copy ca.secret" in caught.value.hint
    (other / "ca.secret").touch(0o600)
    (other / "ca.secret").write_text("00" * 32)
    with pytest.raises(InvalidInput, match="is not the secret"):
        await opened(plane, other)
    (other / "ca.secret").write_text((tmp_path / "ca.secret").read_text())
    (other / "ca.secret").chmod(0o644)
    with pytest.raises(InvalidInput, match="open to other users"):
        await opened(plane, other)
    (other / "ca.secret").chmod(0o600)
    assert (await opened(plane, other)).issuing == first.issuing


async def test_no_key_stands_in_the_database_as_it_is(plane: ControlPlane, tmp_path: Path) -> None:
    from controlplane.store import pki

    authorities = await opened(plane, tmp_path)
    async with plane.database.reading() as connection:
        (row,) = await pki.authorities(connection)
    body = authorities.issuing.key.splitlines()[1]
    assert body not in str(row)


async def test_a_rotation_goes_by_its_steps_and_other_replicas_follow(
    plane: ControlPlane, tmp_path: Path
) -> None:
    one, other = await opened(plane, tmp_path), await opened(plane, tmp_path)
    old = one.issuing
    for step in (one.issue_from_next, one.drop):
        with pytest.raises(Conflict):
            await step()
    new = await one.prepare(NOW)
    with pytest.raises(Conflict, match="under way"):
        await one.prepare(NOW)
    assert one.issuing == old
    assert sorted(one.trust.bundle) == sorted(old.root + new.root)
    assert await other.refresh()
    assert not await other.refresh()
    assert other.trust == one.trust
    assert (await one.issue_from_next()).id == new.id
    assert sorted(one.trust.bundle) == sorted(old.root + new.root)
    assert await one.drop() == (old.id,)
    assert one.trust.bundle == new.root
    await other.refresh()
    assert other.issuing.id == new.id


async def test_a_customers_authority_is_taken_and_one_that_cannot_sign_is_not(
    plane: ControlPlane, tmp_path: Path
) -> None:
    authorities = await opened(plane, tmp_path)
    root = x509.make_root("Customer", NOW)
    issuer = x509.make_intermediate(root, "Customer", "causeway.internal", NOW)
    with pytest.raises(InvalidInput):
        await authorities.take(authorities.issuing.root, issuer, NOW)
    assert len(authorities.all) == 1
    await authorities.take(root.certificate, issuer, NOW)
    assert (await authorities.issue_from_next()).pin == x509.pin_of(root.certificate)


async def test_without_tls_there_is_no_authority(plane: ControlPlane) -> None:
    with pytest.raises(NotFound):
        _ = Authorities(plane.database).issuing
