"""Settings: defaults < file < environment, whole and checked, secrets unseen."""

from pathlib import Path

import pytest

from federation.errors import InvalidInput
from federation.policy.tables import Direction
from nodeagent.settings import AgentSettings, Secret, load_settings

FILE = 'server = "https://control:8440"\ncluster = "dc1"\nnode = "n1"\n'


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    (tmp_path / "agent.toml").write_text(FILE)
    (tmp_path / "credential").write_text("id.secret\n")
    (tmp_path / "credential").chmod(0o600)
    return tmp_path


def test_what_joining_wrote_is_enough(joined: Path) -> None:
    settings = load_settings(joined, {})
    assert (settings.server, settings.key.path) == ("https://control:8440", "dc1/n1")
    assert (settings.listen_port, settings.resync_seconds, settings.interface) == (51820, 30, "cw-wg0")
    assert settings.credential.reveal() == "id.secret"
    assert settings.pins == Path("/sys/fs/bpf/causeway/dc1-n1")


@pytest.mark.parametrize(
    ("server", "port"), [("https://control:9000", 9000), ("https://control", 443), ("http://control", 80)]
)
def test_the_way_to_the_control_plane_and_of_tunnels_is_failsafe(server: str, port: int) -> None:
    settings = AgentSettings(server=server, cluster="dc1", node="n1", state_dir=Path(), listen_port=4000)
    peer = None
    assert settings.failsafe.is_safe(Direction.EGRESS, 6, port, peer)
    assert not settings.failsafe.is_safe(Direction.INGRESS, 6, port, peer)
    assert all(settings.failsafe.is_safe(direction, 17, 4000, peer) for direction in Direction)
    assert settings.failsafe.is_safe(Direction.INGRESS, 6, 22, peer), "beside the ones that are everybody's"


def test_the_file_goes_over_the_defaults_and_the_environment_over_the_file(joined: Path) -> None:
    (joined / "agent.toml").write_text(FILE + "listen_port = 4000\nresync_seconds = 5\n")
    settings = load_settings(joined, {"CAUSEWAY_AGENT_LISTEN_PORT": "4001", "CAUSEWAY_SERVER": "other"})
    assert (settings.listen_port, settings.resync_seconds) == (4001, 5)


def test_a_flag_goes_over_all_and_an_empty_one_over_nothing(joined: Path) -> None:
    variables = {"CAUSEWAY_AGENT_METRICS": "127.0.0.1:1"}
    assert load_settings(joined, variables, metrics="[::1]:9440").metrics == "[::1]:9440"
    assert load_settings(joined, variables, metrics="").metrics == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("line", "variables", "pointer", "said"),
    [
        ('colour = "red"', {}, "/colour", "unknown key"),
        ('credential = "x"', {}, "/credential", "unknown key"),
        ('state_dir = "/"', {}, "/state_dir", "unknown key"),
        ('listen_port = "51820"', {}, "/listen_port", "a whole number is needed, not '51820'"),
        ("listen_port = true", {}, "/listen_port", "a whole number is needed"),
        ("listen_port = 0", {}, "/listen_port", "0 is not in 1-65535"),
        ("resync_seconds = 3601", {}, "/resync_seconds", "3601 is not in 1-3600"),
        ("interface = 3", {}, "/interface", "a text is needed"),
        ('interface = "a-name-that-is-too-long"', {}, "/interface", "1-15 characters"),
        ('interface = "a/b"', {}, "/interface", "interface"),
        ('pin_dir = "here"', {}, "/pin_dir", "absolute"),
        ('local_traffic = "fast"', {}, "/local_traffic", "'fast' is none of direct, stack"),
        ('xdp = "native"', {}, "/xdp", "'native' is none of auto, generic, off"),
        ('flows = "some"', {}, "/flows", "'some' is none of off, denied, all"),
        ("flow_sample = 0", {}, "/flow_sample", "0 is not in 1-1000000"),
        ("flow_seconds = 3601", {}, "/flow_seconds", "3601 is not in 1-3600"),
        ('metrics = "9440"', {}, "/metrics", "is not ADDRESS:PORT"),
        ('metrics = "127.0.0.1:0"', {}, "/metrics", "is not ADDRESS:PORT"),
        ('metrics = "host:9440"', {}, "/metrics", "is not ADDRESS:PORT"),
        ("", {"CAUSEWAY_AGENT_COLOUR": "red"}, "/CAUSEWAY_AGENT_COLOUR", "unknown variable"),
        ("", {"CAUSEWAY_AGENT_CREDENTIAL": "x"}, "/CAUSEWAY_AGENT_CREDENTIAL", "unknown variable"),
        ("", {"CAUSEWAY_AGENT_LISTEN_PORT": "many"}, "/listen_port", "a whole number is needed, not 'many'"),
        ("", {"CAUSEWAY_AGENT_LISTEN_PORT": "-1"}, "/listen_port", "-1 is not in"),
        ("", {"CAUSEWAY_AGENT_SERVER": "control:8440"}, "/server", "is not a URL"),
        ("", {"CAUSEWAY_AGENT_SERVER": "http://"}, "/server", "is not a URL"),
        ("", {"CAUSEWAY_AGENT_SERVER": "http://c:99999"}, "/server", "is not a URL"),
        ("", {"CAUSEWAY_AGENT_CLUSTER": "../up"}, "/cluster", "is not a name"),
        ("", {"CAUSEWAY_AGENT_NODE": ""}, "/node", "is not a name"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_with_its_place(
    joined: Path, line: str, variables: dict[str, str], pointer: str, said: str
) -> None:
    (joined / "agent.toml").write_text(FILE + line)
    with pytest.raises(InvalidInput) as caught:
        load_settings(joined, variables)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]
    assert said in caught.value.faults[0].message


def test_every_fault_is_named_at_once(joined: Path) -> None:
    (joined / "agent.toml").write_text('cluster = 3\nlisten_port = 0\nx = 1\nserver = "http://c"')
    with pytest.raises(InvalidInput) as caught:
        load_settings(joined, {})
    assert {fault.pointer for fault in caught.value.faults} == {"/cluster", "/listen_port", "/x", "/node"}


@pytest.mark.parametrize("content", [b"server = ", b"\xff\xfe\x00", None])
def test_a_file_that_is_missing_or_not_toml_says_to_join(joined: Path, content: bytes | None) -> None:
    (joined / "agent.toml").unlink()
    if content is not None:
        (joined / "agent.toml").write_bytes(content)
    with pytest.raises(InvalidInput, match="join"):
        load_settings(joined, {})


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_credential_that_others_may_read_is_refused_with_what_to_do(joined: Path, mode: int) -> None:
    (joined / "credential").chmod(mode)
    with pytest.raises(InvalidInput, match=r"open to other users") as caught:
        load_settings(joined, {})
    assert f"chmod 600 {joined}/credential" in caught.value.hint
    assert "id.secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", "gehéim", "two\nlines"])
def test_a_file_without_a_credential_says_to_join(joined: Path, text: str) -> None:
    (joined / "credential").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_settings(joined, {})
    assert "causeway join" in caught.value.hint


def test_a_missing_credential_says_to_join(joined: Path) -> None:
    (joined / "credential").unlink()
    with pytest.raises(InvalidInput, match="has not joined"):
        load_settings(joined, {})


def test_settings_are_shown_without_their_secret(joined: Path) -> None:
    settings = load_settings(joined, {})
    for text in (settings.printed(), repr(settings), str(settings.credential), f"{settings.credential}"):
        assert "id.secret" not in text
    assert "listen_port = 51820" in settings.printed()
    assert "credential = (secret)" in settings.printed()


def test_secrets_are_compared_by_their_text() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert repr(AgentSettings(server="", cluster="", node="", state_dir=Path()).credential) == "(none)"
