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
"""(text, colour)."""


def contact_sheet(posts: Sequence[Post], columns: int = 4) -> Image.Image:
    """Draw posts in a grid: slice and id, the image with gold boxes, the text, and the entities that are not shown.

    Boxes and mentions in the text have the colour of their type. Emoji, which the font does not support, are replaced
    by their name, such as `:fire:`.

    Args:
        posts: The posts, row by row.
        columns: Number of columns.

    Returns:
        An RGB image, about `columns` x 340 pixels wide.

    Raises:
        InputError: There are no posts, or `columns` is less than 1.
        ImageError: An image cannot be read.
    """
    if not posts or columns < 1:
        raise InputError(
            "A contact sheet needs at least one post and one column", received=f"{len(posts)} posts, {columns} columns"
        )
    palette = colours({gold.type for post in posts for gold in post.gold})
    cards = [_card(post, palette) for post in posts]
    return _grid([cards[start : start + columns] for start in range(0, len(cards), columns)])


def _grid(rows: Iterable[Sequence[Image.Image]]) -> Image.Image:
    """Arrange images in rows with gaps; the height of a row is that of its highest image."""
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
    """Draw one post."""
    picture = _drawn_image(post, palette)
    lines = _wrapped(_text_words(post, palette), _font(_TEXT), _SIDE)
    absent_words = _absent_words(post, palette)
    notes = _wrapped(absent_words, _font(_SMALL), _SIDE) if absent_words else []
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
    """Draw the image with its gold boxes, `_SIDE` pixels wide and at most 4/3 as high; a grey field if none."""
    if post.image is None:
        field = Image.new("RGB", (_SIDE, _SIDE // 2), _PAPER)
        ImageDraw.Draw(field).text((_SIDE // 2, _SIDE // 4), "no image", _FAINT, _font(_TEXT), anchor="mm")
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
    """Box -> (distinct words of its mentions, type); several mentions of an entity share a box."""
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
    """Draw a name at the corner of a box, inside of the image and without overlapping earlier names."""
    width, height = round(_font(_SMALL).getlength(name)) + 8, 17
    x = max(0, min(corner[0], size[0] - width))
    y = max(0, min(corner[1] - height + 1, size[1] - height))
    candidates = (Box(x, top, x + width, top + height) for top in (*range(y, size[1] - height, 4), *range(y, 0, -4)))
    default = Box(x, y, x + width, y + height)
    label = next((box for box in candidates if not any(box.iou(other) for other in taken)), default)
    taken.append(label)
    pen.rectangle(label.as_tuple(), fill=colour)
    pen.text((label.x1 + 4, label.y1 + 8), name, "#ffffff", _font(_SMALL), anchor="lm")


def _text_words(post: Post, palette: Mapping[str, str]) -> list[_Word]:
    """The words of the text; words of mentions have the colour of their type."""
    words, start = list[_Word](), 0
    for word in post.text.split():
        start = post.text.index(word, start)
        types = [gold.type for gold in post.gold if gold.start < start + len(word) and start < gold.end]
        drawable = _drawable_text(word)
        words.append((drawable, colour_of(palette, types[0]) if types else _INK if drawable == word else _FAINT))
        start += len(word)
    return words


def _absent_words(post: Post, palette: Mapping[str, str]) -> list[_Word]:
    """`not shown:` and the mentions that are not shown; empty if all are shown."""
    absent = dict.fromkeys((gold.span, gold.type) for gold in post.gold if not gold.visible and post.grounded)
    names = [
        (part, palette[type_])
        for number, (span, type_) in enumerate(absent, 1)
        for part in (_drawable_text(span) + ("," if number < len(absent) else "")).split()
    ]
    return [("not", _FAINT), ("shown:", _FAINT), *names] if names else []


def _wrapped(words: Sequence[_Word], font: ImageFont.FreeTypeFont, width: float) -> list[list[_Word]]:
    """Break words into lines of at most `width` pixels; a longer word has its own line."""
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
    """Replace characters that the font does not support: accents are removed, emoji replaced by their name."""
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
