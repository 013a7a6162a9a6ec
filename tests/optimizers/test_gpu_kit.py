"""The GPU kit on a CPU, attention over packed windows, and a frozen vision tower without gradients."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from gmner import gpu
from gmner.optimizers.gpu_kit.kit import CHECKS, Kit
from gmner.optimizers.gpu_kit.random_model import SHAPES, build_random
from gmner.optimizers.gpu_kit.settings import KitSettings, large_posts
from gmner.optimizers.training.trainable import Lora, training_copy
from gmner.programs.models import vision_attention
from gmner.programs.models.vision_attention import packed_attention
from gmner.programs.models.weights import ModelSource
from gmner.signatures.errors import InputError


@pytest.mark.e2e
def test_command_measures_and_keeps_earlier_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--random", "tiny", "--small", "-o", str(tmp_path)]
    assert gpu.main(words) == 0
    record = json.loads((tmp_path / "gpu.json").read_text())
    checks = record["checks"]
    assert {"load", "answers-1", "answers-2", "scoring", "sft", "resume", "grpo", "bundle"} <= set(checks)
    assert not [name for name, check in checks.items() if "error" in check]
    assert checks["sft"]["steps"] == checks["resume"]["steps"] == 2
    assert checks["resume"]["from"] == "checkpoint-1"
    assert checks["resume"]["losses"] == checks["sft"]["losses"]
    assert checks["bundle"]["same_answer"] is True
    assert [side["side"] for side in checks["answers-2"]["sides"]] == ["engine", "transformers"]
    assert capsys.readouterr().out == (tmp_path / "gpu.md").read_text()
    assert gpu.main([*words, "--checks", "load", "--minutes", "0"]) == 0  # earlier results are kept
    assert json.loads((tmp_path / "gpu.json").read_text())["checks"]["scoring"] == checks["scoring"]


def test_unknown_names_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="probe"):
        Kit(None, tmp_path, KitSettings()).run(["probe"])
    with pytest.raises(InputError, match=r"qwen2\.5-vl-7b"):
        build_random("huge", tmp_path / "huge")


def test_failing_check_is_recorded_and_others_run(tmp_path: Path):
    record = Kit(str(tmp_path / "nowhere"), tmp_path / "out", KitSettings.in_small()).run(["load", "bundle"])
    assert "ModelError" in record["checks"]["load"]["error"]
    assert record["checks"]["bundle"] == {"skipped": "no stage has been trained"}
    assert CHECKS[0] == "load"


def test_boxes_are_enlarged_with_the_images():
    (post,) = large_posts(1, (256, 384))
    assert post.image.size == (256, 384)
    assert all(box.x2 <= 256 and box.y2 <= 384 for entity in post.gold for box in entity.boxes)


def test_shape_of_7b_is_as_published():
    shape = SHAPES["qwen2.5-vl-7b"]
    assert shape.vocabulary == 152_064
    assert 2 * sum(shape.rope) == shape.text["hidden_size"] // shape.text["num_attention_heads"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_windows_attend_only_to_themselves(dtype: torch.dtype):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 10, 8, dtype=dtype)
    ends = torch.tensor([0, 4, 5, 10])
    options = {"cu_seq_lens_q": ends, "max_length_q": 5, "scaling": 8**-0.5}
    found, _ = packed_attention(torch.nn.Module(), query, key, value, None, **options)
    for begin, end in ((0, 4), (4, 5), (5, 10)):
        window = [part[:, :, begin:end] for part in (query, key, value)]
        alone = torch.nn.functional.scaled_dot_product_attention(*window).transpose(1, 2)
        torch.testing.assert_close(found[:, begin:end], alone)


def test_packed_attention_replaces_sdpa(tiny: Callable[[str], Path]):
    model, _ = training_copy(ModelSource(), tiny("qwen2_5_vl"), "lora-frozen-vision", Lora())
    assert model.get_base_model().model.visual.config._attn_implementation == vision_attention.PACKED
    assert model.get_base_model().config._attn_implementation == "sdpa"
    source = ModelSource(model_kwargs={"attn_implementation": "eager"})
    eager, _ = training_copy(source, tiny("qwen2_5_vl"), "lora-frozen-vision", Lora())
    assert eager.get_base_model().model.visual.config._attn_implementation == "eager"


@pytest.mark.parametrize("tuning", ["lora-frozen-vision", "lora"])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "idefics3", "internvl"])
def test_only_trained_vision_towers_have_gradients(tiny: Callable[[str], Path], family: str, tuning: str):
    model, _ = training_copy(ModelSource(), tiny(family), tuning, Lora())
    model.enable_input_require_grads()  # like TRL with gradient checkpointing
    (tower,) = (
        module
        for name, module in model.named_modules()
        if isinstance(module, PreTrainedModel) and name.endswith(("visual", "vision_model", "vision_tower"))
    )
    seen = []
    tower.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    with pytest.raises(Exception):  # noqa: B017, PT011 - no images: what matters is how it is entered and left
        tower(None)
    assert seen == [tuning == "lora"]
    assert torch.is_grad_enabled()
