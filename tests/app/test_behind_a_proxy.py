"""The page behind a reverse proxy, on a Space, and on a machine whose own requests go through a proxy."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_page import EDITOR, MARKS, REVIEW, Site, act, is_now, served, shows, text
from chromium import Tab, chromium
from reverse_proxy import reverse_proxy

pytestmark = MARKS


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as opened:
        opened.resize(1400, 900)
        yield opened


def use(tab: Tab, address: str, page: Site) -> None:
    """Accept a post, and get an answer to an uploaded image."""
    tab.messages.clear()
    tab.open(address)
    shows(tab, REVIEW, "b")
    act(tab, REVIEW, "accept")
    shows(tab, REVIEW, "c")
    assert "b" in page.corrections
    tab.click("[role=tab]:nth-of-type(2)")
    tab.wait("document.querySelector('#gm-post textarea')?.offsetParent")
    tab.upload("#gm-post input[type=file]", page.folder / "sample.png")
    tab.wait("document.querySelector('#gm-post img')?.naturalWidth")  # comes back from the server
    tab.ask("document.querySelector('#gm-post textarea').focus()")
    tab.type("Ada and Bo")
    tab.click("#gm-go")
    tab.wait(f"document.querySelector('{EDITOR} .gm-ed-pic')")
    is_now(tab, EDITOR, "not corrected yet")
    assert "seconds" in text(tab, "#gm-status")
    assert "Content Security Policy" not in "".join(tab.messages)


@pytest.mark.parametrize("keeps_host", [True, False])
def test_a_reverse_proxy(tab: Tab, tmp_path: Path, keeps_host: bool):
    with served(tmp_path) as page:
        with reverse_proxy(page.address, keeps_host=keeps_host) as address:
            use(tab, address, page)


def test_a_reverse_proxy_with_a_path(tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/gm")
    with served(tmp_path) as page, reverse_proxy(page.address, path="/gm") as address:
        use(tab, address, page)


def test_the_proxy_of_the_machine_is_not_asked_for_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At launch, Gradio asks its own page whether it answers."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, nobody)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "example.org")
        with served(tmp_path) as page:
            assert page.address.startswith("http://127.0.0.1:")
            assert os.environ["no_proxy"].split(",")[0] == "example.org"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.org"
