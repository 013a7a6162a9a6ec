"""`fetch`: downloads an image from an untrusted URL: public addresses only, limited in size and time."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import httpcore
import httpx

from gmner.data.images.addresses import checked_url, is_local_name, redirected_url
from gmner.data.images.addresses import is_public as _public
from gmner.data.images.opening import MAX_BYTES
from gmner.signatures.errors import ImageError

SECONDS = 30.0
"""Time limit for an image, in seconds."""

_REDIRECTS = 10
_OVERHEAD = 1 << 18  # bytes for all headers and for the framing of the body
_CHUNK = 1 << 14
_BROKEN = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
    ValueError,
)


def fetch(url: str, *, max_bytes: int = MAX_BYTES, seconds: float = SECONDS) -> bytes:
    """Download the bytes of an `http` or `https` URL.

    The host name is resolved once, and the connection uses the address that was checked. Loopback, private, link-local
    and other non-public addresses are refused, also after a redirect. Proxy settings are ignored, because a proxy would
    resolve the name itself. The request contains no cookies and no credentials. Bodies of redirects are not read. A
    response that ends early or is compressed is an error.

    Args:
        url: The URL.
        max_bytes: Maximum size of the image. All responses together, including headers, redirects, framing and
            trailers, may be 256 KiB larger.
        seconds: Time limit in seconds for everything: name resolution, connections, redirects, headers, body and
            trailers. The call returns within this time even if a server does not respond.

    Raises:
        ImageError: The URL is malformed, unsupported or not public, the server returns an error, or the response is
            incomplete, too large or too slow.
    """
    first, budget = checked_url(url), _Budget(url, max_bytes, seconds)
    result: Future[bytes] = Future()
    # Name resolution cannot be interrupted, so it runs in a thread that is abandoned at the deadline.
    threading.Thread(target=_run, args=(result, first, budget), name="gmner-fetch", daemon=True).start()
    try:
        return result.result(timeout=max(budget.end - time.monotonic(), 0))
    except TimeoutError as error:
        raise budget.too_long() from error
    except _BROKEN as error:
        if isinstance(error, httpcore.TimeoutException):
            raise budget.too_long() from error
        raise ImageError("An image cannot be fetched", received=url, remedy=_reason(error)) from error


class _Budget:
    """The remaining time and bytes of one call, shared by all its connections."""

    def __init__(self, url: str, max_bytes: int, seconds: float) -> None:
        self.url, self.max_bytes, self.end = url, max_bytes, time.monotonic() + seconds
        self._left = max_bytes + _OVERHEAD

    def seconds(self) -> float:
        """Seconds left.

        Raises:
            ImageError: The time is up.
        """
        remaining = self.end - time.monotonic()
        if remaining <= 0:
            raise self.too_long()
        return remaining

    def spend(self, size: int) -> None:
        """Count received bytes.

        Raises:
            ImageError: The limit is exceeded.
        """
        self._left -= size
        if self._left < 0:
            raise self.too_large()

    def too_long(self) -> ImageError:
        return ImageError("Fetching an image timed out", received=self.url, remedy="Try again, or download it first")

    def too_large(self) -> ImageError:
        return ImageError(
            "The image file is too large", received=self.url, accepted=f"at most {self.max_bytes:,} bytes"
        )


class _Stream(httpcore.NetworkStream):
    """A connection that enforces the deadline of the call and counts received bytes."""

    def __init__(self, stream: httpcore.NetworkStream, budget: _Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, self._budget.seconds())
        self._budget.spend(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _CHUNK):
            self._stream.write(buffer[start : start + _CHUNK], self._budget.seconds())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._budget.seconds()), self._budget)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


class _Network(httpcore.NetworkBackend):
    """Resolves each host name once, and connects only to addresses that were checked."""

    def __init__(self, budget: _Budget) -> None:
        self._budget, self._backend = budget, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _addresses(host, port)
        failure: Exception | None = None
        for index, ip in enumerate(addresses):
            # The remaining time is divided, so that an address that does not respond leaves time for the others.
            share = self._budget.seconds() / (len(addresses) - index)
            try:
                stream = self._backend.connect_tcp(ip, port, share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return self._checked(stream)
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def _checked(self, stream: httpcore.NetworkStream) -> httpcore.NetworkStream:
        """Return the connection, or close it if the time is up."""
        try:
            self._budget.seconds()
        except ImageError:
            stream.close()
            raise
        return _Stream(stream, self._budget)


def _addresses(host: str, port: int) -> list[str]:
    """Resolve the IP addresses of a host, all of which must be public."""
    if is_local_name(host) and not _public("127.0.0.1"):
        raise ImageError(f"The host of an image is not public: {host}", received=host)
    addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    refused = [ip for ip in addresses if not _public(ip)]
    if refused:
        raise ImageError(f"The host of an image is not public: {host}", received=refused[0])
    return list(dict.fromkeys(addresses))


def _run(result: Future[bytes], url: httpx.URL, budget: _Budget) -> None:
    """Run a transfer, and set its result or error."""
    try:
        result.set_result(_transfer(url, budget))
    except BaseException as error:  # the caller raises it
        result.set_exception(error)


def _transfer(url: httpx.URL, budget: _Budget) -> bytes:
    """Follow redirects to the image, with a new connection each."""
    for _ in range(_REDIRECTS + 1):
        with httpcore.ConnectionPool(ssl_context=_trust(), network_backend=_Network(budget)) as pool:
            outcome = _response(pool, url, budget)
        if isinstance(outcome, bytes):
            return outcome
        url = redirected_url(url, outcome)
    raise ImageError("An image cannot be fetched", received=budget.url, remedy=f"more than {_REDIRECTS} redirects")


def _response(pool: httpcore.ConnectionPool, url: httpx.URL, budget: _Budget) -> bytes | str:
    """The image, or the location of a redirect."""
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    headers = [("User-Agent", "gmner"), ("Accept", "image/*"), ("Accept-Encoding", "identity"), ("Connection", "close")]
    with pool.stream("GET", target, headers=headers) as response:
        fields = {name.lower(): value.decode("latin-1").strip() for name, value in response.headers}
        if response.status in (301, 302, 303, 307, 308) and b"location" in fields:
            return fields[b"location"]
        if response.status != 200:
            raise ImageError("An image cannot be fetched", received=budget.url, remedy=f"HTTP status {response.status}")
        if fields.get(b"content-encoding", "identity").lower() not in ("", "identity"):
            raise ImageError(
                "An image cannot be fetched because the response is compressed",
                received=fields[b"content-encoding"],
                accepted="no Content-Encoding",
            )
        if int(fields.get(b"content-length", "0")) > budget.max_bytes:
            raise budget.too_large()
        return _body(response, budget)


def _body(response: httpcore.Response, budget: _Budget) -> bytes:
    data = bytearray()
    for chunk in response.iter_stream():
        data += chunk
        if len(data) > budget.max_bytes:
            raise budget.too_large()
    return bytes(data)


@functools.cache
def _trust() -> ssl.SSLContext:
    """The certificates of the system and of certifi; read once."""
    return httpcore.default_ssl_context()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
