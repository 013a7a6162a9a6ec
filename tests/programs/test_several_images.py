"""Posts with several images: prompts, limits, answers of tiny checkpoints, of a server and of a staged program."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy import lm15
from openai_server import answered_by, serving
from PIL import Image
from scripted import entity, pictures_of, schema_of, scripted_lm, words_of
from several_images import SIZES, TEXT, gold, images, post

import gmner
from gmner.data.post import Post
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import ModelProfile, family_of, profile_of
from gmner.programs.staged import StagedGMNER
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import ImageError, InputError, ModelError
from gmner.signatures.forms import as_data, as_entity
from gmner.signatures.schema import Limits

PIXELS = ModelProfile(BoxFormat("original"))
LIMITS = Limits(reasoning=20, entities=3)
THREE = ["idefics3", "qwen2_5_vl", "internvl"]
ANSWER = {
    "reasoning": "why",
    "entities": [
        {**entity("Ada", [9, 6, 45, 54]), "picture": 1},
        {**entity("Bo", [12, 6, 60, 42]), "picture": 3},
        {**entity("Rome", None, "LOC"), "picture": None},
    ],
}


def tiny_program(lm: dspy.LM) -> GMNER:
    return GMNER(lm, limits=LIMITS)


def test_all_images_reach_the_model_in_order():
    lm = scripted_lm(ANSWER, PIXELS)
    answer = GMNER(lm)(text=TEXT, images=images())
    (request,) = lm.engine.requests
    assert [picture.size for picture in pictures_of(request)] == list(SIZES)
    kinds = ["".join(p.text for p in [part] if isinstance(p, lm15.TextPart)) for part in request.messages[-1].parts]
    assert kinds == ["Picture 1: ", "", "Picture 2: ", "", "Picture 3: ", "", f"Post: {TEXT}"]
    assert "`picture` is the number of the picture" in request.system
    assert [e.box for e in answer.entities] == [Box(9, 6, 45, 54), Box(12, 6, 60, 42, picture=3), None]
    assert "'Bo' [8:10] PER in image 3 at (12, 6, 60, 42)" in repr(answer)


def test_prompt_of_one_image_is_unchanged():
    requests = []
    for images_given in ({"image": images()[0]}, {"images": images()[:1]}):
        lm = scripted_lm({"reasoning": "", "entities": [entity("Ada", [1, 2, 3, 4])]}, PIXELS)
        answer = GMNER(lm)(text=TEXT, **images_given)
        assert answer.entities[0].box == Box(1, 2, 3, 4)
        requests += lm.engine.requests
    one, listed = requests
    assert (one.system, words_of(one), schema_of(one)) == (listed.system, words_of(listed), schema_of(listed))
    assert words_of(one) == f"Post: {TEXT}"
    assert "picture" not in json.dumps(schema_of(one))
    assert "Pictures:" not in one.system


def test_asyncio():
    lm = scripted_lm(ANSWER, PIXELS)
    answer = asyncio.run(GMNER(lm).acall(text=TEXT, images=images()))
    assert [e.box and e.box.picture for e in answer.entities] == [1, 3, None]


def test_votes_are_counted_per_image():
    drawn = iter([3, 3, 2])

    def sampled(_: lm15.Request) -> dict[str, Any]:
        return {"reasoning": "", "entities": [{**entity("Bo", [12, 6, 40, 42]), "picture": next(drawn)}]}

    answer = GMNER(scripted_lm(sampled, PIXELS), answers=3)(text=TEXT, images=images())
    assert answer.entities[0].box == Box(12, 6, 40, 42, picture=3)


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"image": "a.png", "images": ["a.png"]}, "image and images cannot be used together"),
        ({"images": "a.png"}, "images must be a list"),
        ({"images": [None]}, "images must not contain None"),
    ],
)
def test_invalid_arguments(given: dict[str, Any], fact: str):
    with pytest.raises(InputError, match=fact):
        GMNER(scripted_lm(ANSWER, PIXELS))(text=TEXT, **given)


def test_list_of_images_passed_as_one_image():
    with pytest.raises(ImageError, match=r"Not an image .*Pass several images as images=\[\.\.\.\]"):
        GMNER(scripted_lm(ANSWER, PIXELS))(text=TEXT, image=images())


def test_model_that_takes_one_image_refuses_more():
    program = GMNER(scripted_lm(ANSWER, replace(PIXELS, max_pictures=1)))
    fact = r"takes at most 1 image of a post \(got 3\)\. Accepted: .*limit_pictures=1.*--limit-pictures 1"
    with pytest.raises(InputError, match=fact):
        program(text=TEXT, images=images())
    (prediction,) = program.batch_posts([post()], progress=False)
    assert prediction.error["kind"] == "bad_input"
    report = gmner.check_posts([post()], profile=program.adapter().profile)
    assert [fault.kind for fault in report.faults] == ["too_many_pictures"]


def test_first_images_are_used_if_the_program_is_told_so(caplog: pytest.LogCaptureFixture):
    lm = scripted_lm({"reasoning": "", "entities": [entity("Ada", [1, 2, 3, 4])]}, replace(PIXELS, max_pictures=1))
    program = GMNER(lm, limit_pictures=1)
    with caplog.at_level(logging.WARNING):
        program(text=TEXT, images=images())
        program.batch_posts([post("a"), post("b"), Post("c", TEXT, images()[0])], progress=False)
    assert "limit_pictures=1: 2 of the 3 images of a post are not used" in caplog.text
    assert "the further images of 2 of 3 posts are not used" in caplog.text
    assert [len(pictures_of(request)) for request in lm.engine.requests] == [1] * 4
    with pytest.raises(InputError, match="limit_pictures must be at least 1"):
        GMNER(lm, limit_pictures=0)
    program.limit_pictures = 0
    for call in (partial(program, text=TEXT), partial(program.batch_posts, [Post("c", TEXT)], progress=False)):
        with pytest.raises(InputError, match="limit_pictures must be at least 1"):
            call()


def test_profiles_say_how_many_images_a_model_takes(tmp_path: Path):
    assert gmner.load_vlm().engine.profile.max_pictures == 1  # the embedded model
    processor = type("Processor", (), {"image_processor": None})
    for profile, most in (
        ({"max_pictures": 2}, 2),
        ({"terse": True}, 1),
        ({"terse": True, "max_pictures": None}, None),
    ):
        (tmp_path / "gmner.json").write_text(json.dumps(profile), encoding="utf-8")
        assert profile_of("idefics3", processor, tmp_path).max_pictures == most
    for wrong in (0, "1", True, 1.5):
        (tmp_path / "gmner.json").write_text(json.dumps({"max_pictures": wrong}), encoding="utf-8")
        with pytest.raises(ModelError, match="is not a valid profile"):
            profile_of("idefics3", processor, tmp_path)
    with pytest.raises(InputError, match="max_pictures must be"):
        replace(family_of("idefics3"), max_pictures=0)


def test_demonstrations_have_all_their_images(tmp_path: Path):
    demo = {"text": "Cy in Rome", "reasoning": "so", "entities": [as_data(as_entity(e)) for e in gold()[1:2]]}
    demo["entities"][0] |= {"span": "Cy", "start": 0, "end": 2}
    first, *more = images()
    lm = scripted_lm(ANSWER, PIXELS)
    program = GMNER(lm)
    program.set_demonstrations([{**demo, "image": first, "more_images": more}])
    program.save(tmp_path / "bundle")
    loaded = gmner.load(tmp_path / "bundle", lm=lm)
    for each in (program, loaded):
        each(text=TEXT, images=images())
    for request in lm.engine.requests:
        assert [picture.size for picture in pictures_of(request)] == [*SIZES, *SIZES]
        assert json.loads(request.messages[1].parts[0].text)["entities"][0]["picture"] == 3


def test_state_of_a_program_has_no_new_field(tmp_path: Path):
    program = GMNER(scripted_lm(ANSWER, PIXELS))
    program.save(tmp_path / "bundle")
    state = json.loads((tmp_path / "bundle" / "program.json").read_text(encoding="utf-8"))
    assert len(state["answer"]["signature"]["fields"]) == 4  # as bundles of earlier versions have it


def test_example_of_a_post_with_several_images():
    example = gmner.to_examples([post()])[0]
    assert set(example.inputs().keys()) == {"text", "images"}
    lm = scripted_lm(ANSWER, PIXELS)
    answer = GMNER(lm)(**example.inputs())
    assert gmner.gmner_metric(example, answer) == pytest.approx(2 * 3 / (3 + 4))


def test_posts_of_mner_mi_are_answered_with_all_images(tmp_path: Path):
    for folder in ("text", "images"):
        (tmp_path / folder).mkdir()
    names = [f"7_{number}.png" for number in range(3)]
    for name, image in zip(names, images(), strict=True):
        image.save(tmp_path / "images" / name)
    record = {"id": 7, "text": TEXT.split(), "images": names, "label": ["B-PER", *["O"] * 6]}
    (tmp_path / "text" / "MNER-MI_test.txt").write_text(json.dumps(record), encoding="utf-8")
    lm = scripted_lm(ANSWER, PIXELS)
    posts = gmner.read_mner_mi(tmp_path, "test")
    predictions = gmner.evaluate(GMNER(lm), posts, progress=False).predictions
    assert [picture.size for picture in pictures_of(lm.engine.requests[0])] == list(SIZES)
    assert predictions[0].entities[1].box == Box(12, 6, 60, 42, picture=3)


def test_staged_program_names_the_image():
    def answer(request: lm15.Request) -> dict[str, Any]:
        properties = schema_of(request)["properties"]
        assert len(pictures_of(request)) == 3
        if "mentions" in properties:
            return {"mentions": [{"span": "Ada", "type": "PER"}, {"span": "Bo", "type": "PER"}]}
        if "visible" in properties:
            return {"evidence": "seen", "visible": True}
        return {"region": {"picture": 2, "box": [1, 2, 3, 4]} if "Entity: Ada" in words_of(request) else None}

    found = StagedGMNER(scripted_lm(answer, PIXELS))(text=TEXT, images=images())
    assert [e.box for e in found.entities] == [Box(1, 2, 3, 4, picture=2), None]


def test_copies_and_pages_of_an_answer_keep_all_images():
    answer = GMNER(scripted_lm(ANSWER, PIXELS))(text=TEXT, images=images())
    shown, prediction = answer.copy().as_pair()
    assert [image.size for image in shown.images] == list(SIZES)
    assert prediction.from_record(json.loads(json.dumps(prediction.to_record()))) == prediction
    html = answer._repr_html_()
    assert html.count("<svg") == 3
    assert "image 3 of 3" in html
    assert "boxed in image 3" in html


@pytest.mark.parametrize("family", THREE)
def test_answers_of_tiny_checkpoints_are_valid(tiny_lm: Callable[[str], dspy.LM], family: str):
    program = tiny_program(tiny_lm(family))
    posts = [post("three"), Post("one", TEXT, images()[0]), Post("none", TEXT), replace(post("two"), image=None)]
    predictions = program.batch_posts(posts, progress=False)
    assert [prediction.error for prediction in predictions] == [None] * 4
    for answered, prediction in zip(posts, predictions, strict=True):
        for found in prediction.entities:
            assert TEXT[found.start : found.end] == found.span
            box = found.box
            assert box is None or box.inside(answered.images[box.picture - 1].size)
    alone = [program(text=p.text, **({"images": p.images} if p.images else {})).entities for p in posts]
    assert alone == [list(prediction.entities) for prediction in predictions]


@pytest.mark.usefixtures("socket_enabled")
def test_served_model(tiny_lm: Callable[[str], dspy.LM]):
    local = tiny_lm("qwen2_5_vl")
    here = tiny_program(local)(text=TEXT, images=images())
    with serving(answered_by(local.engine)) as (base, bodies):
        lm = dspy.LM("openai/tiny", api_base=base, api_key="key", temperature=0.0, max_tokens=None, cache=False)
        program = GMNER(lm, profile=local.engine.profile, limits=replace(LIMITS, reasoning=0))
        there = program(text=TEXT, images=images())
        kinds = [part["type"] for part in bodies[0]["messages"][-1]["content"]]
    assert kinds == ["text", "image_url"] * 3 + ["text"]
    names = json.dumps(bodies[0]["response_format"]["json_schema"]["schema"])
    assert '"picture": {"enum": [1]}' in names
    for answer in (here, there):
        assert all(e.box is None or e.box.inside(SIZES[e.box.picture - 1]) for e in answer.entities)


def test_embedded_model_refuses_several_images_and_answers_with_the_first(caplog: pytest.LogCaptureFixture):
    first = next(p for p in gmner.World().posts("dev", 4) if p.image is not None)
    program = GMNER(gmner.load_vlm())
    usual = program(text=first.text, image=first.image)
    two = [first.image, Image.new("RGB", (64, 64))]
    with pytest.raises(InputError, match="The model takes at most 1 image"):
        program(text=first.text, images=two)
    program.limit_pictures = 1
    assert program(text=first.text, images=two).toDict() == usual.toDict()
