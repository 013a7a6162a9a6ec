"""Posts and predictions in the format of COCO, for its tools and for detectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gmner.data.export.exporter import Export, Exporter
from gmner.data.export.source import answers, checked_posts, picture_names, picture_order, picture_size
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet, as_labels
from gmner.signatures.mentions import Mention


def to_coco(posts: Iterable[Post], labels: LabelSet | None = None) -> dict[str, Any]:
    """Convert annotated posts to a COCO data set, which pycocotools and similar tools read after `json.dump`.

    - `images`: `{"id", "file_name", "width", "height"}` of every image of every post; pixels of the upright original
      image, read from its header. `file_name` is the name without its folder, or `<id>.png` for a PIL image.
    - `categories`: one per type.
    - `annotations`: one per box: `bbox` `[x, y, width, height]` in float pixels of the original image (the coordinates
      of the data set, not shifted), `area`, `iscrowd` 0, an empty `segmentation`, and the mention's `entity_id`,
      `span`, `start` and `end`. The boxes of one mention share its `entity_id`.
    - In addition to COCO: `posts` (`{"id", "text", "image_id", "more_images", "annotated"}`; a post with
      several images also has `more_image_ids`), and `not_shown` for the
      mentions without a box (`{"entity_id", "post_id", "category_id", "span", "start", "end"}`).

    Ids count from 1 in the order of the posts, because pycocotools ignores an annotation with the id 0.

    Args:
        posts: The posts.
        labels: The types in the order of their ids; None: the types of the posts in alphabetical order.

    Raises:
        InputError: A post id or the file name of an image occurs twice, a post has boxes but no image, a post is not
            grounded (its mentions would be read as not shown), or a type is not in `labels`.
        ImageError: An image is missing or broken; the error names the post.

    Source: the data format of COCO (Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014).
    """
    posts = checked_posts(posts)
    categories = _categories(posts, labels)
    coco: dict[str, Any] = {
        "info": {"description": "Grounded named entities, exported by gmner"},
        "licenses": [],
        "categories": [{"id": n, "name": name, "supercategory": "entity"} for name, n in categories.items()],
        "images": _images(posts),
        "annotations": [],
        "posts": _posts(posts),
        "not_shown": [],
    }
    image_ids, entity_id = _image_ids(posts), 0
    for post in posts:
        for entity in post.gold:
            entity_id += 1
            shared = {"entity_id": entity_id, "category_id": _category(entity, post, categories), **_place(entity)}
            if not entity.boxes:
                coco["not_shown"].append({"post_id": post.id, **shared})
            for box in entity.boxes:
                number, image_id = len(coco["annotations"]) + 1, _image_id(post, box, image_ids)
                coco["annotations"].append({"id": number, "image_id": image_id, **shared, **_region(box)})
    return coco


def predictions_to_coco(
    predictions: Iterable[Prediction], posts: Iterable[Post], labels: LabelSet | None = None
) -> list[dict[str, Any]]:
    """Convert predicted boxes to COCO results, which `COCO.loadRes` reads together with `to_coco(posts, labels)`.

    There is one `{"image_id", "category_id", "bbox", "score", "span", "start", "end", "type"}` per box, with `bbox` as
    in `to_coco`. `score` is the confidence of the entity. COCO requires a score, so it is 1.0 for entities without a
    confidence (predictions made without `confidence=True`); the average precision of such results has a single
    operating point.

    Category ids are those of `to_coco`. If predictions have types that the gold annotation lacks, pass the labels of
    `categories_of(posts, predictions)` to both functions.

    Args:
        predictions: The predictions. Entities without a box are left out.
        posts: The posts that `to_coco` got, in the same order.
        labels: The types that `to_coco` got; None: those of the posts, or of the predictions if the posts have no gold
            mentions.

    Raises:
        InputError: As for `to_coco`, or a prediction has an unknown post id, or a post has two predictions.
    """
    posts = checked_posts(posts)
    image_ids, given = _image_ids(posts), answers(predictions, posts)
    if labels is None and not any(post.gold for post in posts):
        labels = categories_of(posts, given.values())
    categories = _categories(posts, labels)
    results = []
    for post in (post for post in posts if post.id in given):
        for entity in given[post.id].entities:
            score = 1.0 if entity.confidence is None else entity.confidence
            mention = {**_place(entity), "type": entity.type}
            for box in entity.boxes:
                ids = {"image_id": _image_id(post, box, image_ids), "category_id": _category(entity, post, categories)}
                results.append({**ids, "bbox": _region(box)["bbox"], "score": score, **mention})
    return results


def categories_of(posts: Iterable[Post], predictions: Iterable[Prediction]) -> LabelSet | None:
    """The types of the gold annotation as `to_coco` orders them, then those of predictions only; None: no types."""
    gold = {entity.type for post in posts for entity in post.gold}
    further = {entity.type for answer in predictions for entity in answer.entities} - gold
    names = [*sorted(gold), *sorted(further)]
    return LabelSet.of(dict.fromkeys(names, "")) if names else None


def _categories(posts: Sequence[Post], labels: LabelSet | None) -> dict[str, int]:
    names = (
        sorted({entity.type for post in posts for entity in post.gold}) if labels is None else as_labels(labels).names
    )
    return {name: number for number, name in enumerate(names, 1)}


def _category(entity: Mention, post: Post, categories: dict[str, int]) -> int:
    if entity.type not in categories:
        raise InputError(
            f"post {post.id!r}: the type of {entity.span!r} is not among the labels",
            received=entity.type,
            accepted=", ".join(categories),
            remedy="Pass all types as `labels`",
        )
    return categories[entity.type]


def _image_ids(posts: Sequence[Post]) -> dict[str, list[int]]:
    """Post id -> the ids of its images; first those of all first images, then of further ones."""
    ids: dict[str, list[int]] = {post.id: [] for post in posts}
    for id_, (_, post) in enumerate(_pictures(posts), 1):
        ids[post.id].append(id_)
    return ids


def _pictures(posts: Sequence[Post]) -> list[tuple[int, Post]]:
    """The number of each image, from 1, with its post, in the order of `picture_order`."""
    return [(number, posts[place]) for place, number in picture_order(posts)]


def _image_id(post: Post, box: Box, ids: dict[str, list[int]]) -> int:
    if box.picture > len(ids[post.id]):
        picture_size(post, box.picture)  # raises the error
    return ids[post.id][box.picture - 1]


def _images(posts: Sequence[Post]) -> list[dict[str, Any]]:
    names = {post.id: post_names for post, post_names in zip(posts, picture_names(posts), strict=True)}
    images = []
    for id_, (number, post) in enumerate(_pictures(posts), 1):
        width, height = picture_size(post, number)
        images.append({"id": id_, "file_name": names[post.id][number - 1], "width": width, "height": height})
    return images


def _posts(posts: Sequence[Post]) -> list[dict[str, Any]]:
    ids, records = _image_ids(posts), []
    for post in posts:
        if not post.grounded:
            raise InputError(
                f"post {post.id!r}: The post has no box annotations, which COCO requires",
                accepted="grounded posts",
            )
        more = [path.name if isinstance(path, Path) else None for path in post.more_images]
        image_id, more_ids = next(iter(ids[post.id]), None), ids[post.id][1:]
        shared: dict[str, Any] = {"id": post.id, "text": post.text, "image_id": image_id, "more_images": more}
        shared |= {"more_image_ids": more_ids} if more_ids else {}
        records.append({**shared, "annotated": post.entities is not None})
    return records


def _place(entity: Mention) -> dict[str, Any]:
    return {"span": entity.span, "start": entity.start, "end": entity.end}


def _region(box: Box) -> dict[str, Any]:
    bbox = [box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1]
    return {"bbox": bbox, "area": box.area, "iscrowd": 0, "segmentation": []}


def _write(export: Export) -> None:
    if export.predictions is None:
        export.write_json(to_coco(export.posts))
    else:
        labels = categories_of(export.posts, export.predictions)
        export.write_json(predictions_to_coco(export.predictions, export.posts, labels))


COCO = Exporter("coco", _write, needs_confidence=True)
