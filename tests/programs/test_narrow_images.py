"""Images of one pixel and narrow images in the processors of the families."""

import logging

import pytest
from PIL import Image
from tiny import FAMILIES

from gmner.programs.engine.generation import Generator, Prompt
from gmner.signatures.errors import ImageError

SIZES = [(1, 1), (1, 3), (3, 1), (1, 150), (150, 1), (3, 40)]


def prompt(size: tuple[int, int]) -> Prompt:
    parts = [{"type": "image", "image": Image.new("RGB", size, "red")}, {"type": "text", "text": "Ana"}]
    return Prompt([{"role": "user", "content": parts}], None, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_images_cause_no_warning(tiny_lm, family, caplog):
    generator = Generator(tiny_lm(family).engine.weights)
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        for size in SIZES:
            generator.check(prompt(size))
            assert generator.encode([prompt(size)]).inputs["pixel_values"].isfinite().all()
    finally:
        logger.removeHandler(caplog.handler)
    notice = "gmner.programs.models.families.lookup"  # what is said once about a family
    assert [record for record in caplog.records if record.name != notice] == []


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_too_narrow_image_fails_alone(tiny_lm, family):
    engine = tiny_lm(family).engine
    futures = engine._batcher.submit(*(request(size) for size in [(9, 9), (1, 250), (250, 1)]))
    assert futures[0].result(timeout=60).message
    for future, size in zip(futures[1:], ["(1, 250)", "(250, 1)"], strict=True):
        with pytest.raises(ImageError, match="200") as error:
            future.result(timeout=60)
        assert size in str(error.value)


def request(size: tuple[int, int]):
    import base64
    import io

    from dspy import lm15

    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    message = lm15.Message.user([lm15.ImagePart(data=data, media_type="image/png"), lm15.TextPart("Ana")])
    return lm15.Request(model="a", messages=(message,), config=lm15.Config(max_tokens=1))
