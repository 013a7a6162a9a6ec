"""Plain: the answer without a chain."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts


def plain(facts: Facts, rng: random.Random) -> str:
    """An empty chain: the answer without reasoning, the baseline of the ablation."""
    return ""
