"""`contact_sheet`: posts with their gold annotations as one image."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from gmner.data.images.opening import open_image
from gmner.data.pages.markup import colour_of, colours
from gmner.data.post import Post
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError

_PAPER, _INK, _FAINT, _CARD, _EDGE = "#eef0f4", "#1c2130", "#737b8c", "#ffffff", "#d5d9e2"
_GAP, _PAD, _SIDE = 18, 12, 300
_TEXT, _SMALL = 15, 12
_LINE = 21

_Word = tuple[str, str]
"""(what is written, its colour)."""


def contact_sheet(posts: Sequence[Post], columns: int = 4) -> Image.Image:
    """Posts in a grid: slice and id, the image with its gold boxes, the text, and what is named but not shown.

    Boxes, and the words of mentions in the text, have the colour of their type; emoji, which the font lacks, stand as
    `:fire:`.

    Args:
        posts: The posts, by rows.
        columns: Number of columns.

    Returns:
        An RGB image, about `columns` x 340 pixels wide.

    Raises:
        InputError: No posts, or less than one column.
        ImageError: An image that cannot be read.
    """
    if not posts or columns < 1:
        raise InputError(
            "A contact sheet needs at least one post and one column", received=f"{len(posts)} posts, {columns} columns"
        )
    palette = colours({gold.type for post in posts for gold in post.gold})
    cards = [_card(post, palette) for post in posts]
    return _grid([cards[start : start + columns] for start in range(0, len(cards), columns)])


def _grid(rows: Iterable[Sequence[Image.Image]]) -> Image.Image:
    """Images on paper, with gaps; a row is as high as its highest."""
    rows = list(rows)
    widths = [sum(image.width + _GAP for image in row) for row in rows]
    heights = [max(image.height for image in row) + _GAP for row in rows]
    sheet = Image.new("RGB", (max(widths) + _GAP, sum(heights) + _GAP), _PAPER)
    y = _GAP
    for row, height in zip(rows, heights, strict=True):
        x = _GAP
        for image in row:
            card = Image.new("RGB", (image.width, height - _GAP), _CARD)
            card.paste(image)
            ImageDraw.Draw(card).rectangle((0, 0, card.width - 1, card.height - 1), outline=_EDGE)
            sheet.paste(card, (x, y))
            x += image.width + _GAP
        y += height
    return sheet


def _card(post: Post, palette: Mapping[str, str]) -> Image.Image:
    """One post on white."""
    picture = _drawn_image(post, palette)
    lines = _wrapped(_text_words(post, palette), _font(_TEXT), _SIDE)
    absent = _absent_words(post, palette)
    notes = _wrapped(absent, _font(_SMALL), _SIDE) if absent else []
    head, below = _PAD + _LINE, _PAD + _LINE + picture.height + 8
    notes_at = below + _LINE * len(lines) + 4
    card = Image.new("RGB", (_SIDE + 2 * _PAD, notes_at + (_LINE - 4) * len(notes) + _PAD - 2), _CARD)
    pen = ImageDraw.Draw(card)
    pen.text((_PAD, _PAD - 3), (post.slice or "").upper(), _INK, _font(_SMALL))
    pen.text((card.width - _PAD, _PAD - 3), _drawable_text(post.id), _FAINT, _font(_SMALL), anchor="ra")
    card.paste(picture, (_PAD, head))
    _write(pen, lines, below, _LINE, _font(_TEXT))
    _write(pen, notes, notes_at, _LINE - 4, _font(_SMALL))
    return card


def _drawn_image(post: Post, palette: Mapping[str, str]) -> Image.Image:
    """The image `_SIDE` pixels wide, at most 4/3 as high, with its gold boxes; a grey field where there is none."""
    if post.image is None:
        field = Image.new("RGB", (_SIDE, _SIDE // 2), _PAPER)
        ImageDraw.Draw(field).text((_SIDE // 2, _SIDE // 4), "no picture", _FAINT, _font(_TEXT), anchor="mm")
        return field
    original = open_image(post.image)
    scale = min(_SIDE / original.width, _SIDE * 4 / 3 / original.height)
    size = (max(1, round(original.width * scale)), max(1, round(original.height * scale)))
    picture = original.resize(size, Image.Resampling.LANCZOS)
    pen, taken = ImageDraw.Draw(picture), list[Box]()
    for box, (names, type_) in sorted(_named_boxes(post).items(), key=lambda item: -item[0].area):
        corners = [round(value * scale) for value in box.as_tuple()]
        pen.rectangle(corners, outline=palette[type_], width=2)
        _label(pen, (corners[0], corners[1]), _drawable_text(" / ".join(names)), palette[type_], size, taken)
    if picture.width == _SIDE:
        return picture
    field = Image.new("RGB", (_SIDE, picture.height), _PAPER)
    field.paste(picture, ((_SIDE - picture.width) // 2, 0))
    return field


def _named_boxes(post: Post) -> dict[Box, tuple[list[str], str]]:
    """Box -> (the different words of its mentions, type): an entity named twice has one box."""
    names_by_box: dict[Box, tuple[list[str], str]] = {}
    for gold in post.gold:
        for box in gold.boxes:
            names, _ = names_by_box.setdefault(box, ([], gold.type))
            if gold.span not in names:
                names.append(gold.span)
    return names_by_box


def _label(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], name: str, colour: str, size: tuple[int, int], taken: list[Box]
) -> None:
    """A name on its colour over the corner of a box, in the image and clear of the names before it."""
    width, height = round(_font(_SMALL).getlength(name)) + 8, 17
    x = max(0, min(corner[0], size[0] - width))
    y = max(0, min(corner[1] - height + 1, size[1] - height))
    free = (Box(x, at, x + width, at + height) for at in (*range(y, size[1] - height, 4), *range(y, 0, -4)))
    place = next((box for box in free if not any(box.iou(other) for other in taken)), Box(x, y, x + width, y + height))
    taken.append(place)
    pen.rectangle(place.as_tuple(), fill=colour)
    pen.text((place.x1 + 4, place.y1 + 8), name, "#ffffff", _font(_SMALL), anchor="lm")


def _text_words(post: Post, palette: Mapping[str, str]) -> list[_Word]:
    """The words of the text, those of mentions in the colour of their type."""
    words, start = list[_Word](), 0
    for word in post.text.split():
        start = post.text.index(word, start)
        over = [gold.type for gold in post.gold if gold.start < start + len(word) and start < gold.end]
        written = _drawable_text(word)
        words.append((written, colour_of(palette, over[0]) if over else _INK if written == word else _FAINT))
        start += len(word)
    return words


def _absent_words(post: Post, palette: Mapping[str, str]) -> list[_Word]:
    """`not shown:` and what is named but not shown; nothing where all is."""
    absent = dict.fromkeys((gold.span, gold.type) for gold in post.gold if not gold.visible and post.grounded)
    names = [
        (part, palette[type_])
        for place, (span, type_) in enumerate(absent, 1)
        for part in (_drawable_text(span) + ("," if place < len(absent) else "")).split()
    ]
    return [("not", _FAINT), ("shown:", _FAINT), *names] if names else []


def _wrapped(words: Sequence[_Word], font: ImageFont.FreeTypeFont, width: float) -> list[list[_Word]]:
    """Words in lines of at most `width` pixels; a longer word has a line of its own."""
    lines, used = list[list[_Word]](), 0.0
    for word in words:
        length = font.getlength(word[0] + " ")
        if not lines or used + length > width:
            lines.append([])
            used = 0.0
        lines[-1].append(word)
        used += length
    return lines


def _write(
    pen: ImageDraw.ImageDraw, lines: Sequence[Sequence[_Word]], y: int, step: int, font: ImageFont.FreeTypeFont
) -> None:
    for line in lines:
        x: float = _PAD
        for word, colour in line:
            pen.text((x, y), word, colour, font)
            x += font.getlength(word + " ")
        y += step


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise InputError("Pillow was built without FreeType", accepted="Pillow with FreeType, as in its wheels")
    return font


@cache
def _drawable_text(text: str) -> str:
    """The text in characters that the font has: accents taken off, emoji by name."""
    return "".join(c if _drawable(c) else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    bare = "".join(c for c in unicodedata.normalize("NFKD", character) if _drawable(c))
    if bare or unicodedata.category(character) in ("Mn", "Cf"):
        return bare
    return f":{unicodedata.name(character, 'symbol').lower().replace(' ', '-')}:"


@cache
def _drawable(character: str) -> bool:
    font = _font(_TEXT)
    return character.isspace() or bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))
