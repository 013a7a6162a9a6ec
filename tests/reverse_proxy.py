"""A reverse proxy on this machine, as nginx is before a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")


@contextmanager
def reverse_proxy(address: str, *, keeps_host: bool = True, path: str = "") -> Iterator[str]:
    """Forward all requests to `address` while the block runs.

    Args:
        address: The address of the server.
        keeps_host: Whether the server gets the header `Host` of the browser; otherwise as `X-Forwarded-Host`.
        path: A path that the proxy serves, and takes off.

    Yields:
        The address of the proxy.
    """
    target = urlsplit(address)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # the end of a stream is the end of the connection

        def do_GET(self) -> None:
            if not self.path.startswith(path):
                self.send_error(404)
                return
            size = int(self.headers.get("content-length") or 0)
            sent = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            asked = self.headers["host"]
            sent |= {"Host": asked} if keeps_host else {"Host": target.netloc, "X-Forwarded-Host": asked}
            upstream = HTTPConnection(target.hostname or "", target.port, timeout=60)
            upstream.request(self.command, self.path[len(path) :] or "/", self.rfile.read(size), sent)
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.end_headers()
            while part := answer.read1(1 << 16):
                self.wfile.write(part)
                self.wfile.flush()
            upstream.close()

        do_POST = do_HEAD = do_GET  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except (BrokenPipeError, ConnectionResetError):
                pass  # the browser went to another page

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{path}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
