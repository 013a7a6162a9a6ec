"""The supervised attention of pre-training, and the weights of types and decisions."""

import json
import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from recipe_scenes import SCENES, batch_of, dialogues, known_things, post_text
from transformers import PreTrainedTokenizerFast

from gmner.recipes.embedded import questions
from gmner.recipes.embedded.dialogues import (
    CLUES,
    IGNORED,
    Dialogues,
    PadDialogues,
    encode_dialogue,
    gazes,
)
from gmner.recipes.embedded.language import GAZE_HEADS, GAZE_LAYERS, AnswerTeacher, gaze_loss, watched_attention
from gmner.recipes.embedded.model import build_model, coordinate_ids
from gmner.recipes.embedded.muon import Muon
from gmner.recipes.embedded.pool import Pool, Scene
from gmner.recipes.embedded.questions import Dialogue
from gmner.recipes.embedded.vision import (
    cells_of,
)
from gmner.signatures.wire import dump

pytestmark = pytest.mark.slow


def test_decision_tokens_have_a_larger_weight(tokenizer: PreTrainedTokenizerFast, model: Any):
    batch = batch_of(tokenizer, model, questions.verify)
    batch.pop("pixel_values")
    with torch.no_grad():
        plain, heavy = (AnswerTeacher(model, tokenizer, decision_weight=weight)(**batch) for weight in (1.0, 6.0))
    decisions = 6  # two in each dialogue
    learned = (batch["labels"][:, 1:] != IGNORED).sum()
    assert heavy["word_loss"] == plain["word_loss"]
    extra = 5 * decisions * heavy["decision_loss"] / learned
    assert heavy["loss"].item() == pytest.approx((plain["loss"] + extra).item(), rel=1e-4)


def test_gaze_targets_of_names_and_coordinates(tokenizer: PreTrainedTokenizerFast):
    coordinates = set(coordinate_ids(tokenizer))
    for name, scene, dialogue in dialogues():
        if not dialogue.with_image:
            continue
        encoded = encode_dialogue(dialogue, tokenizer)
        picture = encoded.ids.index(tokenizer.convert_tokens_to_ids("<image>"))
        cells = cells_of(scene.things)
        looks = gazes(encoded, scene, coordinates, dialogue.judging)
        keys = [[who.key for who in dict.fromkeys(scene.cast) if words in who.surfaces] for _, words in encoded.named]
        missed = [0] if dialogue.judging else []
        wanted = [
            (at, sorted({picture + cell for key in whose for cell in cells[key]}) or missed)
            for (at, _), whose in zip(encoded.named, keys, strict=True)
        ]
        wanted = [look for look in wanted if look[1]]
        found = [look[1:] for look in looks if look[0] == 0]
        assert found[len(found) - len(wanted) :] == wanted
        assert dialogue.judging == (name in ("verify", "compare", "discuss"))
        for at, words in encoded.named:
            assert tokenizer.decode(encoded.ids[picture : at + 1]).rstrip("?!.,:;'\"#").endswith(words)
        ends = [at for at, _ in encoded.named]
        others = {at for at, *_ in (*encoded.copied, *encoded.typed, *encoded.judged)}
        written = [at for layer, at, _ in looks if layer == 1 and at not in others]
        assert all(encoded.labels[at + 1] in coordinates and at + 1 not in ends for at in written)
        assert [places for layer, at, places in looks if layer == 1 and at in written] == [
            [max(end for end in ends if end <= at)] for at in written
        ]
        if name == "find" and scene.things:
            boxes = [json.loads(assistant)["box"] for _, assistant in dialogue.turns]
            assert len(written) == 4 * sum(box is not None for box in boxes)


def test_gaze_targets_of_names_read_off_the_image(tokenizer: PreTrainedTokenizerFast):
    for name, scene, dialogue in dialogues():
        encoded = encode_dialogue(dialogue, tokenizer)
        tokens = "".join(tokenizer.decode([encoded.ids[at + 1]]) for at, _ in encoded.read).replace(" ", "")
        if name == "list_scene":
            assert tokens == "".join(thing.name for thing in known_things(scene)).replace(" ", "")
        elif name in ("find", "extract", "extract_text_only", "answer", "transcribe") and known_things(scene):
            assert not tokens
        listed = name == "verify" or any("Picture: " in chain and "[" in chain for _, chain in dialogue.turns)
        if name in ("verify", "compare", "discuss") and known_things(scene) and listed:
            assert tokens
        looks = gazes(encoded, scene if dialogue.with_image else Scene(), set(), dialogue.judging)
        cells = cells_of(scene.things)
        first = encoded.ids.index(tokenizer.convert_tokens_to_ids("<image>")) if dialogue.with_image else 0
        for at, words in encoded.read:
            keys = {who.key for who in scene.cast if words in who.surfaces}
            assert (0, at, sorted({first + cell for key in keys for cell in cells[key]})) in looks or not keys


def test_gaze_targets_of_types_are_their_clues(tokenizer: PreTrainedTokenizerFast):
    turn = (questions.user_message("hello Ada of Bo"), dump({"mentions": [{"span": "Ada", "type": "PER"}]}))
    encoded = encode_dialogue(Dialogue("", (turn,), with_image=False), tokenizer)
    ((at, clues, type_),) = encoded.typed
    assert type_ == "PER"
    assert tokenizer.decode([encoded.ids[at + 1]]) == "PER"
    assert tokenizer.decode(encoded.ids[clues[0] : clues[-1] + 1]).startswith(tokenizer.decode([encoded.ids[clues[0]]]))
    assert tokenizer.decode(encoded.ids[: clues[0] + 1]).endswith("hello Ada")
    assert len(clues) == CLUES + 1
    assert clues == list(range(clues[0], clues[0] + CLUES + 1))
    assert (1, at, clues) in gazes(encoded, Scene(), set())


def test_gaze_targets_of_decisions_are_the_name_they_are_about(tokenizer: PreTrainedTokenizerFast):
    scene = next(scene for scene in SCENES if len(known_things(scene)) > 1)
    for seed in range(10):
        dialogue = questions.verify(scene, random.Random(seed))
        encoded = encode_dialogue(dialogue, tokenizer)
        assert len(encoded.judged) == len(dialogue.turns)
        for (at, places), (user, answer) in zip(encoded.judged, dialogue.turns, strict=True):
            mention = post_text(user)[1]
            assert "visible" in tokenizer.decode([encoded.ids[at + 1]])
            assert len(places) == 1 + answer.count(mention)
            assert all(tokenizer.decode(encoded.ids[: place + 1]).endswith(mention) for place in places)


def copies(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> tuple[list[str], list[str]]:
    """The tokens copied from the post and, for each, the first token at the gaze target."""
    encoded = encode_dialogue(dialogue, tokenizer)
    assert all(encoded.labels[at + 1] != IGNORED and max(places) < at for at, places in encoded.copied)
    words = [tokenizer.decode([token]).strip() for token in encoded.ids]
    return [words[at + 1] for at, _ in encoded.copied], [words[places[0]] for _, places in encoded.copied]


def test_gaze_target_of_copied_tokens(tokenizer: PreTrainedTokenizerFast):
    for name, _, dialogue in dialogues():
        copied, there = copies(dialogue, tokenizer)
        if name in ("extract", "extract_text_only", "answer", "transcribe"):
            said = "".join(assistant for _, assistant in dialogue.turns)
            assert "".join(copied) == "".join(re.findall(r'"span":"([^"]*)"', said)).replace(" ", "")
        elif name not in ("compare", "discuss"):
            assert not copied
        # A name may be tokenized differently after a quotation mark.
        assert all(new[:1] in source for new, source in zip(copied, there, strict=True))


def test_gaze_targets_within_a_chain(tokenizer: PreTrainedTokenizerFast):
    chain = (
        "Picture: Ada [1,2,3,4]; Bo [5,6,7,8]. Post names: Bo (PER), Ada (PER). Ada: shown [1,2,3,4]. So 2 entities."
    )
    turn = (questions.user_message("Adam and Ada and Bo"), chain)
    copied, there = copies(Dialogue("", (turn,), judging=True, copied=("Ada", "Bo")), tokenizer)
    assert "".join(copied) == "".join(there) == "BoAdaAda"
    assert copies(Dialogue("", (turn,)), tokenizer) == ([], [])


def test_gaze_loss_is_smallest_for_the_target_attention():
    at, to = torch.tensor([[0, 0, 2], [0, 1, 3]]), torch.zeros(2, 4, dtype=torch.bool)
    to[0, 1], to[1, 0] = True, True
    right, wrong = torch.zeros(2, 1, GAZE_HEADS, 4, 4), torch.zeros(2, 1, GAZE_HEADS, 4, 4)
    right[0, 0, :, 2, 1] = right[1, 0, :, 3, 0] = 1.0
    wrong[1, 0, :, 2, 1] = wrong[0, 0, :, 3, 0] = 1.0  # the other layer
    assert gaze_loss(list(right), at, to).item() == pytest.approx(0.0, abs=1e-3)
    assert gaze_loss(list(wrong), at, to).item() > 10


def test_watched_attention_equals_that_of_the_model(tokenizer: PreTrainedTokenizerFast, model: Any):
    batch = batch_of(tokenizer, model, questions.verify)
    seen = {"pixel_values": batch["pixel_values"], "use_cache": False}
    mask = (batch["input_ids"] != tokenizer.pad_token_id).long()
    model.model.text_model.set_attn_implementation("eager")
    teacher = AnswerTeacher(model, tokenizer)
    with torch.no_grad(), teacher._watched() as watched:
        output = model.model(input_ids=batch["input_ids"], attention_mask=mask, output_attentions=True, **seen)
        ours = [watched_attention(*given) for given in watched]
    model.model.text_model.set_attn_implementation("sdpa")
    for layer, weights in zip(GAZE_LAYERS, ours, strict=True):
        difference = (weights - output.attentions[layer][:, :GAZE_HEADS]).abs() * mask[:, None, :, None]
        assert difference.max() < 1e-5


def test_types_are_learned_from_their_clues(tokenizer: PreTrainedTokenizerFast):
    data = Dialogues(Pool(np.zeros((1, 1, 1, 3), np.uint8), [Scene()]), tokenizer, (questions.TEXT,), 1, 4, seed=1)
    batch = PadDialogues(tokenizer.pad_token_id)([data[place] for place in range(4)])
    teacher = AnswerTeacher(build_model(tokenizer), tokenizer)
    optimizer = Muon(teacher, 1.6e-3, 0.0, betas=(0.9, 0.98))
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        parts = teacher(**batch)
        parts["loss"].backward()
        optimizer.step()
        losses.append(parts["type_loss"].item())
    assert losses[-1] < 0.8 * losses[0]
