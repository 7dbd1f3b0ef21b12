"""The pages about the API: complete, and loading nothing from elsewhere."""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from book.errors import API_CODES
from tests.server.conftest import Client

STATIC = Path(__file__).parents[2] / "server" / "static"


class Loads(HTMLParser):
    """Collects what a page would load, and the options of the reference."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []
        self.options: dict[str, object] = {}
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag != "a":
            self.found += [value for name, value in given.items() if name in {"src", "href", "srcset", "data-url"}]
        if "data-configuration" in given:
            self.options = json.loads(given["data-configuration"])
        self._in_script = tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


@pytest.mark.parametrize("path", ["/docs", "/docs/errors"])
def test_a_page_loads_nothing_from_elsewhere(client: Client, path: str) -> None:
    answer = client.get(path, key=None)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    page = Loads()
    page.feed(answer.text)
    assert all(url.startswith(("/", "data:")) and not url.startswith("//") for url in page.found), page.found
    assert not any("//" in text or "url(" in text or "@import" in text for text in page.inline)
    for url in page.found:
        assert url.startswith("data:") or client.get(url, key=None).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/docs/errors"])
def test_the_browser_is_told_to_load_nothing_from_elsewhere(client: Client, path: str) -> None:
    policy = client.get(path).headers["content-security-policy"]
    allowed = {source for rule in policy.split("; ") for source in rule.split(" ")[1:]}
    assert allowed <= {"'self'", "'none'", "data:", "'unsafe-inline'"}
    assert "script-src 'self';" in policy


def test_the_reference_is_told_to_call_nobody(client: Client) -> None:
    page = Loads()
    page.feed(client.get("/docs").text)
    assert page.options["url"] == "/openapi.json"
    assert page.options["telemetry"] is page.options["withDefaultFonts"] is False
    assert page.options["hideClientButton"] is True
    assert "proxyUrl" not in page.options


def test_the_vendored_bundle_is_the_one_named_with_its_licence(client: Client) -> None:
    bundle = (STATIC / "scalar.js").read_bytes()
    assert hashlib.sha256(bundle).hexdigest() in (STATIC / "README.md").read_text()
    assert "MIT License" in (STATIC / "scalar.LICENSE").read_text()
    answer = client.get("/docs/scalar.js")
    assert answer.content == bundle
    assert answer.headers["content-type"].startswith("text/javascript")


def test_every_code_has_a_place_where_docs_url_leads(client: Client) -> None:
    assert re.findall(r'<tr id="(\w+)">', client.get("/docs/errors").text) == list(API_CODES)
