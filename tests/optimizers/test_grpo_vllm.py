"""CVO with vLLM: its requests, and their equality with the prompts that are trained.

vLLM is not installed for the tests: a stand-in replaces it behind TRL and expands image placeholders like vLLM.
docs/howto/many-gpus.md describes rollouts of the real vLLM with the families of these tests.
"""

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from several_images import SIZES
from several_images import posts as several_posts
from tiers import daily
from tiny import FAMILIES
from trl.trainer import grpo_trainer

from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.training.program_calls import answer_calls
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError, ModelError
from gmner.signatures.schema import served_schema

pytestmark = pytest.mark.slow

Programs = Callable[[str], GMNER]


class Params(SimpleNamespace):
    """Replaces `vllm.SamplingParams`."""

    def clone(self) -> "Params":
        return copy.copy(self)


class StandIn:
    """Replaces TRL's VLLMGeneration with vLLM in this process; answers every prompt with the end of the prompt."""

    made: "list[StandIn]"
    spoiled = False

    def __init__(self, *, processing_class: Any, generation_kwargs: Any, **_: Any) -> None:
        self.processor, self.generation_kwargs = processing_class, generation_kwargs or {}
        self.llm = SimpleNamespace(generate=self._answer)
        self.asked: list[tuple[list[int], Any, Params]] = []
        self.synced = 0
        type(self).made.append(self)

    def sync_weights(self) -> None:
        self.synced += 1

    def generate(self, *, prompts: list[list[int]], images: Any, **_: Any) -> Any:
        rows = list(zip(prompts, images or [None] * len(prompts), strict=True))
        read = self.llm.generate(rows, sampling_params=Params(**self.generation_kwargs))
        end = self.processor.tokenizer.eos_token_id
        return read, [[end] for _ in rows], [[[0.0]] for _ in rows], None

    def _answer(self, rows: list[Any], sampling_params: Any) -> list[list[int]]:
        each = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(rows)
        self.asked += [(ids, images, params) for (ids, images), params in zip(rows, each, strict=True)]
        return [self._read(*row) for row in rows]

    def _read(self, ids: list[int], images: Any) -> list[int]:
        """Expand the placeholder of each image to the number of its tokens."""
        text = self.processor.tokenizer.decode(ids)
        read = self.processor(text=[text], images=images, add_special_tokens=False)["input_ids"][0]
        return [*read, 0] if self.spoiled else list(read)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    """Replaces vLLM with the stand-in."""
    module = ModuleType("vllm.sampling_params")
    monkeypatch.setattr(module, "StructuredOutputsParams", SimpleNamespace, raising=False)
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", module)
    monkeypatch.setattr(StandIn, "made", [], raising=False)
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", StandIn)
    return StandIn


def cvo(**options: Any) -> CVO:
    usual = {
        "max_steps": 2, "prompts": 2, "generations": 2, "rollouts": "free", "redraws": 0, "tuning": "lora",
        "grpo_options": {"use_vllm": True},
    }  # fmt: skip
    return CVO(**{**usual, **options})


def optimize(settings: CVO, program: GMNER, posts: list[Post], folder: Path) -> list[dict[str, Any]]:
    rows = settings.rows(answer_calls(posts, program.answer.signature, []), program.adapter())
    return settings.optimize(rows, program.model.engine, program.adapter(), folder, seed=0, progress=False)


@pytest.mark.parametrize("family", daily(FAMILIES, "qwen2_5_vl", "idefics3"))
def test_vllm_prompts_equal_the_training_prompts(
    program: Programs, posts: list[Post], tmp_path: Path, vllm: type[StandIn], family: str
):
    student = program(family)
    log = optimize(cvo(), student, [posts[0], replace(posts[1], image=None)], tmp_path)
    assert [entry["step"] for entry in log if "reward" in entry] == [1, 2]
    (sampler,) = vllm.made
    assert sampler.synced == 2
    placeholder = student.model.engine.model.config.image_token_id
    pictures = {tuple(ids): images for ids, images, _ in sampler.asked}
    assert len(sampler.asked) == 8
    assert sorted(ids.count(placeholder) for ids in pictures) == [0, 1]
    for ids, images in pictures.items():
        assert images is None if placeholder not in ids else len(images) == 1
    assert all(params.logit_bias[placeholder] == -100 for _, _, params in sampler.asked)


@pytest.mark.parametrize("family", daily(["idefics3", "qwen2_5_vl", "internvl"], "internvl"))
def test_all_images_of_a_post_reach_vllm(program: Programs, tmp_path: Path, vllm: type[StandIn], family: str):
    student = program(family)
    optimize(cvo(max_steps=1), student, several_posts(2), tmp_path)
    (sampler,) = vllm.made
    placeholder = student.model.engine.model.config.image_token_id
    assert len(sampler.asked) == 4
    for ids, images, _ in sampler.asked:
        assert ids.count(placeholder) == 3
        assert [image.size for image in images] == list(SIZES)


def test_different_prompt_of_vllm_stops_the_training(
    program: Programs, posts: list[Post], tmp_path: Path, vllm: type[StandIn], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vllm, "spoiled", True)
    with pytest.raises(ModelError, match=r"differs from the training prompt.*the first \d+ are equal"):
        optimize(cvo(), program("qwen2_5_vl"), posts[:2], tmp_path)
    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_constrained_vllm_rollouts_use_the_schema_of_their_post(
    program: Programs, posts: list[Post], tmp_path: Path, vllm: type[StandIn]
):
    student, settings = program("idefics3"), cvo(rollouts="constrained")
    log = optimize(settings, student, posts[:2], tmp_path)
    assert not any(name.startswith("sampling/") for entry in log for name in entry)  # no correction
    rows = settings.rows(answer_calls(posts[:2], student.answer.signature, []), student.adapter())
    (sampler,) = vllm.made
    assert len(sampler.asked) == 8
    for ids, _, params in sampler.asked:
        text = sampler.processor.tokenizer.decode(ids)
        (schema,) = [json.loads(row["schema"]) for row in rows if row["post_text"] in text]
        assert params.structured_outputs.json == served_schema(schema)


def test_free_vllm_rollouts_are_corrected(program: Programs, posts: list[Post], tmp_path: Path, vllm: type[StandIn]):
    log = optimize(cvo(max_steps=1), program("idefics3"), posts[:2], tmp_path)
    assert "sampling/importance_sampling_ratio/mean" in log[0]
    assert not any(hasattr(params, "structured_outputs") for _, _, params in vllm.made[0].asked)


@pytest.mark.parametrize("options", [{"vllm_mode": "server"}, {"vllm_tensor_parallel_size": 2}])
def test_constrained_rollouts_of_a_vllm_server_are_refused(options: dict[str, Any]):
    with pytest.raises(InputError, match=r"inside the training process.*colocate"):
        cvo(rollouts="constrained", grpo_options={"use_vllm": True, **options})
    assert cvo(grpo_options={"use_vllm": True, **options}).rollouts == "free"
