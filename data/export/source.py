"""Functions that the exporters share: checks of posts and predictions, types, boxes, image names and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from gmner.data.images.opening import image_size
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.readers.labels import labels_of
from gmner.data.records import located
from gmner.signatures.boxes import Size
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet


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
            raise InputError(
                f"The prediction for post {prediction.id!r} has another text than the post", received=prediction.text
            )
        by_id[prediction.id] = prediction
    return by_id


def types_of_all(
    posts: Sequence[Post], predictions: Iterable[Prediction] | None, labels: LabelSet | None = None
) -> LabelSet:
    """The types that a person may need to correct the posts.

    Args:
        posts: The posts.
        predictions: Predictions for them, or None.
        labels: Types to begin with; None: the types of the gold annotation in the order of `labels_of`.

    Returns:
        These types, then those of predictions only, by name; without `labels`, then the rest of `COARSE` if all others
        belong to it.
    """
    gold = labels_of(posts).types if any(post.gold for post in posts) else ()
    used = {entity.type for answer in predictions or () for entity in answer.entities}
    found = dict(gold if labels is None else (*labels.types, *(one for one in gold if one[0] not in labels)))
    known = dict(COARSE.types)
    found |= {name: known.get(name, "") for name in sorted(used - found.keys())}
    if labels is None and found.keys() <= known.keys():
        found |= {name: description for name, description in known.items() if name not in found}
    return LabelSet.of(found)


def picture_names(posts: Sequence[Post]) -> list[list[str]]:
    """The file names of each post's images without their folder.

    They are `<id>.png` for the first PIL image of a post, and `<id>_2.png` for the second.

    Raises:
        InputError: Two different images have the same file name.
    """
    names = [[_name(post, image, number) for number, image in enumerate(post.images, 1)] for post in posts]
    owners: dict[str, tuple[Post, Path | Image.Image]] = {}
    for post, post_names in zip(posts, names, strict=True):
        for image, name in zip(post.images, post_names, strict=True):
            owner, owned = owners.setdefault(name, (post, image))
            if owned != image:
                raise InputError(
                    f"The images of posts {owner.id!r} and {post.id!r} have the same file name",
                    received=name,
                    remedy="Write the posts with write_posts, which gives every image a name of its own",
                )
    return names


def picture_order(posts: Sequence[Post]) -> list[tuple[int, int]]:
    """The images in the order of their ids in COCO: the first images of all posts, then the further ones.

    Returns:
        For each image, the index of its post and its number in the post, from 1.
    """
    first = [(place, 1) for place, post in enumerate(posts) if post.images]
    return first + [(place, number) for place, post in enumerate(posts) for number in range(2, len(post.images) + 1)]


def picture_size(post: Post, number: int = 1) -> Size:
    """Width and height of an image of a post in pixels, read from its header.

    Args:
        post: The post.
        number: Number of the image, counted from 1, as in `Box.picture`.

    Raises:
        InputError: The post has no such image.
        ImageError: The image is missing or broken. Both errors name the post.
    """
    with located(f"post {post.id!r}"):
        if not post.images:
            raise InputError("The post has boxes but no image", accepted="a post with an image")
        if number > len(post.images):
            accepted = f"1 to {len(post.images)}"
            raise InputError("The post has a box in an image that it does not have", received=number, accepted=accepted)
        return image_size(post.images[number - 1])


def _name(post: Post, image: Path | Image.Image, number: int) -> str:
    if isinstance(image, Path):
        return image.name
    return f"{post.id}.png" if number == 1 else f"{post.id}_{number}.png"
