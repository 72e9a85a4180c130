"""What nodes tell a relay, kept until the control plane has taken it: each node's last report, and the last total of each rule.

All of it is told again when the control plane was away: it may have been set back meanwhile, and the nodes, whose streams went on, would not
know. It is not on disk: a node tells its report again when a relay that was restarted is there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from controlplane.intent import NodeReport, RuleCount
from federation.errors import CausewayError, Forbidden, NotFound, Unauthenticated, Unavailable
from federation.resources.metadata import ObjectKey
from nodeagent.pace import Backoff, Clock

LOG = structlog.get_logger("relay")
AT_ONCE = 8
"""Nodes whose word is under way together."""
REPORTS_AT_ONCE, MOST_BYTES = 400, 2 << 20
"""Of one request."""
COUNTS_AT_ONCE = 1000
"""What the control plane takes in one telling."""
Place = tuple[ObjectKey, str, int]
Send = Callable[[str, str, Any], Awaitable[Any]]
"""(path, on whose behalf, body)."""


@dataclass(slots=True)
class _Word:
    """Of one node."""

    behalf: str = ""
    report: NodeReport | None = None
    is_report_told: bool = True
    counts: dict[Place, RuleCount] = field(default_factory=dict)
    untold: set[Place] = field(default_factory=set)


class Delivery:
    """Of one relay."""

    def __init__(self, send: Send, clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._words: dict[str, _Word] = {}
        self._due: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._is_together = True

    @property
    def size(self) -> int:
        """Nodes of which something is to be told."""
        return len(self._due)

    def report(self, node: str, behalf: str, report: NodeReport) -> None:
        """Tell this of a node from now on."""
        word = self._word(node, behalf)
        word.report, word.is_report_told = report, False

    def count(self, node: str, behalf: str, counts: Sequence[RuleCount]) -> None:
        """Tell these totals too."""
        word = self._word(node, behalf)
        for count in counts:
            place = count.policy, count.section, count.rule
            word.counts[place] = count
            word.untold.add(place)

    def again(self) -> None:
        """Tell everything once more: the control plane was away."""
        for node, word in self._words.items():
            word.is_report_told = word.report is None
            word.untold = set(word.counts)
            self._due[node] = None
        self._woken.set()

    async def run(self) -> None:
        """For ever."""
        backoff = Backoff(self._clock)
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._round()
                backoff.reset()
            except* Unavailable as group:
                error = group.exceptions[0]
                assert isinstance(error, CausewayError)
                await self._clock.wait(self._woken, backoff.after(error))
                self._woken.set()

    async def _round(self) -> None:
        """Tell what is due; ends by the first that says that the control plane is away."""
        await self._tell_reports()
        while self._due:
            nodes = list(self._due)[:AT_ONCE]
            async with asyncio.TaskGroup() as group:
                for node in nodes:
                    group.create_task(self._tell(node), name=f"tell of {node}")

    async def _tell_reports(self) -> None:
        """Many nodes' reports in one request. A control plane of a release before has no such route: each is told by itself then."""
        while self._is_together and (nodes := self._untold_reports()):
            words = [self._words[node] for node in nodes]
            told = [word.report for word in words]
            listed = [
                {"behalf": word.behalf, **_written(report)} for word, report in zip(words, told, strict=True) if report is not None
            ]  # fmt: skip
            try:
                answer = await self._send("/agent/v1/reports", "", {"reports": listed})
            except NotFound:
                self._is_together = False
                return
            except Unavailable:
                raise
            except (Unauthenticated, Forbidden) as error:
                raise Unavailable(f"the control plane refuses this relay: {error.message}") from error
            except CausewayError as error:  # one by one it shows whose it is
                LOG.warning("reports were refused", code=error.code, detail=error.message)
                return
            refused = {item["index"]: item for item in answer.get("refused", ())}
            for index, (node, word, report) in enumerate(zip(nodes, words, told, strict=True)):
                if said := refused.get(index):
                    LOG.warning(
                        "a node's word was refused", node=node, code=said["code"], detail=said["detail"]
                    )
                    self._forget(node)
                    continue
                word.is_report_told = word.report is report
                self._settle(node, word)

    def _untold_reports(self) -> list[str]:
        """Nodes, as many as one request takes; the last of them may make it larger than that by one report."""
        found: list[str] = []
        size = 0
        for node in self._due:
            word = self._words[node]
            if word.report is None or word.is_report_told:
                continue
            size += len(word.behalf) + sum(len(text) for fault in word.report.faults for text in fault)
            if found and size > MOST_BYTES:
                break
            found.append(node)
            if len(found) == REPORTS_AT_ONCE:
                break
        return found

    async def _tell(self, node: str) -> None:
        word = self._words[node]
        try:
            report = word.report
            if report is not None and not word.is_report_told:
                await self._send("/agent/v1/report", word.behalf, _written(report))
                word.is_report_told = word.report is report
            while word.untold:
                places = list(word.untold)[:COUNTS_AT_ONCE]
                told = [word.counts[place] for place in places]
                await self._send("/agent/v1/counts", word.behalf, {"counts": [_counted(c) for c in told]})
                word.untold -= {p for p, c in zip(places, told, strict=True) if word.counts[p] is c}
        except Unavailable:
            raise
        except CausewayError as error:
            LOG.warning("a node's word was refused", node=node, code=error.code, detail=error.message)
            self._forget(node)
            return
        self._settle(node, word)

    def _settle(self, node: str, word: _Word) -> None:
        if word.is_report_told and not word.untold:
            self._due.pop(node, None)

    def _forget(self, node: str) -> None:
        self._words.pop(node, None)
        self._due.pop(node, None)

    def _word(self, node: str, behalf: str) -> _Word:
        word = self._words.setdefault(node, _Word())
        word.behalf = behalf
        self._due[node] = None
        self._woken.set()
        return word


def _written(report: NodeReport) -> dict[str, Any]:
    named = [{"key": key, "reason": reason, "message": message} for key, reason, message in report.faults]
    return {"revision": report.revision, "faults": named}


def _counted(count: RuleCount) -> dict[str, Any]:
    return {
        "kind": count.policy.kind,
        "policy": count.policy.path,
        "section": count.section,
        "rule": count.rule,
        "packets": count.packets,
        "bytes": count.bytes,
    }
