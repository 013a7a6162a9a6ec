"""The training data and losses of the embedded model."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from recipe_dialogues import POSTS, SCENES, dialogues
from torch.nn import functional as F
from transformers import AutoProcessor, PreTrainedTokenizerFast

from gmner.data.post import SceneObject
from gmner.data.world.cast import character, characters, lookalikes
from gmner.data.world.drawing import SIDE
from gmner.data.world.generate import World
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import profile_of
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.processors import load_processor
from gmner.recipes.embedded import questions
from gmner.recipes.embedded.dialogues import Dialogues, PadDialogues
from gmner.recipes.embedded.encoding import IGNORED, encode_dialogue, surfaces
from gmner.recipes.embedded.language import GAZE_HEADS, TYPE_WEIGHT, AnswerTeacher, gaze_loss
from gmner.recipes.embedded.model import IMAGE_SIDE, IMAGE_TOKENS, coordinate_ids
from gmner.recipes.embedded.pool import Pool, normalise
from gmner.recipes.embedded.questions import FRAME, Dialogue
from gmner.recipes.embedded.tokenizer import JSON_PARTS, SCALE, SPECIALS, train_tokenizer
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.forms import Request, form_of
from gmner.signatures.labels import COARSE
from gmner.signatures.wire import dump, parse_answer

pytestmark = pytest.mark.slow

OUTPUTS = {name: list(outputs) for name, outputs in questions._OUTPUTS.items()}


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_coordinates_and_answer_parts_are_single_tokens(tokenizer: PreTrainedTokenizerFast):
    assert len(set(coordinate_ids(tokenizer))) == SCALE + 1
    for part in (*JSON_PARTS, *SPECIALS):
        assert len(ids_of(tokenizer, part)) == 1
    box = ids_of(tokenizer, '{"box":[12,3,45,100]}')
    assert [token for token in box if token in coordinate_ids(tokenizer)] == [
        coordinate_ids(tokenizer)[value] for value in (12, 3, 45, 100)
    ]


@given(text=st.text(max_size=200))
def test_tokenizer_round_trip(tokenizer: PreTrainedTokenizerFast, text: str):
    assert tokenizer.decode(ids_of(tokenizer, text), clean_up_tokenization_spaces=False) == text


def test_too_small_vocabulary_is_refused():
    with pytest.raises(ValueError, match="more than one token"):
        coordinate_ids(train_tokenizer(vocab_size=300, posts=2))


def conversation(dialogue: Dialogue) -> list[dict[str, Any]]:
    """A dialogue as the prompt adapter writes one."""
    turns: list[dict[str, Any]] = [{"role": "system", "content": [{"type": "text", "text": dialogue.system}]}]
    for place, (user, assistant) in enumerate(dialogue.turns):
        picture = [{"type": "image", "image": Image.new("RGB", (SIDE, SIDE))}]
        first = picture if dialogue.with_image and place == 0 else []
        turns.append({"role": "user", "content": [*first, {"type": "text", "text": user}]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": assistant}]})
    return turns


def test_dialogue_encoding_equals_template_and_processor(tokenizer: PreTrainedTokenizerFast, checkpoint: Path):
    processor = AutoProcessor.from_pretrained(checkpoint)
    for place, (_, _, dialogue) in enumerate(dialogues()):
        if place % 4:
            continue
        encoded = encode_dialogue(dialogue, tokenizer)
        ids, labels = encoded.ids, encoded.labels
        turns = conversation(dialogue)
        rendered = processor.apply_chat_template([turns], tokenize=True, return_dict=True, return_tensors="pt")
        assert rendered["input_ids"][0].tolist() == ids
        assert ids.count(tokenizer.convert_tokens_to_ids("<image>")) == (IMAGE_TOKENS if dialogue.with_image else 0)
        assert all(label in (IGNORED, token) for label, token in zip(labels, ids, strict=True))
        learned = "".join(f"{assistant}<|im_end|>" for _, assistant in dialogue.turns)
        assert tokenizer.decode([label for label in labels if label != IGNORED]) == learned


def test_engine_prompts_equal_the_dialogues(tokenizer: PreTrainedTokenizerFast, checkpoint: Path):
    encoder = ChatEncoder(load_processor(checkpoint, "idefics3"))
    for name, _, dialogue in dialogues():
        if name not in ("answer", "verify", "find", "extract"):
            continue
        encoded = encode_dialogue(dialogue, tokenizer)
        ids, labels = encoded.ids, encoded.labels
        first = next(place for place, label in enumerate(labels) if label != IGNORED)
        assert encoder([conversation(dialogue)[:2]])["input_ids"][0].tolist() == ids[:first]


def test_engine_prompt_for_an_answer_equals_the_dialogues(checkpoint: Path):
    program = GMNER(lm=load_vlm(checkpoint, cache=False))
    post = World().post("dev", 0)
    system, user = program.adapter().dialogue(program.answer.signature, [], {"text": post.text, "image": post.image})
    assert system["content"][0]["text"] == questions.system_of("GroundEntities")
    assert user["content"][1]["text"] == questions.user_message(post.text)
    assert profile_of("idefics3", program.model.engine.processor, checkpoint).box_format == FRAME.box_format
    assert BoxFormat("normalized", SCALE) == FRAME.box_format


def post_text(user: str) -> tuple[str, str | None]:
    """Text and mention of a user message."""
    text, _, mention = user.removeprefix("Post: ").partition("\nEntity: ")
    return text, mention or None


def shown(words: str, scene: tuple[SceneObject, ...]) -> list[Box]:
    """The boxes of objects in a scene that this name may refer to."""
    return [thing.box for thing in scene if (thing.name, thing.type) in surfaces().get(words, ())]


def test_every_answer_parses():
    tasks = {"find": "GroundMention", "verify": "VerifyVisibility", "answer": "GroundEntities"}
    tasks |= {"extract": "ExtractMentions", "extract_text_only": "ExtractMentions"}
    seen, met = dict[str, int](), list[bool]()
    for name, scene, dialogue in dialogues():
        if name not in tasks or dialogue.system == questions.LIST_INSTRUCTION:  # the object is absent
            continue
        for user, assistant in dialogue.turns:
            text, mention = post_text(user)
            assert questions.user_message(text, mention) == user
            form = form_of(OUTPUTS[tasks[name]])
            values = form.parse(assistant, Request(text, COARSE, FRAME, mention), False)
            seen[name] = seen.get(name, 0) + 1
            if name.startswith("find"):
                assert mention not in surfaces() or max(values["box"].iou(box) for box in shown(mention, scene)) > 0.9
            elif name.startswith("verify"):
                assert all(thing.name in values["evidence"] for thing in scene)
                assert len(surfaces().get(mention, ())) > 1 or values["visible"] == bool(shown(mention, scene))
            else:
                found = values.get("entities", values.get("mentions"))
                assert all(text[entity.start : entity.end] == entity.span for entity in found)
                met += [entity.span in surfaces() for entity in found]
                assert len({entity.key for entity in found}) == len(found)
            if name == "answer":
                for entity in values["entities"]:
                    likely = shown(entity.span, scene) or [thing.box for thing in scene]
                    assert entity.box is None or max(entity.box.iou(box) for box in likely) > 0.9
                    assert entity.box is not None or not shown(entity.span, scene)
    assert seen.keys() == tasks.keys()
    assert min(seen.values()) >= len(SCENES)
    assert 0.45 < sum(met) / len(met) < 0.75  # the others are invented entities


def test_held_out_entities_never_occur():
    """Except for single words, which a text may use as common words: "rover tracks"."""
    held_out = {words for who in characters() if who.held_out for words in (who.name, who.handle)} - set(surfaces())
    held_out -= {words for words in held_out if words.isalpha()}
    assert len(held_out) > 12
    for _, _, dialogue in dialogues():
        said = " ".join(user + assistant for user, assistant in dialogue.turns)
        assert not [words for words in held_out if words in said]


def test_comparison_copies_the_mentions_of_the_post():
    for name, _, dialogue in dialogues():
        if name == "compare":
            ((user, chain),) = dialogue.turns
            assert dialogue.system == questions.COMPARE_INSTRUCTION
            assert all(words in post_text(user)[0] and words in chain for words in dialogue.copied)
            assert "{" not in chain


def test_discussion_compares_and_then_answers_correctly():
    for name, scene, dialogue in dialogues():
        if name != "discuss":
            continue
        (asked, chain), (again, answer) = dialogue.turns
        text = post_text(asked.removeprefix(questions.COMPARE_INSTRUCTION + "\n"))[0]
        found = parse_answer(answer, text, COARSE, FRAME)
        assert again == questions.ANSWER_INSTRUCTION
        assert {entity.span for entity in found.entities} == set(dialogue.copied)
        for entity in found.entities:
            assert (entity.box is not None) == bool(shown(entity.span, scene))
            assert entity.span in chain


def test_transcription_needs_no_image():
    for name, _, dialogue in dialogues():
        if name == "transcribe":
            ((asked, answer),) = dialogue.turns
            post, words = asked.split("\n", 1)
            assert not dialogue.with_image
            for entity in parse_answer(answer, post_text(post)[0], COARSE, FRAME).entities:
                assert entity.span in words
                assert entity.box is None or dump(FRAME.encode(entity.box)) in words


def test_comparisons_list_the_image_first():
    for name, scene, dialogue in dialogues():
        listed = f"Picture: {questions.scene_text(scene)}. "
        if name in ("compare", "discuss"):
            assert dialogue.turns[0][1].startswith(listed)
        elif name == "judge":
            ((user, assistant),) = dialogue.turns
            assert not dialogue.with_image
            assert user.endswith(f"\n{listed.strip()}")
            assert assistant.startswith(("Post names: ", "Named in the post: "))


def test_absent_entity_is_mistaken_for_its_like():
    mira = character("Mira Voss", "PER")
    karsk, other, firm = (
        next(o for s in SCENES for o in s if o.type == type_ and o.name != mira.name) for type_ in ("LOC", "PER", "ORG")
    )
    assert questions.most_alike(mira, (karsk, other, firm)) == [other]
    assert questions.most_alike(mira, (karsk, firm)) == (karsk, firm)
    twin = replace(other, name=next(who.name for who in lookalikes(mira)))
    assert questions.most_alike(mira, (karsk, twin, firm)) == [twin]


def test_scene_lists_and_box_names():
    for name, scene, dialogue in dialogues():
        if name == "list_scene":
            wanted = "; ".join(f"{thing.name} {dump(FRAME.encode(thing.box))}" for thing in scene) or "nothing"
            assert dialogue.turns == (("", wanted),)
        if name == "name_boxes":
            assert sorted(dialogue.turns) == sorted((dump(FRAME.encode(t.box)), t.name) for t in scene)


def test_verification_is_balanced_with_lookalikes():
    scene = next(scene for scene in SCENES if len(scene) == 1)
    only = character(scene[0].name, scene[0].type)
    alike = {words for who in lookalikes(only) for words in who.surfaces}
    asked = [
        post_text(user)[1] for seed in range(300) for user, _ in questions.verify(scene, random.Random(seed)).turns
    ]
    assert 0.44 < sum(words in only.surfaces for words in asked) / len(asked) < 0.56
    assert 0.13 < sum(words in alike for words in asked) / len(asked) < 0.35


def test_web_like_answers_box_lookalikes_of_absent_entities():
    scene = next(scene for scene in SCENES if len({thing.type for thing in scene}) > 1)
    boxed = absent = 0
    for seed in range(200):
        ((user, assistant),) = questions.answer(scene, random.Random(seed)).turns
        text, _ = post_text(user)
        form = form_of(OUTPUTS["GroundEntities"])
        for entity in form.parse(assistant, Request(text, COARSE, FRAME, None), False)["entities"]:
            if shown(entity.span, scene):
                continue
            absent += 1
            boxed += entity.box is not None
            alike = {who.key for key in surfaces().get(entity.span, ()) for who in lookalikes(character(*key))}
            boxes = [thing.box for thing in scene if (thing.name, thing.type) in alike]
            assert entity.box is None or not boxes or max(entity.box.iou(box) for box in boxes) > 0.9
    assert absent > 60
    assert 0.8 < boxed / absent < 0.98


def batch_of(tokenizer: PreTrainedTokenizerFast, model: Any, kind: Any, count: int = 3) -> dict[str, torch.Tensor]:
    """A padded batch, with pixels and the features of the vision tower."""
    pictures = np.stack([np.asarray(post.image.resize((IMAGE_SIDE, IMAGE_SIDE))) for post in POSTS[:count]])
    pixels = torch.from_numpy(normalise(pictures))
    with torch.no_grad():
        features = model.model.vision_model(pixel_values=pixels[:, 0]).last_hidden_state.numpy()
    items = []
    for place in range(count):
        encoded = encode_dialogue(kind(SCENES[place], random.Random(place)), tokenizer)
        looked = {"features": features[place], "gazes": [], "named": [], "typed": []}
        items.append({"ids": encoded.ids, "labels": encoded.labels, **looked})
    return {**PadDialogues(tokenizer.pad_token_id)(items), "pixel_values": pixels}


def test_word_loss_equals_that_of_the_shipped_model(tokenizer: PreTrainedTokenizerFast, model: Any):
    batch = batch_of(tokenizer, model, questions.verify)
    pixels, labels = batch.pop("pixel_values"), batch["labels"]
    with torch.no_grad():
        loss = AnswerTeacher(model, tokenizer)(**batch)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], pixel_values=pixels).logits
    wanted = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
    assert loss["loss"].item() == pytest.approx(wanted.item(), abs=1e-4)
    assert loss["coordinate_loss"].item() == 0


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


def test_coordinates_have_their_own_loss(tokenizer: PreTrainedTokenizerFast, model: Any):
    batch = batch_of(tokenizer, model, questions.list_scene)
    batch.pop("pixel_values")
    with torch.no_grad():
        parts = AnswerTeacher(model, tokenizer)(**batch)
    assert parts["coordinate_loss"] > 1
    assert torch.isfinite(parts["loss"])


def test_type_loss_is_smallest_for_the_right_type(tokenizer: PreTrainedTokenizerFast, model: Any):
    batch = batch_of(tokenizer, model, questions.extract, count=1)
    batch.pop("pixel_values")
    teacher = AnswerTeacher(model, tokenizer)
    torch.nn.init.zeros_(teacher.to_type.weight)
    teacher.to_type.bias.data = torch.tensor([0.0, 9.0, 0.0, 0.0])
    with torch.no_grad():
        right, wrong = (teacher(**batch, typed=torch.tensor([[0, 80, type_]])) for type_ in (1, 2))
    assert right["type_loss"] < 0.01
    assert wrong["type_loss"] > 8
    assert (wrong["loss"] - right["loss"]).item() == pytest.approx(TYPE_WEIGHT * 9, abs=1e-3)


def test_gaze_loss_is_smallest_for_the_target_attention():
    at, to = torch.tensor([[0, 0, 2], [0, 1, 3]]), torch.zeros(2, 4, dtype=torch.bool)
    to[0, 1], to[1, 0] = True, True
    right, wrong = torch.zeros(2, 1, GAZE_HEADS + 1, 4, 4), torch.zeros(2, 1, GAZE_HEADS + 1, 4, 4)
    right[0, 0, :GAZE_HEADS, 2, 1] = right[1, 0, :GAZE_HEADS, 3, 0] = 1.0
    wrong[0, 0, GAZE_HEADS, 2, 1] = wrong[1, 0, GAZE_HEADS, 3, 0] = 1.0  # a head without a gaze loss
    wrong[1, 0, :GAZE_HEADS, 2, 1] = wrong[0, 0, :GAZE_HEADS, 3, 0] = 1.0  # the other layer
    assert gaze_loss(list(right), at, to).item() == pytest.approx(0.0, abs=1e-3)
    assert gaze_loss(list(wrong), at, to).item() > 10


def test_dialogues_depend_only_on_seed_and_index(tokenizer: PreTrainedTokenizerFast):
    pool = Pool(np.zeros((len(SCENES), 2, 2, 3), np.uint8), SCENES)

    def items(seed: int) -> list[list[int]]:
        data = Dialogues(pool, tokenizer, questions.EVERYTHING, 3, 4, seed)
        return [data[place]["ids"] for place in range(len(data))]

    assert items(1) == items(1) != items(2)
    assert len(items(1)) == 12
