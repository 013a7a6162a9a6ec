"""What we rely on in transformers beyond its documentation; see programs/seams/transformers_seams.py."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dspy
import numpy as np
import pytest
import torch
from PIL import Image
from seam_checks import check_parameters, seam
from transformers import AttentionInterface, DynamicCache, GenerationMixin, PreTrainedConfig
from transformers.cache_utils import DynamicSlidingWindowLayer, LinearAttentionLayer
from transformers.image_utils import infer_channel_dimension_format
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.models import vision_attention
from gmner.programs.seams import transformers_seams as seams

FILE = "programs/seams/transformers_seams.py"
LMs = Callable[[str], dspy.LM]

families = pytest.mark.parametrize("family", ["idefics3", "qwen3_vl"])


def inputs_of(lm: dspy.LM) -> dict[str, Any]:
    """Two prompts of different lengths with an image each."""
    texts = ("Paris", "Kevin Durant was in Paris")
    image = {"type": "image", "image": Image.new("RGB", (60, 40), "red")}
    chats = [[{"role": "user", "content": [image, {"type": "text", "text": text}]}] for text in texts]
    return dict(ChatEncoder(lm.engine.processor)(chats))


@families
def test_steps_of_generate(tiny_lm: LMs, family: str):
    """Prefill, next step and update of the inputs, composed as we do, give the tokens of `generate`."""
    lm = tiny_lm(family)
    model, inputs = lm.engine.model, inputs_of(lm)

    def loop(
        model: Any, input_ids: torch.Tensor, logits_processor: Any, stopping_criteria: Any, generation_config: Any,
        **model_kwargs: Any,
    ) -> torch.Tensor:  # fmt: skip
        outputs = seams.prefill(model, input_ids, generation_config, model_kwargs)
        for _ in range(3):
            model_kwargs = seams.updated_inputs(model, outputs, model_kwargs)
            model_kwargs = {k: v for k, v in model_kwargs.items() if k not in seams.PREFILL_ONLY_INPUTS}
            input_ids = torch.cat([input_ids, outputs.logits[:, -1].argmax(-1, keepdim=True)], -1)
            outputs = seams.next_outputs(model, input_ids, model_kwargs)
        return input_ids

    settings = {"do_sample": False, "max_new_tokens": 3, "cache_implementation": "dynamic", "eos_token_id": -1}
    with seam("transformers:_prefill, _update_model_kwargs_for_generation, next_sequence_length", FILE):
        check_parameters(GenerationMixin._prefill, "input_ids", "generation_config", "model_kwargs")
        check_parameters(GenerationMixin._update_model_kwargs_for_generation, "outputs", "model_kwargs")
        check_parameters(GenerationMixin.prepare_inputs_for_generation, "input_ids", "next_sequence_length")
        ours = model.generate(**inputs, **settings, custom_generate=loop)
        assert torch.equal(ours, model.generate(**inputs, **settings))


def test_prefill_only_inputs():
    with seam("transformers:MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL", FILE):
        assert {"pixel_values", "pixel_attention_mask", "mm_encoder_outputs"} <= seams.PREFILL_ONLY_INPUTS


@pytest.mark.parametrize(("family", "stored"), [("qwen2_vl", True), ("qwen3_vl", True), ("idefics3", False)])
def test_rope_deltas(tiny_lm: LMs, family: str, stored: bool):
    lm = tiny_lm(family)
    model, inputs = lm.engine.model, inputs_of(lm)
    with seam("transformers:rope_deltas of the Qwen families", FILE):
        model.generate(**inputs, do_sample=False, max_new_tokens=1)
        deltas = seams.rope_deltas(model)
        assert bool(deltas) == stored
        assert all(tuple(values.shape) == (2, 1) for values in deltas.values())
        seams.restore_rope_deltas({module: values + 1 for module, values in deltas.items()})
        assert all(torch.equal(seams.rope_deltas(model)[module], values + 1) for module, values in deltas.items())


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_mrope_positions(tiny_lm: LMs, family: str):
    lm = tiny_lm(family)
    model, inputs = lm.engine.model, inputs_of(lm)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    with seam("transformers:get_rope_index of the Qwen families", FILE):
        kinds = (ids == model.config.image_token_id).int()
        positions = seams.mrope_positions(model, ids, kinds, inputs["image_grid_thw"], mask)
        assert tuple(positions.shape) == (3, *ids.shape)
        ends = positions[:, :, -1]
        assert torch.equal(ends[0], ends[1]), "a token of text has one position on all axes"
        assert bool((ends < mask.sum(1) - 1).all()), "an image takes fewer positions than tokens"


@families
def test_encoded_images(tiny_lm: LMs, family: str):
    lm = tiny_lm(family)
    model, inputs = lm.engine.model, inputs_of(lm)
    pixels = {name: value for name, value in inputs.items() if name.startswith(("pixel", "image_grid"))}
    with seam("transformers:mm_encoder_outputs", FILE), torch.inference_mode():
        encoded = model.get_image_features(**pixels, return_dict=True)
        depths = list(getattr(encoded, "deepstack_features", None) or ())
        others = {name: value for name, value in inputs.items() if not name.startswith("pixel")}
        ours = model(**seams.with_encoded_images(others, encoded.pooler_output, depths)).logits
        torch.testing.assert_close(ours, model(**inputs).logits)


def cache_of(rows: int, length: int, start: float) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(2):
        values = start + torch.arange(rows * length * 3.0).view(rows, 1, length, 3)
        cache.update(values, -values, layer)
    return cache


def test_layers_of_the_cache():
    with seam("transformers:Cache.layers with keys and values", FILE):
        mine, other = cache_of(2, 4, 0.0), cache_of(1, 2, 100.0)
        assert seams.has_whole_past(mine)
        assert seams.cpu_bytes(mine) == 2 * 2 * 2 * 4 * 3 * 4
        seams.pad_left(other, 2)
        assert other.get_seq_length() == 4
        seams.append_rows(mine, other)
        seams.drop_left(mine, 1)
        keys, values = mine.layers[1].keys, mine.layers[1].values
        assert tuple(keys.shape) == (3, 1, 3, 3)
        assert keys[2, 0, :, 0].tolist() == [0.0, 100.0, 103.0]
        assert torch.equal(keys, -values)
        mine.layers[0] = DynamicSlidingWindowLayer(sliding_window=4)
        assert not seams.has_whole_past(mine)


def test_attention_implementation():
    with seam("transformers:PreTrainedConfig._attn_implementation", FILE):
        assert seams.attention_of(PreTrainedConfig(attn_implementation="sdpa")) == "sdpa"


def test_packed_attention_is_called_once_a_layer(tiny_lm: LMs):
    lm, calls = tiny_lm("qwen2_5_vl"), []
    model, inputs = lm.engine.model, inputs_of(lm)

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(options["cu_seq_lens_q"].tolist())
        return vision_attention.packed_attention(*args, **options)

    with seam("transformers:attention functions with `flash` in their name", "programs/models/vision_attention.py"):
        assert seams.attention_of(model.model.visual.config) == vision_attention.PACKED
        AttentionInterface.register(vision_attention.PACKED, counted)
        try:
            model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
        finally:
            AttentionInterface.register(vision_attention.PACKED, vision_attention.packed_attention)
        assert len(calls) == len(model.model.visual.blocks)
        assert all(ends[-1] == len(inputs["pixel_values"]) for ends in calls)


class ImageOnly(Qwen2VLProcessor):
    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


def test_parts_of_a_processor():
    with seam("transformers:ProcessorMixin.get_attributes", "the image-only processors in programs/models"):
        assert sorted(Qwen2VLProcessor.get_attributes()) == ["image_processor", "tokenizer", "video_processor"]
        assert sorted(ImageOnly.get_attributes()) == ["image_processor", "tokenizer"]


def test_warning_about_channels(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    narrow = np.zeros((3, 5, 3), dtype=np.uint8)
    with seam("transformers:the warning about ambiguous channels", FILE):
        with seams.without_channel_warnings():
            infer_channel_dimension_format(narrow)
        assert not caplog.records
        infer_channel_dimension_format(narrow)
        assert {record.name for record in caplog.records} == {"transformers.image_utils"}


def test_rows_of_linear_attention():
    with seam("transformers:reorder_cache of a layer with linear attention", FILE):
        layer = LinearAttentionLayer()
        layer.update_recurrent_state(torch.arange(3.0)[:, None, None, None])
        seams.select_rows(SimpleNamespace(layers=[layer]), torch.tensor([2, 0, 2, 1]))
        assert layer.recurrent_states[0].flatten().tolist() == [2, 0, 2, 1]
