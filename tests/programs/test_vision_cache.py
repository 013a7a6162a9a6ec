"""Images that occur in several prompts are encoded once, with unchanged answers."""

import pytest
import torch
from PIL import Image
from tiny import FAMILIES

from gmner.data.world.generate import World
from gmner.programs.engine.constrained_sampler import Sampling
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.engine.generation import Completion, Generator, Prompt
from gmner.programs.engine.vision_cache import VisionFeatureCache
from gmner.programs.models.loading import load_vlm
from gmner.programs.staged import StagedGMNER

RED, BLUE, WIDE = ((90, 60), "red"), ((90, 60), "blue"), ((200, 60), "green")


def prompt(words: str, *pictures: tuple[tuple[int, int], str]) -> Prompt:
    parts = [{"type": "image", "image": Image.new("RGB", *picture)} for picture in pictures]
    conversation = [{"role": "user", "content": [*parts, {"type": "text", "text": words}]}]
    return Prompt(conversation, None, 6, Sampling(1.0, seed=len(words)), logprobs=True)


def summaries(completions: list[Completion]) -> list[tuple]:
    return [(c.text, c.prompt_tokens, [round(value, 3) for _, value in c.logprobs]) for c in completions]


@pytest.fixture
def encoded_images(monkeypatch: pytest.MonkeyPatch):
    """`encoded_images(model)`: records the images or tiles that it encodes from now on, call by call."""

    def watch(model: torch.nn.Module) -> list[int]:
        counts, look = [], model.get_image_features

        def counted(pixel_values, **kwargs):
            grids = kwargs.get("image_grid_thw")
            counts.append(len(pixel_values if grids is None else grids))
            return look(pixel_values=pixel_values, **kwargs)

        monkeypatch.setattr(model, "get_image_features", counted)
        return counts

    return watch


@pytest.mark.parametrize("family", FAMILIES)
def test_image_is_encoded_once_with_equal_answers(tiny_lm, family, encoded_images):
    weights = tiny_lm(family).engine.weights
    asked = [
        [prompt("one", RED), prompt("two", RED), prompt("three", BLUE)],
        [prompt("four", BLUE), prompt("five"), prompt("six", RED, WIDE)],
        [prompt("seven", WIDE), prompt("eight")],
        [prompt("nine"), prompt("ten")],
    ]
    forgetful, counts = Generator(weights, cached_images=0), encoded_images(weights.model)
    alone = [summaries(forgetful.generate([one])) for batch in asked for one in batch]
    assert sum(bool(count) for count in counts) == 6  # one call for each prompt with images
    tiles = counts[0]
    counts.clear()
    keeping = Generator(weights)
    together = [summaries([answer]) for batch in asked for answer in keeping.generate(batch)]
    for mine, other in zip(together, alone, strict=True):
        assert mine[0][:2] == other[0][:2]
        assert mine[0][2] == pytest.approx(other[0][2], abs=2e-3)
    assert counts[0] == 2 * tiles  # red and blue
    assert len(counts) == 2  # then only the wide one


def test_oldest_entries_are_evicted(tiny_lm, encoded_images):
    weights = tiny_lm("qwen2_5_vl").engine.weights
    counts, generator = encoded_images(weights.model), Generator(weights, cached_images=2)
    for picture in (RED, BLUE, RED, WIDE, RED, BLUE):
        generator.generate([prompt("words", picture)])
    assert counts == [1, 1, 1, 1]  # red and blue, the wide one in blue's place, blue again


def test_staged_program_encodes_an_image_once(encoded_images):
    lm, post = load_vlm(cache=False), next(post for post in World().posts("dev", 9) if len(post.gold) > 1)
    counts = encoded_images(lm.engine.model)
    StagedGMNER(lm)(text=post.text, image=post.image)
    assert counts == [1]
    lm.engine.close()


def test_other_families_are_not_cached(tiny_lm, monkeypatch: pytest.MonkeyPatch):
    weights = tiny_lm("idefics3").engine.weights
    inputs = ChatEncoder(weights.processor)([prompt("words", RED).conversation])
    known, unknown = VisionFeatureCache(weights.model), VisionFeatureCache(weights.model)
    monkeypatch.setattr(unknown, "_image_inputs", None)
    assert "mm_encoder_outputs" in known(inputs)
    assert unknown(inputs) == dict(inputs)
