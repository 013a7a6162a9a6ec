"""`KitSettings`: the settings of the kit, and the posts that it uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.presets import preset
from gmner.signatures.boxes import Box, Size


@dataclass(frozen=True)
class KitSettings:
    """The settings of the kit.

    Attributes:
        preset: Name of the preset whose stages are measured.
        batches: Batch sizes of the engine.
        tokens: Largest number of tokens of an answer when the engine is measured.
        posts: Number of posts for the speed of scoring, and largest number of photographs.
        probe_tokens: Token limit of an answer in free text to the probe.
        image_size: (width, height) of the posts' images in pixels.
        sft_steps: Optimizer steps of MRSI.
        grpo_steps: Optimizer steps of CVO.
        minutes: Time limit: no check starts after it, and a running training stage is stopped.
        small: Reduce the preset's batches and answers for a trial on a CPU.
    """

    preset: str = "qwen2.5-vl-7b"
    batches: tuple[int, ...] = (1, 16, 64)
    tokens: int = 128
    posts: int = 128
    probe_tokens: int = 256
    image_size: Size = (1024, 768)
    sft_steps: int = 10
    grpo_steps: int = 5
    minutes: float = 10.0
    small: bool = False

    @classmethod
    def in_small(cls) -> KitSettings:
        """Settings for a trial that takes seconds with a tiny model on a CPU."""
        return cls(
            batches=(1, 2), tokens=8, posts=3, probe_tokens=40, image_size=(160, 120), sft_steps=2, grpo_steps=1,
            small=True,
        )  # fmt: skip

    def stages(self) -> tuple[MRSI, CVO]:
        """The preset's two stages, with a checkpoint halfway through the first."""
        mcr: MCR = preset(self.preset)
        mrsi, cvo = (mcr.mrsi or MRSI()).chosen(trained=True), mcr.cvo or CVO()
        if self.small:
            mrsi = replace(mrsi, batch=2, micro_batch=1)
            cvo = replace(cvo, generations=2, prompts=2, micro_batch=2, max_completion_length=8)
        logging = {"logging_steps": 1, "save_strategy": "steps", "save_steps": max(1, self.sft_steps // 2)}
        mrsi = replace(mrsi, max_steps=self.sft_steps, sft_options={**mrsi.sft_options, **logging})
        return mrsi, replace(cvo, max_steps=self.grpo_steps)


def large_posts(count: int, size: Size) -> list[Post]:
    """Posts of the world with enlarged images, which have as many image tokens as photographs.

    Args:
        count: Number of posts.
        size: (width, height) of the images in pixels; boxes are scaled, too.
    """
    return [_enlarged(post, size) for post in World().posts("train", count)]


def _enlarged(post: Post, size: Size) -> Post:
    image = post.image
    if image is None or isinstance(image, Path):
        return post
    x_scale, y_scale = size[0] / image.width, size[1] / image.height

    def scaled(box: Box) -> Box:
        return Box(box.x1 * x_scale, box.y1 * y_scale, box.x2 * x_scale, box.y2 * y_scale)

    entities = None
    if post.entities is not None:
        entities = tuple(replace(entity, boxes=tuple(map(scaled, entity.boxes))) for entity in post.entities)
    return replace(post, image=image.resize(size, Image.Resampling.BICUBIC), entities=entities, scene=None)
