"""Posts in the format of Twitter-GMNER: CoNLL text and Pascal VOC boxes, which `read_twitter_gmner` reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from PIL import Image

from gmner.data.export.exporter import Export, Exporter
from gmner.data.export.source import checked_posts, picture_size
from gmner.data.files.atomic import atomic_path, merged_folder, whole_text, write_picture
from gmner.data.images.opening import open_image
from gmner.data.post import Post
from gmner.data.records import located
from gmner.signatures.boxes import Box, Size
from gmner.signatures.errors import InputError

_HEADER = "IMGID:"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
# What a file name, a token, a tag or XML cannot contain. Half of a surrogate pair cannot be written to any file.
_NO_FILE = re.compile(r"[\\/\x00-\x1f\x7f:\ud800-\udfff]|^\.*$|^\s|\s$")
_NO_TOKEN = re.compile(r"[\t\n\ud800-\udfff]|^ | $|^$")
_LONGEST = 240  # bytes; leaves room for a suffix
_TYPE = re.compile(r"[^\s\ud800-\udfff]+")
NO_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_voc(posts: Iterable[Post], folder: str | os.PathLike[str], split: str = "train") -> Path:
    """Write a split in the format of Twitter-GMNER: `txt/<split>.txt`, `xml/<id>.xml`, `images/<id>.*`.

    `read_twitter_gmner(folder, split)` reads the same posts: id, text, tokens, mentions, and all boxes with unchanged
    coordinates. If a post has no tokens, its words are written as tokens. The format cannot represent scene and slice,
    and repeated boxes of a mention are written once. Every post gets an XML file, which replaces that of an earlier
    export; `size` is left out if there is no image. Image files are copied, PIL images are written without loss.

    The folder, including its other files, is replaced with a single rename after every file is complete, so that an
    error or a kill leaves it unchanged; see `gmner.data.files.atomic.merged_folder`.

    Args:
        posts: Annotated posts.
        folder: The root of the data set, which may contain other splits.
        split: Name of the split.

    Returns:
        The path of `txt/<split>.txt`.

    Raises:
        InputError: The format cannot represent a post, which the error names. Its id is not a valid file name or occurs
            twice; it is not annotated, not grounded, or has several images; its text is not its tokens joined with
            single spaces; mentions overlap, do not consist of whole tokens, or have the same words and different boxes;
            it has characters that CoNLL or XML cannot contain; or an image in the folder is that of another post, or
            would be read as that of this post.
        ImageError: An image is missing or broken; the error names the post.

    Source: Yu et al., "Grounded Multimodal Named Entity Recognition on Social Media", ACL 2023.
    """
    if _NO_FILE.search(split):
        raise InputError("split is not a valid file name", received=split)
    posts, folder = checked_posts(posts), Path(folder)
    drafts = [_render(post) for post in posts]
    _check_pictures(posts, folder / "images")
    with merged_folder(folder) as new:
        for name in ("images", "xml", "txt"):
            (new / name).mkdir(exist_ok=True)
        for post, (_, xml) in zip(posts, drafts, strict=True):
            if post.image is not None:
                with located(f"post {post.id!r}"):
                    write_picture(_findable(post.image), new / "images" / post.id)
            with atomic_path(
                new / "xml" / f"{post.id}.xml"
            ) as place:  # a file there is a link to the one in the old folder
                place.write_bytes(xml)
        with whole_text(new / "txt" / f"{split}.txt") as file:
            file.writelines(tweet for tweet, _ in drafts)
    return folder / "txt" / f"{split}.txt"


def _render(post: Post) -> tuple[str, bytes]:
    """The lines of a post in the CoNLL file, and its XML file."""
    size = None if post.image is None else picture_size(post)
    with located(f"post {post.id!r}"):
        _check(post)
        tokens = post.tokens if post.tokens is not None else tuple(post.text.split(" "))
        rows = [f"{token}\t{tag}\n" for token, tag in zip(tokens, _tags(post, tokens), strict=True)]
        return f"{_HEADER}{post.id}\n{''.join(rows)}\n", _xml(post, _boxes(post), size)


def _check_pictures(posts: Sequence[Post], images: Path) -> None:
    """Refuse an export after which a post would have the image of another post or of an earlier export."""
    images_by_id = dict[str, list[Path]]()
    for path in images.iterdir() if images.is_dir() else ():
        if path.suffix.lower() in _SUFFIXES:
            images_by_id.setdefault(path.stem, []).append(path)
    owners = {os.path.realpath(post.image): post.id for post in posts if isinstance(post.image, Path)}
    for post in posts:
        own, suffixes = None, {".png", ".tif"}
        if isinstance(post.image, Path):
            own, suffix = os.path.realpath(post.image), post.image.suffix.lower()
            suffixes = {suffix} if suffix in _SUFFIXES else suffixes
        for path in images_by_id.get(post.id, []):
            owner = owners.get(os.path.realpath(path))
            replaced = post.image is not None and path.suffix in suffixes
            if os.path.realpath(path) != own and (owner is not None or not replaced):
                whose = "none of the posts" if owner is None else f"post {owner!r}"
                raise InputError(
                    f"post {post.id!r}: The folder contains an image with this id, which belongs to {whose}",
                    received=str(path),
                    remedy="Export into an empty folder",
                )


def _findable(picture: Path | Image.Image) -> Path | Image.Image:
    """The image; decoded if its file has a suffix that readers do not recognise as an image."""
    return picture if isinstance(picture, Image.Image) or picture.suffix.lower() in _SUFFIXES else open_image(picture)


def _check(post: Post) -> None:
    if _NO_FILE.search(post.id) or len(os.fsencode(post.id)) > _LONGEST:
        raise InputError("The id is not a valid file name", received=post.id)
    if post.entities is None:
        raise InputError("The post is not annotated", accepted="posts with `entities`")
    if not post.grounded:
        raise InputError(
            "The post has no box annotations, which Twitter-GMNER cannot represent", accepted="grounded posts"
        )
    if post.more_images:
        raise InputError(
            "The post has several images, but Twitter-GMNER allows only one", received=len(post.more_images) + 1
        )


def _tags(post: Post, tokens: Sequence[str]) -> list[str]:
    """The BIO tags of a post's tokens."""
    if " ".join(tokens) != post.text or any(_NO_TOKEN.search(token) for token in tokens):
        raise InputError("The text is not its tokens joined with single spaces", received=post.text, accepted="a b c")
    if not tokens:
        raise InputError("The text has no tokens", received=post.text)
    if tokens[0].startswith(_HEADER):
        raise InputError("The first token would be read as the start of a tweet", received=tokens[0])
    starts, ends, at = dict[int, int](), dict[int, int](), 0
    for index, token in enumerate(tokens):
        starts[at], ends[at + len(token)] = index, index + 1
        at += len(token) + 1
    tags = ["O"] * len(tokens)
    for entity in post.gold:
        first, last = starts.get(entity.start), ends.get(entity.end)
        if first is None or last is None or set(tags[first:last]) != {"O"}:
            raise InputError("A mention overlaps another one or splits a token", received=(entity.span, *entity.key))
        if not tokens[first].strip() or not tokens[last - 1].strip():
            raise InputError("A mention starts or ends with white space", received=entity.span)
        if not _TYPE.fullmatch(entity.type):
            raise InputError("A type cannot be used as a tag", received=entity.type, accepted="a name without spaces")
        tags[first:last] = [f"B-{entity.type}"] + [f"I-{entity.type}"] * (last - first - 1)
    return tags


def _boxes(post: Post) -> dict[str, tuple[Box, ...]]:
    """The boxes by the words of their mentions, by which the format identifies them."""
    boxes_by_span: dict[str, tuple[Box, ...]] = {}
    for entity in post.gold:
        boxes = tuple(dict.fromkeys(entity.boxes))
        if set(boxes_by_span.setdefault(entity.span, boxes)) != set(boxes):
            raise InputError("Two mentions with the same words have different boxes", received=entity.span)
        if boxes and NO_XML.search(entity.span):
            raise InputError("A mention has a character that XML cannot represent", received=entity.span)
    return boxes_by_span


def _xml(post: Post, boxes: dict[str, tuple[Box, ...]], size: Size | None) -> bytes:
    root = Element("annotation")
    SubElement(root, "filename").text = post.id + (
        post.image.suffix.lower() if isinstance(post.image, Path) else ".png"
    )
    if size is not None:
        _children(SubElement(root, "size"), width=size[0], height=size[1], depth=3)
    _children(root, segmented=0)
    for span, box in ((span, box) for span, span_boxes in boxes.items() for box in span_boxes):
        item = SubElement(root, "object")
        _children(item, name=span, pose="Unspecified", truncated=0, difficult=0)
        corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(_number, box.as_tuple()), strict=True))
        _children(SubElement(item, "bndbox"), **corners)
    indent(root, "\t")
    return tostring(root, encoding="utf-8")


def _children(parent: Element, **texts: object) -> None:
    for tag, text in texts.items():
        SubElement(parent, tag).text = str(text)


def _number(value: float) -> str:
    """A coordinate as the data set writes it: whole numbers without a decimal point, others with all digits."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _write(export: Export) -> None:
    if export.predictions is not None:
        raise InputError("Pascal VOC cannot represent predictions", remedy="Leave the predictions out")
    write_voc(export.posts, export.out, export.split or "train")


VOC = Exporter("voc", _write, folder=True)
