"""What people corrected in other tools: nothing is lost on the way there and back, and slips are oddities."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import SIZE, full_posts, posts

from gmner.data.export.coco import to_coco
from gmner.data.export.from_coco import from_coco
from gmner.data.export.from_label_studio import from_label_studio
from gmner.data.export.from_voc import from_voc
from gmner.data.export.importers import read_corrections
from gmner.data.export.label_studio import to_label_studio
from gmner.data.export.voc import write_voc
from gmner.data.post import Post
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.mentions import GoldEntity

TEXT = "Ada met Al and Al"
PICTURE = Image.new("RGB", SIZE)
ONE, TWO = Box(1.0, 2.0, 33.5, 4.0), Box(0.1, 0.0, 64.0, 48.0)
ADA = GoldEntity("Ada", 0, 3, "PER", (ONE, TWO))
AL = GoldEntity("Al", 8, 10, "LOC")
POST = Post("1", TEXT, PICTURE, (ADA, AL), slice="mixed")


@st.composite
def given_posts(draw):
    """Posts with unique ids and an image, fully annotated or not."""
    found = draw(st.lists(full_posts(files=False), max_size=3))
    return [replace(post, id=str(number), image=PICTURE) for number, post in enumerate(found)]


def submitted(posts):
    """The tasks of Label Studio after a person submitted each pre-annotation as it is."""
    tasks = json.loads(json.dumps(to_label_studio(posts)))
    for number, task in enumerate(tasks, 1):
        task |= {"id": 100 + number, "annotations": [{"result": p["result"]} for p in task.pop("predictions")]}
    return tasks


def bare(post):
    return replace(post, image=None, tokens=None, scene=None, slice=None)


def kinds(posts):
    return [oddity.kind for oddity in posts.oddities]


def without_doubles(posts):
    return [
        o
        for o in posts.oddities
        if o.kind not in ("zero_area_box", "duplicate_box", "not_submitted", "no_image_folder")
    ]


@given(given_posts())
def test_nothing_is_lost_by_label_studio(posts):
    tasks = submitted(posts)
    back = from_label_studio(tasks, posts)
    assert back == posts
    assert without_doubles(back) == []
    assert from_label_studio(tasks) == [bare(post) for post in posts]


@given(given_posts())
def test_nothing_is_lost_by_coco(posts):
    posts = [replace(post, grounded=True) for post in posts]
    data = json.loads(json.dumps(to_coco(posts)))
    back = from_coco(data, posts)
    assert back == posts
    assert without_doubles(back) == []
    assert from_coco(data) == [bare(post) for post in posts]


@pytest.mark.slow
@given(st.lists(posts(), max_size=2))
def test_nothing_is_lost_by_voc(tmp_path_factory, found):
    folder, written = tmp_path_factory.mktemp("voc"), []
    for number, post in enumerate(found):
        boxes = {entity.span: tuple(dict.fromkeys(entity.boxes)) for entity in post.gold}
        entities = tuple(replace(entity, boxes=boxes[entity.span]) for entity in post.gold)
        written.append(replace(post, id=str(number), entities=entities, slice="mixed"))
    write_voc(written, folder, "dev")
    assert from_voc(folder, "dev", written) == written


def test_voc_without_a_split_is_refused_for_its_reason(tmp_path: Path):
    file = tmp_path / "tasks.xml"
    file.write_text("<annotation/>")
    with pytest.raises(InputError, match=r"The data set is not a folder \(got '.*tasks.xml'\)"):
        read_corrections(file, "voc")
    with pytest.raises(InputError, match="The folder contains no split of a data set"):
        read_corrections(tmp_path, "voc")


@pytest.mark.parametrize("split", ["dev", None])
def test_voc_boxes_are_corrected(tmp_path: Path, split):
    write_voc([replace(POST, image=None, entities=(ADA,))], tmp_path, "dev")
    xml = tmp_path / "xml" / "1.xml"
    xml.write_text(xml.read_text().replace("<xmin>1</xmin>", "<xmin>9</xmin>").replace(">0.1<", ">0.101<"))
    if split is None:
        with pytest.raises(InputError, match=r"has several splits.*Accepted: dev.*--split"):
            read_corrections(tmp_path, "voc")
        return
    (back,) = read_corrections(tmp_path, "voc", [POST], split=split)
    assert [box.as_tuple() for box in back.gold[0].boxes] == [(9.0, 2.0, 33.5, 4.0), TWO.as_tuple()]
    assert (back.image, back.slice) == (PICTURE, "mixed")


def changed(change, given=None):
    """The posts after a person changed the results of the only task."""
    tasks = submitted([POST])
    change(tasks[0], tasks[0]["annotations"][0]["result"])
    return from_label_studio(tasks, given)


def test_corrections_in_label_studio():
    def change(task, results):
        results[0]["value"]["labels"] = ["ORG"]
        for box in (results[1], results[3]):
            box["value"]["rectanglelabels"] = ["ORG"]
        results[1]["value"] |= {"x": 50.0, "width": 25.0}
        del results[3:5]  # the other box and its relation
        results.append({"type": "relation", "from_id": "new", "to_id": "box", "direction": "left", "labels": []})
        results.append(
            {"type": "labels", "id": "new", "value": {"start": 15, "end": 17, "text": "Al", "labels": ["PER"]}}
        )
        results.append({**results[1], "id": "box", "value": {**results[1]["value"], "rectanglelabels": ["PER"]}})

    back = changed(change, [POST])
    moved = Box(32.0, 2.0, 48.0, 4.0)
    assert back[0].gold == (
        GoldEntity("Ada", 0, 3, "ORG", (moved,)),
        AL,
        GoldEntity("Al", 15, 17, "PER", (moved,)),
    )
    assert (back.oddities, back[0].slice, back[0].image) == ((), "mixed", PICTURE)


def test_type_of_the_mention_counts():
    back = changed(lambda task, results: results[0]["value"].update(labels=["ORG"]), [POST])
    assert (back[0].gold[0].type, kinds(back)) == ("ORG", ["types_differ", "types_differ"])
    assert str(back.oddities[0]).startswith("tasks.json: task 1 (post 1): 'Ada' is ORG, but its box is PER")


def value(number, **fields):
    return lambda task, results: results[number]["value"].update(fields)


def append(*made):
    return lambda task, results: results.extend({**results[0], **item} for item in made)


def mark(start, end, text, type_):
    return append(
        {"type": "labels", "id": "more", "value": {"start": start, "end": end, "text": text, "labels": [type_]}}
    )


def mentions(*places, ids=("new", "newer")):
    values = [{"start": start, "end": end, "labels": ["LOC"]} for start, end in places]
    return append(*({"id": id_, "value": value} for id_, value in zip(ids, values, strict=True)))


def again(number, **fields):
    return lambda task, results: results.append({**results[number], "id": "again", **fields})


LOC = {"start": 0, "end": 3, "text": "Ada", "labels": ["LOC"]}
LATE = {"updated_at": "2026-11-02T00:00:00Z", "result": []}

SLIPS = {
    "a box without a relation": (lambda task, results: results.pop(2), ["box_without_mention"], 2, 1),
    "a relation drawn twice": (again(2), ["duplicate_relation"], 2, 2),
    "a relation to a deleted region": (
        lambda task, results: results.pop(0), ["odd_relation"] * 2 + ["box_without_mention"] * 2, 1, 0,
    ),
    "a mention marked twice": (again(0), ["duplicate_mention"], 2, 2),
    "a box drawn twice": (
        lambda task, results: results.extend([{**results[1], "id": "b"}, {**results[2], "from_id": "b"}]),
        ["duplicate_box"], 2, 3,
    ),
    "a mention of two types": (value(0, labels=["PER", "LOC"]), ["several_types"], 2, 2),
    "two mentions of two types": (mark(0, 3, "Ada", "LOC"), ["several_types"], 2, 2),
    "a mention with two tags": (
        lambda task, results: again(0, id=results[0]["id"], value=LOC)(task, results), ["several_types"], 2, 2,
    ),
    "overlapping mentions": (mark(0, 7, "Ada met", "LOC"), ["overlapping_mentions"], 3, 2),
    "mentions inside of a long one": (mentions((0, 17), (15, 17)), ["overlapping_mentions"] * 3, 4, 2),
    "mentions without ids": (mentions((15, 17), (15, 17), ids=(None, None)), ["duplicate_mention"], 3, 2),
    "a mention without a type": (value(5, labels=[]), ["no_type"], 1, 2),
    "white space": (value(0, start=0, end=4, text="Ada "), ["white_space_in_span"], 2, 2),
    "nothing but white space": (mark(3, 4, " ", "LOC"), ["span_not_in_text"], 2, 2),
    "other offsets": (value(0, start=1, end=4), ["span_differs"], 2, 2),
    "offsets of a repeated word": (value(5, start=7, end=9), ["span_not_in_text"], 1, 2),
    "offsets outside": (mark(9, 99, None, "LOC"), ["span_not_in_text"], 2, 2),
    "a rotated box": (value(1, rotation=90), ["rotated_box", "box_outside_image"], 2, 2),
    "a choice": (append({"type": "choices", "id": "c"}), ["unknown_result"], 2, 2),
    "two annotations": (lambda task, results: task["annotations"].insert(0, LATE), ["several_annotations"], 0, 0),
    "another text": (lambda task, results: task["data"].update(text=TEXT + "!"), ["text_differs"], 2, 2),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_in_label_studio_are_oddities(slip):
    change, expected, mentions, boxes = SLIPS[slip]
    back = changed(change, [POST])
    assert kinds(back) == expected
    assert {(o.where, o.post) for o in back.oddities} == {("tasks.json: task 1 (post 1)", "1")}
    assert len(back[0].gold) == mentions
    assert sum(len(entity.boxes) for entity in back[0].gold) == boxes
    assert all(back[0].text[entity.start : entity.end] == entity.span for entity in back[0].gold)


@pytest.mark.parametrize(("start", "expected"), [(9, ["utf16_offsets"]), (8, []), (1, ["span_not_in_text"])])
def test_offsets_in_utf16_units(start, expected):
    entity = GoldEntity("Ana", 8, 11, "PER")
    tasks = submitted([Post("1", "🎉 Ana & Ana", PICTURE, (entity,))])
    tasks[0]["annotations"][0]["result"][0]["value"] |= {"start": start, "end": start + 3}
    back = from_label_studio(tasks)
    assert [kind for kind in kinds(back) if kind != "no_image_folder"] == expected
    assert back[0].gold == (() if "span_not_in_text" in expected else (entity,))


def test_tasks_that_nobody_finished_are_not_annotated(caplog: pytest.LogCaptureFixture):
    open_task, skipped = submitted([POST, replace(POST, id="2")])
    open_task["annotations"] = []
    skipped["annotations"][0]["was_cancelled"] = True
    back = from_label_studio([open_task, {**open_task, "data": {**open_task["data"], "id": "3"}}, skipped], [POST])
    assert [post.entities for post in back] == [None, None, None]
    assert kinds(back) == ["not_submitted", "not_submitted", "unknown_post", "skipped_task", "unknown_post"]
    logged = [record.getMessage() for record in caplog.records]
    assert [line.split(": ")[:2] for line in logged if ".json" in line] == [
        ["not_submitted", "2 times; first"], ["skipped_task", "1 time; first"], ["unknown_post", "2 times; first"],
    ]  # fmt: skip


def test_a_task_imported_twice_gets_an_id_of_its_own():
    (task,) = submitted([POST])
    back = from_label_studio([task, task], [POST])
    assert ([post.id for post in back], kinds(back)) == (["1", "1#2"], ["duplicate_id"])


def test_an_annotated_post_without_boxes_stays_not_grounded():
    plain = replace(POST, entities=(AL,), grounded=False)
    tasks = submitted([plain])
    assert [post.grounded for post in (*from_label_studio(tasks), *from_label_studio(tasks, [plain]))] == [False, False]
    tasks[0]["annotations"][0]["result"] += submitted([POST])[0]["annotations"][0]["result"][:3]
    assert from_label_studio(tasks)[0].grounded


@pytest.mark.parametrize("url", ["/data/local-files/?d=x/a%20b.png", "https://x.org/a%20b.png?v=1",
                                 "/data/upload/1/0a1b2c3d-a%20b.png", "s3://bucket/a b.png"])  # fmt: skip
def test_images_are_found_by_name(tmp_path: Path, url: str):
    (tmp_path / "images").mkdir()
    PICTURE.save(tmp_path / "images" / "a b.png")
    tasks = submitted([POST])
    tasks[0]["data"]["image"] = url
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(tasks))
    (back,) = read_corrections(path, "label-studio")
    assert back.image == tmp_path / "images" / "a b.png"
    (back,) = read_corrections(path, "label-studio", [POST], tmp_path / "images")
    assert back.image == tmp_path / "images" / "a b.png"


@pytest.mark.parametrize("url", ["/data/local-files/?d=../../etc/passwd", "https://x.org/%2e%2e", "a\\b", 7, None])
def test_image_urls_lead_nowhere_else(tmp_path: Path, url):
    tasks = submitted([POST])
    tasks[0]["data"]["image"] = url
    assert from_label_studio(tasks, images=tmp_path)[0].image is None


@pytest.mark.parametrize(
    ("tasks", "fact"),
    [
        ({}, "not a list of tasks.*JSON-MIN"),
        ([{"id": 1, "text": TEXT, "type": []}], "task 1: no `data`.*JSON-MIN"),
        ([{"data": {"text": TEXT}}], "task 1: no `id`"),
        ([{"data": {"id": 1}}], r"task 1 \(post 1\): `text` must be a string"),
        ([{"data": {"id": 1, "text": TEXT}, "annotations": [{}]}], "`result` must be a list"),
        ([{"data": {"id": 1, "text": TEXT}, "annotations": [{"result": [{"type": "labels", "value": {}}]}]}],
         "a mention has no offsets"),
        ([{"data": {"id": 1, "text": TEXT}, "annotations": [{"result": [{"type": "rectanglelabels", "value": {}}]}]}],
         "a box must have numbers"),
    ],
)  # fmt: skip
def test_files_that_are_not_of_label_studio(tasks, fact):
    with pytest.raises(DataError, match=fact):
        from_label_studio(tasks)


def coco_after(change, given=(POST,)):
    data = to_coco([POST])
    change(data)
    return from_coco(data, given)


NEW = {"image_id": 1, "category_id": 1, "bbox": [5, 5, 10, 10]}

COCO_SLIPS = {
    "no span": (NEW, ["box_without_mention"], 2),
    "span in attributes": ({**NEW, "attributes": {"span": "Ada met"}}, ["overlapping_mentions"], 3),
    "repeated word": ({**NEW, "span": "Al"}, ["span_occurs_several_times"], 2),
    "word not in the text": ({**NEW, "span": "Bo"}, ["span_not_in_text"], 2),
    "shown after all": ({**NEW, "span": "Al", "start": 8, "end": 10}, ["shown_and_not_shown"], 3),
    "another type": ({**NEW, "span": "Ada", "start": 0, "end": 3}, ["types_differ"], 3),
    "unknown image": ({**NEW, "image_id": 9}, ["box_without_post"], 2),
}


@pytest.mark.parametrize("slip", COCO_SLIPS)
def test_slips_in_coco_are_oddities(slip):
    annotation, expected, boxes = COCO_SLIPS[slip]
    back = coco_after(lambda data: data["annotations"].append(annotation))
    assert kinds(back) == expected
    assert sum(len(entity.boxes) for entity in back[0].gold) == boxes


def test_coco_without_the_texts():
    back = coco_after(lambda data: [data.pop(key) for key in ("posts", "not_shown")])
    assert back == [POST]  # also what is not shown
    assert kinds(back) == []
    with pytest.raises(DataError, match=r"no texts, because the key `posts` is missing.*--posts"):
        coco_after(lambda data: data.pop("posts"), None)


@pytest.mark.parametrize("dropped", [("posts", "not_shown"), ("posts",)])
def test_coco_without_the_texts_keeps_posts_apart(dropped):
    """A box keeps its image, a post without its image is named, and one that nobody annotated stays so."""
    images = tuple(Image.new("RGB", (50 + number, 40)) for number in range(3))
    boxes = (Box(1.0, 2.0, 30.0, 20.0, picture=3), Box(1.0, 2.0, 30.0, 20.0))
    several = Post("p", "Ana met Bo", images[0], (GoldEntity("Ana", 0, 3, "PER", boxes),), more_images=images[1:])
    plain, alone = replace(POST, id="2", entities=None), replace(POST, id="3", image=None, entities=(AL,))
    data = to_coco([several, plain, alone])
    for key in dropped:
        del data[key]
    data["images"] = data["images"][::-1]
    back = from_coco(data, [several, plain, alone])
    assert back == [several, plain]
    assert kinds(back) == ["post_without_image"]


def test_coco_images_are_in_the_order_of_the_post(tmp_path: Path):
    post = several(("p.png", "p_2.png", "p_3.png"), tmp_path / "images")
    data = to_coco([post])
    del data["posts"]
    data["images"] = [image for image in data["images"][::-1] if image["file_name"] != "p_2.png"]  # it has no box
    assert from_coco(data, [post], tmp_path / "images") == [post]


def test_a_mention_that_lost_its_boxes_in_coco_is_not_shown():
    back = coco_after(lambda data: data["annotations"].clear())
    assert (back[0].gold, kinds(back)) == ((replace(ADA, boxes=()), AL), ["boxes_removed"])
    longer = {"span": "Ada met", "start": 0, "end": 7}
    back = coco_after(lambda data: [box.update(longer) for box in data["annotations"]])
    assert ([entity.span for entity in back[0].gold], kinds(back)) == (["Ada met", "Al"], [])
    back = coco_after(lambda data: data["not_shown"].clear())
    assert back[0].gold == (ADA,)  # a person removed it where it was listed


def test_exported_mentions_that_overlap_are_kept():
    post = replace(POST, entities=(AL, GoldEntity("Al and", 8, 14, "ORG", (ONE,))))
    data = to_coco([post])
    del data["not_shown"]
    assert from_coco(data, [post]) == [post]


def test_words_that_overlap_themselves_are_no_only_occurrence():
    post = replace(POST, text="aaa", entities=())
    data = to_coco([post], ["PER"])
    data["annotations"].append({**NEW, "span": "aa"})
    assert kinds(from_coco(data, [post])) == ["span_occurs_several_times"]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda data: data["annotations"][0].update(category_id=9), "unknown category.*9"),
        (lambda data: data["annotations"][0].update(category_id=[1]), "`category_id` must be"),
        (lambda data: data["annotations"][0].update(bbox=[0, 0, 10**400, 1]), "`bbox` is not a valid box"),
        (lambda data: data["posts"].append({**data["posts"][0], "id": "2"}), "the image belongs to an earlier post"),
        (lambda data: data["annotations"][0].update(bbox=[1, 2, 3]), "`bbox` must be four numbers"),
        (lambda data: data["annotations"][0].update(bbox=[1, 2, -3, 4]), "`bbox` is not a valid box"),
        (lambda data: data["not_shown"][0].update(post_id="9"), "`not_shown` number 1: unknown post"),
        (lambda data: data["posts"].append(data["posts"][0]), "the id is missing or occurs twice"),
    ],
)
def test_coco_files_that_are_malformed(change, fact):
    with pytest.raises(DataError, match=fact):
        coco_after(change)


def test_tasks_are_not_a_data_set_of_coco():
    with pytest.raises(DataError, match=r"not a data set of COCO.*Accepted: an object with `images`"):
        from_coco(submitted([POST]))


def test_unknown_formats_and_files(tmp_path: Path):
    with pytest.raises(InputError, match=r"Unknown import format.*Accepted: coco, label-studio, voc"):
        read_corrections(tmp_path, "csv")
    with pytest.raises(InputError, match="File or folder not found"):
        read_corrections(tmp_path / "no.json", "coco")


def test_boxes_of_several_images_come_back_in_their_images():
    """Through Label Studio and COCO; a box in an image that the post does not have is refused."""
    images = (Image.new("RGB", (64, 48)), Image.new("RGB", (90, 60)))
    boxes = (Box(1.0, 2.0, 30.0, 40.0), Box(5.0, 6.0, 80.0, 50.0, picture=2))
    post = Post("p", "Ana met Bo", images[0], (GoldEntity("Ana", 0, 3, "PER", boxes),), more_images=images[1:])
    tasks = to_label_studio([post])
    tasks[0]["annotations"] = [{"result": tasks[0]["predictions"][0]["result"]}]
    for corrected in (from_label_studio(tasks, [post]), from_coco(to_coco([post]), [post])):
        assert [entity.boxes for entity in corrected[0].gold] == [boxes]
        assert len(corrected[0].images) == 2
    for corrected in (from_label_studio(tasks), from_coco(to_coco([post]))):  # without the exported posts
        assert [entity.boxes for entity in corrected[0].gold] == [boxes]
        assert corrected[0].images == ()
    tasks[0]["annotations"][0]["result"][1]["item_index"] = 2
    with pytest.raises(DataError, match=r"unknown image \(got 2\). Accepted: 0 to 1"):
        from_label_studio(tasks, [post])


@pytest.mark.parametrize("missing", ["missing", "without URL"])
def test_boxes_keep_their_images_if_one_is_missing(tmp_path: Path, missing: str):
    """The images that are left would get other numbers, and the boxes would be in the wrong ones."""
    images = tuple(tmp_path / f"{name}.png" for name in "abc")
    for number, path in enumerate(images):
        Image.new("RGB", (64 + number, 48)).save(path)
    boxes = (Box(1.0, 2.0, 30.0, 40.0), Box(1.0, 2.0, 30.0, 40.0, picture=3))
    post = Post("p", "Ana met Bo", images[0], (GoldEntity("Ana", 0, 3, "PER", boxes),), more_images=images[1:])
    tasks = to_label_studio([post])
    tasks[0]["annotations"] = tasks[0].pop("predictions")
    if missing == "missing":
        images[1].unlink()
    else:
        tasks[0]["data"]["images"][1] = None
    (alone,) = from_label_studio(tasks, images=tmp_path)
    assert (alone.images, alone.gold[0].boxes) == ((), boxes)
    (joined,) = from_label_studio(tasks, [post], tmp_path)
    assert (joined.images, joined.gold[0].boxes) == (images, boxes)


def several(names: tuple[str, ...], folder: Path) -> Post:
    """A post with an image of each name, and a box in the last one."""
    folder.mkdir()
    for number, name in enumerate(names, 1):
        Image.new("RGB", (40 + 10 * number, 30)).save(folder / name)
    images = [folder / name for name in names]
    gold = GoldEntity("Ana", 0, 3, "PER", (Box(1.0, 2.0, 30.0, 20.0, picture=len(names)),))
    return Post("p", "Ana met Bo", images[0], (gold,), more_images=tuple(images[1:]))


def read_back(tool: str, post: Post, folder: Path):
    """The post after a tool, read without the exported posts."""
    if tool == "coco":
        data = json.loads(json.dumps(to_coco([post])))
        return from_coco(data, images=folder), data
    (task,) = json.loads(json.dumps(to_label_studio([post])))
    task["annotations"] = [{"result": task.pop("predictions")[0]["result"]}]
    return from_label_studio([task], images=folder), [task]


@pytest.mark.parametrize("tool", ["coco", "label-studio"])
def test_several_images_are_found_without_the_exported_posts(tool: str, tmp_path: Path):
    post = several(("p.png", "p_2.png", "p_3.png"), tmp_path / "images")
    found, _ = read_back(tool, post, tmp_path / "images")
    assert list(found) == [post]
    assert kinds(found) == []


@pytest.mark.parametrize("tool", ["coco", "label-studio"])
@pytest.mark.parametrize("missing", ["p.png", "p_2.png", "p_3.png"])
def test_boxes_do_not_move_to_another_image_where_one_is_missing(tool: str, missing: str, tmp_path: Path):
    post = several(("p.png", "p_2.png", "p_3.png"), tmp_path / "images")
    data = read_back(tool, post, tmp_path / "images")[1]
    (tmp_path / "images" / missing).unlink()
    read = from_coco if tool == "coco" else from_label_studio
    found = read(data, images=tmp_path / "images")
    assert found[0].images == ()
    assert found[0].gold == post.gold
    assert sorted(kinds(found)) == ["images_incomplete", "missing_image", "no_such_image"]


def test_an_image_that_the_tool_dropped_moves_no_box(tmp_path: Path):
    post = several(("p.png", "p_2.png", "p_3.png"), tmp_path / "images")
    data = json.loads(json.dumps(to_coco([post])))
    data["images"] = [image for image in data["images"] if image["file_name"] != "p_2.png"]
    found = from_coco(data, images=tmp_path / "images")
    assert (found[0].images, found[0].gold) == ((), post.gold)
    assert kinds(found) == ["missing_image", "images_incomplete", "no_such_image"]
