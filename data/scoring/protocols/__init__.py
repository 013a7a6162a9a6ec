"""Protocols: the rules by which published results were counted, one file for each system.

`paper`, the rule of the ACL 2023 paper, is the default. The others count as published systems do, whose figures were
not made by the same rule. A name that ends in `-script` reproduces the released evaluation script of that system where
the script differs from the published rule.
"""

from __future__ import annotations

from gmner.data.scoring.pairing import TaskCounts
from gmner.data.scoring.protocols.paper import PAPER
from gmner.data.scoring.protocols.protocol import Protocol
from gmner.data.scoring.protocols.registry import ALL, PROTOCOLS, find_protocol, register, unregister
from gmner.data.scoring.region_rule import RegionRule

__all__ = [
    "ALL",
    "PAPER",
    "PROTOCOLS",
    "Protocol",
    "RegionRule",
    "TaskCounts",
    "find_protocol",
    "register",
    "unregister",
]
