"""`Convention`: a candidate coordinate convention, applied to the numbers of many answers at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gmner.programs.models.families import FAMILIES, ModelProfile, ResizeRule
from gmner.signatures.boxes import Box, BoxFormat, Size

Floats = NDArray[np.float64]

_FRAMES = (
    BoxFormat("normalized", 1000),
    BoxFormat("normalized", 1000, form="floats"),
    BoxFormat("normalized", 100),
    BoxFormat("original"),
)


@dataclass(frozen=True, slots=True)
class Convention:
    """A candidate convention.

    Attributes:
        box_format: Frame, scale, order and form of the numbers.
        rule: The resize of the frame `resized`; None for other frames.
    """

    box_format: BoxFormat
    rule: ResizeRule | None = None

    @property
    def title(self) -> str:
        """The convention in words, such as `0..1000 xyxy` or `pixels after resize xyxy`."""
        form = self.box_format
        frame = {"original": "pixels of the original image", "resized": "pixels after resize"}.get(form.frame)
        if frame is None:
            frame = "0..1 decimals" if form.form == "floats" else f"0..{form.scale}"
        return f"{frame} {form.order}"

    def resized(self, size: Size) -> Size | None:
        """(width, height) after the resize; None: the frame does not need it."""
        return None if self.rule is None else self.rule(size)

    def relative(self, numbers: Floats, sizes: Sequence[Size]) -> Floats:
        """Convert the numbers of answers to boxes: (n, 4) -> (n, 4), xyxy, as shares of width and height.

        Corners are reordered. Coordinates outside of the image are kept.

        Args:
            numbers: Four numbers of each answer as written, (n, 4).
            sizes: (width, height) of the image of each answer, pixels.
        """
        shares = numbers / _limits(self, tuple(sizes))
        if self.box_format.order == "yxyx":
            shares = shares[:, [1, 0, 3, 2]]
        first, second = shares[:, :2], shares[:, 2:]
        return np.hstack([np.minimum(first, second), np.maximum(first, second)])

    def written(self, boxes: Sequence[Box], sizes: Sequence[Size]) -> Floats:
        """The numbers of boxes in pixels of their images in this convention, (n, 4)."""
        pairs = zip(boxes, sizes, strict=True)
        rows = [self.box_format.encode(box, size, self.resized(size)) for box, size in pairs]
        return np.asarray(rows, float).reshape(-1, 4)


@lru_cache(maxsize=256)
def _limits(convention: Convention, sizes: tuple[Size, ...]) -> Floats:
    """The largest value of each of the four numbers for images of these sizes, (n, 4)."""
    limits = [convention.box_format.limits(size, convention.resized(size)) for size in sizes]
    return np.asarray(limits, float).reshape(-1, 4)


def candidates(profile: ModelProfile | None, *, local: bool = False) -> list[Convention]:
    """The conventions that a probe compares, that of the profile first.

    0..1000, 0..100, decimals from 0 to 1, pixels of the original image, and pixels after the resize, each with the
    orders xyxy and yxyx. The resize is that of the profile. If it has none, a model on a server is compared with the
    resizes of the families that write pixels after it; a local model has none.

    Args:
        profile: The profile in force; None: there is none.
        local: Whether the model was loaded on this machine, so that its resize is known.
    """
    rules = _rules(profile, local=local)
    own = [] if profile is None else [_own(profile)]
    formats: list[Convention] = [Convention(form) for form in _FRAMES]
    formats += [Convention(BoxFormat("resized"), rule) for rule in rules]
    turned = [
        Convention(BoxFormat(c.box_format.frame, c.box_format.scale, "yxyx", c.box_format.form), c.rule)
        for c in formats
    ]
    return list(dict.fromkeys([*(c for c in own if c is not None), *formats, *turned]))


def in_force(profile: ModelProfile | None) -> Convention | None:
    """The convention of a profile; None if there is no profile, or its resize is not known."""
    return None if profile is None else _own(profile)


def _own(profile: ModelProfile) -> Convention | None:
    form = profile.box_format
    if form.frame != "resized":
        return Convention(form if form.frame == "normalized" else BoxFormat("original", order=form.order))
    return None if profile.rule is None else Convention(BoxFormat("resized", order=form.order), profile.rule)


def _rules(profile: ModelProfile | None, *, local: bool) -> list[ResizeRule]:
    if local or (profile is not None and profile.rule is not None):
        return [] if profile is None or profile.rule is None else [profile.rule]
    pixels = (family for family in FAMILIES.values() if family.box_format.frame == "resized")
    return list(dict.fromkeys(family.default_resize for family in pixels if family.default_resize is not None))


def relative_boxes(boxes: Iterable[Box], sizes: Sequence[Size]) -> Floats:
    """Boxes in pixels as shares of width and height, (n, 4), xyxy."""
    rows = [(box.x1 / w, box.y1 / h, box.x2 / w, box.y2 / h) for box, (w, h) in zip(boxes, sizes, strict=True)]
    return np.asarray(rows, float).reshape(-1, 4)


def ious(a: Floats, b: Floats) -> Floats:
    """IoU of boxes (..., 4), xyxy; shapes are broadcast. Shares and pixels give the same value."""
    wide = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    high = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    inter = np.clip(wide, 0, None) * np.clip(high, 0, None)
    areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b)]
    union = areas[0] + areas[1] - inter
    return np.divide(inter, union, out=np.zeros(np.shape(inter)), where=union > 0)
