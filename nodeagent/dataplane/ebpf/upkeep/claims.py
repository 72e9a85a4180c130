"""Who may have what, when several endpoints claim one interface or one address: nobody. Pure.

Connections and identities go by address, programs by interface: whoever shared one would get the other's verdicts. So an interface that two
endpoints of this node claim lets nothing through, and an address that two of them claim is neither's; nor is one that another endpoint
of the federation holds under another identity. It is for whoever made the claims to take one back.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from federation.identities import IdentityNumber
from nodeagent.drivers import Address, Attachment, ObjectReport

CLAIMED = "claimed-twice"
"""Reason of the reports."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Endpoints with what is theirs alone, without those that have nothing; what is to be told."""

    attachments: tuple[Attachment, ...]
    reports: tuple[ObjectReport, ...]


def settled(attachments: Iterable[Attachment], addresses: Mapping[Address, IdentityNumber]) -> Settled:
    """Judge the claims of endpoints whose interfaces exist."""
    of_interface, of_address = defaultdict[str, list[str]](list), defaultdict[Address, list[str]](list)
    given = tuple(attachments)
    for a in given:
        of_interface[a.interface].append(a.endpoint)
        for address in set(a.addresses):
            of_address[address].append(a.endpoint)
    reports: list[ObjectReport] = []
    theirs = []
    for a in given:
        others = [other for other in of_interface[a.interface] if other != a.endpoint]
        if others:
            reports.append(
                _report(
                    a, f"interface {a.interface} is also claimed by {_names(others)}: nothing gets through"
                )
            )
            continue
        taken = dict(_taken(a, of_address, addresses))
        if taken:
            said = "; ".join(f"{address} is also {whose}" for address, whose in taken.items())
            reports.append(_report(a, f"{said}: nothing gets through from there and to there"))
        own = tuple(address for address in a.addresses if address not in taken)
        if own:
            theirs.append(replace(a, addresses=own))
    return Settled(tuple(theirs), tuple(reports))


def _taken(
    a: Attachment, of_address: Mapping[Address, list[str]], addresses: Mapping[Address, IdentityNumber]
) -> Iterator[tuple[Address, str]]:
    for address in a.addresses:
        others = [other for other in of_address[address] if other != a.endpoint]
        if others:
            yield address, f"claimed by {_names(others)}"
        elif addresses.get(address, a.identity) != a.identity:
            yield address, f"another endpoint's, of identity {addresses[address]}"


def _names(endpoints: list[str]) -> str:
    shown = ", ".join(sorted(endpoints)[:3])
    return shown if len(endpoints) <= 3 else f"{shown} and {len(endpoints) - 3} more"


def _report(a: Attachment, message: str) -> ObjectReport:
    return ObjectReport(key=f"endpoint {a.endpoint}", is_ok=False, reason=CLAIMED, message=message)
