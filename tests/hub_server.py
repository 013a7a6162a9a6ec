"""A local server with the API of the Hugging Face Hub: repositories, commits and downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_token"
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/(preupload|commit|revision|tree)/([^/]+)(?:/(.+))?")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """A repository with its current files; every commit has an id."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    def commit(self, lines: list[dict[str, Any]]) -> str:
        """Apply the files of a commit."""
        for line in lines[1:]:
            assert line["key"] == "file"
            self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        parts = (name.encode() + data for name, data in sorted(self.files.items()))
        self.commits.append(hashlib.sha1(b"".join(parts)).hexdigest())
        return self.commits[-1]


class Hub:
    """The repositories by kind (`models`, `datasets`) and name."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.address = ""

    def __getitem__(self, place: tuple[str, str]) -> Repository:
        return self.repositories[place]

    def post(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """The response to a POST request."""
        if path == "/api/validate-yaml":
            text = json.loads(body)["content"]
            head = yaml.safe_load(text.split("---")[1])
            assert isinstance(head, dict)
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            given = json.loads(body)
            place = (f"{given.get('type', 'model')}s", f"{given['organization']}/{given['name']}")
            status = 409 if place in self.repositories else 200
            self.repositories.setdefault(place, Repository(given["visibility"] == "private"))
            return status, {"url": f"{self.address}/{place[1]}", "name": place[1]}
        kind, name, what, *_ = _matched(_API, path)
        if what == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        oid = self[kind, name].commit([json.loads(line) for line in body.splitlines()])
        return 200, {"commitUrl": f"{self.address}/{name}/commit/{oid}", "commitOid": oid}

    def get(self, path: str, *, deep: bool) -> tuple[int, dict[str, str], bytes]:
        """The response to a GET request: status, headers, body; `deep` listings include the files of subfolders."""
        if _API.fullmatch(path):
            kind, name, what, _, folder = _matched(_API, path)
            if (kind, name) not in self.repositories:
                return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
            files = self[kind, name].files
            if what == "revision":
                siblings = [{"rfilename": file} for file in files]
                return _json({"id": name, "sha": self[kind, name].commits[-1], "private": True, "siblings": siblings})
            found = _tree(files, f"{folder}/" if folder else "", deep=deep)
            return _json(found) if found else (404, {"X-Error-Code": "EntryNotFound"}, b"{}")
        if not _FILE.fullmatch(path):
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        dataset, name, revision, file = _matched(_FILE, path)
        repository = self[("datasets" if dataset else "models"), name]
        assert revision in (*repository.commits, "main")
        if file not in repository.files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commits[-1]}, b""
        data = repository.files[file]
        return 200, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": repository.commits[-1]}, data


def _matched(pattern: re.Pattern[str], path: str) -> tuple[str, ...]:
    found = pattern.fullmatch(path)
    assert found, path
    return found.groups()


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _tree(files: dict[str, bytes], folder: str, *, deep: bool) -> list[dict[str, Any]]:
    inside = {name: data for name, data in files.items() if name.startswith(folder)}
    here = {name: data for name, data in inside.items() if deep or "/" not in name.removeprefix(folder)}
    folders = {folder + name.removeprefix(folder).partition("/")[0] for name in inside.keys() - here.keys()}
    return [
        *({"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in here.items()),
        *({"type": "directory", "path": name, "oid": _oid(name.encode())} for name in sorted(folders)),
    ]


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def hub() -> Iterator[Hub]:
    """A running hub; clients with `TOKEN` may read and write."""
    there = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = there.post(unquote(urlsplit(self.path).path), body) if self._known() else (401, {})
            self._send(status, {"Content-Type": "application/json"}, json.dumps(answer).encode())

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            found = (
                there.get(unquote(url.path), deep="recursive=true" in url.query.lower())
                if self._known()
                else (401, {}, b"")
            )
            self._send(*found)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _known(self) -> bool:
            return self.headers["Authorization"] == f"Bearer {TOKEN}"

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
