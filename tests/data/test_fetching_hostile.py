"""Downloads from servers that violate the protocol: the guarantees of `fetch` hold."""

import io
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from PIL import Image

from gmner.data.images import fetched_posts, fetching
from gmner.data.images.addresses import checked_url, is_public
from gmner.data.images.fetched_posts import fetch_posts
from gmner.data.images.fetching import fetch
from gmner.signatures.errors import ImageError

pytestmark = pytest.mark.enable_socket

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Hostile:
    """Sends the same parts to each connection and counts connections and bytes."""

    def __init__(self, parts: Callable[[], Iterator[bytes]], pause: float = 0.0) -> None:
        self._parts, self._pause, self.connections, self.sent, self.ended = parts, pause, 0, 0, threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/a.png"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.connections += 1
                with suppress(OSError), connection:
                    connection.recv(1 << 16)
                    for part in self._parts():
                        connection.sendall(part)
                        self.sent += len(part)
                        time.sleep(self._pause)
                    connection.shutdown(socket.SHUT_WR)
                self.ended.set()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hostile]]:
    monkeypatch.setattr(fetching, "_public", lambda ip: ip == "127.0.0.1" or is_public(ip))
    servers = []

    def start(*parts: bytes, forever: bytes = b"", pause: float = 0.0) -> Hostile:
        servers.append(Hostile(lambda: itertools.chain(parts, itertools.repeat(forever) if forever else ()), pause))
        return servers[-1]

    yield start
    for server in servers:
        server.socket.close()


@pytest.mark.parametrize(
    ("head", "forever"),
    [
        (OK + b"\r\n", b"x" * 65536),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED, b"1;" + b"e" * 60000 + b"\r\nx\r\n"),
        (CHUNKED + b"0\r\n", b"Trailer: " + b"t" * 60000 + b"\r\n"),
        (CHUNKED + b"0\r\n", b"t"),
        (OK, b"Header: " + b"h" * 60000 + b"\r\n"),
        (OK + b"Header: ", b"h" * 65536),
        (b"", b"HTTP/1.1 100 Continue\r\nPadding: " + b"p" * 30000 + b"\r\n\r\n"),
    ],
    ids=["body", "chunks", "extensions", "trailers", "trailer", "headers", "header", "continues"],
)
def test_endless_responses_end_by_size_or_time(serve, head: bytes, forever: bytes):
    server = serve(head, forever=forever)
    with pytest.raises(ImageError):
        fetch(server.url, max_bytes=10_000, seconds=0.4)
    assert server.ended.wait(5)
    assert server.sent < 16 << 20  # allows for data in socket buffers


def test_body_of_a_redirect_is_not_read(serve):
    end = serve(OK + b"Content-Length: 2\r\n\r\nok")
    start = serve(f"HTTP/1.1 302 Found\r\nLocation: {end.url}\r\n\r\n".encode(), forever=b"x" * 65536)
    assert fetch(start.url, max_bytes=2, seconds=5) == b"ok"
    assert start.ended.wait(5)


def test_number_of_redirects_is_limited(serve):
    server = serve(b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n")
    with pytest.raises(ImageError, match="more than 10 redirects"):
        fetch(server.url)
    assert server.connections == 11


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("file:///etc/passwd", "unsupported scheme"),
        ("gopher://127.0.0.1/", "unsupported scheme"),
        ("http://[::1]/", "not public"),
        ("http://user:secret@example.org/", "user name or password"),
        ("http://example.org:25/", "unsupported port"),
    ],
)
def test_each_redirect_is_checked(serve, location: str, message: str):
    server = serve(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())
    with pytest.raises(ImageError, match=message) as raised:
        fetch(server.url, seconds=2)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "head", [OK, OK + b"Content-Length: 9999\r\n\r\n", CHUNKED, CHUNKED + b"0\r\nT: ", b""],
    ids=["headers", "body", "chunk", "trailer", "status"],
)  # fmt: skip
def test_deadline_covers_every_phase(serve, head: bytes):
    server = serve(head, forever=b"1", pause=0.02)
    before = time.monotonic()
    with pytest.raises(ImageError, match="timed out"):
        fetch(server.url, seconds=0.15)
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    "response",
    [
        b"",
        OK,
        OK + b"Content-Length: 100\r\n\r\nhalf",
        CHUNKED + b"5\r\nhal",
        CHUNKED + b"4\r\nhalf\r\n",
        CHUNKED + b"0\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n\r\nhalf",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
        OK + b"Content-Length: nonsense\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_incomplete_response_is_an_error(serve, response: bytes):
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetch(serve(response).url, seconds=5)


def test_slow_name_server_does_not_block_the_caller(monkeypatch: pytest.MonkeyPatch):
    answer, connected = threading.Event(), []
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: answer.wait(10) and found)
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: connected.append(a))
    with pytest.raises(ImageError, match="timed out"):
        fetch("http://slow.example/a.png", seconds=0.1)
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "gmner-fetch":
            thread.join(5)
    assert connected == []  # the deadline had passed


def test_unresponsive_addresses_share_the_deadline(monkeypatch: pytest.MonkeyPatch):
    ips, shares = [f"93.184.215.{n}" for n in range(4)], []
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ips]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)

    def connect(address, timeout=None, **_):
        shares.append(timeout)
        time.sleep(min(timeout, 1))
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ImageError, match="timed out"):
        fetch("http://silent.example/a.png", seconds=0.2)
    assert sum(shares) < 0.25


@pytest.mark.parametrize(
    "ip",
    ["fec0::1", "64:ff9b:1::1", "64:ff9b::a00:1", "::7f00:1", "::10.0.0.1", "::ffff:0:7f00:1", "::ffff:10.0.0.1",
     "2002:a00:1::1", "2001:0:a00:1::1", "100.64.0.1", "192.0.0.8", "0.1.2.3", "192.88.99.1", "198.18.0.1",
     "239.1.1.1", "255.255.255.255", "ff02::1", "2001:db8::1", "3fff::1", "5f00::1", "2606:4700::1%eth0", "nonsense"],
)  # fmt: skip
def test_further_private_addresses(ip: str):
    assert not is_public(ip)


@pytest.mark.parametrize("host", ["localhost.", "a.localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1"])
def test_other_spellings_of_this_machine(host: str):
    with pytest.raises(ImageError, match=r"not public|malformed|cannot be fetched"):
        fetch(f"http://{host}:8000/a.png", seconds=2)


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///a.png", "http://[::1", "http://a\x00b/", "http://exa mple.org/", "http://a:99999/", "http://a:0/",
     "http://a:22/", "http://u:p@a/", "http://[fe80::1%25eth0]/", "http://\ud800.org/", "http://a/\ud800", "ws://a/"],
)  # fmt: skip
def test_malformed_addresses_are_refused(url: str):
    with pytest.raises(ImageError):
        checked_url(url)


def test_non_ascii_urls_are_encoded():
    url = checked_url("http://bücher.example/ü b.png")
    assert (url.raw_host, url.raw_path) == (b"xn--bcher-kva.example", b"/%C3%BC%20b.png")


def test_truncated_images_are_downloaded_again(serve, tmp_path, monkeypatch: pytest.MonkeyPatch):
    stream = io.BytesIO()
    Image.effect_noise((40, 40), 50).save(stream, "PNG")
    png = stream.getvalue()
    answers = {"/half": png[: len(png) // 2], "/whole": png}
    asked = []
    monkeypatch.setattr(
        fetched_posts, "fetch", lambda url: (asked.append(url), answers["/" + url.rpartition("/")[2]])[1]
    )
    lines = [{"id": name, "text": "Ana", "image": f"http://pictures.example/{name}"} for name in ("half", "whole")]
    lines.append({"id": "bad", "text": "Ana", "image": "http://[::1"})
    source, folder = tmp_path / "posts.jsonl", tmp_path / "out"
    source.write_text("\n".join(map(json.dumps, lines)))
    answers["/" + "[::1"] = b""
    posts = fetch_posts(source, folder, progress=False)
    assert {oddity.where.rpartition("/")[2] for oddity in posts.oddities} == {"half", "[::1"}
    assert len(list((folder / "images").iterdir())) == 1
    # An earlier version kept truncated images.
    posts[1].image.write_bytes(png[:-30])
    asked.clear()
    answers["/half"] = png
    again = fetch_posts(source, folder, progress=False)
    assert len(again.oddities) == 1
    assert len(asked) == 3
    assert posts[1].image.read_bytes() == png
