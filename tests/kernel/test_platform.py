"""What this machine lacks: one clear error, nothing new left open, nothing that stands taken away."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from federation.errors import CausewayError, DriverError, PlatformLack
from federation.identities import IdentityNumber
from federation.policy.tables import CompiledRule, RuleAction, Tables
from nodeagent.dataplane.ebpf import bpf, loader
from nodeagent.dataplane.ebpf.build.objects import FOLDER_VARIABLE
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.linux import barriers
from nodeagent.dataplane.linux.hooks import Hooks
from nodeagent.drivers import Attachment, DesiredPolicy

pytestmark = pytest.mark.kernel


def desired(node: Any, *pods: int, action: RuleAction = RuleAction.ALLOW) -> DesiredPolicy:
    """One rule for whatever goes in and out of these pods."""
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


def converge(driver: EbpfDriver, node: Any, wanted: DesiredPolicy) -> tuple[Any, ...]:
    with node.entered():
        return driver.converge(wanted)


def refused(driver: EbpfDriver, node: Any, wanted: DesiredPolicy) -> CausewayError:
    with pytest.raises(CausewayError) as caught:
        converge(driver, node, wanted)
    assert caught.value.message
    assert caught.value.hint
    return caught.value


def pins(node: Any) -> list[str]:
    return sorted(str(path) for path in node.pin_dir.rglob("*")) if node.pin_dir.exists() else []


@pytest.fixture
def driver(node: Any) -> Any:
    made = EbpfDriver(node.pin_dir, node.state_dir)
    yield made
    made.close()


def fake_bcc(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiling child imports instead of bcc; nothing compiled is kept."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    (folder / "bcc").mkdir(parents=True)
    (folder / "bcc" / "__init__.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_without_bpffs_it_says_so_and_new_endpoints_are_closed_until_there_is_one(
    node: Any, driver: EbpfDriver, tmp_path: Path
) -> None:
    node.serve(3)
    assert node.reaches(1, 3)
    elsewhere = EbpfDriver(tmp_path / "pins", tmp_path)
    error = refused(elsewhere, node, desired(node, 3))
    assert isinstance(error, PlatformLack)
    assert "bpffs" in error.message
    assert "mount -t bpf" in error.hint
    assert "still work" in error.hint
    assert not node.reaches(1, 3)
    assert not node.reaches(1, 3, "udp")
    assert converge(driver, node, desired(node, 3)) == ()
    assert node.reaches(1, 3)
    with node.entered():
        assert barriers.closed_off() == set()


def test_an_endpoint_that_is_closed_off_cannot_send_either_and_the_others_go_on(
    node: Any, tmp_path: Path
) -> None:
    for number in (2, 3):
        node.serve(number)
    refused(EbpfDriver(tmp_path / "pins", tmp_path), node, desired(node, 1))
    assert not node.reaches(1, 3, "udp")
    assert node.reaches(2, 3)
    assert node.reaches(3, 2)
    refused(EbpfDriver(tmp_path / "pins", tmp_path), node, desired(node))
    assert node.reaches(1, 3, "udp"), "what is no endpoint any more is no longer closed off"


def test_without_bcc_the_message_names_the_package(
    node: Any, driver: EbpfDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_bcc(
        tmp_path / "path", "raise ImportError('libbcc.so.0: cannot open shared object file')", monkeypatch
    )
    error = refused(driver, node, desired(node, 3))
    assert isinstance(error, PlatformLack)
    assert "libbcc.so.0" in error.message
    assert "python3-bpfcc" in error.hint
    assert pins(node) == []


def test_a_compiler_that_hangs_is_ended_and_leaves_no_half_of_the_programs(
    node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.serve(3)
    fake_bcc(tmp_path / "path", "import threading; threading.Event().wait()", monkeypatch)
    driver = EbpfDriver(node.pin_dir, node.state_dir, compile_seconds=1.0)
    error = refused(driver, node, desired(node, 3))
    assert isinstance(error, DriverError)
    assert "not compiled within 1 s" in error.message
    assert pins(node) == []
    assert not node.reaches(1, 3)
    monkeypatch.delenv("PYTHONPATH")
    driver.compile_seconds = 60
    assert converge(driver, node, desired(node, 3)) == ()
    assert node.reaches(1, 3)
    driver.close()


def test_a_node_that_has_compiled_once_needs_no_compiler_again(
    node: Any, driver: EbpfDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE)
    node.serve(3)
    assert converge(driver, node, desired(node, 3)) == ()
    driver.close()
    shutil.rmtree(node.pin_dir)  # as after a start of the machine
    fake_bcc(tmp_path / "path", "raise ImportError('no bcc')", monkeypatch)
    again = EbpfDriver(node.pin_dir, node.state_dir)
    try:
        assert converge(again, node, desired(node, 1, 3)) == ()
        assert node.reaches(1, 3)
    finally:
        again.close()


def test_the_verifier_is_quoted() -> None:
    reads_too_far = struct.pack("<BBhi", 0x61, 0x10, 9999, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    with pytest.raises(PlatformLack, match="the kernel refuses bad") as caught:
        bpf.load_program("bad", loader.SCHED_CLS, reads_too_far)
    assert "invalid bpf_context access off=9999" in caught.value.message


def test_programs_that_the_kernel_refuses_are_a_lack_with_the_last_line_of_why(
    node: Any, driver: EbpfDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "lib = None\ndef BPF(**how):\n    raise Exception('Failed to load BPF program b: invalid argument')\n"
    )
    fake_bcc(tmp_path / "path", body, monkeypatch)
    error = refused(driver, node, desired(node, 3))
    assert isinstance(error, PlatformLack)
    assert "Failed to load BPF program" in error.message
    assert "doctor" in error.hint


def test_what_stands_goes_on_when_an_upgrade_does_not_compile(
    node: Any, driver: EbpfDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.serve(3)
    converge(driver, node, desired(node, 1, 3))
    driver.close()
    driver.generation.rename(node.pin_dir / "older")  # as a new release finds what its predecessor pinned
    fake_bcc(tmp_path / "path", "raise ImportError('no bcc')", monkeypatch)
    refused(driver, node, desired(node, 1, 3))
    assert node.reaches(1, 3), "the programs that are attached judge on"
    refused(driver, node, desired(node, 1, 2, 3))
    assert not node.reaches(2, 3), "an endpoint without programs is closed off"
    assert node.reaches(1, 3)


NO_RIGHTS = """
import json, sys
from pathlib import Path
from ipaddress import IPv4Address
from federation.errors import CausewayError
from nodeagent.dataplane.ebpf import bpf, loader
from nodeagent.dataplane.ebpf.build.objects import FOLDER_VARIABLE
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.drivers import Attachment, DesiredPolicy
from federation.policy.tables import CompiledRule, RuleAction, Tables
deny = (CompiledRule(action=RuleAction.DENY),)
own = Attachment(endpoint="dc1/shop/e3", interface="pod3", class_number=0, identity=303, addresses=(IPv4Address("10.10.1.3"),))
new = Attachment(endpoint="dc1/shop/e2", interface="pod2", class_number=0, identity=302, addresses=(IPv4Address("10.10.1.2"),))
try:
    EbpfDriver(Path(sys.argv[1]), Path(sys.argv[2]), has_tcx=False).converge(DesiredPolicy(tables=Tables(classes=((deny, deny),)), attachments=(own, new)))
except CausewayError as error:
    print(json.dumps([error.code, error.message, error.hint]))
"""


def test_without_rights_it_says_which_are_missing_and_touches_nothing(node: Any) -> None:
    node.serve(3)
    driver = EbpfDriver(
        node.pin_dir, node.state_dir, has_tcx=False
    )  # with tcx, whoever may open the pins may hang them
    assert converge(driver, node, desired(node, 3, action=RuleAction.DENY)) == ()
    before = pins(node)
    drop = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
    command = ["nsenter", f"--net=/run/netns/{node.name}", *drop, sys.executable, "-c", NO_RIGHTS]
    done = subprocess.run(
        [*command, str(node.pin_dir), str(node.state_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    code, message, hint = json.loads(done.stdout)
    assert code == "platform"
    assert "no rights" in message
    assert "1 endpoints without programs stay open" in message
    assert "CAP_BPF" in hint
    assert pins(node) == before
    assert not node.reaches(1, 3), "the policy that stood, stands"


def test_an_endpoint_that_takes_no_programs_is_closed_off_and_the_others_are_enforced(
    node: Any, driver: EbpfDriver
) -> None:
    for number in (2, 3):
        node.serve(number)
    driver = EbpfDriver(node.pin_dir, node.state_dir, has_tcx=False)
    # An older kind of qdisc holds clsact's place: it has no egress side to hang a program on.
    subprocess.run(["tc", "-n", node.name, "qdisc", "add", "dev", "pod2", "ingress"], check=True)
    (report,) = converge(driver, node, desired(node, 2, 3))
    assert report.key == "endpoint dc1/shop/e2"
    assert not report.is_ok
    assert report.message
    assert not node.reaches(1, 2)
    assert node.reaches(1, 3)
    subprocess.run(["tc", "-n", node.name, "qdisc", "del", "dev", "pod2", "ingress"], check=True)
    assert converge(driver, node, desired(node, 2, 3)) == ()
    assert node.reaches(1, 2)


def test_an_interface_that_vanishes_while_programs_are_hung_on_it_is_a_drivers_error(
    node: Any, driver: EbpfDriver
) -> None:
    converge(driver, node, desired(node, 3))
    programs = {name: driver.generation / name for name in ("from_endpoint", "to_endpoint")}
    for has_tcx in (True, False):
        with node.entered(), pytest.raises(DriverError, match="gone"):
            Hooks(node.pin_dir, has_tcx).attach(4711, programs)


def test_withdrawing_opens_what_was_closed_off_and_leaves_foreign_rules(node: Any, tmp_path: Path) -> None:
    node.serve(3)
    foreign = ["ip", "-n", node.name, "rule", "add", "priority", "3237", "to", "10.10.9.9", "blackhole"]
    subprocess.run(foreign, check=True)
    driver = EbpfDriver(tmp_path / "pins", tmp_path)
    refused(driver, node, desired(node, 3))
    with node.entered():
        assert barriers.closed_off() == {(4, "pod3", ""), (6, "pod3", ""), (4, "", str(node.address(3)))}
        driver.withdraw()
        assert barriers.closed_off() == set()
    assert node.reaches(1, 3)
    rules = subprocess.run(["ip", "-n", node.name, "rule"], capture_output=True, text=True, check=True).stdout
    assert "10.10.9.9" in rules
