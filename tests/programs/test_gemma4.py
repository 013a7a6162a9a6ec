"""Gemma 4 through the Auto classes: what differs from other families, boxes with y before x and its placeholders."""

from pathlib import Path

import pytest
from family_checkpoints import build_checkpoint
from PIL import Image

from gmner.programs.models.families import profile_of
from gmner.programs.models.processors import load_processor
from gmner.signatures.boxes import Box
from gmner.signatures.wire import Frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("gemma4", tmp_path_factory.mktemp("gemma4") / "tiny")


def test_boxes_are_written_with_y_before_x(folder: Path):
    profile = profile_of("gemma4", load_processor(folder, "gemma4"), folder)
    assert Frame(profile.box_format, (200, 100), None).encode(Box(20, 30, 100, 50)) == [300, 100, 500, 500]


@pytest.mark.parametrize("size", [(60, 60), (33, 200), (1023, 77)])
def test_prompt_has_as_many_placeholders_as_the_processor_has_soft_tokens(folder: Path, size: tuple[int, int]):
    processor = load_processor(folder, "gemma4")
    image = Image.new("RGB", size, "red")
    chat = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": " Paris "}]}]
    inputs = processor.apply_chat_template(
        [chat], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    (tokens,) = processor.image_processor([image])["num_soft_tokens_per_image"]
    written = processor.tokenizer.decode(inputs["input_ids"][0])
    expected = f"<bos><|turn>user\n<|image>{'<|image|>' * int(tokens)}<image|>Paris<turn|>\n<|turn>model\n"
    assert written == expected
