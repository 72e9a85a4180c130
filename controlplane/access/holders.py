"""Whose credential it is, as the database said last: asked only while the database is away."""

import hashlib
from collections import OrderedDict

from controlplane.intent import NodeSession
from controlplane.store.access.tokens import ApiToken

MOST = 50_000
"""Of the size of a hundred bytes each."""
Holder = NodeSession | ApiToken
"""Who it is."""


class Holders:
    """Holds digests, no credentials."""

    def __init__(self, most: int = MOST) -> None:
        self._known: OrderedDict[bytes, Holder] = OrderedDict()
        self._most = most

    def keep(self, credential: str, holder: Holder) -> None:
        """The database has just said so."""
        key = _digest(credential)
        self._known[key] = holder
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, credential: str) -> None:
        """The database does not know it any more."""
        self._known.pop(_digest(credential), None)

    def find(self, credential: str) -> Holder | None:
        """As it was known last."""
        return self._known.get(_digest(credential))


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode()).digest()
