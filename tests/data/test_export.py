"""COCO, Label Studio and FiftyOne: gold boxes, the format of the tool, and errors that name the post."""

import json
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import SIZE, TYPES, answered, perfect, posts

from gmner import World
from gmner.data.export.coco import categories_of, predictions_to_coco, to_coco
from gmner.data.export.fiftyone import to_fiftyone
from gmner.data.export.label_studio import label_studio_config, to_label_studio
from gmner.data.export.write import write_export
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity

TEXT = "Ada met Al"
PICTURE = Image.new("RGB", SIZE)
ONE, TWO = Box(1.0, 2.0, 33.5, 4.0), Box(0.0, 0.0, 64.0, 48.0)
ADA = GoldEntity("Ada", 0, 3, "PER", (ONE, TWO))
AL = GoldEntity("Al", 8, 10, "LOC")
POST = Post("1", TEXT, PICTURE, (ADA, AL))


@st.composite
def posts_with_images(draw):
    """Posts with unique ids and an image of SIZE."""
    found = draw(st.lists(posts(), max_size=3))
    return [replace(post, id=str(number), image=PICTURE) for number, post in enumerate(found)]


def corners(bbox):
    x, y, width, height = bbox
    return Box(x, y, x + width, y + height)


@given(posts_with_images())
def test_coco_boxes_equal_the_gold(given_posts):
    coco = json.loads(json.dumps(to_coco(given_posts)))
    types = {category["id"]: category["name"] for category in coco["categories"]}
    images = {record["image_id"]: record["id"] for record in coco["posts"]}
    found = [
        (images[a["image_id"]], types[a["category_id"]], a["span"], a["start"], a["end"], corners(a["bbox"]))
        for a in coco["annotations"]
    ]
    gold = [(p.id, e.type, e.span, *e.key, box) for p in given_posts for e in p.gold for box in e.boxes]
    assert found == gold
    absent = [(a["post_id"], types[a["category_id"]], a["span"], a["start"], a["end"]) for a in coco["not_shown"]]
    assert absent == [(p.id, e.type, e.span, *e.key) for p in given_posts for e in p.gold if not e.boxes]
    assert [record["text"] for record in coco["posts"]] == [post.text for post in given_posts]


def test_coco_format(tmp_path):
    for name in ("a b.jpg", "c.jpg"):
        PICTURE.save(tmp_path / name)
    on_disk = Post("2", TEXT, tmp_path / "a b.jpg", more_images=(tmp_path / "c.jpg",))
    bare = Post("3", "", None, ())
    coco = to_coco([bare, POST, on_disk])
    assert coco["categories"] == [
        {"id": 1, "name": "LOC", "supercategory": "entity"},
        {"id": 2, "name": "PER", "supercategory": "entity"},
    ]
    size = {"width": 64, "height": 48}
    assert coco["images"] == [
        {"id": id_, "file_name": name, **size} for id_, name in enumerate(("1.png", "a b.jpg", "c.jpg"), 1)
    ]
    mention = {"image_id": 1, "entity_id": 1, "category_id": 2, "span": "Ada", "start": 0, "end": 3}
    rest = {"iscrowd": 0, "segmentation": []}
    assert coco["annotations"] == [
        {"id": 1, **mention, "bbox": [1.0, 2.0, 32.5, 2.0], "area": 65.0, **rest},
        {"id": 2, **mention, "bbox": [0.0, 0.0, 64.0, 48.0], "area": 3072.0, **rest},
    ]
    absent = {"post_id": "1", "entity_id": 2, "category_id": 1, "span": "Al", "start": 8, "end": 10}
    assert coco["not_shown"] == [absent]
    assert coco["posts"] == [
        {"id": "3", "text": "", "image_id": None, "more_images": [], "annotated": True},
        {"id": "1", "text": TEXT, "image_id": 1, "more_images": [], "annotated": True},
        {"id": "2", "text": TEXT, "image_id": 2, "more_images": ["c.jpg"], "annotated": False}
        | {"more_image_ids": [3]},
    ]


def test_coco_categories_are_the_labels_in_order():
    coco = to_coco([POST], COARSE)
    assert [category["name"] for category in coco["categories"]] == list(COARSE.names)
    assert {a["category_id"] for a in coco["annotations"]} == {1}


@pytest.mark.slow
@given(st.lists(answered(), max_size=3))
def test_coco_results_equal_the_predictions(pairs):
    given_posts = [replace(post, id=str(n), image=PICTURE) for n, (post, _) in enumerate(pairs)]
    answers = [Prediction(str(n), post.text, "", tuple(found)) for n, (post, found) in enumerate(pairs)]
    labels = LabelSet.of(dict.fromkeys(TYPES, ""))
    results = json.loads(json.dumps(predictions_to_coco(reversed(answers), given_posts, labels)))
    assert all(result["score"] == 1.0 for result in results)
    found = [
        (str(r["image_id"] - 1), TYPES[r["category_id"] - 1], r["span"], r["start"], r["end"], corners(r["bbox"]))
        for r in results
    ]
    assert found == [(a.id, e.type, e.span, *e.key, e.box) for a in answers for e in a.entities if e.box]


def test_every_predicted_box_is_a_coco_result():
    entity = GroundedEntity("Ada", 0, 3, "PER", ONE, more_boxes=(TWO,))
    results = predictions_to_coco([Prediction("1", TEXT, "", (entity,))], [POST])
    assert [corners(result["bbox"]) for result in results] == [ONE, TWO]


def test_ids_of_gold_and_results_agree():
    world = World().posts("dev", 12)
    coco, results = to_coco(world), predictions_to_coco(map(perfect, world), world)
    gold = {(a["image_id"], a["category_id"], *a["bbox"]) for a in coco["annotations"]}
    assert {(r["image_id"], r["category_id"], *r["bbox"]) for r in results} <= gold
    assert (
        len({a["id"] for a in coco["annotations"]})
        == len(coco["annotations"])
        == sum(len(entity.boxes) for post in world for entity in post.gold)
    )


def answer(text=TEXT, id_="1", kind="PER"):
    return Prediction(id_, text, "", (GroundedEntity(text[:3], 0, 3, kind, ONE),))


@pytest.mark.parametrize(
    ("found", "given_posts", "fact"),
    [
        ([answer(), answer()], [POST], "Two predictions"),
        ([answer(id_="2")], [POST], "has an unknown post id"),
        ([answer("Ada met Bo")], [POST], "post '1' has another text"),
        ([answer(kind="ANIMAL")], [POST], "post '1': the type of 'Ada' is not among the labels.*ANIMAL"),
        ([answer()], [replace(POST, image=None)], "post '1': The post has boxes but no image"),
    ],
)
def test_predictions_that_coco_cannot_represent(found, given_posts, fact):
    with pytest.raises(InputError, match=fact):
        predictions_to_coco(found, given_posts)


@pytest.mark.parametrize("export", [to_coco, to_label_studio])
def test_posts_that_cannot_be_exported(export, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        PICTURE.save(tmp_path / folder / "x.png")
    there, again = (Post(folder, TEXT, tmp_path / folder / "x.png", (ADA,)) for folder in ("a", "b"))
    assert export([there, replace(there, id="same picture")])
    refused = [
        ([POST, POST], "id occurs twice"),
        ([replace(POST, image=None)], "post '1': The post has boxes but no image"),
        ([there, again], "posts 'a' and 'b' have the same file name"),
    ]
    for given_posts, fact in refused:
        with pytest.raises(InputError, match=fact):
            export(given_posts)
    (tmp_path / "text.png").write_text("no picture")
    for name, fact in {"none.png": "missing", "text.png": "broken"}.items():
        with pytest.raises(ImageError, match=f"post '1': .*{fact}"):
            export([replace(POST, image=tmp_path / name)])


def test_coco_does_not_mark_unannotated_entities_as_not_shown():
    with pytest.raises(InputError, match="no box annotations"):
        to_coco([Post("1", TEXT, PICTURE, (AL,), grounded=False)])
    with pytest.raises(InputError, match="post '1': the type of 'Ada' is not among the labels"):
        to_coco([POST], LabelSet.of({"LOC": ""}))


def pixels(result):
    value, width, height = result["value"], result["original_width"], result["original_height"]
    x, y = value["x"] * width / 100, value["y"] * height / 100
    return (x, y, x + value["width"] * width / 100, y + value["height"] * height / 100)


@given(posts_with_images())
def test_label_studio_tasks_have_every_mention_with_its_boxes(given_posts):
    for post, task in zip(given_posts, json.loads(json.dumps(to_label_studio(given_posts))), strict=True):
        (annotation,) = task["predictions"]
        results = {result["id"]: result for result in annotation["result"] if "id" in result}
        relations = [result for result in annotation["result"] if result["type"] == "relation"]
        assert len(results) + len(relations) == len(annotation["result"])
        spans = [result for result in results.values() if result["type"] == "labels"]
        rebuilt = []
        for span in spans:
            value = span["value"]
            assert task["data"]["text"][value["start"] : value["end"]] == value["text"]
            linked = [results[r["from_id"]] for r in relations if r["to_id"] == span["id"]]
            assert all(box["value"]["rectanglelabels"] == value["labels"] for box in linked)
            rebuilt.append((value["start"], value["end"], *value["labels"], list(map(pixels, linked))))
        expected = [(*e.key, e.type, [pytest.approx(box.as_tuple(), abs=1e-6) for box in e.boxes]) for e in post.gold]
        assert rebuilt == expected


def test_label_studio_format():
    (task,) = to_label_studio([POST])
    box = {
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 64,
        "original_height": 48,
        "image_rotation": 0,
        "meta": {"text": ["Ada"]},
    }
    first = {"x": 1.5625, "y": 100 * 2 / 48, "width": 50.78125, "height": 100 * 2 / 48}
    whole = {"x": 0.0, "y": 0.0, "width": 100.0, "height": 100.0}
    rest = {"rotation": 0, "rectanglelabels": ["PER"]}
    label = {"from_name": "type", "to_name": "text", "type": "labels"}
    relation = {"type": "relation", "to_id": "span0", "direction": "right", "labels": ["shows"]}
    assert task["data"] == {"id": "1", "text": TEXT, "image": "/data/local-files/?d=1.png"}
    assert "annotations" not in task
    assert task["predictions"][0]["result"] == [
        {"id": "span0", **label, "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}},
        {"id": "box0_0", **box, "value": first | rest},
        {**relation, "from_id": "box0_0"},
        {"id": "box0_1", **box, "value": whole | rest},
        {**relation, "from_id": "box0_1"},
        {"id": "span1", **label, "value": {"start": 8, "end": 10, "text": "Al", "labels": ["LOC"]}},
    ]


def test_label_studio_pre_annotations():
    found = (GroundedEntity("Bob", -1, -1, "PER", ONE, Alignment.MISSING), GroundedEntity("Al", 8, 10, "LOC"))
    other = Post("2", TEXT)
    first, second = to_label_studio([POST, other], [Prediction("1", TEXT, "", found)], model_version="mcr")
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "mcr"
    assert [(r["type"], r.get("meta")) for r in prediction["result"]] == [
        ("rectanglelabels", {"text": ["Bob"]}),
        ("labels", None),
    ]
    (annotation,) = first["annotations"]
    assert annotation["ground_truth"] is True
    assert annotation["result"] == to_label_studio([POST])[0]["predictions"][0]["result"]
    assert (second["predictions"], "annotations" in second) == ([], False)
    with pytest.raises(InputError, match="has an unknown post id"):
        to_label_studio([POST], [Prediction("9", TEXT)])


def test_label_studio_image_urls(tmp_path):
    named = Post("1", TEXT, tmp_path / "a b?.png", (AL,))
    assert to_label_studio([named])[0]["data"]["image"] == "/data/local-files/?d=a%20b%3F.png"
    (task,) = to_label_studio([named], image_url="https://example.org/")
    assert task["data"]["image"] == "https://example.org/a%20b%3F.png"
    bare, made = to_label_studio([Post("2", TEXT), named], image_url=lambda post: f"s3://{post.id}")
    assert (bare["data"]["image"], made["data"]["image"]) == ("", "s3://1")


def test_labeling_config_matches_the_tasks():
    labels = LabelSet.of({"PER": "a <person> & more", "LOC": ""})
    view = fromstring(label_studio_config(labels))
    assert [label.get("value") for label in view.find("Labels")] == ["PER", "LOC"]
    assert [label.get("hint") for label in view.find("RectangleLabels")] == ["a <person> & more", None]
    objects = {tag.get("name"): tag.get("value") for tag in (view.find("Text"), view.find("Image"))}
    controls = {tag.get("name"): tag.get("toName") for tag in (view.find("Labels"), view.find("RectangleLabels"))}
    (task,) = to_label_studio([POST])
    assert set(objects.values()) <= {f"${key}" for key in task["data"]}
    for result in task["predictions"][0]["result"]:
        if result["type"] == "relation":
            assert result["labels"] == [relation.get("value") for relation in view.find("Relations")]
        else:
            assert controls[result["from_name"]] == result["to_name"]
            assert result["to_name"] in objects


class StandIn(SimpleNamespace):
    """Replaces a class of FiftyOne and keeps its arguments."""


class Dataset:
    """Replaces `fiftyone.Dataset`."""

    def __init__(self, name=None):
        self.name, self.samples = name, []

    def add_samples(self, samples):
        self.samples += samples


@pytest.fixture
def fiftyone(monkeypatch):
    module = ModuleType("fiftyone")
    for name in ("Sample", "Detection", "Detections", "Classification", "Classifications"):
        setattr(module, name, type(name, (StandIn,), {}))
    module.Dataset = Dataset
    monkeypatch.setitem(sys.modules, "fiftyone", module)
    return module


def test_fiftyone_gets_relative_boxes(fiftyone, tmp_path):
    PICTURE.save(tmp_path / "a.png")
    post = replace(POST, image=tmp_path / "a.png")
    bare = Post("2", TEXT, tmp_path / "a.png")
    found = Prediction("1", TEXT, "", (GroundedEntity("Ada", 0, 3, "PER", ONE, more_boxes=(TWO,)),))
    dataset = to_fiftyone([post, bare], [found], "mine")
    assert isinstance(dataset, Dataset)
    assert dataset.name == "mine"
    first, second = dataset.samples
    assert (first.filepath, first.post_id, first.text) == (str(tmp_path / "a.png"), "1", TEXT)
    for field in (first.ground_truth, first.predictions):
        assert [d.bounding_box for d in field.detections] == [[1 / 64, 2 / 48, 32.5 / 64, 2 / 48], [0, 0, 1, 1]]
        assert [(d.label, d.span, d.start, d.end, d.entity) for d in field.detections] == [("PER", "Ada", 0, 3, 0)] * 2
    (absent,) = first.not_shown.classifications
    assert (absent.label, absent.span, absent.start, absent.end, absent.entity) == ("LOC", "Al", 8, 10, 1)
    assert first.predicted_not_shown.classifications == []
    assert set(vars(second)) == {"filepath", "post_id", "text"}


def test_fiftyone_does_not_mark_unannotated_entities_as_not_shown(fiftyone, tmp_path):
    PICTURE.save(tmp_path / "a.png")
    (sample,) = to_fiftyone([Post("1", TEXT, tmp_path / "a.png", (AL,), grounded=False)]).samples
    assert not hasattr(sample, "not_shown")
    assert [c.span for c in sample.not_grounded.classifications] == ["Al"]


def test_posts_that_fiftyone_cannot_represent(fiftyone, tmp_path):
    for image in (None, PICTURE):
        with pytest.raises(InputError, match=r"post '1': The post has no image file.*write_posts"):
            to_fiftyone([replace(POST, image=image)])
    with pytest.raises(ImageError, match="post '1': An image is missing"):
        to_fiftyone([replace(POST, image=tmp_path / "none.png")])
    with pytest.raises(InputError, match="id occurs twice"):
        to_fiftyone([POST, POST])
    with pytest.raises(InputError, match="has an unknown post id"):
        to_fiftyone([POST], [Prediction("9", TEXT)])


def test_missing_fiftyone_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(InputError, match=r"not installed.*pip install fiftyone"):
        to_fiftyone([POST])


BOB = GroundedEntity("Ada", 0, 3, "BAND", ONE, confidence=0.25)
UNSURE = GroundedEntity("Al", 8, 10, "PER", TWO)


def test_confidences_become_scores(fiftyone, tmp_path):
    PICTURE.save(tmp_path / "a.png")
    answer = Prediction("1", TEXT, "", (BOB, UNSURE))
    post = replace(POST, image=tmp_path / "a.png")
    labels = categories_of([post], [answer])
    assert [result["score"] for result in predictions_to_coco([answer], [post], labels)] == [0.25, 1.0]
    (prediction,) = to_label_studio([post], [answer])[0]["predictions"]
    assert prediction["score"] == 0.25
    assert [r.get("score") for r in prediction["result"] if r["type"] != "relation"] == [0.25, 0.25, None, None]
    (bare,) = to_label_studio([post], [replace(answer, entities=(UNSURE,))])[0]["predictions"]
    assert "score" not in bare
    (sample,) = to_fiftyone([post], [answer]).samples
    assert [getattr(d, "confidence", None) for d in sample.predictions.detections] == [0.25, None]


def test_types_of_predictions_follow_those_of_the_gold(tmp_path):
    answer = Prediction("1", TEXT, "", (BOB, UNSURE))
    labels = categories_of([POST], [answer])
    results = predictions_to_coco([answer], [POST], labels)
    assert [(r["category_id"], r["type"]) for r in results] == [(3, "BAND"), (2, "PER")]
    assert [category["name"] for category in to_coco([POST], labels)["categories"]] == ["LOC", "PER", "BAND"]
    assert to_coco([POST])["annotations"] == to_coco([POST], labels)["annotations"]
    (bare,) = predictions_to_coco([replace(answer, entities=(BOB,))], [replace(POST, entities=None)])
    assert bare["category_id"] == 1


@pytest.mark.parametrize(
    ("post", "entities", "types"),
    [
        (replace(POST, entities=None), (BOB,), ["BAND"]),
        (POST, (BOB,), ["LOC", "PER", "BAND"]),
        (replace(POST, entities=None), (), ["PER", "LOC", "ORG", "OTHER"]),
        (POST, (), ["LOC", "PER", "ORG", "OTHER"]),  # a correction may need any of the default types
    ],
)
@pytest.mark.parametrize("form", ["label-studio", "coco"])
def test_export_has_the_types_of_gold_and_predictions(form, post, entities, types, tmp_path):
    write_export(form, [post], [Prediction("1", TEXT, "", entities)], tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    if form == "label-studio":
        view = fromstring((tmp_path / "out.xml").read_text(encoding="utf-8"))
        assert [label.get("value") for label in view.find("Labels")] == types
    else:
        assert [result["type"] for result in written] == [entity.type for entity in entities]


def test_people_can_choose_the_given_types(tmp_path):
    types = LabelSet.of({"BAND": "a band", "PER": "a person"})
    answer = Prediction("1", TEXT, "", (replace(BOB, type="X"),))
    write_export("label-studio", [POST], [answer], tmp_path / "out.json", labels=types)
    labels = fromstring((tmp_path / "out.xml").read_text(encoding="utf-8")).find("Labels")
    assert [label.get("value") for label in labels] == ["BAND", "PER", "LOC", "X"]
    assert labels[1].get("hint") == "a person"
    with pytest.raises(InputError, match="The format coco has no list of types to choose from"):
        write_export("coco", [POST], None, tmp_path / "coco.json", labels=types)


def test_failed_export_leaves_no_files(tmp_path):
    for form, name in (("label-studio", "out.json"), ("coco", "out.json"), ("label-studio", "out.xml")):
        image = PICTURE if name == "out.xml" else tmp_path / "none.png"
        with pytest.raises((ImageError, InputError)):
            write_export(form, [replace(POST, image=image)], None, tmp_path / name)
        assert list(tmp_path.iterdir()) == []


def test_lone_surrogate_is_exported_as_an_escape(tmp_path):
    post = Post("\ud83d", "Ada \ud83d", PICTURE)
    write_export("label-studio", [post], None, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())[0]["data"]["id"] == post.id
