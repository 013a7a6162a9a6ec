"""Models that `load_vlm` loads or refuses, and the fingerprint in the model string."""

import contextlib
import json
import logging
import shutil
import warnings

import pytest
import torch
from engine_requests import SIZE, checked, request, schema_for, text_of
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.models import fingerprint as fingerprints
from gmner.programs.models import weights
from gmner.programs.models.fingerprint import fingerprint
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.weights import ModelSource, as_json, default_device_map
from gmner.signatures.errors import ModelError


@pytest.fixture
def copied(tiny, tmp_path):
    """A copy of the tiny Idefics3 checkpoint that a test may modify."""
    return shutil.copytree(tiny("idefics3"), tmp_path / "model")


def _adapter(base, folder, seed=0, **config):
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_pretrained(base)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **config)
    get_peft_model(model, lora).save_pretrained(folder)
    return folder


def test_loading_prints_nothing(tiny, capfd, recwarn):
    folder = tiny("qwen3_vl")
    capfd.readouterr()
    lm = load_vlm(folder)
    asked = request("Paris", schema_for("Paris", lm.engine.profile))
    lm.engine.complete_many([asked, asked, request("x", max_tokens=3)])
    assert capfd.readouterr() == ("", "")
    assert [str(each.message) for each in recwarn if issubclass(each.category, UserWarning)] == []


@pytest.mark.parametrize("base", ["qwen2_5_vl", "qwen3_vl"], ids=["fits", "does not fit"])
def test_adapter_loads_without_warnings(tiny, tmp_path, base):
    adapter = _adapter(tiny("qwen2_5_vl"), tmp_path / "adapter")
    refused = pytest.raises(ModelError) if base == "qwen3_vl" else contextlib.nullcontext()
    with warnings.catch_warnings(record=True) as found, refused:
        warnings.simplefilter("always")
        load_vlm(tiny(base), adapter=adapter)
    assert [str(each.message) for each in found] == []


def test_missing_weights_are_reported_once(copied, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    level = transformers_logging.get_verbosity()
    save_file({"a": torch.zeros(1)}, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights"):
        load_vlm(copied)
    assert caplog.text == ""
    assert transformers_logging.get_verbosity() == level


def test_model_string_changes_with_the_weights(copied):
    before = load_vlm(copied, name="m").model
    assert before.startswith("local/m@")
    assert load_vlm(copied, name="m").model == before
    tensors = load_file(copied / "model.safetensors")
    name = sorted(tensors)[3]
    tensors[name] = tensors[name] + 1e-3
    save_file(tensors, copied / "model.safetensors", {"format": "pt"})
    assert load_vlm(copied, name="m").model != before


def test_large_files_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "WHOLE_BELOW", 1000)
    monkeypatch.setattr(fingerprints, "SAMPLE_BYTES", 64)
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(100_000))
    first = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("changed")
    assert fingerprint(tmp_path) == first
    file.write_bytes(bytes(100_001))
    assert fingerprint(tmp_path) != first
    file.write_bytes(bytes(99_999) + b"x")
    assert fingerprint(tmp_path) != first


def test_adapter_is_merged(tiny, tmp_path):
    base = tiny("idefics3")
    plain = load_vlm(base).engine
    tuned = load_vlm(base, adapter=_adapter(base, tmp_path / "adapter")).engine
    assert tuned.adapter_path == (tmp_path / "adapter").resolve()
    assert plain.adapter_path is None
    assert tuned.path == plain.path
    assert tuned.fingerprint != plain.fingerprint
    assert type(tuned.model) is type(plain.model)
    asked = request("Paris London", schema_for("Paris London", tuned.profile))
    answer = text_of(tuned.complete(asked))
    checked(answer, "Paris London", tuned.profile, SIZE)
    assert answer != text_of(plain.complete(asked))
    again = VLMEngine.load_state(json.loads(json.dumps(tuned.dump_state())))
    assert text_of(again.complete(asked)) == answer


def test_adapter_name_does_not_depend_on_the_path_of_its_base(tiny, tmp_path):
    first = _adapter(tiny("idefics3"), tmp_path / "first")
    second = shutil.copytree(first, tmp_path / "second")
    config = json.loads((second / "adapter_config.json").read_text())
    (second / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "elsewhere"}))
    assert fingerprint(first) == fingerprint(second)
    (second / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 99}))
    assert fingerprint(first) != fingerprint(second)


@pytest.mark.parametrize("base", ["smolvlm", "qwen3_vl"])
def test_adapter_of_another_model_is_refused(tiny, tmp_path, base):
    adapter = _adapter(tiny("qwen2_5_vl"), tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"does not match|cannot be loaded"):
        load_vlm(tiny(base), adapter=adapter)


def test_incomplete_adapter_is_refused(tiny, tmp_path):
    adapter = _adapter(tiny("idefics3"), tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        load_vlm(tiny("idefics3"), adapter=adapter)


def test_missing_models_are_refused(tmp_path, monkeypatch):
    for model in (tmp_path / "nothing", "no such model", "nobody/nothing-at-all"):
        with pytest.raises(ModelError, match=r"model folder does not exist|not found, neither"):
            load_vlm(model)
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path / "embedded")
    with pytest.raises(ModelError, match="lacks the embedded model"):
        load_vlm()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'), "not a vision-language model"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "ours"}'), r"config\.json cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no safetensors weights"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "no safetensors weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12345678"), "cannot be loaded"),
        (
            lambda folder: save_file({"a": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"}),
            "lacks weights",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
    ],
)
def test_damaged_folders_are_refused(copied, damage, message):
    damage(copied)
    with pytest.raises(ModelError, match=message):
        load_vlm(copied)


def test_error_for_an_adapter_as_model_explains_how_to_load_it(tiny, tmp_path):
    with pytest.raises(ModelError, match=r"adapter=\.\.\."):
        load_vlm(_adapter(tiny("idefics3"), tmp_path / "adapter"))


def test_device_map_with_and_without_a_process_group(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert default_device_map() is None or torch.cuda.is_available()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert default_device_map() == "auto"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert default_device_map() == {"": 3}


def test_dtype_and_keywords_reach_the_model(tiny):
    lm = load_vlm(tiny("qwen2_5_vl"), dtype="bfloat16", attn_implementation="eager", temperature=0.5)
    assert lm.engine.model.dtype == torch.bfloat16
    assert lm.kwargs["temperature"] == 0.5
    checked(
        text_of(lm.engine.complete(request("Paris", schema_for("Paris", lm.engine.profile)))),
        "Paris",
        lm.engine.profile,
    )
    with pytest.raises(ModelError, match="cannot be saved"):
        as_json(ModelSource(model_kwargs={"quantization_config": object()}))


@pytest.mark.parametrize(
    ("units", "small", "device_map", "expected"),
    [
        ({"avx2": True}, False, None, "float32"),
        ({"avx2": True}, False, "cpu", "float32"),
        ({"avx512_bf16": True}, False, None, "auto"),
        ({"amx_bf16": True, "avx512_bf16": False}, False, None, "auto"),
        ({"bf16": True}, False, None, "auto"),  # ARM
        ({"avx512_bf16": True}, True, None, "float32"),
        ({"avx2": True}, False, "auto", "auto"),  # on GPUs
    ],
)
def test_half_precision_on_a_cpu_only_where_it_is_fast(
    copied, monkeypatch, units: dict, small: bool, device_map: str | None, expected: str
):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: units)
    monkeypatch.setattr(weights, "_SMALL", 2**60 if small else 0)
    assert weights._dtype(copied, "auto", device_map) == expected
    assert weights._dtype(copied, "bfloat16", device_map) == "bfloat16"


def test_profile_file_in_the_model_folder(copied):
    (copied / "gmner.json").write_text('{"box_format": {"scale": 100}, "terse": true}')
    profile = load_vlm(copied).engine.profile
    assert profile.box_format.scale == 100
    assert profile.terse
