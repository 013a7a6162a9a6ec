"""URLs of images: which URLs are accepted, and which IP addresses are public."""

from __future__ import annotations

import ipaddress

import httpx

from gmner.signatures.errors import ImageError

# From the IANA registries, because `is_global` of Python 3.11 considers some of these public.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
        # Protocol assignments (including Teredo), documentation and 6to4, all within the public range of IPv6.
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")
_PORTS = (80, 443)


def is_public(address: str) -> bool:
    """Whether an IP address is public and does not embed another address.

    In IPv6, only global unicast addresses (`2000::/3`) are public. Site-local, unique local, link-local and multicast
    addresses are not, nor are addresses with a zone, or those that embed an IPv4 address (`::/96`, `::ffff:0:0:0/96`,
    NAT64, 6to4, Teredo). An IPv4-mapped address is public if its IPv4 address is.

    Args:
        address: An IPv4 or IPv6 address; False for any other string.
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
    """Whether a host name always refers to the local machine, independent of name servers (RFC 6761)."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def checked_url(url: str) -> httpx.URL:
    """Parse and check the URL of an image.

    Args:
        url: The URL. An internationalized host name is encoded as IDNA, non-ASCII characters of the path are escaped.

    Raises:
        ImageError: The scheme is not `http` or `https`, there is no host, there is a user name or password, the port is
            not 80, 443 or at least 1024, or the URL is malformed, for example by control characters.
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
    """Resolve and check the target of a redirect.

    Raises:
        ImageError: See `checked_url`.
    """
    try:
        parsed = base.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise _malformed(location, str(error)) from error
    if parsed.scheme not in ("http", "https"):
        raise ImageError(
            "An image redirects to an unsupported scheme", received=location, accepted="http:// or https://"
        )
    _check(parsed, location)
    return parsed


def _check(parsed: httpx.URL, url: str) -> None:
    if parsed.userinfo:
        # The error may be logged, so it does not contain the password.
        raise ImageError(
            "The URL of an image must not contain a user name or password", received=parsed.host,
            remedy="Download the image first",
        )  # fmt: skip
    if not parsed.host:
        raise _malformed(url, "it has no host")
    if any(char in "%\\ \t" or not char.isprintable() for char in parsed.raw_host.decode("ascii", "replace")):
        raise _malformed(url, "its host contains invalid characters")
    port = parsed.port
    if port is not None and port not in _PORTS and not 1024 <= port < 1 << 16:
        raise ImageError(
            "The URL of an image has an unsupported port", received=port, accepted="80, 443, or 1024 to 65535"
        )


def _malformed(url: str, reason: str) -> ImageError:
    return ImageError("The URL of an image is malformed", received=url, remedy=reason)
