"""The console in a real Chromium, against a real control plane."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
HOSTILE = "x' onerror=alert(1) <img src=x onerror=document.title='broken'>"


class Plane:
    """A control plane, spoken to as its administrator."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"})

    def apply(self, *items: dict[str, Any]) -> None:
        self.http.post("/api/v1/apply", json={"items": list(items)}).raise_for_status()


def document(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("server")
    words = [
        sys.executable,
        "-m",
        "api.cli.main",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        str(folder),
        "--insecure-http",
    ]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            console = re.search(r"console: (http://\S+)/console/", line)
            assert console, line
            plane = Plane(console.group(1), (folder / "admin.token").read_text().strip())
            plane.apply(
                document("Cluster", "dc1", {"prefixes": ["10.10.0.0/16"]}, labels={"env": "prod"}),
                document("Cluster", "aws1", {"prefixes": ["10.20.0.0/16"]}),
                document("Link", "dc1-aws1", {"clusters": ["dc1", "aws1"], "mode": "wireguard"}),
            )
            with contextlib.closing(plane.http):
                yield plane
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is needed: ./dev setup installs it")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        try:
            yield chromium
        finally:
            chromium.close()


@pytest.fixture
def page(browser: Any, plane: Plane) -> Iterator[Page]:
    """A fresh visitor; whatever the page complains of, or fetches from elsewhere, fails the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 800}, color_scheme="light")
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console",
        lambda message: complaints.append(message.text) if "Content Security" in message.text else None,
    )
    opened.on(
        "request",
        lambda request: (
            None if request.url.startswith((plane.url, "data:")) else complaints.append(request.url)
        ),
    )
    opened.goto(f"{plane.url}/console/")
    yield opened
    context.close()
    assert complaints == []


def sign_in(page: Page, plane: Plane) -> None:
    page.get_by_label("API token").fill(plane.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_wrong_token_is_told_and_nothing_is_shown(page: Page) -> None:
    page.get_by_label("API token").fill("abc.def")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("unauthenticated")
    expect(page.get_by_role("navigation")).to_be_hidden()
    expect(page.get_by_label("API token")).to_be_focused()


def test_the_overview_draws_clusters_and_links_and_says_what_to_do_next(page: Page, plane: Plane) -> None:
    sign_in(page, plane)
    expect(page.get_by_role("status")).to_have_text("● live")
    expect(page.locator("svg circle")).to_have_count(2)
    expect(page.locator("svg line")).to_have_count(1)
    expect(page.get_by_role("cell", name="10.10.0.0/16")).to_be_visible()
    expect(page.get_by_text("causeway token create")).to_be_visible()
    assert "token" not in page.url
    assert page.evaluate("localStorage.length") == 0
    if folder := os.environ.get("CAUSEWAY_PICTURES"):
        page.screenshot(path=f"{folder}/console.png")


def test_a_change_is_shown_without_reloading(page: Page, plane: Plane) -> None:
    sign_in(page, plane)
    page.get_by_role("button", name="Policies", exact=True).click()
    expect(page.get_by_text("No policy yet")).to_be_visible()
    rule = {"action": "Allow"}
    plane.apply(
        document("Tier", "first", {"order": 1}),
        document("GlobalNetworkPolicy", "late", {"selector": "app == 'db'", "ingress": [rule]}),
        document("GlobalNetworkPolicy", "early", {"tier": "first", "ingress": [rule]}),
    )
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody tr").first).to_contain_text("early")
    expect(page.locator("tbody tr").first).to_contain_text("no node has joined")
    plane.http.delete("/api/v1/globalnetworkpolicies/early").raise_for_status()
    expect(page.locator("tbody tr")).to_have_count(1)
    plane.http.delete("/api/v1/globalnetworkpolicies/late").raise_for_status()


def test_other_peoples_words_are_shown_as_text(page: Page, plane: Plane) -> None:
    plane.apply(document("Cluster", "hostile", {"prefixes": ["10.99.0.0/16"], "location": HOSTILE}))
    sign_in(page, plane)
    page.get_by_role("button", name="Cluster", exact=True).click()
    page.get_by_role("button", name="hostile").click()
    expect(page.locator("pre")).to_contain_text("<img src=x onerror=")
    expect(page.locator("img")).to_have_count(0)
    expect(page).to_have_title("Causeway")
    plane.http.delete("/api/v1/clusters/hostile").raise_for_status()


def test_resources_are_filtered_opened_and_left_by_keyboard_alone(page: Page, plane: Plane) -> None:
    page.get_by_label("API token").fill(plane.token)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cluster", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Filter").focus()
    page.keyboard.type("env=prod")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("pre")).to_contain_text('"10.10.0.0/16"')
    expect(page.get_by_role("button", name="Back to clusters")).to_be_focused()


def test_signing_out_forgets_the_token(page: Page, plane: Plane) -> None:
    sign_in(page, plane)
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API token")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_files_come_with_a_strict_policy_and_others_do_not_come(plane: Plane) -> None:
    answer = httpx.get(f"{plane.url}/console/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/console/../app.py", "/console/%2e%2e/routes.py", "/console/routes.py", "/console/none"):
        assert httpx.get(f"{plane.url}{path}").status_code == 404
    assert httpx.get(f"{plane.url}/console").headers["location"] == "/console/"
