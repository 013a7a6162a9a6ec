"""Names without boxes (MNER) and referring expressions (GREC), with the model of a GMNER program."""

import asyncio
import copy
import io
import json
from dataclasses import replace
from pathlib import Path

import dspy
import jsonschema
import pytest
from PIL import Image
from scripted import schema_of, scripted_lm, words_of
from several_images import SIZES, images

import gmner
from gmner.data.pages.notebook import answers_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.programs.manifest import read_manifest
from gmner.programs.models.families import ModelProfile
from gmner.programs.publish import model_card
from gmner.programs.ray_data import _Worker
from gmner.programs.state import dump_program, restore_program
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import AnswerError, BundleError, InputError
from gmner.signatures.forms import Request, form_of
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import EXPRESSION, GoldEntity, GroundedEntity
from gmner.signatures.schema import Limits
from gmner.signatures.tasks import GroundExpression, NameEntities
from gmner.signatures.wire import Frame, dump

PIXELS = ModelProfile(BoxFormat("original"))
NAMES = {"reasoning": "Two names.", "mentions": [{"span": "Ada", "type": "PER"}, {"span": "Rome", "type": "LOC"}]}
BOXES = {"reasoning": "Two dogs.", "boxes": [[1, 2, 30, 40], [50, 2, 60, 40]]}


def picture():
    return Image.new("RGB", (100, 80))


def png(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def test_names_of_a_post():
    lm = scripted_lm(NAMES, PIXELS)
    answer = gmner.MNER(lm)(text="Ada in Rome", images=images())
    assert answer.reasoning == "Two names."
    assert answer.entities == [GroundedEntity("Ada", 0, 3, "PER"), GroundedEntity("Rome", 7, 11, "LOC")]
    (request,) = lm.engine.requests
    assert "Find every named entity in the text" in request.system
    assert "Boxes:" not in request.system
    jsonschema.validate(NAMES, schema_of(request))


@pytest.mark.parametrize("boxes", [0, 1, 2])
def test_boxes_of_an_expression(boxes):
    lm = scripted_lm({**BOXES, "boxes": BOXES["boxes"][:boxes]}, PIXELS)
    answer = gmner.GREC(lm)(text="the dogs", image=picture())
    places = [Box(1, 2, 30, 40), Box(50, 2, 60, 40)][:boxes]
    first, *more = places or [None]
    assert answer.entities == [GroundedEntity("the dogs", 0, 8, EXPRESSION, first, more_boxes=tuple(more))]
    (request,) = lm.engine.requests
    assert words_of(request) == "Expression: the dogs"
    assert "Types:" not in request.system
    assert "Boxes: [x1, y1, x2, y2]" in request.system


def test_boxes_in_several_images():
    wire = {"reasoning": "", "boxes": [{"picture": 3, "box": [1, 2, 30, 40]}]}
    lm = scripted_lm(wire, PIXELS)
    answer = asyncio.run(gmner.GREC(lm).acall(text="the dog", images=images()))
    assert answer.entities[0].box == Box(1, 2, 30, 40, picture=3)
    (request,) = lm.engine.requests
    jsonschema.validate(wire, schema_of(request))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"reasoning": "", "boxes": [{"picture": len(SIZES) + 1, "box": [1, 2, 3, 4]}]}, schema_of(request)
        )


def test_an_expression_without_image_has_no_box():
    lm = scripted_lm({"reasoning": "", "boxes": []}, PIXELS)
    assert gmner.GREC(lm)(text="the dog").entities[0].box is None
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(BOXES, schema_of(lm.engine.requests[0]))


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        ({"reasoning": "", "boxes": [None]}, "must not be null"),
        ({"reasoning": "", "boxes": {}}, "`boxes` a list"),
        ({"reasoning": 1, "boxes": []}, "`reasoning` must be a string"),
        ({"reasoning": "", "boxes": [[1, 2, 3000, 4]]}, "out of range|outside|Accepted"),
        ({"boxes": []}, "required keys"),
    ],
)
def test_other_answers_are_refused(answer, fact):
    with pytest.raises(AnswerError, match=fact):
        gmner.GREC(scripted_lm(answer, PIXELS))(text="the dog", image=picture())


def test_boxes_of_several_images_name_their_image():
    with pytest.raises(AnswerError, match="an object with picture and box"):
        gmner.GREC(scripted_lm(BOXES, PIXELS))(text="the dog", images=images())


@pytest.mark.parametrize("program", [gmner.GMNER, gmner.StagedGMNER])
def test_programs_share_model_and_settings(program):
    lm = scripted_lm(lambda request: BOXES if "Expression" in words_of(request) else NAMES)
    first = program(lm, labels=["PER", "LOC"], profile=PIXELS, limits=Limits(20, 3), limit_pictures=1)
    assert [e.type for e in first.extract_names("Ada in Rome", picture()).entities] == ["PER", "LOC"]
    assert len(first.ground_expression("the dogs", images=images()).entities[0].more_boxes) == 1
    other = first.with_task(gmner.MNER)
    assert (other.model, other.profile, other.limits, other.limit_pictures) == (lm, PIXELS, Limits(20, 3), 1)
    assert list(other.labels) == ["PER", "LOC"]


def test_confidence_and_votes_of_expressions_are_refused():
    for options in ({"confidence": True}, {"answers": 3}):
        with pytest.raises(InputError, match="neither confidences nor votes"):
            gmner.GREC(scripted_lm(BOXES, PIXELS), **options)(text="the dogs", image=picture())
    later = gmner.GREC(scripted_lm(BOXES, PIXELS))
    later.answers = 3
    with pytest.raises(InputError, match="neither confidences nor votes"):
        later.batch_posts([Post("a", "the dogs")], progress=False)
    confident = gmner.GMNER(scripted_lm(BOXES, PIXELS), confidence=True, answers=3)
    assert confident.ground_expression("the dogs", picture()).entities[0].visible


def test_corpora_are_answered_and_scored():
    targets = (Box(1, 2, 30, 40), Box(50, 2, 60, 40))
    posts = [
        Post("a", "the dogs", picture(), (GoldEntity("the dogs", 0, 8, EXPRESSION, targets),)),
        Post("b", "a cat", picture(), (GoldEntity("a cat", 0, 5, EXPRESSION),)),
    ]
    lm = scripted_lm(lambda request: BOXES if "dogs" in words_of(request) else {"reasoning": "", "boxes": []}, PIXELS)
    scores = gmner.evaluate_expressions(gmner.GREC(lm), posts, progress=False)
    assert (scores.precision, scores.n_acc) == (100, 100)
    names = [Post("c", "Ada in Rome", None, (GoldEntity("Ada", 0, 3, "PER"),), grounded=False)]
    assert gmner.evaluate(gmner.MNER(scripted_lm(NAMES, PIXELS)), names, progress=False).mner.correct == 1


def test_other_programs_than_classes_are_refused():
    with pytest.raises(InputError, match=r"program must be a class \(got 'mner'\)"):
        gmner.GMNER(scripted_lm(NAMES)).with_task("mner")


DOGS = GoldEntity("the dogs", 0, 8, EXPRESSION, (Box(1, 2, 30, 40), Box(50, 2, 60, 40)))
EXPRESSIONS = [
    Post("a", "the dogs", picture(), (DOGS,)),
    Post("b", "a cat", picture(), (GoldEntity("a cat", 0, 5, EXPRESSION),)),
]
MENTIONS = (GoldEntity("Ada", 0, 3, "PER"), GoldEntity("Rome", 7, 11, "LOC"))
NAMED = [Post("c", "Ada in Rome", None, MENTIONS, grounded=False)]


@pytest.mark.parametrize(
    ("program", "posts", "written"),
    [
        (gmner.MNER, NAMED, [{**NAMES, "reasoning": ""}]),
        (gmner.GREC, EXPRESSIONS, [{**BOXES, "reasoning": ""}, {"reasoning": "", "boxes": []}]),
    ],
)
def test_annotated_posts_become_demonstrations_that_are_saved(program, posts, written, tmp_path):
    lm = scripted_lm({gmner.MNER: NAMES, gmner.GREC: BOXES}[program], PIXELS)
    compiled = program(lm).compile(trainset=posts, optimizer=dspy.LabeledFewShot(k=len(posts)))
    compiled.save(tmp_path / "bundle")
    for one in (compiled, copy.deepcopy(compiled), gmner.load(tmp_path / "bundle", lm=lm)):
        one(text="Ada in Rome", image=picture())
        said = [m.parts[0].text for m in lm.engine.requests[-1].messages if m.role == "assistant"]
        assert sorted(said, key=len) == sorted((dump(answer) for answer in written), key=len)


def test_other_posts_than_expressions_are_no_examples_of_grec():
    with pytest.raises(InputError, match="The post is not a referring expression"):
        gmner.GREC(scripted_lm(BOXES)).compile(trainset=NAMED, optimizer=dspy.LabeledFewShot())


@pytest.mark.parametrize("boxes", ["abc", [None], [[1, 2]]])
def test_bundles_with_malformed_boxes_are_refused(boxes, tmp_path):
    program = gmner.GREC(scripted_lm(BOXES, PIXELS))
    state = dump_program(program, lambda png: "")
    state["answer"]["demos"] = [{"text": "the dogs", "image": None, "boxes": boxes}]
    with pytest.raises(BundleError):
        restore_program(program, state, Path)


def test_answers_are_shown_with_what_they_say():
    dogs = gmner.GREC(scripted_lm(BOXES, PIXELS))(text="the dogs", image=picture())
    assert "EXPRESSION at (1, 2, 30, 40) and at (50, 2, 60, 40)" in repr(dogs)
    names = gmner.MNER(scripted_lm(NAMES, PIXELS))(text="Ada in Rome", image=picture())
    for answer in (names, copy.deepcopy(names), names.copy()):
        assert "not shown" not in repr(answer)
        assert "not shown" not in answer._repr_html_()
    assert "not shown" in repr(gmner.GREC(scripted_lm({"reasoning": "", "boxes": []}))(text="a cat"))


def test_pages_about_names_alone_do_not_say_not_shown():
    (answer,) = gmner.MNER(scripted_lm(NAMES)).batch_posts(NAMED, progress=False)
    assert "not shown" not in answers_html(NAMED[0], {"mner": answer})
    assert "not shown" in answers_html(replace(NAMED[0], grounded=True), {"mner": answer})


def test_cards_say_what_a_program_does(tmp_path):
    for program, words in ((gmner.MNER, "without boxes"), (gmner.GREC, "expression"), (gmner.GMNER, "bounding box")):
        program(scripted_lm({}, PIXELS)).save(tmp_path / "bundle")
        card = model_card(read_manifest(tmp_path / "bundle"), "me/it")
        assert words in card
        assert ("Entity types" in card) == (program is not gmner.GREC)


@pytest.mark.parametrize("stage", ["mrsi", None])
def test_cards_of_scores_without_regions(tmp_path, stage):
    scores = gmner.evaluate(gmner.MNER(scripted_lm(NAMES)), NAMED, progress=False).to_dict()
    program = gmner.MNER(scripted_lm({}, PIXELS))
    program.save(tmp_path / "bundle", scores=scores if stage is None else {stage: scores})
    card = model_card(read_manifest(tmp_path / "bundle"), "me/it")
    assert ("See `scores` in `manifest.json`." if stage is None else "| mrsi | - | 100.00 | - |") in card


def test_rows_of_expressions_keep_all_boxes():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"id": ["a"], "text": ["the dogs"], "image": [png(picture())], "more_images": [[]]})
    (row,) = _Worker(gmner.GREC(scripted_lm(BOXES, PIXELS)))(table).to_pylist()
    (entity,) = Prediction.from_record(row).entities
    assert entity.boxes == (Box(1, 2, 30, 40), Box(50, 2, 60, 40))
    (row,) = _Worker(gmner.GREC(scripted_lm({"reasoning": "", "boxes": []}, PIXELS)))(table).to_pylist()
    assert Prediction.from_record(row).entities[0].boxes == ()


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        (NameEntities, {"reasoning": "r", "mentions": [GroundedEntity("Ada", 0, 3, "PER")]}),
        (GroundExpression, {"reasoning": "r", "boxes": [Box(1, 2, 30, 40), Box(5, 5, 9, 9)]}),
        (GroundExpression, {"reasoning": "r", "boxes": []}),
    ],
)
@pytest.mark.parametrize("more", [(), (((50, 50), None),)])
def test_written_answers_are_read_again_and_follow_the_schema(signature, values, more):
    request = Request("Ada in Rome", COARSE, Frame(BoxFormat("original"), (100, 80), None, more))
    form = form_of(list(signature.output_fields))
    text = form.render(values, request)
    read = form.parse(text, request, False)
    assert form.render(read, request) == text
    jsonschema.validate(json.loads(text), form.schema(request))


@pytest.mark.slow
def test_the_embedded_model_follows_the_schema(tmp_path):
    program = gmner.GMNER(gmner.load_vlm(), limits=Limits(reasoning=40, entities=3))
    post = gmner.World().posts("test", 1)[0]
    assert all(entity.box is None for entity in program.extract_names(post.text, post.image).entities)
    (entity,) = program.ground_expression(post.text, post.image).entities
    assert entity.type == EXPRESSION
    program.with_task(gmner.GREC).save(tmp_path / "bundle")
    loaded = gmner.load(tmp_path / "bundle")
    assert loaded(text=post.text, image=post.image).entities == [entity]
