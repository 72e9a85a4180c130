"""Tokens end; people come by their bindings; the database being away opens nothing new."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from controlplane.access.actor import inside
from controlplane.access.oidc import OidcSettings
from controlplane.intent import Change, Verb
from controlplane.service import ControlPlane, Settings
from controlplane.store import tables as t
from controlplane.store.enrolment import digest
from federation.access.rights import Right
from federation.access.scopes import EVERYWHERE, Bounds, Grant, Place
from federation.errors import Unauthenticated
from tests.controlplane.access.issuer import AUDIENCE, Issuer
from tests.controlplane.conftest import FakeClock
from tests.controlplane.test_service import change


def binding(name: str, role: str, *subjects: tuple[str, str], **spec: list[str]) -> Change:
    listed = [{"kind": kind, "name": who} for kind, who in subjects]
    return change("apply", "RoleBinding", name, {"role": role, "subjects": listed, **spec})


async def test_a_token_ends_at_its_time_and_only_its_hash_is_kept(
    plane: ControlPlane, clock: FakeClock
) -> None:
    token = await plane.access.create_token("ci", grants=[Grant("viewer")], ttl_seconds=60)
    clock.seconds += 59
    assert (await plane.access.actor_of(token.text)).name == "ci"
    clock.seconds += 1
    with pytest.raises(Unauthenticated, match="expired"):
        await plane.access.actor_of(token.text)
    identifier, _, secret = token.text.partition(".")
    for wrong in (identifier, f"{identifier}.", f"{identifier}.{secret}x", f"x{token.text}", "", "."):
        with pytest.raises(Unauthenticated):
            await plane.access.actor_of(wrong)


async def test_a_token_of_a_release_that_knew_no_roles_does_everything_as_it_did(plane: ControlPlane) -> None:
    async with plane.database.transaction() as connection:
        row = {"id": "old", "digest": digest("secret"), "role": "user", "cluster": "", "name": "admin"}
        await connection.execute(insert(t.credentials).values(row))
    who = await plane.access.actor_of("old.secret")
    assert (who.name, who.is_unbounded(Right.AUTHORITY)) == ("admin", True)
    assert "old" in {token.id for token in await plane.access.list_tokens()}
    await plane.access.revoke_token("old", actor=inside("t"))
    with pytest.raises(Unauthenticated):
        await plane.access.actor_of("old.secret")


async def test_people_have_what_bindings_give_to_them_and_to_their_groups(
    database_url: str, issuer: Issuer
) -> None:
    clock = FakeClock()
    oidc = OidcSettings(issuer=issuer.url, audience=AUDIENCE)
    until = clock.now().timestamp() + 3600
    async with ControlPlane.open(Settings(database_url=database_url, oidc=oidc), clock) as plane:
        token = issuer.token(exp=until, groups=["shops"])
        who = await plane.access.actor_of(token)
        assert (who.name, who.grants) == ("oidc:ann", ())
        project = change("apply", "Project", "shops", {"clusters": ["dc1"], "namespaces": ["shop", "till"]})
        given = [
            project,
            binding("a", "viewer", ("User", "ann"), clusters=["aws1"]),
            binding("b", "policy-admin", ("Group", "shops"), ("User", "bob"), projects=["shops", "gone"], tiers=["app"]),
            binding("c", "owner", ("User", "shops"), ("Group", "ann")),
        ]  # fmt: skip
        await plane.change(given, actor=inside("t"))
        who = await plane.access.actor_of(token)
        assert {grant.role for grant in who.grants} == {"viewer", "policy-admin"}
        assert who.may(Right.READ, Place(cluster="aws1"))
        assert who.may(Right.POLICY, Place(cluster="dc1", namespace="till", tier="app"))
        assert not who.may(Right.POLICY, Place(cluster="dc1", namespace="till", tier="default"))
        assert not who.may(Right.READ, Place(cluster="dc1", namespace="bank"))
        assert not who.may(Right.READ, EVERYWHERE)
        await plane.change([Change(verb=Verb.DELETE, key=project.key)], actor=inside("t"))
        who = await plane.access.actor_of(token)
        assert who.grants == (Grant("viewer", Bounds(clusters=frozenset({"aws1"}))),), (
            "a project that is gone holds nothing"
        )


async def test_without_an_identity_provider_its_tokens_are_nobodys(plane: ControlPlane) -> None:
    with pytest.raises(Unauthenticated, match="no identity provider"):
        await plane.access.actor_of("a.b.c")


async def test_a_wall_clock_in_utc_is_what_the_log_says(plane: ControlPlane, clock: FakeClock) -> None:
    token = await plane.access.create_token("ci", grants=[Grant("viewer")], ttl_seconds=60)
    assert datetime.fromisoformat(token.created) == clock.now().astimezone(UTC)
