"""Fetching a picture that somebody else named: public addresses only, bounded in size and time."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from functools import partial
from typing import Any

from gmner.data.images import MAX_BYTES
from gmner.signatures.errors import ImageError

SECONDS = 30.0
"""Most seconds that a picture may take."""

_CHUNK = 1 << 16
_BROKEN = (OSError, http.client.HTTPException, ValueError)


def fetch(url: str, *, max_bytes: int = MAX_BYTES, seconds: float = SECONDS) -> bytes:
    """The bytes behind an `http` or `https` address.

    A name is looked up once, and what is connected to is what was checked: loopback, private, link-local and other
    addresses that are not public are refused, also behind a redirect. Proxies of the environment are not used, as they
    would look names up themselves. Nothing is sent but the request: no cookies, no passwords.

    Args:
        url: The address.
        max_bytes: Most bytes of the picture.
        seconds: Most seconds from the first connection to the last byte.

    Raises:
        ImageError: Another kind of address, one that is not public, an error of the server, too large, or too slow.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ImageError("This address is not fetched", received=url, accepted="http:// or https://")
    end, guard = time.monotonic() + seconds, _Guard()
    clock = threading.Timer(seconds, guard.cut)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "gmner", "Accept": "image/*"})
        clock.start()
        with _opener(guard).open(request, timeout=seconds) as response:
            return _read(response, url, max_bytes, end)
    except urllib.error.HTTPError as error:
        raise ImageError("A picture cannot be fetched", received=url, remedy=f"the server says {error.code}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ImageError):
            raise error.reason from error
        raise ImageError("A picture cannot be fetched", received=url, remedy=str(error.reason)) from error
    except _BROKEN as error:
        raise ImageError("A picture cannot be fetched", received=url, remedy=str(error)) from error
    finally:
        clock.cancel()


def _read(response: Any, url: str, max_bytes: int, end: float) -> bytes:
    data = bytearray()
    while chunk := response.read1(_CHUNK):
        data += chunk
        if len(data) > max_bytes:
            raise ImageError("A picture's file is too large", received=url, accepted=f"at most {max_bytes:,} bytes")
        if time.monotonic() > end:
            raise ImageError("A picture takes too long to fetch", received=url, remedy="Fetch it first")
    return bytes(data)


_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


def _public(address: str) -> bool:
    """Whether an IP address is one of the public network, and does not hide another."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return _public(str(found.ipv4_mapped))
        if found.sixtofour is not None or found.teredo is not None or found in _TRANSLATED:
            return False
    return found.is_global and not found.is_multicast


class _Guard:
    """Connects to public addresses only, and cuts what takes too long to begin."""

    def __init__(self) -> None:
        self._made: list[http.client.HTTPConnection] = []

    def connection(self, kind: type[http.client.HTTPConnection], host: str, **options: Any) -> Any:
        made = kind(host, **options)
        made._create_connection = self._connect  # type: ignore[attr-defined]
        self._made.append(made)
        return made

    def cut(self) -> None:
        for connection in self._made:
            with suppress(OSError, AttributeError):  # it has ended, or not begun
                connection.sock.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _connect(address: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
        host, port = address
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        refused = [ip for ip in found if not _public(ip)]
        if refused:
            raise ImageError(f"The address of a picture is not public: {host}", received=refused[0])
        for ip in found[:-1]:  # a host has addresses of kinds that this machine may not reach
            with suppress(OSError):
                return socket.create_connection((ip, port), timeout, source)
        return socket.create_connection((found[-1], port), timeout, source)


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, guard: _Guard) -> None:
        super().__init__()
        self._guard = guard

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(self._guard.connection, http.client.HTTPConnection), req)


class _Encrypted(urllib.request.HTTPSHandler):
    def __init__(self, guard: _Guard) -> None:
        super().__init__()
        self._guard = guard

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(self._guard.connection, http.client.HTTPSConnection), req)


def _opener(guard: _Guard) -> urllib.request.OpenerDirector:
    """What opens `http` and `https`, follows redirects to these, and knows no files and no proxies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        _Plain(guard),
        _Encrypted(guard),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
