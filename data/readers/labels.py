"""`labels_of`: the entity types of a data set, as found in its posts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gmner.data.post import Post
from gmner.signatures.labels import COARSE, LabelSet


def labels_of(posts: Iterable[Post]) -> LabelSet:
    """The types of the gold mentions, the most frequent first and equally frequent ones by name.

    The types of `COARSE` (PER, LOC, ORG, OTHER) keep their descriptions; others have none.

    Raises:
        InputError: The posts have no gold mentions.
    """
    counts = Counter(entity.type for post in posts for entity in post.gold)
    known = dict(COARSE.types)
    return LabelSet.of({name: known.get(name, "") for name in sorted(counts, key=lambda name: (-counts[name], name))})
