"""The protocols, one line each; `register` adds a protocol from outside the package."""

from __future__ import annotations

from gmner.data.scoring.protocols import e2e_gmner, h_index, mqspn, paper, riveg, sake
from gmner.data.scoring.protocols.protocol import Protocol
from gmner.signatures.registry import Registry, check_type

ALL = "all"
"""The name that asks for every protocol on the command line."""

_BUILT_IN = (
    paper.PAPER,
    riveg.RIVEG,
    e2e_gmner.E2E_GMNER,
    sake.SAKE,
    mqspn.MQSPN,
    h_index.H_INDEX,
    riveg.RIVEG_SCRIPT,
    sake.SAKE_SCRIPT,
    mqspn.MQSPN_SCRIPT,
)
PROTOCOLS: Registry[Protocol] = Registry(
    "protocol", {protocol.name: protocol for protocol in _BUILT_IN}, reserved=[ALL]
)
"""The protocols by name, `paper` first."""


def register(protocol: Protocol) -> Protocol:
    """Add a protocol: `gmner.evaluate` and `gmner evaluate --protocol` accept its name.

    Args:
        protocol: The protocol.

    Returns:
        The protocol itself.

    Raises:
        InputError: Not a `Protocol`, a name that is not a word, or another protocol has this name.

    Example:
        >>> from dataclasses import replace
        >>> from gmner.data.scoring.region_rule import RegionRule
        >>> register(replace(PROTOCOLS["paper"], name="strict", region=RegionRule(0.75))).name
        'strict'
        >>> unregister("strict")
    """
    check_type(protocol, Protocol)
    PROTOCOLS.add(protocol.name, protocol)
    return protocol


def unregister(name: str) -> None:
    """Remove a protocol that `register` added.

    Raises:
        InputError: No protocol with this name was registered.
    """
    PROTOCOLS.remove(name)


def find_protocol(protocol: str | Protocol) -> Protocol:
    """A protocol by its name, or the protocol itself.

    Raises:
        InputError: No protocol has this name.
    """
    return protocol if isinstance(protocol, Protocol) else PROTOCOLS.find(protocol)
