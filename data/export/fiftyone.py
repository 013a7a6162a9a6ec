"""Posts and predictions as a dataset of FiftyOne, to look through them in its app."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gmner.data.export.source import answers, boxes_of, checked_posts, picture_size
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.records import located
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity


def to_fiftyone(posts: Iterable[Post], predictions: Iterable[Prediction] | None = None, name: str | None = None) -> Any:
    """Posts as a `fiftyone.Dataset`: one sample a post, boxes as detections.

    A sample has the fields `post_id`, `text`, and of annotated posts `ground_truth`, a `Detections` with one detection
    a box, and `not_shown`, a `Classifications` with one a mention that has no box (`not_grounded` instead where nobody
    drew boxes). With predictions, `predictions` and `predicted_not_shown` are the same of the answer. Every detection
    and classification has the type as its label and `span`, `start` and `end`; the boxes of one mention share `entity`,
    its number in the post. Boxes are `[x, y, width, height]` relative to the width and height of the original image.
    `confidence` is that of the entity; None where it has none.

    Args:
        posts: Posts with an image on the disk.
        predictions: Answers to them; a post may have none.
        name: Name of the dataset; None: FiftyOne gives it one.

    Raises:
        InputError: FiftyOne is not installed, an id that occurs twice, a post without an image on the disk, or a
            prediction that belongs to no post.
        ImageError: An image that is missing or broken; the fact names the post.

    Source: FiftyOne's documentation, "Using FiftyOne datasets".
    """
    fiftyone = _library()
    posts = checked_posts(posts)
    predictions_by_id = {} if predictions is None else answers(predictions, posts)
    samples = [_sample(fiftyone, post, predictions_by_id.get(post.id)) for post in posts]
    dataset = fiftyone.Dataset(name)
    dataset.add_samples(samples)
    return dataset


def _library() -> Any:
    try:
        import fiftyone
    except ImportError as error:
        raise InputError("FiftyOne is not installed", remedy="pip install fiftyone") from error
    return fiftyone


def _sample(fiftyone: Any, post: Post, answer: Prediction | None) -> Any:
    with located(f"post {post.id!r}"):
        if not isinstance(post.image, Path):
            remedy = "Leave out posts without an image, and write the others with write_posts"
            raise InputError("The post has no image file", received=post.image, remedy=remedy)
    size, fields = picture_size(post), dict[str, Any]()
    if post.entities is not None:
        unboxed = "not_shown" if post.grounded else "not_grounded"
        fields["ground_truth"], fields[unboxed] = _labels(fiftyone, post.entities, size)
    if answer is not None:
        fields["predictions"], fields["predicted_not_shown"] = _labels(fiftyone, answer.entities, size)
    return fiftyone.Sample(filepath=os.path.abspath(post.image), post_id=post.id, text=post.text, **fields)


def _labels(fiftyone: Any, entities: Sequence[GoldEntity | GroundedEntity], size: Size) -> tuple[Any, Any]:
    """What is shown as detections, what is not as classifications."""
    detections, classifications = [], []
    for number, entity in enumerate(entities):
        place: dict[str, Any] = {"span": entity.span, "start": entity.start, "end": entity.end, "entity": number}
        if isinstance(entity, GroundedEntity) and entity.confidence is not None:
            place["confidence"] = entity.confidence
        boxes = boxes_of(entity)
        detections += [
            fiftyone.Detection(label=entity.type, bounding_box=_relative(box, size), **place) for box in boxes
        ]
        if not boxes:
            classifications.append(fiftyone.Classification(label=entity.type, **place))
    return fiftyone.Detections(detections=detections), fiftyone.Classifications(classifications=classifications)


def _relative(box: Box, size: Size) -> list[float]:
    width, height = size
    return [box.x1 / width, box.y1 / height, (box.x2 - box.x1) / width, (box.y2 - box.y1) / height]
