"""Posts and predictions as tasks of Label Studio: spans, boxes, and relations between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from gmner.data.export.exporter import Export, Exporter
from gmner.data.export.source import answers, checked_posts, picture_names, picture_size, types_of_all
from gmner.data.export.voc import NO_XML
from gmner.data.files.atomic import whole_text
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet, as_labels
from gmner.signatures.mentions import GoldEntity, GroundedEntity

LOCAL_FILES = "/data/local-files/?d="
"""URL prefix of the files in Label Studio's LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""

_CONFIG = ".xml"
"""Suffix of the labeling configuration, which is written beside the tasks."""

# The names that connect the results with the tags of the labeling configuration.
_TYPE, _TEXT, _BOX, _IMAGE, _RELATION = "type", "text", "box", "image", "shows"


def to_label_studio(
    posts: Iterable[Post],
    predictions: Iterable[Prediction] | None = None,
    *,
    image_url: str | Callable[[Post], str] = LOCAL_FILES,
    model_version: str = "gmner",
) -> list[dict[str, Any]]:
    """Convert posts to tasks with pre-annotations, which Label Studio imports after `json.dump`.

    A task is `{"data": {"id", "text", "image"}, "predictions": [{"model_version", "result"}]}`. A mention is a `labels`
    result with `start` and `end` in characters of the text. Each of its boxes is a `rectanglelabels` result with x, y,
    width and height in percent of the original image, and the size of the image; a relation `shows` leads from the box
    to the mention. A mention without a relation is not shown. The data of a post that is not grounded also has
    `"grounded": false`. The project needs the labeling configuration of `label_studio_config`. `from_label_studio`
    reads the tasks again after people corrected them.

    If a post has several images, all tasks have the list `images` in addition, which the labeling configuration then
    shows, and every box has the index of its image in this list, `item_index`, from 0.

    The confidence of an entity, if it has one, is the `score` of its results. The `score` of a prediction is the lowest
    of these.

    Args:
        posts: The posts.
        predictions: The predictions to use as pre-annotations; the gold annotation then becomes the `annotations` of
            the tasks. None: the gold annotation is the pre-annotation.
        image_url: The prefix of image file names in URLs (`/data/local-files/?d=images/`, `https://.../`), or a
            function that returns the URL of a post's image; for a post with several, it is called once for each, with
            a post that has only this image. A post without an image has the URL "".
        model_version: Name of the pre-annotations.

    Raises:
        InputError: A post id or the file name of an image occurs twice, a post has boxes but no image, or a prediction
            has an unknown post id.
        ImageError: The image of a post with boxes is missing or broken; the error names the post.

    Source: Label Studio's documentation, "Import pre-annotated data" and "Task format".
    """
    posts = checked_posts(posts)
    predictions_by_id = None if predictions is None else answers(predictions, posts)
    several, tasks = has_several(posts), []
    for post, urls in zip(posts, _urls(posts, image_url), strict=True):
        data: dict[str, Any] = {"id": post.id, "text": post.text, "image": urls[0] if urls else ""}
        more: dict[str, Any] = {"images": urls} if several else {}
        more |= {} if post.grounded else {"grounded": False}
        task: dict[str, Any] = {"data": data | more}
        gold = None if post.entities is None else _result(post, post.entities, several=several)
        if predictions_by_id is not None and gold is not None:
            task["annotations"] = [{"result": gold, "ground_truth": True}]
        if predictions_by_id is not None:
            answer = predictions_by_id.get(post.id)
            gold = None if answer is None else _result(post, answer.entities, several=several)
        task["predictions"] = [] if gold is None else [{"model_version": model_version, **_score(gold), "result": gold}]
        tasks.append(task)
    return tasks


def has_several(posts: Iterable[Post]) -> bool:
    """Whether a post has several images; tasks and configuration of Label Studio then differ."""
    return any(len(post.images) > 1 for post in posts)


def label_studio_config(labels: LabelSet, *, several: bool = False) -> str:
    """The labeling configuration, as XML, of a project for the tasks of `to_label_studio`.

    Args:
        labels: The types. Each becomes a label for spans and for boxes, with its description as the hint.
        several: Whether a post of the project has several images.
    """
    view = Element("View")
    SubElement(SubElement(view, "Relations"), "Relation", value=_RELATION)
    _labels(SubElement(view, "Labels", name=_TYPE, toName=_TEXT), labels)
    SubElement(view, "Text", name=_TEXT, value="$text")
    _labels(SubElement(view, "RectangleLabels", name=_BOX, toName=_IMAGE), labels)
    SubElement(view, "Image", {"name": _IMAGE} | ({"valueList": "$images"} if several else {"value": "$image"}))
    indent(view)
    return tostring(view, encoding="unicode")


def _labels(parent: Element, labels: LabelSet) -> None:
    for name, description in as_labels(labels).types:
        SubElement(parent, "Label", {"value": name} | ({"hint": description} if description else {}))


def _urls(posts: Sequence[Post], image_url: str | Callable[[Post], str]) -> list[list[str]]:
    """The URLs of the images of each post."""
    if callable(image_url):
        alone = ([replace(post, image=image, more_images=()) for image in post.images] for post in posts)
        return [[image_url(single) for single in singles] for singles in alone]
    prefix = image_url
    return [[prefix + quote(name, errors="surrogatepass") for name in names] for names in picture_names(posts)]


def _result(post: Post, entities: Sequence[GoldEntity | GroundedEntity], *, several: bool) -> list[dict[str, Any]]:
    """The results of one annotation: spans, boxes and relations of each entity."""
    results: list[dict[str, Any]] = []
    numbers = {box.picture for entity in entities for box in entity.boxes}
    sizes = {number: picture_size(post, number) for number in sorted(numbers)}
    for number, entity in enumerate(entities):
        in_text = entity.start >= 0
        if in_text:
            results.append(_span(f"span{number}", entity) | _confidence(entity))
        for index, box in enumerate(entity.boxes):
            id_ = f"box{number}_{index}"
            where = {"item_index": box.picture - 1} if several else {}
            results.append(_rectangle(id_, entity, box, sizes[box.picture]) | where | _confidence(entity))
            if in_text:
                results.append(_relation(id_, f"span{number}"))
    return results


def _confidence(entity: GoldEntity | GroundedEntity) -> dict[str, float]:
    confidence = entity.confidence if isinstance(entity, GroundedEntity) else None
    return {} if confidence is None else {"score": confidence}


def _score(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The score of a whole prediction, by which Label Studio sorts tasks: its lowest confidence."""
    scores = [result["score"] for result in results if "score" in result]
    return {"score": min(scores)} if scores else {}


def _span(id_: str, entity: GoldEntity | GroundedEntity) -> dict[str, Any]:
    value = {"start": entity.start, "end": entity.end, "text": entity.span, "labels": [entity.type]}
    return {"id": id_, "from_name": _TYPE, "to_name": _TEXT, "type": "labels", "value": value}


def _rectangle(id_: str, entity: GoldEntity | GroundedEntity, box: Box, size: Size) -> dict[str, Any]:
    width, height = size
    return {
        "id": id_,
        "from_name": _BOX,
        "to_name": _IMAGE,
        "type": "rectanglelabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "x": 100 * box.x1 / width,
            "y": 100 * box.y1 / height,
            "width": 100 * (box.x2 - box.x1) / width,
            "height": 100 * (box.y2 - box.y1) / height,
            "rotation": 0,
            "rectanglelabels": [entity.type],
        },
        # A span that is not in the text has no result that the box could be related to.
        "meta": {"text": [entity.span]},
    }


def _relation(box: str, span: str) -> dict[str, Any]:
    return {"type": "relation", "from_id": box, "to_id": span, "direction": "right", "labels": [_RELATION]}


def _write(export: Export) -> None:
    """Write the tasks, and the labeling configuration beside them."""
    if export.out.suffix == _CONFIG:
        accepted = "a name such as tasks.json: the labeling configuration is written beside it as .xml"
        raise InputError("The tasks of Label Studio are JSON", received=str(export.out), accepted=accepted)
    prefix = LOCAL_FILES if export.image_url is None else export.image_url
    tasks = to_label_studio(export.posts, export.predictions, image_url=prefix)
    labels = types_of_all(export.posts, export.predictions, export.labels)
    if any(NO_XML.search(name) for name in labels):
        raise InputError("A type has a character that XML cannot represent", received=list(labels))
    config = label_studio_config(labels, several=has_several(export.posts))
    export.write_json(tasks)
    with whole_text(export.out.with_suffix(_CONFIG)) as file:
        file.write(config)


LABEL_STUDIO = Exporter("label-studio", _write, suffixes_beside=(_CONFIG,), has_image_urls=True, has_choices=True)
