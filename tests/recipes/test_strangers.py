"""Invented entities: names that only texts have, and looks that only the images of the last stage have."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from gmner.data.post import SceneObject
from gmner.data.world.cast import characters
from gmner.recipes.embedded import questions
from gmner.recipes.embedded.dialogues import Dialogues, gazes
from gmner.recipes.embedded.encoding import IGNORED, Encoded, encode_dialogue
from gmner.recipes.embedded.model import IMAGE_TOKENS, coordinate_ids
from gmner.recipes.embedded.pool import Pool, build_pool, draw_known, draw_newcomers
from gmner.recipes.embedded.strangers import newcomer, newcomer_called, stranger
from gmner.recipes.embedded.vision import cells_of
from gmner.signatures.boxes import Box
from gmner.signatures.labels import COARSE

pytestmark = pytest.mark.slow

NEW = SceneObject("Groon Vix", "PER", Box(0.0, 0.0, 80.0, 40.0))
OLD = SceneObject("Mira Voss", "PER", Box(161.0, 161.0, 230.0, 230.0), depth=1)


def test_invented_entities_are_new_and_have_typical_names():
    rng = random.Random(0)
    strangers = [stranger(rng) for _ in range(300)]
    known = {words.lower() for who in characters() for words in who.surfaces}
    assert not [who for who in strangers if who.name.lower() in known]
    assert len({who.name for who in strangers}) > 290
    assert {who.type for who in strangers} == set(COARSE)
    for who in strangers:
        like = next(other for other in characters() if other.type == who.type)
        begins, ends = (next((p for p in parts if p in like.handle), "") for parts in (("visit", "@the"), ("HQ",)))
        assert begins in who.handle
        assert who.handle.endswith(ends)
        assert " " not in who.handle


def test_looks_of_newcomers_are_those_of_no_entity_of_the_world():
    rng = random.Random(0)
    new = [newcomer(rng) for _ in range(300)]
    taken = {(who.type, who.kind, who.colours) for who in characters()}
    assert not [who for who in new if (who.type, who.kind, who.colours) in taken]
    assert {(who.type, who.kind) for who in new} == {(type_, kind) for type_, kind, _ in taken}
    assert all(bool(who.skin and who.garment) == (who.type == "PER") for who in new)


@pytest.mark.parametrize(
    ("name", "type_", "surfaces"),
    [
        ("Groon Vix", "PER", ("Groon Vix", "Groon", "Vix", "@groonvix")),
        ("Brea 7", "ORG", ("Brea 7", "Brea", "@Brea7HQ")),
        ("Cone", "LOC", ("Cone", "@visitCone")),
    ],
)
def test_newcomer_of_a_scene_has_the_names_of_its_kind(name: str, type_: str, surfaces: tuple[str, ...]):
    assert newcomer_called(name, type_).surfaces == surfaces


def test_pool_of_newcomers_shows_one_or_two_of_them(tmp_path: Path):
    pool = build_pool(tmp_path, "newcomers", 12, draw_newcomers)
    known = {who.key for who in characters()}
    counts = [sum((thing.name, thing.type) not in known for thing in scene) for scene in pool.scenes]
    assert set(counts) == {1, 2}
    assert max(map(len, pool.scenes)) > 2
    assert pool.images.shape[0] == 12
    again = build_pool(tmp_path, "newcomers", 12, draw_known)  # read, not drawn
    assert again.scenes == pool.scenes


def test_answer_names_every_newcomer_with_its_box():
    for seed in range(20):
        dialogue = questions.meet((NEW, OLD), random.Random(seed))
        ((_, answer),) = dialogue.turns
        entities = json.loads(answer)["entities"]
        (found,) = [entity for entity in entities if entity["span"].strip("@").lower() in "groonvix groon vix"]
        assert found == {"span": found["span"], "type": "PER", "visible": True, "box": [0, 0, 25, 12]}


def looks_at_the_image(
    encoded: Encoded, scene: tuple[SceneObject, ...], tokenizer: PreTrainedTokenizerFast, dialogue: questions.Dialogue
) -> dict[int, list[int]]:
    """The gazes of names: the positions that each position attends to."""
    targets = gazes(encoded, scene, set(coordinate_ids(tokenizer)), dialogue)
    return {at: places for layer, at, places in targets if layer == 0}


def test_absent_stranger_of_an_end_to_end_answer_looks_at_what_it_is_taken_for(tokenizer: PreTrainedTokenizerFast):
    seen = 0
    for seed in range(100):
        dialogue = questions.answer((OLD,), random.Random(seed))
        encoded = encode_dialogue(dialogue, tokenizer)
        picture = encoded.ids.index(tokenizer.convert_tokens_to_ids("<image>"))
        looks = looks_at_the_image(encoded, (OLD,), tokenizer, dialogue)
        absent = [(at, words) for at, words in encoded.invented if words in dialogue.mistaken]
        answered = [at for at, _ in absent if encoded.labels[at] != IGNORED]
        assert all(looks[at] == [picture + cell for cell in cells_of((OLD,))[OLD.name, OLD.type]] for at in answered)
        assert not {at for at, _ in absent if encoded.labels[at] == IGNORED} & set(looks)
        seen += len(answered)
    assert seen > 5


def test_name_of_a_newcomer_looks_at_its_cells(tokenizer: PreTrainedTokenizerFast):
    scene = (NEW, OLD)
    for kind in (questions.meet, questions.find):
        dialogue = kind(scene, random.Random(1))
        encoded = encode_dialogue(dialogue, tokenizer)
        picture = encoded.ids.index(tokenizer.convert_tokens_to_ids("<image>"))
        cells = {name: [picture + cell for cell in at] for (name, _), at in cells_of(scene).items()}
        looks = looks_at_the_image(encoded, scene, tokenizer, dialogue)
        new = [at for at, words in encoded.invented if words in newcomer_called(NEW.name, NEW.type).surfaces]
        assert new
        assert all(looks[at] == cells[NEW.name] for at in new)


def test_scenes_with_newcomers_are_those_of_their_questions(tokenizer: PreTrainedTokenizerFast):
    def pool(thing: SceneObject, value: float) -> Pool:
        return Pool(np.zeros((1, 2, 2, 3), np.uint8), [(thing,)], np.full((1, IMAGE_TOKENS, 4), value, np.float16))

    mixes = (questions.LISTING, questions.MEETING)
    scenes = replace(pool(OLD, 0.0), newcomers=pool(NEW, 1.0))
    data = Dialogues(scenes, tokenizer, mixes, 4, 1, seed=0)
    assert [float(data[place]["features"].max()) for place in range(4)] == [0.0, 1.0, 0.0, 1.0]
