"""Posts with three images whose boxes are in different ones."""

from dataclasses import replace

from PIL import Image

from gmner.data.post import Post
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity

SIZES = ((90, 60), (64, 96), (120, 48))
TEXT = "Ada met Bo and Cy in Rome"


def images() -> list[Image.Image]:
    """Three images of different sizes and aspect ratios."""
    return [Image.new("RGB", size, colour) for size, colour in zip(SIZES, ("red", "green", "blue"), strict=True)]


def gold() -> tuple[GoldEntity, ...]:
    """Mentions that are shown in the first image, in the third, in two of them, and in none."""
    return (
        GoldEntity("Ada", 0, 3, "PER", (Box(9, 6, 45, 54),)),
        GoldEntity("Bo", 8, 10, "PER", (Box(12, 6, 60, 42, picture=3),)),
        GoldEntity("Cy", 15, 17, "PER", (Box(8, 12, 32, 90, picture=2), Box(60, 6, 96, 42, picture=3))),
        GoldEntity("Rome", 21, 25, "LOC"),
    )


def post(id_: str = "several") -> Post:
    """A post with three images."""
    first, *more = images()
    return Post(id_, TEXT, first, gold(), more_images=tuple(more))


def posts(count: int) -> list[Post]:
    """Different posts with three images."""
    return [replace(post(f"{n}"), text=f"{TEXT} {n}") for n in range(count)]
