"""Posts and predictions as a dataset of FiftyOne, for viewing them in its app."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gmner.data.export.source import answers, checked_posts, picture_size
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.records import located
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity


def to_fiftyone(posts: Iterable[Post], predictions: Iterable[Prediction] | None = None, name: str | None = None) -> Any:
    """Convert posts to a `fiftyone.Dataset` with one sample per image and boxes as detections.

    A sample has the fields `post_id` and `text`; those of a post with several images also have `picture`, the number of
    the image from 1, and mentions without a box are in the sample of the first image. Samples of annotated posts also
    have `ground_truth`, a `Detections` with one detection per box, and `not_shown`, a `Classifications` with one
    classification per mention without a box (`not_grounded` if the post was annotated without boxes). With predictions,
    `predictions` and `predicted_not_shown` hold the same for the predicted entities. Every detection and classification
    has the type as its label, and `span`, `start`, `end` and `confidence` (None if the entity has none); the boxes of
    one mention share `entity`, its number in the post. Boxes are `[x, y, width, height]` relative to the width and
    height of the original image.

    Args:
        posts: Posts whose images are files.
        predictions: Predictions for them; posts may lack one.
        name: Name of the dataset; None: chosen by FiftyOne.

    Raises:
        InputError: FiftyOne is not installed, a post id occurs twice, a post has no image file, or a prediction has an
            unknown post id.
        ImageError: An image is missing or broken; the error names the post.

    Source: FiftyOne's documentation, "Using FiftyOne datasets".
    """
    fiftyone = _library()
    posts = checked_posts(posts)
    predictions_by_id = {} if predictions is None else answers(predictions, posts)
    samples = [sample for post in posts for sample in _samples(fiftyone, post, predictions_by_id.get(post.id))]
    dataset = fiftyone.Dataset(name)
    dataset.add_samples(samples)
    return dataset


def _library() -> Any:
    try:
        import fiftyone
    except ImportError as error:
        raise InputError("FiftyOne is not installed", remedy="pip install fiftyone") from error
    return fiftyone


def _samples(fiftyone: Any, post: Post, answer: Prediction | None) -> list[Any]:
    files = [image for image in post.images if isinstance(image, Path)]
    with located(f"post {post.id!r}"):
        if not files or len(files) < len(post.images):
            remedy = "Leave out posts without an image, and write the others with write_posts"
            raise InputError("The post has no image file", received=post.image, remedy=remedy)
    return [_sample(fiftyone, post, answer, number) for number in range(1, len(files) + 1)]


def _sample(fiftyone: Any, post: Post, answer: Prediction | None, number: int) -> Any:
    """The sample of one image."""
    place = (picture_size(post, number), number)
    fields: dict[str, Any] = {"picture": number} if len(post.images) > 1 else {}
    if post.entities is not None:
        unboxed = "not_shown" if post.grounded else "not_grounded"
        fields["ground_truth"], fields[unboxed] = _labels(fiftyone, post.entities, place)
    if answer is not None:
        fields["predictions"], fields["predicted_not_shown"] = _labels(fiftyone, answer.entities, place)
    path = os.path.abspath(str(post.images[number - 1]))
    return fiftyone.Sample(filepath=path, post_id=post.id, text=post.text, **fields)


def _labels(
    fiftyone: Any, entities: Sequence[GoldEntity | GroundedEntity], picture: tuple[Size, int]
) -> tuple[Any, Any]:
    """Detections for the boxes in an image (size, number), and classifications for the mentions without a box.

    The classifications are those of the first image.
    """
    size, shown = picture
    detections, classifications = [], []
    for number, entity in enumerate(entities):
        place: dict[str, Any] = {"span": entity.span, "start": entity.start, "end": entity.end, "entity": number}
        if isinstance(entity, GroundedEntity) and entity.confidence is not None:
            place["confidence"] = entity.confidence
        boxes = entity.boxes
        detections += [
            fiftyone.Detection(label=entity.type, bounding_box=_relative(box, size), **place)
            for box in boxes
            if box.picture == shown
        ]
        if not boxes and shown == 1:
            classifications.append(fiftyone.Classification(label=entity.type, **place))
    return fiftyone.Detections(detections=detections), fiftyone.Classifications(classifications=classifications)


def _relative(box: Box, size: Size) -> list[float]:
    width, height = size
    return [box.x1 / width, box.y1 / height, (box.x2 - box.x1) / width, (box.y2 - box.y1) / height]
