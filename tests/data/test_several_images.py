"""Posts with several images in files, tables, exports, pages and scores."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from several_images import SIZES, TEXT, gold, images, post

from gmner.data.export.coco import predictions_to_coco, to_coco
from gmner.data.export.from_coco import from_coco
from gmner.data.export.label_studio import label_studio_config, to_label_studio
from gmner.data.export.voc import write_voc
from gmner.data.jsonl import read_posts, write_posts
from gmner.data.pages.answers_page import render_html
from gmner.data.pages.cards import build_card
from gmner.data.pages.notebook import posts_html
from gmner.data.pictures import first_pictures, with_first_pictures
from gmner.data.post import Post, SceneObject
from gmner.data.prediction import Prediction
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.matching import GoldRegions
from gmner.data.scoring.metric import feedback
from gmner.data.scoring.protocols import PROTOCOLS
from gmner.data.table import from_dataset, to_dataset
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.forms import as_entity
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity


def answered(**changes: object) -> Prediction:
    """A fully right answer to the post."""
    entities = tuple(map(as_entity, gold()))
    return replace(Prediction("several", TEXT, "why", entities), **changes)


def test_images_of_a_post():
    assert [image.size for image in post().images] == list(SIZES)
    assert len(replace(post(), image=None).images) == 2
    assert Post("a", TEXT).images == ()


def test_images_may_be_strings(tmp_path: Path):
    names = [str(tmp_path / f"{number}.png") for number in range(3)]
    for name in names:
        Image.new("RGB", (9, 6)).save(name)
    made = Post("1", "In Paris", names[0], more_images=names[1:])
    assert made.images == tuple(map(Path, names))
    write_posts([made], tmp_path / "set")
    (back,) = read_posts(tmp_path / "set" / "posts.jsonl")
    assert len(back.images) == 3


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"image": b"png"}, "An image of post '1' has the wrong type"),
        ({"more_images": (3,)}, "An image of post '1' has the wrong type"),
        ({"more_images": "a.png"}, "more_images of post '1' must be several images"),
        ({"more_images": None}, "more_images of post '1' must be several images"),
    ],
)
def test_other_images_are_refused(changes: dict[str, object], fact: str):
    with pytest.raises(InputError, match=fact):
        Post("1", "In Paris", **changes)


def test_files_keep_the_images_of_boxes(tmp_path: Path):
    scene = (SceneObject("Ada", "PER", Box(9, 6, 45, 54)), SceneObject("Bo", "PER", Box(12, 6, 60, 42, picture=3)))
    written = replace(post(), scene=scene)
    write_posts([written], tmp_path)
    record = json.loads((tmp_path / "posts.jsonl").read_text(encoding="utf-8"))
    assert [e.get("pictures") for e in record["entities"]] == [None, [3], [2, 3], None]
    assert [thing.get("picture") for thing in record["scene"]] == [None, 3]
    posts = read_posts(tmp_path)
    assert (posts[0].entities, posts[0].scene, len(posts[0].images)) == (gold(), scene, 3)
    assert not posts.oddities


def test_tables_keep_the_images_of_boxes():
    pytest.importorskip("datasets")
    table = to_dataset([post()])
    (read,) = from_dataset(table)
    assert (read.entities, len(read.images)) == (gold(), 3)
    alone = to_dataset([with_first_pictures(post(), 1)])
    assert "pictures" not in str(alone.features)
    more = replace(as_entity(gold()[1]), more_boxes=(Box(1, 2, 3, 4), Box(1, 2, 3, 4, picture=2)))
    for prediction in (answered(), answered(entities=(more,)), answered(entities=())):
        assert Prediction.from_record(to_dataset([prediction])[0]) == prediction
        assert Prediction.from_record(json.loads(json.dumps(prediction.to_record()))) == prediction


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"picture": 0}, "The number of an image is invalid"),
        ({"picture": 1.0}, "The number of an image is invalid"),
        ({"picture": True}, "The number of an image is invalid"),
        ({"box": None, "visible": False, "picture": 2}, "`picture` requires `box`"),
        ({"more_boxes": [[1, 2, 3, 4]], "more_pictures": [1, 2]}, "the number of an image for each box"),
        ({"more_boxes": [[1, 2, 3, 4]], "more_pictures": [0]}, "The number of an image is invalid"),
    ],
)
def test_invalid_predictions(changes: dict[str, object], fact: str):
    record = answered().to_record()
    record["entities"][0] |= changes
    with pytest.raises(DataError, match=fact):
        Prediction.from_record(record)


@pytest.mark.parametrize("pictures", [[1], "23", [2, 0], [2, None], [2, 3, 3]])
def test_invalid_posts(tmp_path: Path, pictures: object):
    write_posts([post()], tmp_path)
    record = json.loads((tmp_path / "posts.jsonl").read_text(encoding="utf-8"))
    record["entities"][2]["pictures"] = pictures
    (tmp_path / "posts.jsonl").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match=r"posts\.jsonl:1: "):
        read_posts(tmp_path)


def test_boxes_are_checked_against_their_own_image(tmp_path: Path):
    inside_third, nowhere = Box(70, 1, 110, 40, picture=3), Box(1, 2, 3, 4, picture=4)
    entities = (
        replace(gold()[0], boxes=(inside_third, replace(inside_third, picture=1))),
        replace(gold()[1], boxes=(nowhere,)),
    )
    write_posts([replace(post(), entities=entities)], tmp_path)
    oddities = read_posts(tmp_path).oddities
    assert [oddity.kind for oddity in oddities] == ["no_such_image", "box_outside_image"]
    assert "'Bo': a box is in image 4 of 3" in oddities[0].message


def test_box_counts_only_in_its_image():
    moved = tuple(
        replace(e, box=replace(e.box, picture=e.box.picture % 3 + 1)) if e.box else e for e in answered().entities
    )
    wanted = replace(post(), entities=tuple(replace(e, boxes=e.boxes[:1]) for e in gold()))
    for protocol in PROTOCOLS:
        right, wrong = (evaluate([answered(entities=e)], [wanted], protocol) for e in (answered().entities, moved))
        assert right.gmner.f1 == 100
        assert wrong.gmner.f1 < right.gmner.f1
        assert wrong.mner.f1 == 100
    assert "shown at [12, 6, 60, 42] of picture 3; the answer was [12, 6, 60, 42]" in feedback(gold(), moved)


def test_many_regions_are_compared_in_their_images():
    regions = [(Box(n, 0, n + 5, 5, picture=n % 3 + 1),) for n in range(100)]
    for box in (Box(7, 0, 12, 5), Box(7, 0, 12, 5, picture=2)):
        expected = [max(box.iou(other) for other in boxes) for boxes in regions]
        assert GoldRegions(regions).best_ious(box).tolist() == pytest.approx(expected)


def test_first_images_of_a_post(caplog: pytest.LogCaptureFixture):
    scene = (SceneObject("Bo", "PER", Box(12, 6, 60, 42, picture=3)),)
    with caplog.at_level(logging.WARNING):
        one, other = first_pictures([replace(post(), scene=scene), Post("x", TEXT)], 2)
    assert "limit_pictures=2: the further images of 1 of 2 posts are not used" in caplog.text
    assert [image.size for image in one.images] == list(SIZES[:2])
    assert [e.boxes for e in one.gold] == [gold()[0].boxes, (), gold()[2].boxes[:1], ()]
    assert one.scene == ()
    assert other == Post("x", TEXT)
    caplog.clear()
    assert first_pictures([post("a")], None)[0].gold == gold()
    assert first_pictures([post("a")], 3)[0].gold == gold()
    assert not caplog.records
    with pytest.raises(InputError, match="limit_pictures"):
        first_pictures([post()], 0)


def test_page_shows_each_box_in_its_image():
    card = build_card(post(), {"answer": answered()}, ["answer"])
    for panel in card.panels:
        several = panel.gold
        assert [len(rects) for rects in panel.rects] == ([1, 1, 2] if several else [1, 1, 1])
    assert [row.region for row in card.panels[0].rows] == [
        "boxed in image 1",
        "boxed in image 3",
        "2 boxes in images 2, 3",
        "not shown",
    ]
    page = render_html([(post(), {"answer": answered()})], title="t")
    assert page.count("image 2 of 3 with boxes: gold") == 1
    assert page.count("<image id=") == 3  # each image is inlined once
    assert page.count("<svg") == 6
    assert posts_html([post()]).count("<svg") == 3


def test_missing_image_is_named_and_the_others_are_shown(tmp_path: Path):
    first, second = images()[:2]
    card = build_card(Post("a", TEXT, first, gold()[:1], more_images=(tmp_path / "gone.png", second)), {}, [])
    assert [shown.error != "" for shown in card.pictures] == [False, True, False]
    page = render_html([(Post("a", TEXT, first, (), more_images=(tmp_path / "gone.png",)), {})], title="t")
    assert "An image is missing" in page


def test_coco_has_every_image():
    single = Post("single", TEXT, Image.new("RGB", (50, 40)), ())
    coco = to_coco([post(), single])
    assert [(i["id"], i["file_name"], i["width"], i["height"]) for i in coco["images"]] == [
        (1, "several.png", 90, 60),
        (2, "single.png", 50, 40),
        (3, "several_2.png", 64, 96),
        (4, "several_3.png", 120, 48),
    ]
    assert [(a["span"], a["image_id"]) for a in coco["annotations"]] == [("Ada", 1), ("Bo", 4), ("Cy", 3), ("Cy", 4)]
    assert [(r["image_id"], r.get("more_image_ids")) for r in coco["posts"]] == [(1, [3, 4]), (2, None)]
    results = predictions_to_coco([answered()], [post(), single])
    assert [result["image_id"] for result in results] == [1, 4, 3]
    odd = answered(entities=(replace(as_entity(gold()[0]), box=Box(1, 2, 3, 4, picture=4)),))
    with pytest.raises(InputError, match="in an image that it does not have"):
        predictions_to_coco([odd], [post(), single])


def test_coco_without_the_texts_tells_posts_with_the_same_file_apart(tmp_path: Path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.new("RGB", (60, 50)).save(path)
    one, two = (GoldEntity("Bo", 0, 2, "PER", (box,)) for box in (Box(1, 2, 9, 9, picture=2), Box(5, 5, 40, 40)))
    posts = [Post("1", "Bo", paths[0], (one,), more_images=(paths[1],)), Post("2", "Bo", paths[1], (two,))]
    data = to_coco(posts)
    del data["posts"]
    assert from_coco(data, posts) == posts


def test_label_studio_has_every_image():
    single = Post("single", TEXT, Image.new("RGB", (50, 40)), gold()[:1])
    tasks = to_label_studio([post(), single])
    names = ["several.png", "several_2.png", "several_3.png"]
    assert [url.rpartition("=")[2] for url in tasks[0]["data"]["images"]] == names
    assert [len(task["data"]["images"]) for task in tasks] == [3, 1]
    boxes = [r for r in tasks[0]["predictions"][0]["result"] if r["type"] == "rectanglelabels"]
    assert [(r["item_index"], r["original_width"], r["original_height"]) for r in boxes] == [
        (0, 90, 60),
        (2, 120, 48),
        (1, 64, 96),
        (2, 120, 48),
    ]
    assert 'valueList="$images"' in label_studio_config(COARSE, several=True)
    (alone,) = to_label_studio([single])
    assert "images" not in alone["data"]
    assert "item_index" not in json.dumps(alone)
    seen = to_label_studio([post()], image_url=lambda one: f"u{one.images[0].width}")[0]["data"]["images"]
    assert seen == ["u90", "u64", "u120"]


def test_voc_refuses_several_images(tmp_path: Path):
    with pytest.raises(InputError, match="several images, but Twitter-GMNER allows only one"):
        write_voc([replace(post(), tokens=tuple(TEXT.split()))], tmp_path / "voc", "train")
