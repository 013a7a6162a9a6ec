"""`labels_of`: the entity types of a data set, as found in its posts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gmner.data.post import Post
from gmner.signatures.labels import LabelSet


def labels_of(posts: Iterable[Post]) -> LabelSet:
    """The types of the gold mentions, the most frequent first, equally frequent ones by name, without descriptions.

    Raises:
        InputError: The posts name nothing.
    """
    counts = Counter(entity.type for post in posts for entity in post.gold)
    return LabelSet.of(dict.fromkeys(sorted(counts, key=lambda name: (-counts[name], name)), ""))
