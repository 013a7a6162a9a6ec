"""`mix_posts`: joins the posts of several data sets into one training set."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from gmner.data.oddities import Oddity, Posts
from gmner.data.post import Post


def mix_posts(*sets: Sequence[Post]) -> Posts:
    """Join posts of several data sets, for example Twitter-GMNER, MNER-MI and GREC, as a training set of `gmner.MCR`.

    Args:
        *sets: The posts of each data set, ids unique in each.

    Returns:
        All posts, in order, with the oddities of their readers. An id that a post of an earlier set has gets the number
        of its own set in front, if necessary repeatedly: `2/17`.

    Example:
        >>> [post.id for post in mix_posts([Post("17", "a")], [Post("17", "b"), Post("18", "c")])]
        ['17', '2/17', '18']
    """
    mixed, oddities, seen = list[Post](), list[Oddity](), set[str]()
    for number, posts in enumerate(sets, 1):
        names = dict[str, str]()
        for id_ in dict.fromkeys(post.id for post in posts):
            names[id_] = _free(id_, number, seen)
            seen.add(names[id_])
        mixed += [post if names[post.id] == post.id else replace(post, id=names[post.id]) for post in posts]
        for oddity in getattr(posts, "oddities", ()):
            name = oddity.post
            oddities.append(oddity if name is None else replace(oddity, post=names.get(name, name)))
    return Posts(mixed, oddities)


def _free(id_: str, number: int, taken: Collection[str]) -> str:
    """An id that is not taken."""
    while id_ in taken:
        id_ = f"{number}/{id_}"
    return id_
