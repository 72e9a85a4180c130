"""Bad input and failure: what is said, that it is closed, and that the others go on."""

import errno
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from federation.errors import DriverError, InvalidInput
from federation.identities import IdentityNumber
from federation.policy.tables import CompiledRule, RuleAction, Tables
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.build.objects import FOLDER_VARIABLE
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.upkeep import generations
from nodeagent.dataplane.ebpf.upkeep.claims import CLAIMED
from nodeagent.dataplane.ebpf.writes import Write
from nodeagent.drivers import Attachment, DesiredPolicy
from tests.kernel.test_verdicts import DB_FROM_API
from tests.kernel.test_verdicts import desired as compiled

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).resolve().parents[2]


def desired(node: Any, *pods: int, action: RuleAction = RuleAction.ALLOW) -> DesiredPolicy:
    rules = (CompiledRule(action=action),)
    return DesiredPolicy(
        tables=Tables(classes=((rules, rules),)),
        addresses={node.address(n): IdentityNumber(300 + n) for n in (1, 2, 3)},
        attachments=tuple(
            Attachment(
                endpoint=f"dc1/shop/e{n}",
                interface=f"pod{n}",
                class_number=0,
                identity=IdentityNumber(300 + n),
                addresses=(node.address(n),),
            )
            for n in pods
        ),
    )


@pytest.fixture
def driver(node: Any) -> Any:
    made = EbpfDriver(node.pin_dir, node.state_dir)
    yield made
    made.close()


def converge(driver: EbpfDriver, node: Any, wanted: DesiredPolicy) -> tuple[Any, ...]:
    with node.entered():
        return driver.converge(wanted)


def test_endpoints_that_share_an_address_get_nothing_through_until_one_gives_it_up(
    node: Any, driver: EbpfDriver
) -> None:
    for number in (2, 3):
        node.serve(number)
    wanted = desired(node, 1, 2, 3)
    one, two, three = wanted.attachments
    assert converge(driver, node, wanted) == ()
    assert node.reaches(1, 3)
    shared = replace(
        wanted, attachments=(one, replace(two, addresses=(*two.addresses, *three.addresses)), three)
    )
    reports = converge(driver, node, shared)
    assert [(r.key, r.reason) for r in reports] == [("endpoint dc1/shop/e2", CLAIMED), ("endpoint dc1/shop/e3", CLAIMED)]  # fmt: skip
    assert not node.reaches(1, 3)
    assert not node.reaches(3, 2)
    assert node.reaches(1, 2), "the address that is its own alone goes on"
    assert converge(driver, node, wanted) == ()
    assert node.reaches(1, 3)


def test_an_endpoint_does_not_speak_for_an_identity_that_holds_its_address_elsewhere(
    node: Any, driver: EbpfDriver
) -> None:
    node.serve(3)
    wanted = desired(node, 1, 3)
    other = replace(wanted, addresses={**wanted.addresses, node.address(1): IdentityNumber(999)})
    (report,) = converge(driver, node, other)
    assert (report.key, report.reason) == ("endpoint dc1/shop/e1", CLAIMED)
    assert not node.reaches(1, 3)
    assert converge(driver, node, wanted) == ()
    assert node.reaches(1, 3)


def test_endpoints_of_one_interface_get_nothing_through_and_the_others_go_on(
    node: Any, driver: EbpfDriver
) -> None:
    node.serve(3)
    wanted = desired(node, 1, 2, 3)
    one, two, three = wanted.attachments
    reports = converge(
        driver, node, replace(wanted, attachments=(one, replace(two, interface="pod1"), three))
    )
    assert [r.key for r in reports] == ["endpoint dc1/shop/e1", "endpoint dc1/shop/e2"]
    assert not node.reaches(1, 3)
    assert converge(driver, node, wanted) == ()
    assert node.reaches(1, 3)


def test_every_port_in_one_rule_is_a_range_or_refused_or_denied_and_said(
    node: Any, driver: EbpfDriver
) -> None:
    def to(*ports: Any) -> dict[str, Any]:
        (rule,) = DB_FROM_API["ingress"]
        return {**DB_FROM_API, "ingress": [{**rule, "destination": {"ports": list(ports)}}]}

    node.serve(3)
    assert converge(driver, node, compiled(node, to("1:65535"))) == ()
    assert node.reaches(2, 3)
    assert not node.reaches(1, 3)
    with pytest.raises(InvalidInput, match="/spec/ingress/0/destination/ports: more than 50 entries"):
        compiled(node, to(*range(1, 65536)))
    lines = tuple(
        CompiledRule(action=RuleAction.ALLOW, protocol=6, destination_ports=(n, n)) for n in range(65536)
    )
    wanted = desired(node, 2, 3)
    tables = replace(wanted.tables, classes=((lines, ()),))
    reports = converge(driver, node, replace(wanted, tables=tables))
    assert [r.key for r in reports] == ["endpoint dc1/shop/e2", "endpoint dc1/shop/e3"]
    assert f"more than {layout.MAX_RULES} rules" in reports[0].message
    assert not node.reaches(2, 3)


class Late(EbpfDriver):
    """While it writes, an interface goes."""

    going: str = ""

    def _do(self, write: Write) -> None:
        if self.going:
            subprocess.run(["ip", "link", "del", self.going], check=True)
            self.going = ""
        super()._do(write)


def test_an_interface_that_goes_between_looking_and_doing_is_told_and_the_others_are_enforced(
    node: Any,
) -> None:
    node.serve(3)
    driver = Late(node.pin_dir, node.state_dir)
    driver.going = "pod2"
    (report,) = converge(driver, node, desired(node, 1, 2, 3))
    assert report.key == "endpoint dc1/shop/e2"
    assert "gone" in report.message
    assert node.reaches(1, 3)
    (report,) = converge(driver, node, desired(node, 1, 2, 3, action=RuleAction.DENY))
    assert "does not exist" in report.message
    assert not node.reaches(1, 3)
    driver.close()


class Full:
    """A map that the kernel gives no memory to."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __getattr__(self, name: str) -> Any:
        return getattr(self.held, name)

    def update(self, entries: Mapping[bytes, bytes]) -> None:
        raise DriverError("write rules: no memory for it", hint="raise the limit") from OSError(
            errno.ENOMEM, ""
        )


@pytest.mark.parametrize("name", ["rules", "addresses", "endpoints"])
def test_what_stands_goes_on_when_the_kernel_has_no_memory_and_the_next_round_gets_it_right(
    node: Any, driver: EbpfDriver, name: str
) -> None:
    node.serve(3)
    assert converge(driver, node, desired(node, 1, 3)) == ()
    driver.maps[name] = Full(driver.maps[name])  # type: ignore[assignment]
    other = desired(node, 1, 3, action=RuleAction.DENY)
    other = replace(other, addresses={**other.addresses, node.address(99): IdentityNumber(399)})
    with pytest.raises(DriverError, match="no memory"):
        converge(driver, node, other)
    assert node.reaches(1, 3)
    assert converge(driver, node, other) == ()
    assert not node.reaches(1, 3)


def copied(folder: Path) -> Path:
    """Another release: this one's code, to be changed."""
    for package in ("nodeagent", "federation", "tunnels"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


REFUSED = """
import sys
from pathlib import Path
from federation.errors import CausewayError
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.drivers import DesiredPolicy
try:
    EbpfDriver(Path(sys.argv[1]), Path(sys.argv[2])).converge(DesiredPolicy())
except CausewayError as error:
    print(error.code, error.message)
"""


def test_when_the_verifier_refuses_an_upgrade_the_end_of_its_log_is_shown_and_the_old_programs_judge_on(
    node: Any, driver: EbpfDriver, tmp_path: Path
) -> None:
    node.serve(3)
    code = copied(tmp_path)
    program = code / "nodeagent/dataplane/ebpf/programs/endpoint.c"
    bad = "int from_endpoint(struct __sk_buff *skb) { u32 n = 0; struct endpoint *e = endpoints.lookup(&n); return e->identity; }"
    lines = program.read_text().splitlines()
    program.write_text("\n".join(bad if line.startswith("int from_endpoint") else line for line in lines))
    assert converge(driver, node, compiled(node, DB_FROM_API)) == ()
    before = sorted(path.name for path in driver.generation.iterdir())
    words = ["nsenter", f"--net=/run/netns/{node.name}", sys.executable, "-c", REFUSED]
    done = subprocess.run(
        [*words, str(node.pin_dir), str(node.state_dir)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert done.stdout.startswith("platform the programs do not load: ")
    assert "map_value_or_null" in done.stdout, "the verifier's own words"
    assert len(done.stdout.splitlines()) < 20
    assert sorted(path.name for path in driver.generation.iterdir()) == before
    assert [path.name for path in generations.folders(node.pin_dir)] == [driver.generation.name]
    assert node.reaches(2, 3)
    assert not node.reaches(1, 3)


CONVERGE = """
import sys
from pathlib import Path
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.drivers import DesiredPolicy
EbpfDriver(Path(sys.argv[1]), Path(sys.argv[2])).converge(DesiredPolicy())
"""


def test_on_a_kernel_without_the_coarse_clock_the_finer_one_is_taken(
    node: Any, driver: EbpfDriver, tmp_path: Path
) -> None:
    code = copied(tmp_path)
    features = code / "nodeagent/dataplane/ebpf/upkeep/features.py"
    text = features.read_text()
    assert "COARSE_CLOCK = 160" in text
    features.write_text(text.replace("COARSE_CLOCK = 160", "COARSE_CLOCK = 0x7FFF"))
    node.serve(3)
    words = ["nsenter", f"--net=/run/netns/{node.name}", sys.executable, "-c", CONVERGE]
    environment = {**os.environ, "PYTHONPATH": str(code)}
    subprocess.run([*words, str(node.pin_dir), str(node.state_dir)], cwd=code, env=environment, check=True, timeout=100)  # fmt: skip
    assert (
        converge(driver, node, compiled(node, DB_FROM_API)) == ()
    )  # its programs are those that were pinned
    assert node.reaches(2, 3)
    assert not node.reaches(1, 3)


def test_an_agent_that_is_killed_while_it_compiles_takes_the_compiler_with_it_and_its_successor_is_whole(
    node: Any, driver: EbpfDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE)
    words = [sys.executable, "-c", CONVERGE, str(node.pin_dir), str(node.state_dir)]
    with subprocess.Popen(["nsenter", f"--net=/run/netns/{node.name}", *words], cwd=ROOT) as agent:
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children")
        while not (compiler := children.read_text().split()):
            assert agent.poll() is None, "it ended before it was killed"
        while not (node.state_dir / "headers").exists():  # it has begun, and asked to die with its parent
            assert agent.poll() is None, "it ended before it was killed"
        agent.kill()
    for _ in range(100):
        if not Path(f"/proc/{compiler[0]}/cmdline").exists() or is_zombie(compiler[0]):
            break
        select.select([], [], [], 0.05)
    else:
        raise AssertionError("the compiler goes on")
    assert not driver.generation.exists()
    assert converge(driver, node, desired(node, 1, 3)) == ()
    assert [path.name for path in generations.folders(node.pin_dir)] == [driver.generation.name]


def is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
