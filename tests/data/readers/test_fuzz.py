"""Readers return posts or raise an error that names the file, whatever bytes a file has."""

import copy
import json
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gmner.data.jsonl import read_posts, read_predictions
from gmner.data.readers.grec import read_grec
from gmner.data.readers.mner_mi import read_mner_mi
from gmner.data.readers.twitter import read_twitter_fmnerg, read_twitter_gmner
from gmner.signatures.errors import DataError, GmnerError

TWEETS = (
    "IMGID:7\nAda\tB-PER\tB-author\nLace\tI-PER\tI-author\n.\tO\tO\n\n"
    "IMGID:8\n👩‍🚀\tI-ORG\tI-band\n\u3000\tB-LOC\tB-city\r\n\nIMGID:7\n&amp\tO\tO\n"
)
OBJECT = (
    "<object><name>Ada Lace</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>"
)
XML = (
    '<?xml version="1.0" encoding="utf-8"?><annotation><size><width>9</width><height>9</height></size>'
    f"{OBJECT}{OBJECT}</annotation>"
)
POST = {"id": 5, "text": ["Ada", "met", "Al"], "images": ["5_0.jpg"], "label": ["B-PER", "O", "I-PER"], "url": ""}
REF = {
    "ref_id": 5,
    "ann_id": [1, 2],
    "image_id": 9,
    "split": "val",
    "file_name": "COCO_train2014_9_5.jpg",
    "no_target": False,
    "sentences": [{"sent_id": 70, "sent": "two dogs", "raw": "Two dogs!"}],
}
COCO = {
    "images": [{"id": 9, "file_name": "COCO_train2014_9.jpg", "width": 100, "height": 80}],
    "annotations": [{"id": id_, "image_id": 9, "bbox": [1, 2, 10, 20.5]} for id_ in (1, 2)],
}
ENTITY = {"span": "Ada", "start": 0, "end": 3, "type": "PER"}
JSONL_POST = {
    "id": "1",
    "text": "Ada met Al",
    "image": "a.png",
    "entities": [{**ENTITY, "boxes": [[1, 2, 3, 4]]}],
    "tokens": ["Ada"],
    "scene": [{"name": "x", "type": "PER", "box": [1, 2, 3, 4]}],
    "slice": "s",
}
PREDICTION = {
    "id": "1",
    "text": "Ada met Al",
    "reasoning": "",
    "entities": [{**ENTITY, "visible": True, "box": [1, 2, 3, 4]}],
    "error": None,
}

FUZZ = settings(max_examples=int(os.environ.get("GMNER_FUZZ", settings().max_examples)))

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([-1, 1, 10**400, "../x", "a/b", "\ud800", "B-PER", "O", "val", "\0", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw, content):
    """Modified valid bytes: truncated, or with a part removed, doubled, swapped or overwritten."""
    data = content.encode() if isinstance(content, str) else content
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        middle = draw(st.sampled_from([b"", data[start:end] * 2, data[start:end][::-1]]) | st.binary(max_size=6))
        data = data[:start] if draw(st.booleans()) else data[:start] + middle + data[end:]
    return data


@st.composite
def replaced(draw, record):
    """A JSON record in which some values, keys or branches are replaced."""
    record = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 2))):
        branch = record
        while True:
            keys = list(branch) if isinstance(branch, dict) else list(range(len(branch)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(branch[key], (dict, list)) and draw(st.booleans()):
                branch = branch[key]
                continue
            change = draw(st.sampled_from(["value", "value", "drop", "double"]))
            if change == "drop":
                del branch[key]
            elif change == "double" and isinstance(branch, list):
                branch.append(copy.deepcopy(branch[key]))
            else:
                branch[key] = draw(values)
            break
    return json.dumps(record).encode()


def broken(content, *records):
    """Any bytes, modified `content`, or one of the JSON records with replaced values."""
    return st.one_of(st.binary(), mutated(content), *map(replaced, records))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a valid file of every format."""
    root = tmp_path_factory.mktemp("fuzz")
    for folder in ("txt", "txt_fine", "xml", "images", "text"):
        (root / folder).mkdir()
    (root / "images" / "7.jpg").write_bytes(b"")
    (root / "txt" / "dev.txt").write_text(TWEETS, encoding="utf-8")
    (root / "xml" / "7.xml").write_text(XML, encoding="utf-8")
    (root / "refs.json").write_text(json.dumps([REF]))
    (root / "instances.json").write_text(json.dumps(COCO))
    return root


def check_reader(read, *names):
    """Call the reader; it must succeed or raise an error of the library, and a `DataError` must name the file."""
    try:
        posts = read()
    except GmnerError as error:
        if isinstance(error, DataError) and not any(name in error.fact for name in names):
            raise
        return
    for post in posts:
        for entity in getattr(post, "gold", ()):
            assert post.text[entity.start : entity.end] == entity.span != ""


def test_unmodified_files_are_valid(root):
    for granularity in ("fine", "coarse"):
        (root / "txt_fine" / "dev.txt").write_text(TWEETS, encoding="utf-8")
        assert len(read_twitter_fmnerg(root, "dev", granularity=granularity)) == 3
    assert read_twitter_gmner(root, "dev")[0].gold[0].visible
    (root / "text" / "fuzz.txt").write_text(json.dumps(POST) + "\n" + repr({**POST, "id": "x"}))
    assert len(read_mner_mi(root / "text" / "fuzz.txt")) == 2
    assert len(read_grec(root / "refs.json", root / "instances.json", "val")[0].gold[0].boxes) == 2
    (root / "posts.jsonl").write_text(json.dumps(JSONL_POST))
    (root / "predictions.jsonl").write_text(json.dumps(PREDICTION))
    assert len(read_posts(root / "posts.jsonl")) == len(read_predictions(root / "predictions.jsonl")) == 1


@FUZZ
@given(broken(TWEETS))
def test_fuzzed_tweets(root, content):
    (root / "txt" / "fuzz.txt").write_bytes(content)
    check_reader(lambda: read_twitter_gmner(root, "fuzz"), "fuzz.txt")


@FUZZ
@given(broken(TWEETS), st.sampled_from(["fine", "coarse"]))
def test_fuzzed_tweets_with_fine_types(root, content, granularity):
    (root / "txt_fine" / "fuzz.txt").write_bytes(content)
    check_reader(lambda: read_twitter_fmnerg(root, "fuzz", granularity=granularity), "fuzz.txt")


@FUZZ
@given(broken(XML))
@example(b'<?xml version="1.0" encoding="no-such"?><a/>')
@example(b'<?xml version="1.0" encoding="utf-7"?><a/>')
@example(XML.encode("utf-16"))
@example(XML.replace(">3<", ">1e999<").encode())
@example(XML.replace("<width>9<", "<width>1e999<").encode())
def test_fuzzed_boxes(root, content):
    (root / "xml" / "8.xml").write_bytes(content)
    check_reader(lambda: read_twitter_gmner(root, "dev"), "8.xml")


@pytest.mark.slow
@FUZZ
@given(broken(json.dumps(POST) + "\n" + repr(POST), POST) | replaced(POST).map(lambda b: repr(json.loads(b)).encode()))
def test_fuzzed_posts_with_several_images(root, content):
    (root / "text" / "fuzz.txt").write_bytes(content)
    check_reader(lambda: read_mner_mi(root / "text" / "fuzz.txt"), "fuzz.txt")


@pytest.mark.slow
@FUZZ
@given(broken(json.dumps([REF]), [REF]))
def test_fuzzed_references(root, content):
    (root / "fuzz.json").write_bytes(content)
    check_reader(lambda: read_grec(root / "fuzz.json", root / "instances.json", "val"), "fuzz.json")


@FUZZ
@given(broken(json.dumps(COCO), COCO))
def test_fuzzed_instances(root, content):
    (root / "fuzz_coco.json").write_bytes(content)
    check_reader(lambda: read_grec(root / "refs.json", root / "fuzz_coco.json", "val"), "fuzz_coco.json", "refs.json")


@FUZZ
@given(broken(json.dumps(JSONL_POST), JSONL_POST))
def test_fuzzed_jsonl_posts(root, content):
    (root / "fuzz.jsonl").write_bytes(content)
    check_reader(lambda: read_posts(root / "fuzz.jsonl"), "fuzz.jsonl")


@FUZZ
@given(broken(json.dumps(PREDICTION), PREDICTION))
def test_fuzzed_jsonl_predictions(root, content):
    (root / "fuzz.jsonl").write_bytes(content)
    check_reader(lambda: read_predictions(root / "fuzz.jsonl"), "fuzz.jsonl")
