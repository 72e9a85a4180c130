"""The control client over HTTP that the test answers."""

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from federation import wire
from federation.errors import (
    CausewayError,
    Conflict,
    Forbidden,
    InvalidInput,
    Unauthenticated,
    Unavailable,
)
from federation.policy.tables import RuleReference
from federation.resources.metadata import ObjectKey
from nodeagent.control.client import HttpChannel
from nodeagent.settings import Secret

Answer = Callable[[httpx.Request], httpx.Response]


class Lines(httpx.AsyncByteStream):
    """A body that comes in pieces, and may break."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.error:
            raise self.error


def channel_to(answer: Answer) -> HttpChannel:
    return HttpChannel("http://control", Secret("id.secret"), httpx.MockTransport(answer))


async def heard(channel: HttpChannel, since: int | None) -> list[wire.Message]:
    return [message async for message in channel.messages(since)]


async def test_the_stream_is_asked_with_the_credential_and_from_the_revision() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=b"")

    channel = channel_to(answer)
    await heard(channel, None)
    await heard(channel, 7)
    assert [str(request.url) for request in asked] == [
        "http://control/agent/v1/stream",
        "http://control/agent/v1/stream?since=7",
    ]
    assert asked[0].headers["authorization"] == "Bearer id.secret"


async def test_messages_are_whole_however_the_bytes_are_cut() -> None:
    messages = [
        wire.Begin("snapshot", 3),
        wire.Upsert({"kind": "Cluster", "metadata": {"name": "dc1"}}),
        wire.Delete("Cluster", "x"),
        wire.InSync(3),
    ]
    raw = b"".join(map(wire.encode, messages))
    for size in (1, 7, 1000):
        pieces = [raw[i : i + size] for i in range(0, len(raw), size)]
        channel = channel_to(lambda _, pieces=pieces: httpx.Response(200, stream=Lines(pieces)))
        assert await heard(channel, None) == messages


async def test_a_stream_that_breaks_gives_what_came_and_then_says_so() -> None:
    lines = Lines([wire.encode(wire.Begin("resume", 1))], httpx.ReadError("reset by peer"))
    channel = channel_to(lambda _: httpx.Response(200, stream=lines))
    stream = channel.messages(1)
    assert await anext(stream) == wire.Begin("resume", 1)
    with pytest.raises(Unavailable, match="reset by peer"):
        await anext(stream)


async def test_a_line_that_is_no_message_is_an_error_of_the_stream() -> None:
    with pytest.raises(InvalidInput, match="stream"):
        await heard(channel_to(lambda _: httpx.Response(200, content=b'{"op": "dance"}\n')), None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, Unavailable),
        (409, Conflict),
        (422, InvalidInput),
        (429, Unavailable),
        (301, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
@pytest.mark.parametrize("body", [b'{"detail": "because"}', b'["because"]', b"because", b""])
async def test_a_refusal_has_its_kind_whatever_its_body(
    status: int, kind: type[CausewayError], body: bytes
) -> None:
    channel = channel_to(lambda _: httpx.Response(status, content=body))
    for attempt in (heard(channel, None), channel.report(1, ()), channel.publish_key("k", 1)):
        with pytest.raises(CausewayError, match=str(status)) as caught:
            await attempt
        assert type(caught.value) is kind
        assert ("causeway join" in caught.value.hint) == (status in (401, 403))
        assert body != b'{"detail": "because"}' or "because" in caught.value.message


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout(""),
        httpx.ReadTimeout(""),
        httpx.TooManyRedirects("x"),
        httpx.DecodingError("x"),
    ],
)
async def test_every_way_of_being_away_is_unavailable(error: Exception) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    channel = channel_to(answer)
    for attempt in (heard(channel, None), channel.report(1, ()), channel.publish_key("k", 1)):
        with pytest.raises(Unavailable, match="does not answer"):
            await attempt


async def test_reports_and_keys_go_up_as_the_control_plane_reads_them() -> None:
    seen: list[tuple[str, str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path, json.loads(request.content)))
        return httpx.Response(204)

    channel = channel_to(answer)
    await channel.report(9, (("route 10.0.0.0/8", "driver", "full"),))
    await channel.publish_key("key", 51820)
    await channel.close()
    fault = {"key": "route 10.0.0.0/8", "reason": "driver", "message": "full"}
    assert seen == [
        ("POST", "/agent/v1/report", {"revision": 9, "faults": [fault]}),
        ("PUT", "/agent/v1/key", {"publicKey": "key", "listenPort": 51820}),
    ]


async def test_counts_name_policies_and_rules_and_leave_out_ends_of_tiers() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(204)

    web = RuleReference(
        tier="t", policy=ObjectKey("NetworkPolicy", "c", "ns", "web"), index=3, section="egress"
    )
    end = RuleReference(tier="t", policy=None, index=None)
    await channel_to(answer).count({web: (5, 300), end: (1, 60)})
    told = {
        "kind": "NetworkPolicy",
        "policy": "c/ns/web",
        "section": "egress",
        "rule": 3,
        "packets": 5,
        "bytes": 300,
    }
    assert (asked[0].url.path, json.loads(asked[0].content)) == ("/agent/v1/counts", {"counts": [told]})


async def test_a_stream_may_say_what_it_likes_and_is_lost_with_one_clear_error() -> None:
    for said in (b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"\x00\n", b"\n", b"<html>\n"):
        lines = Lines([wire.encode(wire.Begin("snapshot", 1)), said, wire.encode(wire.InSync(1))])
        stream = channel_to(lambda _, lines=lines: httpx.Response(200, stream=lines)).messages(None)
        assert await anext(stream) == wire.Begin("snapshot", 1)
        with pytest.raises(InvalidInput):
            await anext(stream)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"", b"[" * 100_000, b"\xff", b"null"])
async def test_an_answer_that_is_no_certificate_is_a_way_of_being_away(body: bytes) -> None:
    channel = channel_to(lambda _: httpx.Response(201, content=body))
    with pytest.raises(Unavailable, match="is no JSON"):
        await channel.renew("request")


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"detail": "\\ud800\\u0000"}', b'{"detail": {"a": 1}}', b"x" * 9_000_000]
)
async def test_a_refusal_with_a_strange_body_is_a_refusal_still(body: bytes) -> None:
    with pytest.raises(CausewayError) as caught:
        await channel_to(lambda _: httpx.Response(403, content=body)).report(1, ())
    caught.value.message.encode()
    assert len(caught.value.message) < 3000


@pytest.mark.parametrize(
    "date", ["Mon, 99 Foo 2026", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "x", ""]
)
async def test_a_date_that_is_none_is_passed_over(date: str) -> None:
    channel = channel_to(lambda _: httpx.Response(204, headers={"date": date}))
    await channel.report(1, ())
    assert channel.skew_seconds is None


async def test_a_report_is_text_that_the_control_plane_takes_and_has_room() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(204)

    odd = ("Cluster \ud800", "unreadable", "a\x00b")
    await channel_to(answer).report(1, (odd, *[("k", "r", "m" * 1000)] * 20_000))
    told = json.loads(asked[0].content)["faults"]
    assert told[0] == {"key": "Cluster \ufffd", "reason": "unreadable", "message": "a\ufffdb"}
    assert len(asked[0].content) < 8 << 20
    assert told[-1]["message"] == f"{20_001 - len(told) + 1} more faults: see causeway agent status"
