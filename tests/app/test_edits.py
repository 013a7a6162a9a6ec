"""Corrections as a page sends them, and what the editor gets."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gmner.app.editor_data import editor_data
from gmner.app.edits import corrected, draft_data, drafts_of
from gmner.data.post import Post, SceneObject
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity, GroundedEntity

TEXT = "Ada met Bo in 😀 Rome"
POST = Post("p", TEXT, Image.new("RGB", (200, 100)), more_images=(Image.new("RGB", (50, 50)),))


def item(start: int, end: int, type_: str = "PER", *boxes: object) -> dict[str, object]:
    return {"start": start, "end": end, "type": type_, "boxes": list(boxes)}


def test_corrections_become_gold_in_text_order():
    box = {"picture": 2, "box": [1, 2, 30.5, 40]}
    post = corrected(POST, [item(16, 20, "LOC"), item(0, 3, "PER", box)], COARSE)
    ada = GoldEntity("Ada", 0, 3, "PER", (Box(1, 2, 30.5, 40, picture=2),))
    assert post.entities == (ada, GoldEntity("Rome", 16, 20, "LOC"))
    assert (post.id, post.text, post.images) == (POST.id, POST.text, POST.images)


def test_a_post_may_be_corrected_to_no_entities():
    assert corrected(POST, [], COARSE).entities == ()


def test_what_the_page_does_not_know_is_kept():
    scene = (SceneObject("tree", "", Box(0, 0, 1, 1)),)
    post = Post("p", "Ada", tokens=("Ada",), slice="odd", scene=scene, grounded=False)
    fixed = corrected(post, [item(0, 3)], COARSE)
    assert (fixed.tokens, fixed.slice, fixed.scene, fixed.grounded) == (("Ada",), "odd", scene, False)


def test_a_drawn_box_makes_a_post_grounded():
    post = Post("p", "Ada", Image.new("RGB", (9, 9)), grounded=False)
    assert corrected(post, [item(0, 3, "PER", {"picture": 1, "box": [0, 0, 5, 5]})], COARSE).grounded


def test_boxes_are_clipped_to_their_image():
    post = corrected(POST, [item(0, 3, "PER", {"picture": 1, "box": [-5, 10, 900, 99]})], COARSE)
    assert post.gold[0].boxes == (Box(0.0, 10.0, 200.0, 99.0),)


@pytest.mark.parametrize(
    ("entities", "fact"),
    [
        ("Ada", "must be a list"),
        (["Ada"], "must be an object"),
        ([item(0, 99)], "are not in the text"),
        ([item(3, 3)], "are not in the text"),
        ([item(-3, 3)], "are not in the text"),
        ([{**item(0, 3), "start": "0"}], "are not in the text"),
        ([{**item(0, 3), "start": False}], "are not in the text"),
        ([item(0, 4)], "does not consist of words"),
        ([item(0, 3, "CAT")], "The type of 'Ada' is unknown"),
        ([{**item(0, 3), "type": ["PER"]}], "The type of 'Ada' is unknown"),
        ([item(0, 3), item(0, 3, "LOC")], "Two entities have the same words"),
        ([{**item(0, 3), "boxes": None}], "The boxes of 'Ada' must be a list"),
        ([item(0, 3, "PER", {"picture": 3, "box": [0, 0, 5, 5]})], "in an image that the post does not have"),
        ([item(0, 3, "PER", {"picture": 0, "box": [0, 0, 5, 5]})], "in an image that the post does not have"),
        ([item(0, 3, "PER", [0, 0, 5, 5])], "in an image that the post does not have"),
        ([item(0, 3, "PER", {"picture": 1, "box": [0, 0, 5]})], "must be four numbers"),
        ([item(0, 3, "PER", {"picture": 1, "box": [0, 0, "5", 5]})], "must be four numbers"),
        ([item(0, 3, "PER", {"picture": 1, "box": [9, 0, 5, 5]})], "reversed corners"),
        ([item(0, 3, "PER", {"picture": 1, "box": [0, 0, float("nan"), 5]})], "not a finite number"),
        ([item(0, 3, "PER", {"picture": 1, "box": [0, 0, 10**400, 5]})], "is too large"),
        ([item(0, 3, "PER", {"picture": 1, "box": [300, 0, 400, 5]})], "outside of its image or smaller"),
        ([item(0, 3, "PER", {"picture": 1, "box": [5, 5, 5.4, 90]})], "outside of its image or smaller"),
    ],
)
def test_refusals(entities: object, fact: str):
    with pytest.raises(InputError, match=fact):
        corrected(POST, entities, COARSE)


def test_an_emoji_is_not_cut():
    family = "👨‍👩‍👧 here"
    with pytest.raises(InputError, match="does not consist of words"):
        corrected(Post("p", family), [item(0, 1)], COARSE)


def test_a_box_needs_an_image():
    with pytest.raises(InputError, match="the post has no image"):
        corrected(Post("p", "Ada"), [item(0, 3, "PER", {"picture": 1, "box": [0, 0, 5, 5]})], COARSE)


def test_an_image_that_cannot_be_opened_keeps_its_boxes(tmp_path: Path):
    post = Post("p", "Ada", tmp_path / "missing.png")
    boxes = corrected(post, [item(0, 3, "PER", {"picture": 1, "box": [0, 0, 5000, 5]})], COARSE).gold[0].boxes
    assert boxes == (Box(0.0, 0.0, 5000.0, 5.0),)


def test_drafts_of_an_answer():
    answer = [
        GroundedEntity("Ada", 0, 3, "PER", Box(1, 2, 3, 4), more_boxes=(Box(5, 6, 7, 8),), confidence=0.5),
        GroundedEntity("Ada", 0, 3, "ORG", alignment=Alignment.REUSED),
        GroundedEntity("Eve", -1, -1, "PER", alignment=Alignment.MISSING),
    ]
    (draft,) = drafts_of(answer)
    assert draft.entity == GoldEntity("Ada", 0, 3, "PER", (Box(1, 2, 3, 4), Box(5, 6, 7, 8)))
    boxes = [{"picture": 1, "box": [1, 2, 3, 4]}, {"picture": 1, "box": [5, 6, 7, 8]}]
    assert draft_data(draft) == {"start": 0, "end": 3, "type": "PER", "boxes": boxes, "confidence": 0.5}


spans = st.sampled_from([(0, 3), (0, 7), (8, 10), (16, 20)])
corners = st.tuples(*[st.integers(0, 40)] * 2).map(lambda xy: Box(*xy, xy[0] + 5.25, xy[1] + 7))
golds = st.lists(
    st.builds(
        lambda span, kind, boxes: GoldEntity(TEXT[slice(*span)], *span, kind, tuple(boxes)),
        spans,
        st.sampled_from(COARSE.names),
        st.lists(corners, max_size=2),
    ),
    unique_by=lambda entity: entity.key,
)


@settings(max_examples=40)
@given(golds)
def test_saving_without_a_change_changes_nothing(entities: list[GoldEntity]):
    sent = json.loads(json.dumps([draft_data(draft) for draft in drafts_of(entities)]))
    assert list(corrected(POST, sent, COARSE).gold) == sorted(entities, key=lambda entity: entity.key)


def test_editor_data(tmp_path: Path):
    post = Post("p", TEXT, POST.image, more_images=(tmp_path / "missing.png",))
    drafts = drafts_of([GoldEntity("Ada", 0, 3, "PER")])
    data = editor_data(post, drafts, COARSE, revision="r", review=True, settled="o")
    assert [TEXT[start:end] for start, end in data["pieces"]] == ["Ada", "met", "Bo", "in", "😀", "Rome"]
    first, second = data["images"]
    assert (first["width"], first["height"]) == (200, 100)
    assert first["uri"].startswith("data:image/")
    assert "error" in second
    assert [kind["name"] for kind in data["types"]] == list(COARSE.names)
    assert (data["revision"], data["done"], data["review"], data["settled"]) == ("r", True, True, "o")
    assert data["serial"] < editor_data(post, [], COARSE)["serial"]


def test_large_images_are_scaled_for_the_editor_and_keep_their_coordinates():
    data = editor_data(Post("p", "Ada", Image.new("RGB", (3000, 1500))), [], COARSE)
    assert (data["images"][0]["width"], data["images"][0]["height"]) == (3000, 1500)


def test_lone_surrogates_reach_the_page_as_one_character_each():
    """They cannot be encoded, and two halves in a row would become one character in a browser."""
    data = editor_data(Post("p", "Ada \ud83d\ude00 Bo"), drafts_of([GoldEntity("Bo", 7, 9, "PER")]), COARSE)
    assert json.dumps(data, ensure_ascii=False).encode()
    assert data["text"] == "Ada \ufffd\ufffd Bo"
    assert data["entities"][0]["start"] == 7
