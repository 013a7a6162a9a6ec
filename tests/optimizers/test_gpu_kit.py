"""The GPU kit on a CPU, attention over packed windows, and a frozen vision tower without gradients."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import vllm_stand_in
from PIL import Image
from transformers import PreTrainedModel

from gmner import gpu
from gmner.data.jsonl import read_posts, read_predictions
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.readers import real_photos
from gmner.optimizers.chains.styles import TEMPLATES, Style
from gmner.optimizers.gpu_kit import kit as kit_module
from gmner.optimizers.gpu_kit import speed
from gmner.optimizers.gpu_kit.kit import CHECKS, Kit
from gmner.optimizers.gpu_kit.photographs import answering_photos
from gmner.optimizers.gpu_kit.random_model import SHAPES, build_random
from gmner.optimizers.gpu_kit.settings import KitSettings, large_posts
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training.trainable import Lora, training_copy
from gmner.programs.gmner import GMNER
from gmner.programs.models import vision_attention
from gmner.programs.models.vision_attention import packed_attention
from gmner.programs.models.weights import ModelSource
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity


@pytest.mark.e2e
def test_command_measures_and_keeps_earlier_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    photos = tmp_path / "mine"
    photos.mkdir()
    Image.new("RGB", (90, 60), "navy").save(photos / "Ada_Lovelace_in_Paris.jpg")
    words = ["--random", "tiny", "--small", "--photos", str(photos), "-o", str(tmp_path)]
    assert gpu.main(words) == 0
    record = json.loads((tmp_path / "gpu.json").read_text())
    checks = record["checks"]
    assert {"load", "probe", "photos", "answers-1", "answers-2", "scoring", "sft", "resume", "grpo", "bundle"} <= set(
        checks
    )
    assert not [name for name, check in checks.items() if "error" in check]
    assert checks["sft"]["steps"] == checks["resume"]["steps"] == 2
    assert (checks["probe"]["state"], checks["probe"]["schema_enforced"]) == ("unknown", True)
    assert checks["probe"]["calls"] > 100
    assert checks["photos"]["posts"] == 1
    (answer,) = read_predictions(tmp_path / "photos.jsonl")
    (post,) = read_posts(tmp_path / "photos")
    assert answer.text == post.text == "Ada Lovelace in Paris"
    assert checks["resume"]["from"] == "checkpoint-1"
    assert checks["resume"]["losses"] == checks["sft"]["losses"]
    assert checks["bundle"]["same_answer"] is True
    assert [side["side"] for side in checks["answers-2"]["sides"]] == ["engine", "transformers"]
    assert capsys.readouterr().out == (tmp_path / "gpu.md").read_text()
    assert gpu.main([*words, "--checks", "load", "--minutes", "0"]) == 0  # earlier results are kept
    assert json.loads((tmp_path / "gpu.json").read_text())["checks"]["scoring"] == checks["scoring"]


def test_unknown_names_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"Unknown check.*fit.*probe"):
        Kit(None, tmp_path, KitSettings()).run(["fit"])
    with pytest.raises(InputError, match=r"qwen2\.5-vl-7b"):
        build_random("huge", tmp_path / "huge")


def test_failing_check_is_recorded_and_others_run(tmp_path: Path):
    record = Kit(str(tmp_path / "nowhere"), tmp_path / "out", KitSettings.in_small()).run(["load", "bundle"])
    assert "ModelError" in record["checks"]["load"]["error"]
    assert record["checks"]["bundle"] == {"skipped": "no stage has been trained"}
    assert CHECKS[0] == "load"


def test_folders_without_photographs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for folder, fact in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "has no photographs")):
        words = ["--random", "tiny", "--photos", str(folder), "-o", str(tmp_path / "out")]
        assert gpu.main(words) == 2
        assert fact in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # no model was built


def test_photographs_that_are_not_installed_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(real_photos, "find_spec", lambda name: None)
    record = Kit(None, tmp_path, KitSettings.in_small()).run(["photos"])
    assert "pip install" in record["checks"]["photos"]["skipped"]


def test_annotated_photographs_are_scored(tmp_path: Path):
    gold = (GoldEntity("Ada", 0, 3, "PER", (Box(0.0, 0.0, 50.0, 60.0),)),)
    post = Post("1", "Ada", Image.new("RGB", (90, 60)), gold)
    answer = Prediction("1", "Ada", entities=(GroundedEntity("Ada", 0, 3, "PER", Box(0.0, 0.0, 50.0, 60.0)),))
    program = SimpleNamespace(batch_posts=lambda posts, progress: [answer])
    figures = answering_photos(program, [post], tmp_path)
    assert (figures["names"], figures["boxes"], figures["failed"]) == (1, 1, 0)
    assert figures["gmner_f1"] == figures["mner_f1"] == 100.0


@pytest.mark.parametrize(("state", "code"), [("contradicted", 1), ("agrees", 0), ("unknown", 0)])
def test_contradicted_profile_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, code: int):
    monkeypatch.setattr(kit_module, "probing", lambda program, tokens: {"state": state})
    monkeypatch.setattr(Kit, "program", SimpleNamespace())
    assert gpu.main(["--checks", "probe", "-o", str(tmp_path)]) == code
    assert f"- probe: state {state}" in (tmp_path / "gpu.md").read_text()


def test_each_batch_is_measured_with_vllm(posts: list[Post], program: Callable[[str], GMNER], monkeypatch):
    vllm = vllm_stand_in.install(monkeypatch)
    student = program("idefics3")
    prompts = speed.prompts_of(student, posts[:3], 5)
    sides = speed.answering_with_vllm(student.model.engine, prompts, (1, 3))
    assert [(side["rows"], side["tokens"]) for side in sides] == [(1, 5), (3, 15)]
    (made,) = vllm.made
    assert (made.model, made.options["enable_prefix_caching"]) == (str(student.model.engine.path), False)
    assert [len(asked) for asked, _, _ in made.calls] == [1, 1, 3]  # the first is a warm-up
    for prompt, params in zip(*made.calls[-1][:2], strict=True):
        assert len(prompt["multi_modal_data"]["image"]) == 1
        assert (params.temperature, params.max_tokens) == (0.0, 6)  # with the end token
        assert "no_forcing" in params.structured_outputs.grammar


@pytest.mark.parametrize(
    ("preset", "styles"), [("qwen2.5-vl-7b", TEMPLATES), ("default", MRSI().chosen(trained=True).styles)]
)
def test_chains_have_the_styles_in_which_the_preset_trains_weights(preset: str, styles: dict[str, Style]):
    mrsi, _ = KitSettings(preset=preset).stages()
    assert mrsi.styles == styles


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
