"""What types cannot see in a rule: actions, protocols, ports, ICMP, prefixes, selectors."""

from collections.abc import Iterable

from federation.errors import Fault
from federation.kinds.rules import Rule


def rule_faults(pointer: str, rule: Rule) -> Iterable[Fault]:
    """Every fault of one rule; pointers start with `pointer`."""
    if rule.action not in ("Allow", "Deny", "Pass", "Log"):
        yield Fault(f"{pointer}/action", f"{rule.action!r} is not one of Allow, Deny, Pass, Log")
