"""A policy's rules in lines: section, place, action, what is asked, and what was counted."""

from api.cli.datapath.rules import WIDEST, lines_of, summary


def test_every_rule_is_a_line_counted_or_not() -> None:
    rule = {
        "action": "Allow",
        "protocol": "TCP",
        "source": {"selector": "app == 'api'"},
        "destination": {"ports": [8080]},
    }
    spec = {"ingress": [rule, {"action": "Deny"}], "egress": None, "egressDeny": [{"toCIDR": ["10.0.0.0/8"]}]}
    lines = list(lines_of(spec, {("ingress", 0): (7, 2048), ("egress", 4): (1, 60)}))
    assert lines == [
        (
            "ingress",
            "0",
            "Allow",
            "TCP source: selector app == 'api' destination: ports 8080",
            "7",
            "2.0 KiB",
        ),
        ("ingress", "1", "Deny", "", "0", "0 B"),
        ("egressDeny", "0", "Deny", "toCIDR: 10.0.0.0/8", "0", "0 B"),
        ("egress", "4", "Allow", "", "1", "60 B"),
    ]


def test_a_long_rule_is_shortened() -> None:
    said = summary({"source": {"nets": [f"10.0.{n}.0/24" for n in range(50)]}})
    assert len(said) == WIDEST
    assert said.startswith("source: nets 10.0.0.0/24|10.0.1.0/24")
    assert said.endswith("…")
