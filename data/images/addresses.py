"""Addresses of images: which URLs are accepted, and which IP addresses are public."""

from __future__ import annotations

import ipaddress

import httpx

from gmner.signatures.errors import ImageError

# The registries of IANA, written out: `is_global` of Python 3.11 calls some of them public.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
        # Protocol assignments with Teredo, documentation, 6to4: inside of the public part of IPv6.
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")
_PORTS = (80, 443)
_REDIRECTED = "A redirect of an image cannot be fetched"


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public network and does not embed another address.

    Of IPv6 only global unicast is public (`2000::/3`): not site-local, unique local and link-local addresses, not those
    that embed an IPv4 address (`::/96`, `::ffff:0:0:0/96`, NAT64, 6to4, Teredo). An IPv4-mapped one counts as its IPv4
    address. Addresses with a zone and multicast addresses are not public.

    Args:
        address: An IPv4 or IPv6 address; anything else is not public.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return False
        if parsed.ipv4_mapped is not None:
            return is_public(str(parsed.ipv4_mapped))
        if parsed not in _PUBLIC_IPV6:
            return False
    return parsed.is_global and not any(parsed in network for network in _NOT_PUBLIC)


def is_local_name(host: str) -> bool:
    """Whether a host name always means the machine itself, whatever a name server says (RFC 6761)."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def checked_url(url: str) -> httpx.URL:
    """Parse the address of an image.

    Args:
        url: The address; a host of other letters is encoded as IDNA, other characters of the path are escaped.

    Raises:
        ImageError: Not `http` or `https`, no host, a user name or password, a port that is neither 80, 443 nor 1024 or
            above, control characters, or another fault of its form.
    """
    if not isinstance(url, str) or not url.lower().startswith(("http://", "https://")):
        raise ImageError("The URL of an image has an unsupported scheme", received=url, accepted="http:// or https://")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise _malformed(url, str(error)) from error
    _check(parsed, url)
    return parsed


def redirected_url(base: httpx.URL, location: str) -> httpx.URL:
    """The address that a redirect leads to, checked as `checked_url` checks one.

    Raises:
        ImageError: As `checked_url`.
    """
    try:
        parsed = base.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise _malformed(location, str(error)) from error
    if parsed.scheme not in ("http", "https"):
        raise ImageError(_REDIRECTED, received=location, accepted="http:// or https://")
    _check(parsed, location)
    return parsed


def _check(parsed: httpx.URL, url: str) -> None:
    if parsed.userinfo:
        # The password is not repeated in an error that may be logged.
        raise ImageError(
            "An address of an image has a user name or password, and is not fetched", received=parsed.host,
            remedy="Fetch the image first",
        )  # fmt: skip
    if not parsed.host:
        raise _malformed(url, "it has no host")
    if any(sign in "%\\ \t" or not sign.isprintable() for sign in parsed.raw_host.decode("ascii", "replace")):
        raise _malformed(url, "its host has characters that no host name has")
    port = parsed.port
    if port is not None and port not in _PORTS and not 1024 <= port < 1 << 16:
        raise ImageError(
            "An image cannot be fetched from this port", received=port, accepted="80, 443, or 1024 to 65535"
        )


def _malformed(url: str, reason: str) -> ImageError:
    return ImageError("The address of an image is malformed, and cannot be fetched", received=url, remedy=reason)
