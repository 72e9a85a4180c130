"""`causeway simulate` and `policy test` as a user runs them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c}]}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: pay, labels: {app: db}}
spec: {containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
status: {podIP: 10.0.0.2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other}
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: pay}
spec:
  podSelector: {}
  ingress: [{ports: [{port: sql}]}]
"""


def written(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return [str(folder / name.replace("_", ".")) for name in files]


def test_each_probe_is_answered_in_order_and_a_bad_line_is_an_error_of_its_own(
    causeway: Run, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    written(tmp_path / "docs", pods_yaml=PODS, policy_yml=POLICY)
    lines = [
        {"from": "shop/web", "to": "pay/db", "port": "sql"}, {"from": "shop/web", "to": "pay/db", "port": 80},
        {"from": "nobody/x", "to": "pay/db", "port": 80}, {"from": "shop/web", "to": "pay/db", "port": "gone"}, {"from": "10.0.0.2", "to": "shop/web", "port": 1},
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines) + "not json\n\n"
    done = causeway("simulate", "-f", str(tmp_path / "docs"), "--probes", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a.get("verdict", "error") for a in answers] == [
        "Allow",
        "Deny",
        "error",
        "error",
        "Allow",
        "error",
    ]
    assert answers[0]["ingress"]["policy"] == {"kind": "NetworkPolicy", "namespace": "pay", "name": "db"}
    assert answers[0]["ingress"]["rule"] == 0
    assert answers[0]["from"] == "shop/web"
    assert "1 Deployment" in done.stderr


def test_bytes_that_are_no_text_and_endless_nesting_are_errors_of_their_lines(
    causeway: Run, tmp_path: Path
) -> None:
    (pods,) = written(tmp_path, pods_yaml=PODS)
    good = b'{"from": "shop/web", "to": "pay/db", "port": "sql", "protocol": "tcp", "id": 7}\n'
    (tmp_path / "probes").write_bytes(good + b"\xff\xfe\n" + b"[" * 100_000 + b"\n" + good)
    done = causeway("simulate", "-f", pods, "--probes", str(tmp_path / "probes"), "-o", "jsonl")
    assert done.returncode == 0, done.stderr[-300:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a.get("verdict", "error") for a in answers] == ["Allow", "error", "error", "Allow"]
    assert [a.get("id") for a in answers] == [7, None, None, 7]


def test_a_deployment_without_pods_is_judged_by_its_name(causeway: Run, tmp_path: Path) -> None:
    deployment = (
        PODS + "spec: {template: {metadata: {labels: {app: other}}, spec: {containers: [{name: c}]}}}\n"
    )
    files = written(
        tmp_path,
        pods_yaml=deployment,
        policy_yaml=POLICY,
        probes_jsonl=json.dumps({"from": "default/other", "to": "pay/db", "port": 80}),
    )
    done = causeway("simulate", "-f", files[0], "-f", files[1], "--probes", files[2])
    assert json.loads(done.stdout)["verdict"] == "Deny", done.stderr


def test_all_pairs_as_table_and_picture(causeway: Run, tmp_path: Path) -> None:
    files = written(tmp_path, pods_yaml=PODS, policy_yaml=POLICY)
    words = ["simulate", *(w for f in files for w in ("-f", f)), "--all-pairs", "--port", "80"]
    assert "who reaches whom" in causeway(*words).stdout
    page = causeway(*words, "-o", "html").stdout
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</html>")])
    assert picture.tag.endswith("svg")
    told = [title.text or "" for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(told) == len({line.partition(":")[0] for line in told})
    assert all("\ningress " in line for line in told if "Deny" in line or "Allow" in line)
    assert any("Deny" in line for line in told)
    assert "shop/web to pay/db: Deny" in page


def test_every_fault_is_said_with_file_document_and_pointer_and_nothing_is_judged(
    causeway: Run, tmp_path: Path
) -> None:
    bad = POLICY.replace("ports: [{port: sql}]", "ports: [{port: 99999}], colour: red")
    files = written(tmp_path, pods_yaml=PODS, bad_yaml=bad, wrong_json="[1, 2]")
    done = causeway("simulate", *(w for f in files for w in ("-f", f)), "--all-pairs")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "bad.yaml, document 1: /spec/ingress/0/colour: unknown field" in done.stderr
    assert "wrong.json, document 1: /: an object is needed" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_anchor_bomb_and_an_endless_nesting_are_refused(causeway: Run, tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)
    )
    files = written(tmp_path, bomb_yaml=f"apiVersion: v1\nkind: Pod\n{bomb}", deep_json="[" * 100000)
    for file in files:
        done = causeway("simulate", "-f", file, "--all-pairs")
        assert done.returncode == 2, done.stderr[-300:]
        assert "Traceback" not in done.stderr


def test_expectations_beside_policies_hold_or_fail_with_their_reason(causeway: Run, tmp_path: Path) -> None:
    tests = (
        "tests:\n- {from: shop/web, to: pay/db, port: sql, expect: Allow}\n"
        "- {from: shop/web, to: pay/db, port: 80, expect: Deny, name: nothing else}\n"
    )
    files = written(tmp_path, pods_yaml=PODS, policy_yaml=POLICY, tests_yaml=tests)
    done = causeway("policy", "test", *files, "--junit", "out.xml")
    assert (done.returncode, done.stdout) == (0, "2 of 2 expectations hold\n")
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")
    (tmp_path / "tests.yaml").write_text(tests.replace("expect: Deny", "expect: Allow"))
    done = causeway("policy", "test", *files, "--junit", "out.xml")
    assert done.returncode == 1
    assert "FAIL nothing else" in done.stdout
    assert "ingress Deny: end of tier default" in done.stdout
    assert ElementTree.parse(tmp_path / "out.xml").getroot().get("failures") == "1"


def test_tests_that_say_nothing_are_refused(causeway: Run, tmp_path: Path) -> None:
    (file,) = written(tmp_path, pods_yaml=PODS)
    assert causeway("policy", "test", file).returncode == 2
    (tests,) = written(tmp_path, tests_yaml="tests: [{from: a, to: b, expect: Maybe}]\n")
    assert "/tests/0/expect" in causeway("policy", "test", file, tests).stderr


def test_explain_says_why_and_its_exit_code_says_whether(causeway: Run, tmp_path: Path) -> None:
    files = written(tmp_path, pods_yaml=PODS, policy_yaml=POLICY)
    given = [word for file in files for word in ("-f", file)]
    denied = causeway("explain", "shop/web", "pay/db", "80", *given)
    assert denied.returncode == 1
    assert "tier default: pay/db ingress 0: destination.ports does not match" in denied.stdout
    assert denied.stdout.endswith("Deny\n")
    allowed = causeway("explain", "shop/web", "pay/db", "sql", *given, "-o", "json")
    assert allowed.returncode == 0
    assert json.loads(allowed.stdout)["ingress"]["trace"][-1]["matched"] is True
    assert causeway("explain", "shop/web", "pay/gone", "80", *given).returncode == 2


def test_explain_asks_the_control_plane_without_files(causeway: Run, server: dict[str, str]) -> None:
    done = causeway("explain", "198.51.100.1", "198.51.100.2", "80", **server)
    assert done.returncode == 0, done.stderr
    assert "not one of our ends" in done.stdout


def test_lint_shows_its_findings_with_their_witness(causeway: Run, tmp_path: Path) -> None:
    typo = POLICY.replace("podSelector: {}", "podSelector: {matchLabels: {app: typo}}")
    files = written(tmp_path, pods_yaml=PODS, policy_yaml=typo)
    done = causeway("policy", "lint", *files)
    assert done.returncode == 1
    assert "selects-nothing: NetworkPolicy -/pay/db /spec" in done.stdout
    assert "witness: " in done.stdout
    (sound,) = written(tmp_path, policy_yaml=POLICY)
    assert causeway("policy", "lint", files[0], sound).returncode == 0


def test_the_example_of_the_readme_holds(causeway: Run) -> None:
    example = Path(__file__).parents[3] / "examples" / "simulation"
    assert causeway("policy", "test", str(example)).stdout == "4 of 4 expectations hold\n"
    assert causeway("policy", "lint", str(example / "cluster")).returncode == 0
    assert causeway("explain", "shop/web", "pay/db", "sql", "-f", str(example / "cluster")).returncode == 1
