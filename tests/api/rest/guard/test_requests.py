"""Headers of every answer, the id of a request, and bodies that are not taken."""

import httpx
import pytest


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/tiers", "/api/v1/none", "/console/", "/metrics"])
async def test_every_answer_forbids_what_browsers_and_caches_should_not_do(
    api: httpx.AsyncClient, path: str
) -> None:
    headers = (await api.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    for name in ("content-security-policy", "cache-control", "x-request-id"):
        assert len(headers.get_list(name)) == 1
    assert "strict-transport-security" not in headers, "this is plain HTTP"


async def test_over_tls_browsers_are_told_to_stay_with_it(api: httpx.AsyncClient) -> None:
    answer = await api.get("https://test/healthz")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(("given", "is_kept"), [("a-1.b:c_d", True), ("x" * 101, False), ("a b", False), ("<script>", False), ("", False)])  # fmt: skip
async def test_a_request_keeps_its_id_when_it_is_a_sane_one(
    api: httpx.AsyncClient, given: str, is_kept: bool
) -> None:
    told = (await api.get("/healthz", headers={"X-Request-Id": given})).headers["x-request-id"]
    assert (told == given) == is_kept
    assert told


async def test_a_packed_body_is_not_unpacked(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/v1/apply", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "gzip" in answer.json()["detail"]
