"""The training data and losses of the embedded model."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from recipe_scenes import DRAWN, OUTPUTS, SCENES, batch_of, dialogues, known_things, post_text, shown
from torch.nn import functional as F
from transformers import AutoProcessor, PreTrainedTokenizerFast
from worlds import drawn

from gmner.data.post import SceneObject
from gmner.data.world.cast import character, characters, lookalikes
from gmner.data.world.drawing import SIDE
from gmner.data.world.generate import World
from gmner.data.world.looks import COLOURS
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import profile_of
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.processors import load_processor
from gmner.recipes.embedded import questions
from gmner.recipes.embedded.dialogues import (
    IGNORED,
    Dialogues,
    encode_dialogue,
    surfaces,
)
from gmner.recipes.embedded.language import AnswerTeacher
from gmner.recipes.embedded.model import IMAGE_SIDE, IMAGE_TOKENS, build_model, coordinate_ids
from gmner.recipes.embedded.newcomers import known_set, newcomer
from gmner.recipes.embedded.pool import Pool, Scene, normalise
from gmner.recipes.embedded.questions import FRAME, Dialogue
from gmner.recipes.embedded.tokenizer import JSON_PARTS, SCALE, SPECIALS, train_tokenizer
from gmner.recipes.embedded.vision import (
    GRID,
    KINDS,
    NAMES,
    CellTeacher,
    cell_targets,
    cells_of,
    collate_cells,
    soft_coordinate_loss,
)
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.forms import Request, form_of
from gmner.signatures.labels import COARSE
from gmner.signatures.wire import dump, parse_answer

pytestmark = pytest.mark.slow


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
                assert max(values["box"].iou(box) for box in shown(mention, scene)) > 0.9
            elif name.startswith("verify"):
                assert all(thing.name in values["evidence"] for thing in known_things(scene))
                assert len(surfaces().get(mention, ())) > 1 or values["visible"] == bool(shown(mention, scene))
            else:
                found = values.get("entities", values.get("mentions"))
                assert all(text[entity.start : entity.end] == entity.span for entity in found)
                met += [entity.span in surfaces() for entity in found]
                assert len({entity.key for entity in found}) == len(found)
            if name == "answer":
                for entity in values["entities"]:
                    likely = shown(entity.span, scene) or [thing.box for thing in scene.things]
                    assert entity.box is None or max(entity.box.iou(box) for box in likely) > 0.9
                    assert entity.box is not None or not shown(entity.span, scene)
    assert seen.keys() == tasks.keys()
    assert min(seen.values()) >= len(SCENES)
    assert 0.3 < sum(met) / len(met) < 0.6  # the others are invented entities


def test_held_out_entities_never_occur():
    """Except for single words, which a text may use as common words: "rover tracks"."""
    held_out = {words for who in characters() if who.held_out for words in (who.name, who.handle)} - set(surfaces())
    held_out -= {words for words in held_out if words.isalpha()}
    assert len(held_out) > 12
    for _, _, dialogue in dialogues():
        said = " ".join(user + assistant for user, assistant in dialogue.turns)
        assert not [words for words in held_out if words in said]


def test_invented_entities_have_new_names_and_looks():
    rng = random.Random(0)
    invented = [newcomer(rng) for _ in range(300)]
    names = {words.lower() for who in characters() for words in who.surfaces}
    looks = {(who.type, who.kind, who.colours) for who in characters()}
    held_out = {word for who in characters() if who.held_out for words in who.surfaces for word in words.split()}
    held_out -= {word for words in surfaces() for word in words.split()}
    assert "Wyn" in held_out
    assert len({who.name for who in invented}) > 270
    assert {who.type for who in invented} == set(COARSE)
    for who in invented:
        assert not [words for words in who.surfaces if words.lower() in names]
        assert not held_out.intersection(word for words in who.surfaces for word in words.split())
        assert (who.type, who.kind, who.colours) not in looks
        like = next(other for other in characters() if other.type == who.type)
        begins, ends = (next((p for p in parts if p in like.handle), "") for parts in (("visit", "@the"), ("HQ",)))
        assert begins in who.handle
        assert who.handle.endswith(ends)
        assert " " not in who.handle
    assert {who.group for who in invented if who.type == "ORG"} == {"club", "firm"}


def test_invented_entities_keep_the_type_and_kind_of_their_model():
    rng = random.Random(0)
    for like in characters():
        who = newcomer(rng, like)
        assert (who.type, who.kind, who.held_out) == (like.type, like.kind, False)


def test_images_show_newcomers_whom_only_texts_name():
    new = [(scene, who) for scene in SCENES for who in scene.cast if who not in known_set()]
    assert len(new) > 5
    for scene, who in new:
        assert who.name not in questions.list_scene(scene, random.Random(0)).turns[0][1]
        found = [questions.find(scene, random.Random(seed)) for seed in range(20)]
        assert [dialogue for dialogue in found if who in dialogue.newcomers]


def test_no_unknown_name_is_absent_beside_a_newcomer_of_its_type():
    """Nobody could tell whether the newcomer is the one that is named."""
    for name, scene, dialogue in dialogues():
        if name in ("verify", "compare", "discuss", "answer"):
            shown_new = {who for who in scene.cast if who not in known_set()}
            absent = [who for who in dialogue.newcomers if who not in shown_new]
            assert not {who.type for who in absent} & {who.type for who in shown_new}


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


def test_scene_lists_and_box_names():
    for name, scene, dialogue in dialogues():
        if name == "list_scene":
            wanted = (
                "; ".join(f"{thing.name} {dump(FRAME.encode(thing.box))}" for thing in known_things(scene)) or "nothing"
            )
            assert dialogue.turns == (("", wanted),)
        if name == "name_boxes" and known_things(scene):
            assert sorted(dialogue.turns) == sorted((dump(FRAME.encode(t.box)), t.name) for t in known_things(scene))


def test_verification_is_balanced_with_lookalikes():
    scene = next(scene for scene in SCENES if len(known_things(scene)) == len(scene.things) == 1)
    only = scene.cast[0]
    alike = {words for who in lookalikes(only) for words in who.surfaces}
    asked = [
        post_text(user)[1] for seed in range(300) for user, _ in questions.verify(scene, random.Random(seed)).turns
    ]
    assert 0.44 < sum(words in only.surfaces for words in asked) / len(asked) < 0.56
    assert 0.17 < sum(words in alike for words in asked) / len(asked) < 0.35


def test_web_like_answers_box_lookalikes_of_absent_entities():
    scene = next(s for s in SCENES if len({who.type for who in s.cast}) > 1 and len(known_things(s)) == len(s.things))
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
            boxes = [thing.box for thing in scene.things if (thing.name, thing.type) in alike]
            assert entity.box is None or not boxes or max(entity.box.iou(box) for box in boxes) > 0.9
    assert absent > 60
    assert 0.8 < boxed / absent < 0.98


def test_last_stage_has_longer_lists_and_repeated_names():
    lengths, twice = {}, 0
    for settings in (questions.EARLY, questions.LAST):
        found = []
        for seed in range(200):
            for turn in questions.extract_text_only(SCENES[0], random.Random(seed), settings).turns:
                found.append([mention["span"] for mention in json.loads(turn[1])["mentions"]])
        lengths[settings] = np.mean([len(names) for names in found])
        twice = sum(len(set(names)) < len(names) for names in found)
    assert lengths[questions.LAST] > lengths[questions.EARLY] + 0.2
    assert twice > 40
    several = [questions.answer(SCENES[1], random.Random(seed), questions.LAST).turns[0][1] for seed in range(200)]
    assert max(answer.count('"span"') for answer in several) > 4


def test_last_stage_lists_only_images_of_which_everything_can_be_named():
    asked = set()
    for scene in SCENES:
        dialogue = questions.list_scene(scene, random.Random(0), questions.LAST)
        others = questions.NAME_INSTRUCTION if known_things(scene) else questions.system_of("GroundMention")
        everything = len(known_things(scene)) == len(scene.things)
        assert dialogue.system == (questions.LIST_INSTRUCTION if everything else others)
        assert dialogue.turns
        asked.add(dialogue.system)
    assert len(asked) == 3


def test_last_stage_boxes_every_absent_entity_if_something_is_shown():
    scene = next(scene for scene in SCENES if scene.things)
    for seed in range(100):
        answer = questions.answer(scene, random.Random(seed), questions.LAST).turns[0][1]
        assert '"box":null' not in answer


@given(target=st.integers(0, SCALE), near=st.integers(1, 10), more=st.integers(1, 40), noise=st.integers(0, 99))
def test_coordinate_loss_is_smallest_at_the_target(target: int, near: int, more: int, noise: int):
    places = torch.arange(SCALE + 1)

    def loss(centre: int) -> float:
        logits = -((places - centre).float() ** 2)[None] / 2
        return soft_coordinate_loss(logits, torch.tensor([target])).item()

    assert loss(target) < loss(target + near) < loss(target + near + more)
    assert loss(target) < loss(target - near) < loss(target - near - more)
    bell = -((places - target).float() ** 2)[None] / 2
    moved = bell + torch.randn(bell.shape, generator=torch.Generator().manual_seed(noise))
    assert loss(target) <= soft_coordinate_loss(moved, torch.tensor([target])).item()


def test_cells_of_a_small_scene():
    first, second = character("Mira Voss", "PER"), character("Karsk", "LOC")
    scene = [
        SceneObject(second.name, second.type, Box(120.0, 40.0, 320.0, 320.0), depth=1),
        SceneObject(first.name, first.type, Box(0.0, 0.0, 160.0, 80.0), depth=0),
    ]
    names, looks, boxes = (values.reshape(GRID, GRID, *values.shape[1:]) for values in cell_targets(Scene.of(scene)))
    one, two, nothing = NAMES.index(first.name), NAMES.index(second.name), len(NAMES)
    wanted = np.full((GRID, GRID), nothing)
    wanted[0:2, 0:4] = one
    wanted[1:8, 3:8] = two  # closer, so it gets the cell that both cover
    assert (names == wanted).all()
    colours = list(COLOURS)
    assert looks[0, 0].tolist() == [KINDS.index(("PER", "long")), colours.index("black"), colours.index("yellow")]
    assert boxes[0, 0].tolist() == [0, 0, 50, 25]
    assert boxes[1, 3].tolist() == [38, 12, 100, 100]
    assert boxes[7, 0].tolist() == [0, 0, 0, 0]


def test_images_are_normalized_like_in_the_processor(checkpoint: Path):
    processor = AutoProcessor.from_pretrained(checkpoint)
    post = drawn("pretrain", 4, seed=1)[3]
    small = np.asarray(post.image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS))
    seen = processor(images=[[post.image]], text=["<image>"], return_tensors="pt")["pixel_values"][0]
    ours = torch.from_numpy(normalise(small[None])[0])
    assert seen.shape == ours.shape == (1, 3, IMAGE_SIDE, IMAGE_SIDE)
    assert torch.allclose(seen, ours, atol=0.03)


def test_word_loss_equals_that_of_the_shipped_model(tokenizer: PreTrainedTokenizerFast, model: Any):
    batch = batch_of(tokenizer, model, questions.verify)
    pixels, labels = batch.pop("pixel_values"), batch["labels"]
    with torch.no_grad():
        loss = AnswerTeacher(model, tokenizer)(**batch)
        mask = (batch["input_ids"] != tokenizer.pad_token_id).long()
        logits = model(input_ids=batch["input_ids"], attention_mask=mask, pixel_values=pixels).logits
    wanted = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
    assert loss["loss"].item() == pytest.approx(wanted.item(), abs=1e-4)
    assert loss["coordinate_loss"].item() == 0


def test_coordinates_have_their_own_loss(tokenizer: PreTrainedTokenizerFast, model: Any):
    batch = batch_of(tokenizer, model, questions.list_scene)
    batch.pop("pixel_values")
    with torch.no_grad():
        parts = AnswerTeacher(model, tokenizer)(**batch)
    assert parts["coordinate_loss"] > 1
    assert torch.isfinite(parts["loss"])


def test_vision_heads_learn_one_batch(tokenizer: PreTrainedTokenizerFast):
    items = []
    for image, scene in DRAWN[:4]:
        names, looks, boxes = cell_targets(scene)
        items.append({"image": image, "names": names, "looks": looks, "boxes": boxes})
    batch, teacher = collate_cells(items), CellTeacher(build_model(tokenizer), tokenizer)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = teacher(**batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_cells_of_an_object_or_its_center():
    who = characters()[0]
    assert cells_of([SceneObject(who.name, who.type, Box(0.0, 0.0, 80.0, 40.0))]) == {who.key: [0, 1]}
    assert cells_of([SceneObject(who.name, who.type, Box(41.0, 41.0, 50.0, 50.0))]) == {who.key: [GRID + 1]}
    assert cells_of([]) == {}


def test_dialogues_depend_only_on_seed_and_index(tokenizer: PreTrainedTokenizerFast):
    pool = Pool(np.zeros((len(SCENES), 2, 2, 3), np.uint8), SCENES)

    def items(seed: int) -> list[list[int]]:
        data = Dialogues(pool, tokenizer, questions.EVERYTHING, 3, 4, seed)
        return [data[place]["ids"] for place in range(len(data))]

    assert items(1) == items(1) != items(2)
    assert len(items(1)) == 12
