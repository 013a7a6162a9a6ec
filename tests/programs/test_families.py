"""Which family a model belongs to, and that an unknown one is refused."""

import importlib.util
import json
import logging
from pathlib import Path

import pytest
from dspy.utils import DummyLM
from scripted import scripted_lm

import gmner
from gmner.data.post import Post
from gmner.programs.corpus import extract_corpus
from gmner.programs.models.families import (
    FAMILIES,
    ModelProfile,
    ResizeRule,
    as_profile,
    check_family,
    family_served_as,
    known_family,
    lookup,
    profile_for_name,
    profile_of,
)
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError, ModelError

NAMES = {
    "qwen2_vl": ["Qwen/Qwen2-VL-7B-Instruct", "qwen2-vl:7b", "Qwen/Qwen2-VL-72B-Instruct-AWQ"],
    "qwen2_5_vl": [
        "Qwen/Qwen2.5-VL-7B-Instruct", "qwen2.5vl:7b", "qwen2.5-vl-72b-instruct", "Qwen2.5-VL-7B-mcr",
        "unsloth/Qwen2.5-VL-7B-Instruct-bnb-4bit", "hosted_vllm/Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl_7b",
        "lab/qwen2.5-vl-7b-distilled-from-glm-4.5v", "qwen_2.5_vl_7b",
        "accounts/fireworks/models/qwen2p5-vl-32b-instruct", "qwen2-5-vl-7b-instruct",
    ],
    "qwen3_vl": [
        "Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-235B-A22B-Thinking-FP8", "qwen3-vl-plus", "qwen3-vl:4b",
        "/models/Qwen3-VL-4B-Instruct/snapshots/0a1b2c", "Qwen3VL-8B-Instruct-Q4_K_M.gguf", "InternVL-lab/Qwen3-VL-8B",
        "qwen_3_vl_8b",
    ],
    "qwen3_5": ["Qwen/Qwen3.5-9B", "Qwen/Qwen3.6-27B-FP8", "Qwen/Qwen3.8-Flash-Next", "qwen3.5:9b", "qwen3p5-397b"],
    "qwen2_5_omni_thinker": ["Qwen/Qwen2.5-Omni-7B", "Qwen/Qwen2.5-Omni-7B-GPTQ-Int4", "qwen2-5-omni-7b"],
    "qwen3_omni_moe_thinker": ["Qwen/Qwen3-Omni-30B-A3B-Instruct", "qwen3-omni-flash"],
    "mimo_vl": ["XiaomiMiMo/MiMo-VL-7B-RL", "MiMo-VL-7B-SFT-2508", "lab/mimo-vl-7b-gmner", "mimo_vl_7b"],
    "sake": ["lab/SAKE-7B", "sake-7b-gmner"],
    "internvl": ["OpenGVLab/InternVL3-8B-hf", "OpenGVLab/InternVL3_5-8B-HF", "InternVL2_5-26B", "internvl3.5-38b"],
    "minicpmv4_6": ["openbmb/MiniCPM-V-4_5", "openbmb/MiniCPM-V-4.6", "minicpm-v4.5:8b", "openbmb/MiniCPM-o-4_5",
                    "minicpm-v-4-5"],
    "minicpmv4_7": ["openbmb/MiniCPM-V-4.7", "minicpm-v4.7", "minicpm-v-4-8"],
    "glm4v": ["zai-org/GLM-4.1V-9B-Thinking"],
    "glm4v_moe": ["zai-org/GLM-4.5V", "zai-org/GLM-4.5V-FP8", "glm-4p5v", "glm_4_5v", "glm-4-5v"],
    "glm46v": ["zai-org/GLM-4.6V", "zai-org/GLM-4.6V-Flash", "glm-4.6v"],
    "gemma3": ["google/gemma-3-27b-it", "gemma3:4b", "unsloth/gemma-3-4b-it-bnb-4bit"],
    "gemma4": ["google/gemma-4-31b-it", "gemma4:e4b", "google/gemma-4-E2B-it"],
    "gemini": ["gemini/gemini-2.5-flash", "vertex_ai/gemini-3-pro", "google/gemini-2.0-flash-001",
               "gemini-flash-latest", "gemini-flash-lite-latest"],
    "lfm2_vl": ["LiquidAI/LFM2-VL-1.6B", "LiquidAI/LFM2.5-VL-450M", "lfm2-5-vl-1.6b"],
    "kimi_vl": ["moonshotai/Kimi-VL-A3B-Instruct", "moonshotai/Kimi-VL-A3B-Thinking-2506"],
    "smolvlm": ["HuggingFaceTB/SmolVLM2-2.2B-Instruct", "HuggingFaceTB/SmolVLM-Instruct"],
    "idefics3": ["HuggingFaceM4/Idefics3-8B-Llama3"],
    "mistral3": [
        "mistralai/Pixtral-12B-2409", "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "mistral-small-2506",
        "mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistralai/Ministral-3-8B-Instruct-2512",
        "mistralai/Mistral-Small-4-119B-2603", "mistralai/Mistral-Large-3-675B-Instruct-2512", "mistral-medium-3.1",
        "mistral-medium-2508", "mistral-large-2512",
    ],
    "llama4": ["meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4:scout"],
    "llava_onevision": ["llava-hf/llava-onevision-qwen2-7b-ov-hf", "lmms-lab/llava-onevision-qwen2-0.5b-ov"],
    "molmo2": ["allenai/Molmo2-8B", "allenai/Molmo-7B-D-0924"],
    "paligemma": ["google/paligemma2-3b-pt-448", "google/paligemma-3b-mix-224"],
    "florence2": ["microsoft/Florence-2-large"],
}  # fmt: skip
FOREIGN = [
    "gpt-4o", "gpt-5-mini", "claude-opus-4", "Qwen/Qwen3-8B", "qwen3", "qwen3:8b", "qwen3_8b", "qwen2.5-7b",
    "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-32B", "Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen2-7b-instruct",
    "Qwen/Qwen3-VL-Embedding-8B", "Qwen/Qwen3-VL-Reranker-2B",
    "Qwen/Qwen3.50-X", "Qwen/Qwen-VL-Chat", "qwen-vl-max", "XiaomiMiMo/MiMo-7B-RL", "XiaomiMiMo/MiMo-V2.5",
    "zai-org/GLM-4.5-Air", "zai-org/GLM-4.6", "zai-org/glm-4v-9b", "google/gemma-3-1b-it", "google/gemma-3-270m",
    "google/gemma-3n-E4B-it", "google/gemma-2-9b-it", "google/medgemma-4b-it", "google/gemma-7b", "gemini-1.5-pro",
    "openbmb/MiniCPM-V-2_6", "MiniCPM-V-4-5bit", "MiniCPM-V-4-8bit", "mistral-large-2411", "mistral-medium",
    "openbmb/MiniCPM3-4B", "moonshotai/Kimi-K2-Instruct", "moonshotai/Kimi-K2.5",
    "LiquidAI/LFM2-1.2B", "mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-Small-24B-Instruct-2501",
    "mistralai/Ministral-8B-Instruct-2410", "meta-llama/Llama-3.2-11B-Vision-Instruct", "meta-llama/Llama-2-7b",
    "llava-hf/llava-1.5-7b-hf", "lmms-lab/LLaVA-OneVision-1.5-8B-Instruct", "deepseek-ai/deepseek-vl2", "mine", "a",
    "ByteDance-Seed/UI-TARS-1.5-7B", "wasake-7b", "OpenGVLab/InternVL-Chat-V1-5", "embedded",
]  # fmt: skip
PREFIXES = ("", "openai/", "hosted_vllm/", "openai/lab-of-mine/")


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, names in NAMES.items() for name in names])
def test_family_of_a_served_name(family: str, name: str):
    for prefix in PREFIXES:
        for written in (name, name.upper(), f"{name}-awq", f"{name}-my-fine-tune-v2"):
            found = family_served_as(prefix + written)
            assert found is not None, prefix + written
            assert found.name == family, prefix + written


@pytest.mark.parametrize("name", FOREIGN)
def test_unknown_names_are_refused_and_the_error_names_both_ways(name: str):
    for prefix in PREFIXES:
        assert family_served_as(prefix + name) is None
        ways = r"family of the model is unknown.*profile=.*gmner probe --server URL --write.*profile=\"probe\""
        with pytest.raises(ModelError, match=ways):
            profile_for_name(prefix + name)
    given = {"box_format": {"frame": "normalized", "scale": 100}}
    assert profile_for_name(name, given) == ModelProfile(BoxFormat("normalized", 100))


def test_every_family_that_is_served_has_a_name_here():
    assert {family.name for family in FAMILIES.values() if family.served_as} == set(NAMES)


@pytest.mark.parametrize(
    ("name", "box_format"),
    [
        ("MiMo-VL-7B-RL", BoxFormat("resized")),
        ("SAKE-7B", BoxFormat("resized")),
        ("Qwen2.5-Omni-7B", BoxFormat("resized")),
        ("Qwen3.6-27B", BoxFormat()),
        ("gemma-4-31b-it", BoxFormat(order="yxyx")),
        ("gemini-2.5-flash", BoxFormat(order="yxyx")),
        ("Kimi-VL-A3B-Instruct", BoxFormat(form="floats")),
        ("LFM2.5-VL-450M", BoxFormat(form="floats")),
    ],
)
def test_convention_of_a_served_name(name: str, box_format: BoxFormat):
    profile = profile_for_name(name)
    assert profile.box_format == box_format
    assert box_format.frame != "resized" or profile.resized((640, 480)) == (644, 476)


@pytest.mark.parametrize("name", ["molmo2", "paligemma", "florence2"])
def test_families_without_boxes_of_four_numbers_are_refused_with_the_reason(name: str, tmp_path: Path):
    family = FAMILIES[name]
    for call in (lambda: profile_for_name(NAMES[name][0]), lambda: check_family(name, tmp_path)):
        with pytest.raises(ModelError, match="is not supported") as error:
            call()
        assert family.refused in str(error.value)
    (tmp_path / "gmner.json").write_text('{"terse": true}')  # does not say how boxes are written
    with pytest.raises(ModelError, match="must have a frame"):
        check_family(name, tmp_path)
    (tmp_path / "gmner.json").write_text('{"box_format": {"frame": "normalized"}}')
    check_family(name, tmp_path)


def test_checkpoint_of_an_unknown_family_needs_a_profile(tmp_path: Path):
    for call in (check_family, lambda name, folder: profile_of(name, None, folder)):
        with pytest.raises(ModelError, match=r"unknown.*got 'strange_vlm'.*gmner\.json.*gmner probe MODEL --write"):
            call("strange_vlm", tmp_path)
    assert profile_of("strange_vlm", None, tmp_path, ModelProfile()) == ModelProfile()
    (tmp_path / "gmner.json").write_text(json.dumps(ModelProfile(BoxFormat(form="floats")).as_data()))
    check_family("strange_vlm", tmp_path)
    assert profile_of("strange_vlm", None, tmp_path).box_format == BoxFormat(form="floats")
    assert profile_of("strange_vlm", None, tmp_path, ModelProfile()) == ModelProfile()  # the given one counts


def test_loading_refuses_before_weights_are_read(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "blip-2"}')
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="family of the model is unknown"):
        gmner.load_vlm(tmp_path)
    with pytest.raises(ModelError, match="profile is not a valid profile"):
        gmner.load_vlm(tmp_path, profile={"box_format": {"order": "xyxy"}})


def test_resized_needs_a_resize_rule():
    with pytest.raises(ModelError, match="needs the resize rule"):
        profile_for_name("mine", {"box_format": {"frame": "resized"}})
    rule = {"factor": 28, "min_pixels": 3136, "max_pixels": 1003520}
    profile = profile_for_name("mine", {"box_format": {"frame": "resized"}, "resize": rule})
    assert profile.rule == ResizeRule(28, 3136, 1003520)
    assert profile_for_name("Qwen2.5-VL-7B", {"resize": rule}).rule == profile.rule  # other pixel limits


@pytest.mark.parametrize(
    "profile",
    [
        ModelProfile(),
        ModelProfile(BoxFormat("resized"), True, ResizeRule(28, 1, 99)),
        ModelProfile(BoxFormat(form="floats")),
    ],
)
def test_profiles_as_values_data_files_and_folders_are_equal(profile: ModelProfile, tmp_path: Path):
    (tmp_path / "gmner.json").write_text(json.dumps(profile.as_data()))
    for given in (profile, profile.as_data(), tmp_path, str(tmp_path / "gmner.json")):
        assert as_profile(given) == profile
        assert gmner.GMNER(profile=given).profile == profile


@pytest.mark.parametrize("given", [7, "no/such/file.json", {"box_format": {}}, {"boxes": 1}, {"box_format": []}])
def test_what_is_no_profile_is_refused(given: object):
    with pytest.raises(ModelError, match=r"profile"):
        as_profile(given)


def test_a_family_says_once_what_is_not_sure(caplog: pytest.LogCaptureFixture):
    lookup._notify.cache_clear()
    with caplog.at_level(logging.WARNING):
        for name in ("Kimi-VL-A3B", "openai/kimi-vl", "GLM-4.5V", "Qwen3-VL-8B", "gemma-3-4b-it", "Kimi-VL-A3B"):
            profile_for_name(name)
        profile_for_name("Llama-4-Scout", ModelProfile())  # given, so nothing to say
    kimi, glm, qwen, gemma = (record.getMessage() for record in caplog.records)
    assert "Kimi-VL are read as [x1, y1, x2, y2], decimals" in kimi
    assert "not confirmed" in kimi
    assert "have not been tried" in glm
    assert "have not been tried" in qwen
    assert "no published coordinate convention" in gemma


def test_the_convention_of_an_lm_that_nothing_is_known_of_is_assumed_aloud(caplog: pytest.LogCaptureFixture):
    lookup._notify.cache_clear()
    lm = DummyLM([])
    with caplog.at_level(logging.WARNING):
        assert gmner.GMNER(lm).adapter().profile == ModelProfile()
        gmner.GMNER(lm).adapter()
        gmner.GMNER(lm, profile=ModelProfile(BoxFormat(scale=1))).adapter()  # given, so nothing to say
    (said,) = (record.getMessage() for record in caplog.records)
    assert "of the LM dummy is not known: its boxes are read as 0..1000" in said
    assert "profile=" in said


def test_families_are_complete():
    for family in FAMILIES.values():
        assert family.title
        assert family.refused or family.source
        assert known_family(family.name) is family
        for other in family.model_types:
            assert known_family(other) is family
        if family.box_format.frame == "resized":
            assert family.default_resize is not None


def test_extract_does_not_continue_a_file_under_another_profile(tmp_path: Path):
    posts, out = [Post("a", "Ana sings")], tmp_path / "out.jsonl"
    lm = scripted_lm({"reasoning": "", "entities": []})
    extract_corpus(gmner.GMNER(lm), posts, out)
    with pytest.raises(InputError, match="with other profile"):
        extract_corpus(gmner.GMNER(lm, profile=ModelProfile(BoxFormat("original"))), posts, out)
    assert len(extract_corpus(gmner.GMNER(lm), posts, out)) == 1


def test_table_of_the_docs_is_current(repo_root: Path):
    spec = importlib.util.spec_from_file_location("families", repo_root / "docs" / "families.py")
    assert spec is not None
    assert spec.loader is not None
    families = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(families)
    text = (repo_root / "docs" / "models.md").read_text(encoding="utf-8")
    assert families.page(text) == text, "run python docs/families.py"
