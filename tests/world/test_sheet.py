"""Contact sheets: posts and the cast, with boxes and words in the colour of their type."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from gmner.data.pages.markup import colours
from gmner.data.post import Post
from gmner.data.world import sheet
from gmner.data.world.generate import World
from gmner.signatures.boxes import Box
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.mentions import GoldEntity

ANA = GoldEntity("Ana", 0, 3, "PER", (Box(20, 40, 80, 90),))
ORBIX = GoldEntity("Orbix", 4, 9, "ORG")
PLAIN = Image.new("RGB", (100, 100), "#fffff0")


def pixels(image: Image.Image, type_: str) -> int:
    """The number of pixels in the colour of a type."""
    wanted = tuple(bytes.fromhex(colours([])[type_][1:]))
    return sum(count for count, colour in image.getcolors(1 << 24) if colour == wanted)


def card(
    gold: Sequence[GoldEntity], image: Image.Image | Path | None = PLAIN, text: str = "Ana Orbix 😂"
) -> Image.Image:
    return sheet.contact_sheet([Post("1", text, image, tuple(gold), slice="mixed")], columns=1)


def test_posts_are_laid_out_in_columns():
    posts = World().posts("test", 5)
    tall, wide = sheet.contact_sheet(posts, columns=2), sheet.contact_sheet(posts, columns=5)
    assert tall.mode == wide.mode == "RGB"
    assert tall.height > 2.5 * sheet._SIDE > wide.height
    assert wide.width > 5 * sheet._SIDE > tall.width > 2 * sheet._SIDE
    assert wide.tobytes() == sheet.contact_sheet(posts, columns=5).tobytes()


def test_boxes_and_words_have_the_colour_of_their_type():
    none, both = card([]), card([ANA, ORBIX])
    assert pixels(none, "PER") == pixels(none, "ORG") == 0
    assert pixels(both, "PER") > 1000  # box, name on it, word
    assert 0 < pixels(both, "ORG") < 300  # words alone: it is not shown
    assert pixels(card([ANA]), "ORG") == 0
    assert both.height > none.height  # the line `not shown`


def test_boxes_are_drawn_at_the_gold_coordinates():
    image, per = card([ANA]), tuple(bytes.fromhex(colours([])["PER"][1:]))
    scale, left, top = sheet._SIDE / 100, sheet._GAP + sheet._PAD, sheet._GAP + sheet._PAD + sheet._LINE
    for x, y in ((20, 60), (80, 60), (50, 90)):
        assert image.getpixel((left + round(x * scale), top + round(y * scale))) == per
    assert image.getpixel((left + round(50 * scale), top + round(65 * scale))) == (255, 255, 240)


def test_sheet_accepts_any_post(tmp_path: Path):
    PLAIN.resize((40, 200)).save(tmp_path / "tall.png")
    assert card([ANA], tmp_path / "tall.png").width == card([ANA]).width
    assert card([ANA], None).height < card([ANA]).height
    assert card([], text="x" * 200).width == card([]).width
    odd = GoldEntity("Zoë😂", 0, 4, "X", (Box(0, 0, 100, 100), Box(0, 0, 100, 100)))
    assert card([odd, ANA], text="Zoë😂").width == card([]).width
    with pytest.raises(ImageError):
        card([ANA], tmp_path / "missing.png")


def test_labels_at_one_position_do_not_overlap():
    taken: list[Box] = []
    pen = sheet.ImageDraw.Draw(Image.new("RGB", (300, 300)))
    for _ in range(6):
        sheet._label(pen, (290, 2), "Ana", "#000000", (300, 300), taken)
    assert all(box.inside((300, 300)) for box in taken)
    assert not any(one.iou(two) for place, one in enumerate(taken) for two in taken[:place])


@pytest.mark.parametrize(
    ("text", "written"),
    [("Ana", "Ana"), ("Zoë", "Zoe"), ("🔥", ":fire:"), ("❤️", ":heavy-black-heart:"), ("\ue000", ":symbol:")],
)
def test_characters_missing_in_the_font_are_spelled_out(text: str, written: str):
    assert sheet._drawable_text(text) == written


def test_refusals():
    with pytest.raises(InputError, match="0 posts"):
        sheet.contact_sheet([])
    with pytest.raises(InputError, match="0 columns"):
        sheet.contact_sheet(World().posts("test", 1), columns=0)
