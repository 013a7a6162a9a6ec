"""`editor_data`: everything that the editor in the page shows of a post, as JSON data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

from gmner.app.edits import Draft, draft_data
from gmner.data.images.opening import ImageSource
from gmner.data.pages.markup import colour_of, colours, picture_for_page
from gmner.data.pages.scripts import printable
from gmner.data.post import Post
from gmner.signatures.errors import ImageError
from gmner.signatures.labels import LabelSet
from gmner.signatures.segmentation import segment

_SIDE = 1024
"""Longest side of an image in the editor in pixels."""

_SERIAL = count(1)


def editor_data(
    post: Post,
    drafts: Sequence[Draft],
    labels: LabelSet,
    *,
    revision: str = "",
    review: bool = False,
    settled: str | None = None,
) -> dict[str, Any]:
    """The data of the editor.

    Args:
        post: The post.
        drafts: Its entities.
        labels: The entity types that may be chosen.
        revision: The revision of its saved correction, see `CorrectionsFile.revision`; empty if there is none.
        review: Whether the editor moves on to other posts.
        settled: The id of the post whose changes were saved or discarded; the editor keeps those of any other post.

    Returns:
        Offsets are in code points, boxes in pixels of the original image. `pieces` are the smallest parts that a span
        can consist of. `serial` is different in every call, so that the page notices that it is to show a post again.
        Lone surrogates are replaced.
    """
    palette = colours(labels.names)
    data = {
        "serial": next(_SERIAL),
        "id": post.id,
        "text": post.text,
        "pieces": [[piece.start, piece.end] for piece in segment(post.text)],
        "types": [{"name": name, "colour": colour_of(palette, name)} for name in labels.names],
        "images": [_image(image) for image in post.images],
        "entities": [draft_data(draft) for draft in drafts],
        "revision": revision,
        "done": bool(revision),
        "review": review,
        "settled": settled,
    }
    clean: dict[str, Any] = json.loads(printable(json.dumps(data, ensure_ascii=False)))
    return clean


def _image(image: ImageSource) -> dict[str, Any]:
    try:
        picture = picture_for_page(image, _SIDE)
    except ImageError as error:
        return {"error": error.fact}
    if picture is None:
        raise LookupError("an image of a post is None")
    return {"uri": picture.uri, "width": picture.size[0], "height": picture.size[1]}
