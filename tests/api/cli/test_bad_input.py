"""Documents that are too much, or not what they say: one line that names file, document and place, and nothing judged."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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


TEXTS: dict[str, tuple[bytes, str]] = {
    "twice.yaml": (b"a: 1\n---\nb: 1\nb: 2\n", "document 2: /b: line 4: key 'b' stands twice"),
    "twice.json": (b'{"a": {"b": 1, "b": 2}}', "document 1: /a/b: key 'b' stands twice"),
    "python.yaml": (b"a: !!python/object/apply:os.system [ls]", "document 1: /a: line 1: the tag tag:yaml.org,2002:python/object/apply:os.system is not taken here"),
    "bomb.yaml": (b"a: &a [" + b"x," * 50 + b"]\nb: &b [" + b"*a," * 50 + b"]\nc: &c [" + b"*b," * 50 + b"]\nd: [" + b"*c," * 50 + b"]\n", "line 4: its anchors stand for more than 1000000 parts"),
    "nan.yaml": (b"a: .nan", "document 1: /a: line 1: .nan is not a number that JSON can hold"), "nan.json": (b'{"a": [NaN]}', "document 1: /a/0: NaN is not a number of JSON"),
    "huge.json": (b'{"a": 1e400, "b": 99999999999999999999}', "document 1: /b: 99999999999999999999 is beyond 64 bits"), "surrogate.json": (rb'{"a": "\ud800"}', r"document 1: /a: '\ud800' holds what is no character of text"),
    "nul.json": (rb'{"a": "\u0000"}', r"document 1: /a: '\x00' holds what is no character of text"), "nul.yaml": (b"a: x\0y", "not YAML: "), "utf16.yaml": ("a: 1".encode("utf-16"), "UTF-16 text: save it as UTF-8"),
    "latin1.yaml": (b"a: 1\nb: \xe9", "line 2: not UTF-8 text"), "tab.yaml": (b"a:\n\tb: 1", "document 1: not YAML: line 2"), "deep.json": (b"[" * 100_000, "document 1: not JSON: nested too deep"), "deep.yaml": (b"- " * 100_000 + b"x", "document 1: not YAML: line 1: nested too deep"),
    "brackets.yaml": (b"[" * 100_000, "document 1: not YAML: line 1: nested too deep"), "second.yaml": (b"a: 1\n---\nb: [\n---\nc: 1\n", "document 2: not YAML: line 4"), "on.yaml": (b"labels:\n  on: x\n", "document 1: /labels: line 2: the key 'on' is a truth value to YAML: put quotes around it"),
    "template.yaml": (b"{{ .Values.policy }}", "is this a template that was not filled in?"), "binary.yaml": (bytes(range(256)), "not UTF-8 text"), "comma.json": (b'{"a": 1,}', "document 1: not JSON: line 1, column 9"),
}  # fmt: skip


def said_of(done: "subprocess.CompletedProcess[str]", code: int = 2) -> str:
    assert done.returncode == code, done.stderr[-500:]
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr) < 20_000
    return done.stderr


def commands(folder: Path, probes: Path) -> dict[str, list[str]]:
    return {
        "simulate": ["simulate", "-f", str(folder), "--probes", str(probes)],
        "explain": ["explain", "192.0.2.1", "192.0.2.2", "80", "-f", str(folder)],
        "test": ["policy", "test", str(folder)],
        "lint": ["policy", "lint", str(folder)],
        "convert": ["policy", "convert", "--to", "kubernetes", str(folder)],
    }


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    (tmp_path / "probes.jsonl").write_text('{"from": "192.0.2.1", "to": "192.0.2.2", "port": 80}\n')
    return tmp_path / "probes.jsonl"


@pytest.mark.parametrize("command", ["simulate", "explain", "test", "lint", "convert"])
def test_every_text_that_cannot_be_read_is_told_at_once(
    causeway: Run, tmp_path: Path, probes: Path, command: str
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, (content, _) in TEXTS.items():
        (folder / name).write_bytes(content)
    (folder / "gone.yaml").symlink_to("nowhere")
    (folder / "circle.yaml").symlink_to("circle.yaml")
    done = causeway(*commands(folder, probes)[command])
    said = said_of(done)
    assert done.stdout == ""
    for name, (_, reason) in TEXTS.items():
        assert any(name in line and reason in line for line in said.splitlines()), (name, said)
    assert "gone.yaml: No such file" in said
    assert "circle.yaml: Too many levels of symbolic links" in said


def pod(**parts: Any) -> dict[str, Any]:
    labelled = {"name": "a", "namespace": "x", "labels": {"a": "b"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": labelled, "spec": {}, "status": {"podIP": "10.0.0.1"}, **parts}  # fmt: skip


def network_policy(metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    named = metadata or {"name": "p", "namespace": "x"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": named, "spec": {"podSelector": {}, **spec}}  # fmt: skip


TRAP = "to YAML yes, no, on, off, true and false are truth values: put quotes around it"
STANDING = {
    "label-bool": (pod(metadata={"name": "a", "labels": {"a": True}}), "/metadata/labels/a: text is needed, not True (" + TRAP),
    "label-number": (pod(metadata={"name": "a", "labels": {"v": 1.1}}), "/metadata/labels/v: text is needed, not 1.1 (put quotes around it)"),
    "label-list": (pod(metadata={"name": "a", "labels": {"a": [1]}}), "/metadata/labels/a: text is needed, not [1]"), "label-value": (pod(metadata={"name": "a", "labels": {"a": "x y"}}), "/metadata/labels/a: 'x y' is not a label value"),
    "label-key": (pod(metadata={"name": "a", "labels": {"a b": "x"}}), "/metadata/labels/a b: not a label key"), "no-metadata": (pod(metadata=None), "/metadata/name: is needed"), "name": (pod(metadata={"name": "Not_A.Label!"}), "/metadata/name: 'Not_A.Label!' is not a name"),
    "namespace": (pod(metadata={"name": "a", "namespace": "a.b"}), "/metadata/namespace: 'a.b' is not a namespace's name"), "number-name": (pod(metadata={"name": 5}), "/metadata/name: text is needed, not 5 (put quotes around it)"),
    "spec": (pod(spec=[]), "/spec: an object is needed"), "port": (pod(spec={"containers": [{"ports": [{"containerPort": 70000}]}]}), "/spec/containers/0/ports/0/containerPort: a number of 1-65535"), "address": (pod(status={"podIP": "300.1.1.1"}), "/status/podIP: '300.1.1.1' is not an address"),
    "items": ({"apiVersion": "v1", "kind": "List", "items": "x"}, "/items: a list is needed"), "null-item": ({"apiVersion": "v1", "kind": "List", "items": [None]}, "document 1, item 0: /: an object is needed, not null"),
    "scalar": (5, "document 1: /: an object is needed, not 5"), "empty": ({}, "/apiVersion: is needed"), "kind": ({"apiVersion": "v1", "kind": ["Pod"]}, "/kind: is needed"), "large": (policy(ingress="x" * 1_000_000), "/spec/ingress: a list is needed, not 'xxx"),
}  # fmt: skip
POLICIES = {
    "trap": (network_policy(podSelector={"matchLabels": {"on": True}}), "/spec/podSelector/matchLabels/on: text is needed, not True (" + TRAP), "upper": (network_policy({"name": "UPPER", "namespace": "x"}), "/metadata/name: 'UPPER' is not a name"),
    "except": (network_policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/8"]}}]}]), "/spec/ingress/0/from/0/ipBlock/except/0: fd00::/8 is not a part of 10.0.0.0/8"), "unknown": (network_policy(sauce=1), "/spec/sauce: unknown field"),
    "families": (policy(ingress=[rule(nets=["10.0.0.0/8", "fd00::/8"])]), "/spec/ingress/0/source/nets: "), "negations": (policy(selector="!" * 100_000 + "has(a)"), "/spec/selector: longer than 1024 characters"),
    "rules": (policy(ingress=[{"action": "Allow"}] * 1025), "/spec/ingress: more than 1024 rules"), "ports": (policy(ingress=[rule(ports=PORTS)]), "/spec/ingress/0/source/ports: more than 50 entries"), "number": (policy(selector=5), "/spec/selector: text is needed, not 5 (put quotes around it)"),
    "spec-list": ({**policy(), "spec": []}, "/spec: an object is needed"), "unknown-kind": ({"apiVersion": "projectcalico.org/v3", "kind": "Nope"}, "/kind: unknown kind 'Nope'"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["simulate", "explain", "lint", "convert"])
def test_every_fault_of_every_document_is_told_once_with_its_place(
    causeway: Run, tmp_path: Path, probes: Path, command: str
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    cases = STANDING | POLICIES
    for name, (document, _) in cases.items():
        own = re.sub(r'"name": "(a|p)"', f'"name": "{name}"', json.dumps(document))
        (folder / f"{name}.json").write_text(own)
    done = causeway(*commands(folder, probes)[command])
    lines = said_of(done).splitlines()
    assert done.stdout == ""
    for name, (_, reason) in cases.items():
        told = [line for line in lines if f"/{name}.json, document 1" in line]
        assert [reason in line for line in told] == [True], (name, told)


def test_nothing_is_applied_when_one_document_of_many_is_wrong(
    causeway: Run, tmp_path: Path, server: dict[str, str]
) -> None:
    (tmp_path / "0-good.json").write_text(json.dumps(policy("good")))
    for name, (document, _) in POLICIES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    said = said_of(causeway("apply", "-f", str(tmp_path), "--cluster", "c", **server))
    for name, (_, reason) in POLICIES.items():
        assert any(f"{name}.json, document 1" in line and reason in line for line in said.splitlines()), name
    assert "good" not in causeway("get", "gnp", "-o", "name", **server).stdout


def test_nothing_is_applied_of_a_file_whose_second_document_cannot_be_read(
    causeway: Run, tmp_path: Path, server: dict[str, str]
) -> None:
    text = json.dumps(policy("good"))
    said = said_of(causeway("apply", "-f", "-", stdin=f"{text}\n---\nkind: [\n", **server))
    assert "standard input, document 2: not YAML: line " in said
    assert "good" not in causeway("get", "gnp", "-o", "name", **server).stdout


@pytest.mark.parametrize("content", ["", "\n", "---\n---\n", "# nothing\n", "null\n"])
def test_a_file_with_no_document_is_told(causeway: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "empty.yaml").write_text(content)
    assert "there is no document" in said_of(causeway("policy", "lint", str(tmp_path / "empty.yaml")))


PODS = "---".join(
    f"\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: x}}, status: {{podIP: 10.0.0.{n}}}}}\n"
    for n, name in enumerate("ab", start=1)
)
GOOD = '{"from": "x/a", "to": "x/b", "port": 80}'
LINES: dict[str, str] = {
    "# comment": "not JSON: column 1", "{": "not JSON: column 2", "[1]": "a probe is an object", "null": "a probe is an object", '{"from": "x/a", "to": "x/b", "port": 80, "prot": 1}': "unknown field(s) prot",
    '{"from": "x/a", "from": "x/b"}': "/from: key 'from' stands twice", '{"from": "x/a", "to": "x/b", "port": NaN}': "/port: NaN is not a number of JSON", '{"from": "x/a", "to": "x/b", "port": "²"}': "no port called '²'", '{"from": "[/red]", "to": "x/b", "port": 80}': "'[/red]' is not known",
    '{"name": "' + "y" * 70_000 + '"}': "longer than 64 KiB", "[" * 50_000: "nested too deep", r'{"from": "\ud800"}': "no character of text",
}  # fmt: skip


@pytest.mark.parametrize("output", ["jsonl", "json", "table"])
def test_a_line_that_is_no_probe_is_an_error_with_its_number_and_the_others_are_answered(
    causeway: Run, tmp_path: Path, output: str
) -> None:
    (tmp_path / "pods.yaml").write_text(PODS)
    text = "\ufeff" + "\r\n".join([GOOD, "", *LINES, "   ", GOOD])  # marked, CRLF, and no newline at the end
    words = ["simulate", "-f", str(tmp_path / "pods.yaml"), "--probes", "-", "-o", output]
    done = causeway(*words, stdin=text)
    assert f"{len(LINES)} of {len(LINES) + 2} probes could not be answered" in said_of(done, 0)
    assert causeway(*words, "--strict", stdin=text).returncode == 1
    if output == "table":
        return
    answers = json.loads(done.stdout) if output == "json" else [json.loads(line) for line in done.stdout.splitlines()]  # fmt: skip
    assert [answer.get("verdict") for answer in answers] == ["Allow", *[None] * len(LINES), "Allow"]
    for number, (answer, reason) in enumerate(zip(answers[1:-1], LINES.values(), strict=True), start=3):
        assert answer["line"] == number
        assert reason in answer["error"]


def test_standard_input_is_not_read_twice(causeway: Run) -> None:
    assert "read once" in said_of(causeway("simulate", "-f", "-", "--probes", "-", stdin=PODS))


def test_a_report_of_tests_is_xml_whatever_they_are_called(causeway: Run, tmp_path: Path) -> None:
    (tmp_path / "pods.yaml").write_text(PODS)
    name = r'"\e[31m [/red] \x01 <&\" \uFFFE"'
    tests = f"tests:\n- {{from: x/a, to: x/b, port: 80, expect: Deny, name: {name}}}\n- {{from: 'x/[/b]', to: x/b, port: 80, expect: Allow}}\n"
    (tmp_path / "tests.yaml").write_text(tests)
    report = tmp_path / "report.xml"
    done = causeway("policy", "test", str(tmp_path / "pods.yaml"), str(tmp_path / "tests.yaml"), "--junit", str(report))  # fmt: skip
    assert said_of(done, 1) == ""
    assert "\x1b" not in done.stdout
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")
    assert suite[0].get("name") == r'\x1b[31m [/red] \x01 <&" \ufffe'


def test_every_fault_of_tests_is_told(causeway: Run, tmp_path: Path) -> None:
    (tmp_path / "tests.yaml").write_text(
        "tests:\n- {from: x/a, expect: yes}\n- 5\n- {from: a}\n- null\nmore: 1\n"
    )
    said = said_of(causeway("policy", "test", str(tmp_path / "tests.yaml")))
    places = ("/more: unknown field", "/tests/0/expect: True is neither", "/tests/1: an object is needed, not 5", "/tests/2/expect: is needed", "/tests/3: an object is needed, not null")  # fmt: skip
    assert [place in said for place in places] == [True] * len(places)


def test_a_terminal_obeys_nothing_that_a_document_says(causeway: Run, tmp_path: Path) -> None:
    (tmp_path / "escape.json").write_text(json.dumps(pod(metadata={"name": "a", "labels": {"\x1b[2J": "x"}})))
    said = said_of(causeway("policy", "lint", str(tmp_path / "escape.json")))
    assert r"/metadata/labels/\x1b[2J: not a label key" in said
