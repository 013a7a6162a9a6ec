"""Gemma 4 through the Auto classes: answers, boxes with y before x, prompts, batches."""

import random

import dspy
import pytest
from engine_requests import checked, request, schema_for, text_of
from gemma4_checkpoint import build_gemma4
from PIL import Image

from gmner.programs.models.loading import load_vlm
from gmner.signatures.boxes import Box
from gmner.signatures.wire import Frame

POSTS = ["Kevin Durant in Paris", "日本 東京", "<|image|> <channel|> <|turn>model"]
SIZES = [(60, 60), (90, 60), (33, 200), (640, 480), (1023, 77), (31, 17)]


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> dspy.LM:
    return load_vlm(build_gemma4(tmp_path_factory.mktemp("gemma4") / "tiny"), cache=False)


@pytest.mark.slow
def test_answers_are_valid_and_do_not_depend_on_the_batch(lm: dspy.LM, caplog):
    engine = lm.engine
    requests = [
        request(post, schema_for(post, engine.profile, reasoning=8), temperature=1.0, seed=seed)
        for seed, post in enumerate(POSTS)
    ]
    with caplog.at_level("WARNING"):
        together = engine.complete_many(requests)
    assert "failed" not in caplog.text  # the scheduler would answer one by one
    for post, response in zip(POSTS, together, strict=True):
        checked(text_of(response), post, engine.profile)
        assert response.finish_reason == "stop"
    assert [text_of(response) for response in together] == [text_of(engine.complete(one)) for one in requests]


@pytest.mark.parametrize("size", SIZES)
def test_gold_boxes_survive_the_wire_with_y_before_x(lm: dspy.LM, size: tuple[int, int]):
    profile, draw = lm.engine.profile, random.Random(0)
    assert profile.box_format.order == "yxyx"
    frame = Frame(profile.box_format, size, profile.resized(size))
    for _ in range(20):
        x1, y1 = draw.uniform(0, size[0] - 2), draw.uniform(0, size[1] - 2)
        box = Box(x1, y1, draw.uniform(x1 + 1, size[0]), draw.uniform(y1 + 1, size[1]))
        back = frame.decode(frame.encode(box))
        assert all(abs(a - b) <= 1.0 for a, b in zip(box.as_tuple(), back.as_tuple(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_prompt_has_as_many_placeholders_as_the_processor_has_soft_tokens(lm: dspy.LM, size: tuple[int, int]):
    processor = lm.engine.processor
    image = Image.new("RGB", size, "red")
    chat = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": " Paris "}]}]
    inputs = processor.apply_chat_template(
        [chat], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    (tokens,) = processor.image_processor([image])["num_soft_tokens_per_image"]
    written = processor.tokenizer.decode(inputs["input_ids"][0])
    expected = f"<bos><|turn>user\n<|image>{'<|image|>' * int(tokens)}<image|>Paris<turn|>\n<|turn>model\n"
    assert written == expected
