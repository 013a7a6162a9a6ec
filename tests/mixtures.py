"""Training sets with posts of all tasks."""

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.data.world.related import expression_posts, name_posts

_MOST = 2
"""Names in an answer of the tiny programs of `tests/optimizers`."""


def mixture(each: int = 4, pictures: int = 1) -> list[Post]:
    """Posts with names and regions, with names alone, and expressions, in this order.

    Args:
        each: Posts of each task.
        pictures: Images of a post with names alone.
    """
    world = World()
    own, names = world.posts("train", 4 * each, start=90), name_posts(world, "train", 4 * each, pictures=pictures)
    short = ([post for post in posts if len(post.gold) <= _MOST][:each] for posts in (own, names))
    return [post for posts in (*short, expression_posts(world, "train", each)) for post in posts]
