"""Downloads of images: refused addresses, and connections only to the checked address."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from scripted import entity, scripted_lm

from gmner.cli import main as cli
from gmner.data.files.leftovers import draft_name
from gmner.data.files.locks import FOLDER_LOCK, take_lock
from gmner.data.images import fetching
from gmner.data.images.fetched_posts import fetch_posts
from gmner.data.images.fetching import fetch
from gmner.data.jsonl import read_posts
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import DataError, ImageError, InputError

pytestmark = pytest.mark.enable_socket


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(stream, "PNG")
    return stream.getvalue()


class _Pictures(BaseHTTPRequestHandler):
    """Serves an image at `/a.png` and faults at other paths."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        if self.path == "/slow":
            time.sleep(5)
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to?"))
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        body = b"x" * 5000 if self.path == "/large" else _png()
        try:
            if self.path == "/drips":
                for _ in range(20):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            self.wfile.write(body)
        except OSError:
            pass  # the client closed the connection

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pictures) as running:
        running.asked, running.daemon_threads = [], True
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def address(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the server, whose address counts as public during the test."""
    public = fetching._public
    monkeypatch.setattr(fetching, "_public", lambda ip: ip == "127.0.0.1" or public(ip))
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(ip: str, monkeypatch: pytest.MonkeyPatch):
    assert not fetching._public(ip)
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    found = [(socket.AF_INET, 1, 6, "", ("93.184.215.14", 80)), (family, 1, 6, "", (ip, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    with pytest.raises(ImageError, match=r"not public: pictures\.example"):
        fetch("http://pictures.example/a.png")


@pytest.mark.parametrize("ip", ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_pass(ip: str):
    assert fetching._public(ip)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a.png", "gopher://x", "a.png", "//x/a.png"])
def test_other_url_schemes_are_refused(url: str):
    with pytest.raises(ImageError, match="unsupported scheme"):
        fetch(url)


def test_private_server_is_never_contacted(server: ThreadingHTTPServer):
    with pytest.raises(ImageError, match=r"not public: 127\.0\.0\.1"):
        fetch(f"http://127.0.0.1:{server.server_port}/a.png")
    with pytest.raises(ImageError, match="not public: localhost"):
        fetch(f"https://localhost:{server.server_port}/a.png")
    assert server.asked == []


def test_download_uses_the_checked_address(server: ThreadingHTTPServer, address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must not be used
    looked_up = []

    def once(host: str, port: int, *args: object, **kwargs: object) -> list:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1" if len(looked_up) == 1 else "10.0.0.1", port))]

    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda h, p, *a, **k: once(h, p) if h == "pictures.example" else look_up(h, p, *a, **k)
    )
    assert fetch(address.replace("127.0.0.1", "pictures.example") + "/a.png") == _png()
    assert looked_up == ["pictures.example"]
    assert server.asked == [("/a.png", f"pictures.example:{server.server_port}")]


def test_next_address_is_tried_if_one_is_unreachable(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetching, "_public", lambda ip: True)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in ("127.0.0.9", "127.0.0.1")]
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda h, p, *a, **k: found if h == "pictures.example" else look_up(h, p, *a, **k)
    )
    assert fetch(address.replace("127.0.0.1", "pictures.example") + "/a.png") == _png()


def test_redirects_are_followed_only_to_public_images(server: ThreadingHTTPServer, address: str):
    assert fetch(f"{address}/to?{address}/a.png") == _png()
    for other, message in (
        ("http://127.0.0.2/a.png", "not public"),
        ("http://169.254.169.254/latest", "not public"),
        ("file:///etc/passwd", "unsupported scheme"),
        ("ftp://127.0.0.1/a.png", "unsupported scheme"),
        (f"{address}/to?{address}/to?{address}/a.png", None),
    ):
        if message is None:
            assert fetch(f"{address}/to?{other}") == _png()
        else:
            with pytest.raises(ImageError, match=message):
                fetch(f"{address}/to?{other}")


@pytest.mark.parametrize(
    ("path", "message"),
    [("/none", "HTTP status 404"), ("/large", "too large"), ("/drips", "timed out"), ("/slow", "timed out")],
)
def test_server_faults_are_reported(address: str, path: str, message: str):
    with pytest.raises(ImageError, match=message):
        fetch(address + path, max_bytes=2000, seconds=0.3)


def test_program_downloads_images_only_with_fetch(server: ThreadingHTTPServer, address: str):
    program = GMNER(scripted_lm({"reasoning": "", "entities": [entity("Ana")]}))
    with pytest.raises(ImageError, match=r"must not be a URL.*fetch=True"):
        program(text="Ana", image=f"{address}/a.png")
    assert server.asked == []
    program.fetch = True
    assert [found.span for found in program(text="Ana", image=f"{address}/a.png").entities] == ["Ana"]
    assert len(server.asked) == 1
    with pytest.raises(ImageError, match="404"):
        program(text="Ana", image=f"{address}/none")


@pytest.fixture
def posts_with_urls(address: str, tmp_path: Path) -> Path:
    """Posts: the same URL twice, an unknown URL, a URL of something else, a file, and no image."""
    Image.new("RGB", (9, 9)).save(tmp_path / "local.png")
    pictures = {
        "a": f"{address}/a.png", "again": f"{address}/a.png?", "none": f"{address}/none", "file": "local.png",
        "large": f"{address}/large", "without": None,
    }  # fmt: skip
    lines = [{"id": id_, "text": "Ana", "image": picture} for id_, picture in pictures.items()]
    lines[0] |= {"more_images": [f"{address}/a.png"], "slice": "shown", "entities": []}
    (tmp_path / "posts.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return tmp_path / "posts.jsonl"


def test_fetched_posts_are_a_readable_folder(
    server: ThreadingHTTPServer, posts_with_urls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "fetched"
    assert cli.main(["fetch", str(posts_with_urls), "-o", str(folder)]) == 0
    said = capsys.readouterr().err
    assert "Wrote 6 posts to" in said
    assert "HTTP status 404" in said
    assert "2 of 4 images could not be downloaded" in said
    assert Counter(path for path, _ in server.asked) == {"/a.png": 1, "/a.png?": 1, "/none": 1, "/large": 1}
    posts = read_posts(folder)
    assert [oddity.kind for oddity in posts.oddities] == ["missing_image"] * 2
    first, again, none, file, _, without = posts
    assert (first.slice, first.entities, first.more_images) == ("shown", (), (first.image,))
    assert first.image.read_bytes() == again.image.read_bytes() == _png()
    assert Image.open(file.image).size == (9, 9)
    assert without.image is None
    program = GMNER(scripted_lm({"reasoning": "", "entities": [entity("Ana")]}), limit_pictures=1)
    errors = [answer.error and answer.error["kind"] for answer in program.batch_posts(posts, progress=False)]
    assert errors == [None, None, "bad_image", None, "bad_image", None]
    assert none.image.parent == folder / "images"


def test_images_are_fetched_once(server: ThreadingHTTPServer, posts_with_urls: Path, tmp_path: Path):
    fetch_posts(posts_with_urls, tmp_path / "fetched", progress=False)
    server.asked.clear()
    left = fetch_posts(posts_with_urls, tmp_path / "fetched", progress=False)
    assert {path for path, _ in server.asked} == {"/none", "/large"}
    assert {oddity.where.rpartition("/")[2] for oddity in left.oddities} == {"none", "large"}


def test_invalid_line_is_reported_before_downloads(server: ThreadingHTTPServer, posts_with_urls: Path, tmp_path: Path):
    for line, message in (('{"id": "x"}', "text"), ('{"id": "x", "text": "x", "image": "../x.png"}', "outside")):
        broken = posts_with_urls.with_name("broken.jsonl")
        broken.write_text(posts_with_urls.read_text() + "\n" + line)
        with pytest.raises(DataError, match=rf"broken\.jsonl:7.*{message}"):
            fetch_posts(broken, tmp_path / "fetched", progress=False)
    assert server.asked == []
    assert not (tmp_path / "fetched").exists()


def test_url_file_is_not_overwritten(server: ThreadingHTTPServer, posts_with_urls: Path):
    before = posts_with_urls.read_text()
    with pytest.raises(InputError, match="another folder"):
        fetch_posts(posts_with_urls, posts_with_urls.parent, progress=False)
    assert posts_with_urls.read_text() == before
    assert server.asked == []


def test_concurrent_fetch_into_one_folder_is_refused(
    server: ThreadingHTTPServer, posts_with_urls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "fetched"
    folder.mkdir()
    lock = take_lock(folder / FOLDER_LOCK)
    assert cli.main(["fetch", str(posts_with_urls), "-o", str(folder)]) == 2
    assert f"process {os.getpid()} on" in (said := capsys.readouterr().err)
    assert "The folder is in use by" in said
    assert server.asked == []
    lock.release()
    assert cli.main(["fetch", str(posts_with_urls), "-o", str(folder)]) == 0


def test_next_fetch_removes_leftovers_of_a_killed_one(
    server: ThreadingHTTPServer, posts_with_urls: Path, tmp_path: Path
):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = draft_name().replace(f"-{os.getpid()}-", f"-{process.pid}-")
    (tmp_path / "fetched" / "images").mkdir(parents=True)
    for place in ("fetched", "fetched/images"):
        (tmp_path / place / left).write_bytes(b"half")
    assert cli.main(["fetch", str(posts_with_urls), "-o", str(tmp_path / "fetched")]) == 0
    assert list((tmp_path / "fetched").rglob("*.tmp")) == []


@pytest.mark.parametrize(
    ("images", "code"),
    [(["/none", "/large"], 1), (["/none", "/a.png"], 0), ([None], 0), (["/none", None, "local.png"], 1)],
    ids=["none", "some", "no address", "none beside a file"],
)
def test_exit_code_of_fetch(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], images: list[str | None], code: int
):
    Image.new("RGB", (9, 9)).save(tmp_path / "local.png")
    named = [f"{address}{image}" if image and image[0] == "/" else image for image in images]
    lines = [json.dumps({"id": str(n), "text": "Ana", "image": image}) for n, image in enumerate(named)]
    (tmp_path / "posts.jsonl").write_text("\n".join(lines))
    for _ in range(2):  # a second run counts like the first
        assert cli.main(["fetch", str(tmp_path / "posts.jsonl"), "-o", str(tmp_path / "fetched")]) == code
    wanted = [image for image in images if image and image[0] == "/"]
    failed = [image for image in wanted if image != "/a.png"]
    told = f"{len(failed)} of {len(wanted)} images could not be downloaded"
    assert (told in capsys.readouterr().err) == bool(failed)
