"""The reader of gRefCOCO: sets of targets, expressions without a target, and faults by ref and sentence."""

import json

import pytest

from gmner.data.readers.grec import read_grec
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, InputError

FILE = "COCO_train2014_000000000009.jpg"
COCO = {
    "images": [{"id": 9, "file_name": FILE, "width": 100, "height": 80}],
    "annotations": [
        {"id": 1, "image_id": 9, "bbox": [1, 2, 10, 20]},
        {"id": 2, "image_id": 9, "bbox": [50.5, 0, 49.505, 80.0]},
        {"id": 3, "image_id": 8, "bbox": [0, 0, 1, 1]},
        {"id": 4, "image_id": 9, "bbox": [1, 2, 10, 20]},
    ],
    "categories": [],
}
REF = {
    "ref_id": 5,
    "ann_id": [1, 2],
    "image_id": 9,
    "split": "val",
    "file_name": "COCO_train2014_000000000009_5.jpg",
    "category_id": [1, 1],
    "no_target": False,
    "sentences": [{"sent_id": 70, "sent": "two dogs", "raw": "Two dogs!"}, {"sent_id": 71, "sent": "both"}],
}


@pytest.fixture
def read(tmp_path):
    (tmp_path / "train2014").mkdir()
    (tmp_path / "train2014" / FILE).write_bytes(b"")

    def reader(refs=(REF,), coco=COCO, split="val", **options):
        paths = tmp_path / "grefs(unc).json", tmp_path / "instances.json"
        for path, value in zip(paths, (refs, coco), strict=True):
            path.write_text(value if isinstance(value, str) else json.dumps(value))
        return read_grec(*paths, split, **options)

    reader.root = tmp_path
    return reader


def odd(posts):
    return [(oddity.kind, oddity.where.partition(".json: ")[2]) for oddity in posts.oddities]


def test_expression_is_a_post_with_its_targets(read):
    posts = read()
    assert [(post.id, post.text) for post in posts] == [("5-70", "two dogs"), ("5-71", "both")]
    (entity,) = posts[0].gold
    assert (entity.span, entity.key, entity.type) == ("two dogs", (0, 8), "EXPRESSION")
    assert entity.boxes == (Box(1.0, 2.0, 11.0, 22.0), Box(50.5, 0.0, 100.005, 80.0))
    assert posts[0].image == posts[1].image == read.root / "train2014" / FILE
    assert all(post.grounded for post in posts)
    assert posts.oddities == ()


@pytest.mark.parametrize("ann_id", [[-1], -1, [], None])
def test_no_target(read, ann_id):
    posts = read([{**REF, "ann_id": ann_id, "no_target": True}])
    assert [post.gold[0].boxes for post in posts] == [(), ()]
    assert posts.oddities == ()


def test_one_target_as_a_number_and_two_of_the_same_box(read):
    assert read([{**REF, "ann_id": 1}])[0].gold[0].boxes == (Box(1, 2, 11, 22),)
    assert read([{**REF, "ann_id": [1, 4, 1]}])[0].gold[0].boxes == (Box(1, 2, 11, 22),) * 2


def test_contradictory_no_target_annotations_are_reported(read):
    posts = read([{**REF, "no_target": True}])
    assert len(posts[0].gold[0].boxes) == 2
    assert odd(posts) == [("no_target_differs", "ref 5")]
    assert odd(read([{**REF, "ann_id": [-1]}])) == [("no_target_differs", "ref 5")]
    posts = read([{**REF, "ann_id": [-1, 1]}])
    assert (len(posts[0].gold[0].boxes), odd(posts)) == (1, [("no_target_differs", "ref 5")])
    without = {key: value for key, value in REF.items() if key != "no_target"}
    assert read([without, {**without, "ref_id": 6, "ann_id": [-1]}]).oddities == ()


def test_only_the_requested_split_is_read(read):
    posts = read([{**REF, "split": "train", "sentences": "broken"}, REF])
    assert len(posts) == 2
    with pytest.raises(InputError, match="Accepted: train, val"):
        read([{**REF, "split": "train"}, REF], split="testA")
    with pytest.raises(InputError, match="no such split"):
        read([])


def test_missing_and_duplicate_ids(read):
    bare = {**REF, "sentences": [{"sent": "a"}, {"sent": "b"}]}
    del bare["ref_id"]
    posts = read([{**bare, "split": "train"}, bare, REF, REF])
    assert [post.id for post in posts] == ["1-0", "1-1", "5-70", "5-71", "5-70#2", "5-71#2"]
    assert odd(posts) == [("duplicate_id", f"ref 5, sentence {number}") for number in (70, 71)]


def test_image_name(read):
    other = "COCO_train2014_000000000009_5.jpg"
    assert read(coco={**COCO, "images": []})[0].image == read.root / "train2014" / FILE
    assert read(coco={"annotations": COCO["annotations"]})[0].image == read.root / "train2014" / FILE
    assert read([{**REF, "file_name": FILE}], {**COCO, "images": []})[0].image == read.root / "train2014" / FILE
    assert read(coco={**COCO, "images": [{**COCO["images"][0], "file_name": other}]})[0].image is None


def test_missing_images(read, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("pictures")
    posts = read(images=elsewhere)
    assert [post.image for post in posts] == [None, None]
    assert odd(posts) == [("missing_image", f"ref 5, sentence {number}") for number in (70, 71)]
    with pytest.raises(DataError, match=rf"ref 5, sentence 70: post 5-70 has no image {FILE} in"):
        read(images=[elsewhere], missing_images="error")
    (elsewhere / FILE).write_bytes(b"")
    assert read(images=[elsewhere, read.root / "train2014"])[0].image == elsewhere / FILE


def test_invalid_boxes_are_kept_and_reported(read):
    annotations = [{"id": 1, "image_id": 9, "bbox": [-1, 0, 3, 3]}, {"id": 2, "image_id": 9, "bbox": [99, 0, 0, 80.02]}]
    posts = read(coco={**COCO, "annotations": annotations})
    assert posts[0].gold[0].boxes == (Box(-1, 0, 2, 3), Box(99, 0, 99, 80.02))
    assert odd(posts) == [
        ("box_outside_image", "ref 5, annotation 1"),
        ("box_outside_image", "ref 5, annotation 2"),
        ("zero_area_box", "ref 5, annotation 2"),
    ]


def test_duplicate_annotation(read):
    posts = read(coco={**COCO, "annotations": [*COCO["annotations"], {"id": 1, "image_id": 9, "bbox": [0, 0, 1, 1]}]})
    assert posts[0].gold[0].boxes[0] == Box(1, 2, 11, 22)
    assert odd(posts) == [("duplicate_annotation", "`annotations` number 4")]


def with_box(bbox):
    return {**COCO, "annotations": [{"id": 1, "image_id": 9, "bbox": bbox}, COCO["annotations"][1]]}


@pytest.mark.parametrize(
    ("ref", "fact"),
    [
        ({"ann_id": [1, 77]}, "ref 5: annotation 77 is not in .*instances"),
        ({"ann_id": [3]}, "ref 5: annotation 3 of .* belongs to another image"),
        ({"ann_id": ["1"]}, "ref 5: `ann_id` must be an integer"),
        ({"ann_id": [[1]]}, "ref 5: `ann_id` must be an integer"),
        ({"ann_id": True}, "ref 5: `ann_id` must be an integer"),
        ({"image_id": None}, "ref 5: `image_id` must be an integer"),
        ({"image_id": [9]}, "ref 5: `image_id` must be an integer"),
        ({"sentences": None}, "ref 5: `sentences` must be a list"),
        ({"sentences": ["x"]}, "ref 5, sentence number 0: not an object"),
        ({"sentences": [{"sent_id": 3}]}, "ref 5, sentence 3: the expression is empty"),
        ({"sentences": [{"sent_id": 3, "sent": " "}]}, "ref 5, sentence 3: the expression is empty"),
        ({"sentences": [{"sent_id": 3, "sent": 1}]}, "ref 5, sentence 3: `sent` must be a string"),
        ({"sentences": [{"sent_id": [3], "sent": "a"}]}, "ref 5: `id` must be a string"),
        ({"ref_id": [5]}, "ref number 0: `id` must be a string"),
        ({"split": 1}, "ref number 0: `split` must be a string"),
    ],
)
def test_malformed_ref_is_reported(read, ref, fact):
    with pytest.raises(DataError, match=rf"grefs\(unc\)\.json: {fact}"):
        read([{**REF, **ref}])


@pytest.mark.parametrize(
    ("coco", "fact"),
    [
        ([], ": not an object"),
        ({**COCO, "annotations": {}}, ": `annotations` must be a list"),
        ({**COCO, "annotations": [1]}, ": `annotations` number 0: not an object"),
        ({**COCO, "annotations": [{"id": "1"}]}, ": `annotations` number 0: `id` must be an integer"),
        ({**COCO, "images": [{"id": 9}]}, ": image 9: `file_name` must be a string"),
        ({**COCO, "images": [{"id": 9, "file_name": FILE, "width": "1"}]}, ": image 9: width and height"),
        (with_box(None), ": annotation 1: `bbox` must be four numbers"),
        (with_box([1, 2, 3]), ": annotation 1: `bbox` must be four numbers"),
        (with_box([1, 2, 3, True]), ": annotation 1: `bbox` must be four numbers"),
        (with_box([1, 2, -3, 4]), ": annotation 1: `bbox` is not a valid box"),
        (with_box([1, 2, 3, float("nan")]), ": annotation 1: `bbox` is not a valid box"),
        (with_box([10**400, 2, 3.5, 4]), ": annotation 1: `bbox` is not a valid box"),
        ("{", ": not JSON"),
        ("[" * 100_000, ": not JSON"),
    ],
)
def test_malformed_instances_are_reported(read, coco, fact):
    with pytest.raises(DataError, match=rf"instances\.json{fact}"):
        read(coco=coco)


@pytest.mark.parametrize(("refs", "fact"), [("{}", "`refs` must be a list"), ("[1]", "ref number 0: not an object")])
def test_malformed_refs_are_reported(read, refs, fact):
    with pytest.raises(DataError, match=rf"grefs\(unc\)\.json: {fact}"):
        read(refs)


def test_name_out_of_the_folder_is_refused(read):
    with pytest.raises(DataError, match="ref 5, sentence 70: the name of an image is not a valid file name"):
        read(coco={**COCO, "images": [{**COCO["images"][0], "file_name": "../secret.jpg"}]})


def test_files_that_are_missing_or_not_text(read, tmp_path):
    read()
    with pytest.raises(InputError, match="File not found"):
        read_grec(tmp_path / "none.json", tmp_path / "instances.json", "val")
    with pytest.raises(InputError, match="File not found"):
        read_grec(tmp_path / "grefs(unc).json", tmp_path, "val")
    (tmp_path / "grefs(unc).json").write_bytes(b"\x80\x04]")
    with pytest.raises(DataError, match=r"grefs\(unc\)\.json: not UTF-8"):
        read_grec(tmp_path / "grefs(unc).json", tmp_path / "instances.json", "val")


def test_expressions_with_more_targets_are_left_out(read):
    refs = [REF, {**REF, "ref_id": 6, "ann_id": [1]}, {**REF, "ref_id": 7, "ann_id": [-1], "no_target": True}]
    assert [post.id.partition("-")[0] for post in read(refs, most_targets=1)] == ["6", "6", "7", "7"]
    assert [post.id for post in read(refs, most_targets=0)] == ["7-70", "7-71"]
    assert len(read(refs)) == 6
    with pytest.raises(InputError, match="most_targets must not be negative"):
        read(refs, most_targets=-1)
