"""Answers in a few words, for tables, pictures and reports."""

from collections.abc import Mapping
from typing import Any

Answer = Mapping[str, Any]
"""As `Judge.answer` gives it."""


def reasons(answer: Answer) -> tuple[str, str]:
    """Both sides' reasons in a few words; a side of hosts in between that deny is said with its own."""
    said = {side: reason(answer[side]) for side in ("egress", "ingress")}
    for hop in answer.get("forward", ()):
        if hop["verdict"] == "Deny":
            said[hop["direction"]] += f"; through host {hop['host']}: {reason(hop)}"
    return said["egress"], said["ingress"]


def reason(side: Answer) -> str:
    """One side's reason in a few words."""
    policy = side["policy"]
    if policy is None:
        where = f"end of tier {side['tier']}" if side["tier"] else side.get("default", "")
        return f"{side['verdict']}: {where}"
    name = "/".join(part for part in (policy["namespace"], policy["name"]) if part)
    return f"{side['verdict']}: {policy['kind']} {name} {side.get('section', 'rule')} {side['rule']}"
