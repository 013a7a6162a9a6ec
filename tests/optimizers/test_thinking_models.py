"""Thinking models are trained with thinking switched off: rows, refusals, and what is saved."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from thinking_templates import TEMPLATES, thinking_checkpoint
from tiers import daily
from trl import SFTConfig, SFTTrainer

from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training.program_calls import answer_calls, post_inputs
from gmner.optimizers.training.rows import tuning_rows
from gmner.optimizers.training.trainable import quiet_libraries, training_copy
from gmner.programs.bundle import load
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.publish import save_merged
from gmner.signatures.errors import InputError
from gmner.signatures.schema import Limits

LIMITS = Limits(reasoning=8, entities=2)


def thinking_program(tiny: Callable[[str], Path], folder: Path, name: str, *, on: bool = False) -> GMNER:
    checkpoint = thinking_checkpoint(tiny("qwen3_vl"), name, folder / "checkpoint")
    options = {"thinking": True, "thinking_tokens": 9} if on else {}
    return GMNER(load_vlm(checkpoint, cache=False, **options), limits=LIMITS)


@pytest.mark.slow
@pytest.mark.parametrize("name", daily(TEMPLATES, "opens", "bare"))
def test_rows_are_prompts_of_inference_and_answers(
    tiny: Callable[[str], Path], posts: list[Post], tmp_path: Path, name: str
):
    student, trained = thinking_program(tiny, tmp_path, name), posts[:2]
    adapter, signature, engine = student.adapter(), student.answer.signature, student.model.engine
    chains, by_id = MRSI(per_post=1).chains(trained, adapter, random.Random(0)), {post.id: post for post in trained}
    rows = tuning_rows(chains, by_id, adapter, signature, [], engine)
    args = SFTConfig(
        output_dir=str(tmp_path / "run"), max_length=None, bf16=False, use_cpu=True, report_to=[],
        per_device_train_batch_size=2, max_steps=1, train_sampling_strategy="sequential",
    )  # fmt: skip
    with quiet_libraries():
        model, processor = training_copy(engine.weights.source, engine.path, "full", MRSI().lora)
        trainer = SFTTrainer(model=model, args=args, train_dataset=rows, processing_class=processor)
        batch = next(iter(trainer.get_train_dataloader()))
    tokenizer, encoder = engine.processor.tokenizer, ChatEncoder(engine.processor)
    for ids, mask, labels, chain in zip(
        batch["input_ids"], batch["attention_mask"], batch["labels"], chains, strict=True
    ):
        inputs = post_inputs(by_id[chain.post_id])
        prompt = encoder([adapter.dialogue(signature, [], inputs)])["input_ids"][0].tolist()
        said = adapter.answer(signature, {**inputs, "reasoning": chain.reasoning, "entities": chain.entities})
        live = ids[mask == 1].tolist()
        assert live[: len(prompt)] == prompt
        assert tokenizer.decode(live[len(prompt) :]) == said + "<|im_end|>\n"
        assert tokenizer.decode(labels[labels != -100]) == said + "<|im_end|>\n"


@pytest.mark.slow
def test_sft_and_grpo_of_a_thinking_model(
    tiny: Callable[[str], Path], posts: list[Post], tmp_path: Path, weights: Callable[[Path], dict[str, torch.Tensor]]
):
    student = thinking_program(tiny, tmp_path, "opens")
    optimizer = MCR(
        mrsi=MRSI(max_steps=2, per_post=1, tuning="full", batch=2),
        cvo=CVO(max_steps=2, prompts=2, generations=2, redraws=0, tuning="full", max_completion_length=400),
        progress=False,
    )
    better = student.compile(trainset=posts[:6], optimizer=optimizer, run_dir=tmp_path / "run")
    engine = better.model.engine
    assert engine.weights.thinking is not None
    assert engine.processor.chat_template == student.model.engine.processor.chat_template
    assert better(text="Kevin Durant in Paris").thinking == ""
    calls = answer_calls(posts[:1], better.answer.signature, [])
    assert len(calls) == 1
    save_merged(better, tmp_path / "merged")
    assert (tmp_path / "merged/chat_template.jinja").read_text(encoding="utf-8") == engine.processor.chat_template
    thinking = load_vlm(tmp_path / "merged", thinking=True)  # the change of the template is taken back
    prompt = thinking.engine.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": "x"}]}], add_generation_prompt=True, tokenize=False
    )
    assert prompt.endswith("<think>\n")


@pytest.mark.parametrize("optimizer", [MCR(cvo=None), MCR(mrsi=None), MCR()])
def test_thinking_lm_is_not_trained(tiny: Callable[[str], Path], posts: list[Post], tmp_path: Path, optimizer: MCR):
    student = thinking_program(tiny, tmp_path, "opens", on=True)
    with pytest.raises(InputError, match="thinks before its answers cannot be trained") as caught:
        student.compile(trainset=posts[:4], optimizer=optimizer, run_dir=tmp_path / "run")
    assert "thinking=False" in str(caught.value.accepted)
    assert not (tmp_path / "run").exists()


def test_bundle_keeps_the_mode(tiny: Callable[[str], Path], tmp_path: Path):
    for on in (True, False):
        (tmp_path / str(on)).mkdir()
        thinking_program(tiny, tmp_path / str(on), "opens", on=on).save(tmp_path / f"bundle-{on}")
        engine = load(tmp_path / f"bundle-{on}").model.engine
        assert engine.weights.source.thinking is on
        assert engine.thinking_tokens == (9 if on else 2048)
    assert load(tmp_path / "bundle-True", thinking=False).model.engine.weights.source.thinking is False
