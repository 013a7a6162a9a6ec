"""Training rows equal the prompts of inference token by token, followed by the answer."""

import copy
import dataclasses
import itertools
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiers import daily
from trl import SFTConfig, SFTTrainer

from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.demonstrations import DemoWriter
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training import rows as rows_module
from gmner.optimizers.training.grpo import ConstrainedGRPOTrainer
from gmner.optimizers.training.program_calls import answer_calls, post_inputs
from gmner.optimizers.training.rows import split_pictures, tuning_rows, usable_posts
from gmner.optimizers.training.trainable import quiet_libraries, training_copy
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet
from gmner.signatures.schema import Limits

Programs = Callable[[str], GMNER]

families = pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl", "internvl"])
KINDS = ("pictures", "none", "mixed")
SETS = list(itertools.product(KINDS, (0, 1)))
IGNORED = -100


def bare(post: Post) -> Post:
    """The post without its image."""
    gold = tuple(dataclasses.replace(entity, boxes=()) for entity in post.gold)
    return dataclasses.replace(post, image=None, scene=None, entities=gold)


def kinds(posts: list[Post]) -> dict[str, list[Post]]:
    return {"pictures": posts[:3], "none": [bare(post) for post in posts[:3]], "mixed": [bare(posts[0]), *posts[1:3]]}


def written(program: GMNER, posts: list[Post], demos: int) -> tuple[list[Chain], list[dict[str, Any]], Dataset]:
    """Chains for the posts, demonstrations from the last ones, and the rows."""
    mrsi, adapter = MRSI(per_post=1), program.adapter()
    chains, by_id = mrsi.chains(posts, adapter, random.Random(0)), {post.id: post for post in posts}
    shown = [DemoWriter(by_id, adapter, None, 512)(chain) for chain in chains[-1:] * min(demos, 1)]
    return chains, shown, tuning_rows(chains, by_id, adapter, program.answer.signature, shown)


def inference_ids(program: GMNER, post: Post, demos: list[dict[str, Any]]) -> list[int]:
    """The token ids that the engine sends for a post."""
    dialogue = program.adapter().dialogue(program.answer.signature, demos, post_inputs(post))
    return ChatEncoder(program.model.engine.processor)([dialogue])["input_ids"][0].tolist()


def expected(program: GMNER, posts: list[Post], chains: list[Chain], demos: list[dict[str, Any]]) -> list[Any]:
    """(prompt ids, answer ids) of every post, with the engine's encoder and tokenizer."""
    tokenizer = program.model.engine.processor.tokenizer
    found = []
    for post, chain in zip(posts, chains, strict=True):
        values = {**post_inputs(post), "reasoning": chain.reasoning, "entities": list(chain.entities)}
        answer = program.adapter().answer(program.answer.signature, values)
        ids = tokenizer(f"{answer}<|im_end|>", add_special_tokens=False)["input_ids"]
        others = [demo for demo in demos if demo["text"] != post.text]  # its prompt does not contain its own answer
        found.append((inference_ids(program, post, others), ids))
    return found


def sft_batch(program: GMNER, rows: Dataset, folder: Path) -> dict[str, torch.Tensor]:
    """The first batch of a real SFTTrainer, in the order of the rows."""
    engine = program.model.engine
    options = {"output_dir": str(folder), "max_length": None, "bf16": False, "use_cpu": True, "report_to": []}
    args = SFTConfig(
        **options, per_device_train_batch_size=len(rows), max_steps=1, train_sampling_strategy="sequential"
    )
    with quiet_libraries():
        model, processor = training_copy(engine.weights.source, engine.path, "full", MRSI().lora)
        trainer = SFTTrainer(model=model, args=args, train_dataset=rows, processing_class=processor)
        return next(iter(trainer.get_train_dataloader()))


@families
@pytest.mark.parametrize(("kind", "demos"), daily(SETS, ("mixed", 1), ("none", 0)))
def test_sft_prompts_equal_inference(
    program: Programs, posts: list[Post], tmp_path: Path, family: str, demos: int, kind: str
):
    student, trained = program(family), kinds(posts)[kind]
    chains, shown, rows = written(student, trained, demos)
    assert ("images" in rows.column_names) == (kind != "none")
    batch = sft_batch(student, rows, tmp_path)
    wanted = expected(student, trained, chains, shown)
    for ids, mask, labels, (prompt, answer) in zip(
        batch["input_ids"], batch["attention_mask"], batch["labels"], wanted, strict=True
    ):
        live, learned = ids[mask == 1].tolist(), labels[labels != IGNORED].tolist()
        assert live[: len(prompt) + len(answer)] == prompt + answer
        assert learned[: len(answer)] == answer
        # A template may end a turn with a line feed after the end marker, and nothing else.
        tail = student.model.engine.processor.tokenizer.decode(live[len(prompt) + len(answer) :])
        assert tail in ("", "\n")
        assert learned == live[len(prompt) :]


@families
def test_sft_images_equal_inference(program: Programs, posts: list[Post], tmp_path: Path, family: str):
    student = program(family)
    trained = kinds(posts)["mixed"]
    _, _, rows = written(student, trained, 0)
    batch = sft_batch(student, rows, tmp_path)
    encoder = ChatEncoder(student.model.engine.processor)
    adapter, signature = student.adapter(), student.answer.signature
    sent = [
        encoder([adapter.dialogue(signature, [], post_inputs(post))])["pixel_values"].flatten()
        for post in trained
        if post.image is not None
    ]
    seen = batch["pixel_values"]
    if family == "idefics3":  # padded with images of zeros
        seen = torch.stack([picture for row in seen for picture in row if picture.any()])
    assert torch.equal(seen.flatten(), torch.cat(sent))


@pytest.mark.slow
@families
@pytest.mark.parametrize("kind", daily(KINDS, "mixed"))
def test_grpo_prompts_equal_inference(
    program: Programs, posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, kind: str
):
    student, trained, found = program(family), kinds(posts)[kind], {}
    settings = CVO(max_steps=1, prompts=3, generations=2, max_completion_length=2, redraws=0, tuning="full")
    tokenize = ConstrainedGRPOTrainer._tokenize_prompts

    def kept(self: Any, prompts: list[Any]) -> Any:
        ids, images, fields = tokenize(self, prompts)
        found.update((prompt[-1]["content"][-1]["text"], list(row)) for prompt, row in zip(prompts, ids, strict=True))
        return ids, images, fields

    monkeypatch.setattr(ConstrainedGRPOTrainer, "_tokenize_prompts", kept)
    _, shown, _ = written(student, trained, 1)
    rows = settings.rows(answer_calls(trained, student.answer.signature, shown), student.adapter())
    settings.optimize(rows, student.model.engine, student.adapter(), tmp_path, seed=0, progress=False)
    assert len(found) == 3
    for post in trained:
        last = student.adapter().dialogue(student.answer.signature, shown, post_inputs(post))[-1]
        assert found[last["content"][-1]["text"]] == inference_ids(student, post, shown)


def test_mixed_batch_equals_single_rows(program: Programs, posts: list[Post], tmp_path: Path):
    student = program("idefics3")
    trained = kinds(posts)["mixed"]
    _, _, rows = written(student, trained, 0)
    model = copy.deepcopy(student.model.engine.model).eval()

    def logits(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with torch.no_grad():
            found = model(**inputs).logits
        return [row[mask == 1] for row, mask in zip(found, batch["attention_mask"], strict=True)]

    together = logits(sft_batch(student, rows, tmp_path))
    for place in range(3):
        (alone,) = logits(sft_batch(student, rows.select([place]), tmp_path))
        assert torch.allclose(together[place], alone, atol=1e-4)


@families
def test_posts_with_chat_markers_are_skipped_with_a_warning(
    program: Programs, posts: list[Post], caplog: pytest.LogCaptureFixture, family: str
):
    encoder = ChatEncoder(program(family).model.engine.processor)
    marked = [dataclasses.replace(posts[0], text=f"{posts[0].text} {marker}") for marker in encoder_markers(encoder)]
    with caplog.at_level(logging.WARNING, logger="gmner"):
        assert usable_posts([posts[0], *marked, posts[1]], encoder) == [posts[0], posts[1]]
    assert f"{len(marked)} posts are skipped in training, because their text contains chat markers" in caplog.text
    caplog.clear()
    assert usable_posts(posts, encoder) == posts
    assert caplog.text == ""


def encoder_markers(encoder: ChatEncoder) -> list[str]:
    """A turn marker and an image marker of the model."""
    picture = {"<image>", "<|image_pad|>"} & set(encoder.tokenizer.get_vocab())
    return ["<|im_start|>", *picture]


def test_images_are_extracted_in_order(program: Programs, posts: list[Post]):
    student = program("idefics3")
    demos = [{**post_inputs(post), "reasoning": "", "entities": []} for post in posts[1:3]]
    dialogue = student.adapter().dialogue(student.answer.signature, demos, post_inputs(posts[0]))
    messages, pictures = split_pictures(dialogue)
    assert [message["role"] for message in messages] == [message["role"] for message in dialogue]
    assert [picture.tobytes() for picture in pictures] == [posts[place].image.tobytes() for place in (1, 2, 0)]
    assert all("image" not in part for message in messages for part in message["content"])
    texts = [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]
    assert texts == [part["text"] for message in dialogue for part in message["content"] if part["type"] == "text"]


def test_shared_image_is_encoded_once_losslessly(program: Programs, posts: list[Post], monkeypatch: pytest.MonkeyPatch):
    counted: list[Any] = []
    encode = rows_module.encoded
    monkeypatch.setattr(rows_module, "encoded", lambda *given, **how: counted.append(given) or encode(*given, **how))
    student, pictured = program("idefics3"), [post for post in posts if post.image is not None][:2]
    by_id = {post.id: post for post in pictured}
    chains = 2 * written(student, pictured, 0)[0]
    counted.clear()
    rows = tuning_rows(chains, by_id, student.adapter(), student.answer.signature, [])
    assert (len(rows), len(counted)) == (4, 2)
    for chain, row in zip(chains, rows, strict=True):
        (seen,) = row["images"]
        assert np.array_equal(np.asarray(seen), np.asarray(by_id[chain.post_id].image.convert("RGB")))


def test_empty_training_data_is_refused(program: Programs):
    student = program("idefics3")
    with pytest.raises(InputError, match="No training row is left"):
        tuning_rows([], {}, student.adapter(), student.answer.signature, [])
    with pytest.raises(InputError, match="No training row is left"):
        CVO().rows([], student.adapter())


def test_rows_use_the_adapter_of_the_program(program: Programs, posts: list[Post]):
    labels = LabelSet.of({"PER": "somebody", "LOC": "", "ORG": "", "OTHER": ""})
    student = GMNER(lm=program("idefics3").model, labels=labels, limits=Limits(reasoning=0))
    student.answer.signature = student.answer.signature.with_instructions("Find what is named here.")
    chains, _, rows = written(student, posts[:2], 0)
    assert [chain.reasoning for chain in chains] == ["", ""]
    system = rows[0]["prompt"][0]["content"][0]["text"]
    assert "Find what is named here." in system
    assert "somebody" in system
