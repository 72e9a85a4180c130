"""One change of one object inside a unit of work: verbs, compare-and-set, what users may not write."""

from collections.abc import Iterator
from dataclasses import replace

from controlplane.access.actor import Actor
from controlplane.intent import Applied, Change, Outcome, Verb
from controlplane.invariants import admit, dismiss
from controlplane.store.unit_of_work import UnitOfWork
from federation.access.rights import Right
from federation.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Overlap,
    StaleRevision,
)
from federation.kinds.registry import BY_NAME
from federation.resources.codec import encode
from federation.resources.metadata import AnyResource, ObjectKey

ORDER = {name: index for index, name in enumerate(
    ("Cluster", "Node", "Endpoint", "Tier", "GlobalNetworkSet", "CiliumCIDRGroup", "Link")
)}  # fmt: skip
"""What others name comes first, so that one bulk may hold both in any order."""


def execution_order(change: Change) -> int:
    """Sort key of a bulk: creations from what is named to what names it, deletions the other way round."""
    place = ORDER.get(change.key.kind, len(ORDER))
    return 1000 - place if change.verb is Verb.DELETE else place


def touched(change: Change) -> Iterator[ObjectKey]:
    """What will surely be looked at."""
    yield change.key
    if change.resource is not None and change.key.kind == "Endpoint":
        yield ObjectKey("Node", change.key.cluster, "", change.resource.spec.node)


async def execute(work: UnitOfWork, change: Change) -> Outcome:
    """Carry one change out. Raises the errors that `Verb` and `Change` name, and Forbidden."""
    if BY_NAME[change.key.kind].is_read_only:
        raise Forbidden(f"{change.key.kind} is read only: the control plane allots it")
    standing = await work.find(change.key)
    _must_be_allowed(work.actor, change, standing)
    _compare(change, standing)
    if change.verb is Verb.DELETE:
        assert standing is not None  # _compare saw to it
        await dismiss(work, standing)
        await work.remove(change.key)
        return Outcome(key=change.key, result="deleted", resource=standing)
    if change.resource is None:
        raise InvalidInput(f"{change.key}: a document is needed")
    if standing is None:
        created = replace(change.resource.metadata, generation=1, created=work.now, revision=0)
        fresh = replace(change.resource, metadata=created, status=type(change.resource.status)())
        return Outcome(key=change.key, result="created", resource=await work.write(await admit(work, fresh)))
    wanted = _over(standing, change.resource)
    if wanted == standing:
        return Outcome(key=change.key, result="unchanged", resource=standing)
    return Outcome(key=change.key, result="configured", resource=await work.write(await admit(work, wanted)))


def must_see(actor: Actor, applied: Applied) -> None:
    """Raises NotFound when an outcome, told once more, is not the actor's to see any more."""
    for outcome in applied.outcomes:
        if outcome.resource is not None and not actor.sees(encode(outcome.resource)):
            raise NotFound(f"{outcome.key} does not exist")


def discreet(error: Conflict, actor: Actor) -> Conflict:
    """An error that says nothing of objects which the actor may not see. Of the actor's own speak AlreadyExists and StaleRevision."""
    if actor.is_unbounded(Right.READ) or isinstance(error, AlreadyExists | StaleRevision):
        return error
    said = (
        "an address or prefix belongs to another object"
        if isinstance(error, Overlap)
        else "another object is in the way"
    )
    return type(error)(said, hint="it may be one that you may not see: ask who owns the whole")


def _must_be_allowed(actor: Actor, change: Change, standing: AnyResource | None) -> None:
    """Both what stands and what is to stand are the actor's to write: nothing is taken out of others' hands, nor put into them."""
    right = BY_NAME[change.key.kind].right
    if actor.is_unbounded(right):
        return
    what = f"{change.verb.value} {change.key}"
    if not actor.has(right):
        raise actor.refused(right, what)
    if change.resource is not None and change.verb is not Verb.DELETE:
        actor.must_write(right, encode(change.resource), what)
    document = encode(standing) if standing is not None else None
    if document is not None and actor.sees(document):
        actor.must_write(right, document, what)
    elif change.verb in (Verb.REPLACE, Verb.DELETE):  # whether it stands is none of the actor's business
        raise NotFound(f"{change.key} does not exist")
    elif document is not None:
        raise Conflict(f"{change.key}: the name is taken", hint="choose another")


def _over(standing: AnyResource, wanted: AnyResource) -> AnyResource:
    """`wanted` with what is not the user's to write taken from what stands."""
    spec = wanted.spec
    if wanted.kind == "Node":
        spec = replace(spec, wireguard=standing.spec.wireguard)
    old = standing.metadata
    generation = old.generation + (spec != standing.spec)
    metadata = replace(wanted.metadata, generation=generation, created=old.created, revision=old.revision)
    return replace(wanted, metadata=metadata, spec=spec, status=standing.status)


def _compare(change: Change, standing: AnyResource | None) -> None:
    if standing is None and (change.verb in (Verb.REPLACE, Verb.DELETE) or change.if_revision):
        raise NotFound(f"{change.key} does not exist")
    if standing is None:
        return
    if change.verb is Verb.CREATE:
        raise AlreadyExists(f"{change.key} exists already", hint="use apply or PUT to change it")
    if change.if_revision is not None and change.if_revision != standing.metadata.revision:
        raise StaleRevision(
            f"{change.key} stands at revision {standing.metadata.revision}, not {change.if_revision}",
            hint="read it again, make your change on that, and send it with its revision",
        )
