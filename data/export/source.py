"""Functions that the exporters share: checks of posts and predictions, types, boxes, image names and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gmner.data.images.opening import image_size
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.readers.labels import labels_of
from gmner.data.records import located
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity


def checked_posts(posts: Iterable[Post]) -> list[Post]:
    """The posts as a list.

    Raises:
        InputError: A post id occurs twice.
    """
    checked, seen = list(posts), set[str]()
    for post in checked:
        if post.id in seen:
            raise InputError("A post id occurs twice", received=post.id, remedy="Give every post a unique id")
        seen.add(post.id)
    return checked


def answers(predictions: Iterable[Prediction], posts: Sequence[Post]) -> dict[str, Prediction]:
    """The predictions by the id of their post; a post may have none.

    Raises:
        InputError: A post has two predictions, or a prediction has an unknown post id or another text than its post.
    """
    texts, by_id = {post.id: post.text for post in posts}, dict[str, Prediction]()
    for prediction in predictions:
        if prediction.id in by_id:
            raise InputError("Two predictions have the same id", received=prediction.id)
        if prediction.id not in texts:
            raise InputError("A prediction has an unknown post id", received=prediction.id)
        if prediction.text != texts[prediction.id]:
            raise InputError(f"The prediction of post {prediction.id!r} is for another text", received=prediction.text)
        by_id[prediction.id] = prediction
    return by_id


def types_of_all(posts: Sequence[Post], predictions: Iterable[Prediction] | None) -> LabelSet:
    """The types of the gold annotation in the order of `labels_of`, then those of predictions only, by name.

    `COARSE` if there are no types.
    """
    gold = labels_of(posts).types if any(post.gold for post in posts) else ()
    known, names = dict(COARSE.types), {name for name, _ in gold}
    further = sorted({entity.type for answer in predictions or () for entity in answer.entities} - names)
    types = (*gold, *((name, known.get(name, "")) for name in further))
    return LabelSet(types) if types else COARSE


def boxes_of(entity: GoldEntity | GroundedEntity) -> tuple[Box, ...]:
    """All boxes of a gold or predicted mention, pixels of the original image; empty if it is not shown."""
    if isinstance(entity, GoldEntity):
        return entity.boxes
    return () if entity.box is None else (entity.box, *entity.more_boxes)


def picture_names(posts: Sequence[Post]) -> list[str | None]:
    """The file name of each post's image without its folder: `<id>.png` for a PIL image, None without an image.

    Raises:
        InputError: Two different images have the same file name.
    """
    names = [_name(post) for post in posts]
    owners: dict[str, Post] = {}
    for post, name in zip(posts, names, strict=True):
        if name is not None and owners.setdefault(name, post).image != post.image:
            raise InputError(
                f"The images of posts {owners[name].id!r} and {post.id!r} have the same file name",
                received=name,
                remedy="Write the posts with write_posts, which gives every image a name of its own",
            )
    return names


def picture_size(post: Post) -> Size:
    """Width and height of a post's image in pixels, read from its header.

    Raises:
        InputError: The post has no image.
        ImageError: The image is missing or broken. Both errors name the post.
    """
    with located(f"post {post.id!r}"):
        if post.image is None:
            raise InputError("The post has boxes but no image", accepted="a post with an image")
        return image_size(post.image)


def _name(post: Post) -> str | None:
    if post.image is None:
        return None
    return post.image.name if isinstance(post.image, Path) else f"{post.id}.png"
