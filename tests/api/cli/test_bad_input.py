"""Documents that are too much, or not what they say: one line that names file, document and place, and nothing judged."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.input.files import MAX_BYTES

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def policy(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": {"selector": "all()", **spec},
    }


def rule(**source: Any) -> dict[str, Any]:
    return {"action": "Allow", "protocol": "TCP", "source": source}


PORTS = list(range(1, 10_001))
BAD = {
    "a selector of 10,000 terms": (
        policy(selector=" || ".join(f"a == 'v{n}'" for n in range(10_000))), "/spec/selector: longer than 1024 characters",
    ),
    "10,000 negations": (policy(selector="!" * 10_000 + "has(a)"), "/spec/selector: longer than 1024 characters"),
    "500 brackets": (policy(selector="(" * 500 + "has(a)" + ")" * 500), "/spec/selector: "),
    "10,000 ports": (policy(ingress=[rule(ports=PORTS)]), "/spec/ingress/0/source/ports: more than 50 entries"),
    "1,025 rules": (policy(ingress=[{"action": "Allow"}] * 1025), "/spec/ingress: more than 1024 rules"),
    "a name that is no DNS label": (policy("Not_A.Label!"), "/metadata/name: 'Not_A.Label!' is not a name"),
    "mixed families": (
        policy(ingress=[rule(nets=["10.0.0.0/8", "fd00::/8"])]), "/spec/ingress/0/source/nets: IPv4 and IPv6 prefixes in one rule",
    ),
    "an unknown field": (policy(ingress=[{"action": "Allow", "sauce": {}}]), "/spec/ingress/0/sauce: "),
    "a wrong type": (policy(ingress="all"), "/spec/ingress: "),
    "a list where a mapping is due": ([1, 2], "document 1"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("command", ["simulate", "lint"])
def test_a_bad_document_is_named_with_file_number_and_place(
    causeway: Run, tmp_path: Path, what: str, command: str
) -> None:
    document, said = BAD[what]
    (tmp_path / "bad.json").write_text(json.dumps(document))
    (tmp_path / "probes.jsonl").write_text('{"from": "192.0.2.1", "to": "192.0.2.2", "port": 80}\n')
    bad = str(tmp_path / "bad.json")
    if command == "simulate":
        done = causeway("simulate", "--probes", str(tmp_path / "probes.jsonl"), "-f", bad)
    else:
        done = causeway("policy", "lint", bad)
    assert done.returncode == 2
    assert "bad.json" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert '"verdict"' not in done.stdout


def test_a_file_beyond_the_limit_is_refused_unread(causeway: Run, tmp_path: Path) -> None:
    (tmp_path / "probes.jsonl").write_text("")
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: it takes no room
    done = causeway(
        "simulate", "--probes", str(tmp_path / "probes.jsonl"), "-f", str(tmp_path / "large.yaml")
    )
    assert done.returncode == 2
    assert f"larger than {MAX_BYTES >> 20} MiB" in done.stderr
