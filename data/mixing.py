"""`mix_posts` joins the posts of several data sets into one training set; `rename_types` makes their types the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


def rename_types(posts: Sequence[Post], names: Mapping[str, str]) -> Posts:
    """Rename entity types, for example `MIS` of MNER-MI to `OTHER`, as Twitter-GMNER calls it.

    Args:
        posts: The posts.
        names: Type -> its new name. Other types are kept; types that do not occur are ignored.

    Returns:
        The posts with the new types, with the oddities of their readers.

    Example:
        >>> from gmner import GoldEntity
        >>> post = Post("1", "Oscars", entities=(GoldEntity("Oscars", 0, 6, "MIS"),))
        >>> rename_types([post], {"MIS": "OTHER"})[0].gold[0].type
        'OTHER'
    """
    return Posts((_renamed(post, names) for post in posts), getattr(posts, "oddities", ()))


def _renamed(post: Post, names: Mapping[str, str]) -> Post:
    if not any(entity.type in names for entity in post.gold):
        return post
    return replace(post, entities=tuple(replace(e, type=names.get(e.type, e.type)) for e in post.gold))


def _free(id_: str, number: int, taken: Collection[str]) -> str:
    """An id that is not taken."""
    while id_ in taken:
        id_ = f"{number}/{id_}"
    return id_
