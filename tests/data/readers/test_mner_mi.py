"""The reader of MNER-MI: several images per post, JSON and Python literals, and malformed lines."""

import json

import pytest

from gmner.data.readers.labels import labels_of
from gmner.data.readers.mner_mi import read_mner_mi
from gmner.signatures.errors import DataError, InputError

RECORD = {
    "id": 12,
    "text": ["Ada", "Lace", "met", "Al"],
    "images": ["12_0.jpg", "12_1.jpg", "12_2.jpg"],
    "label": ["B-PER", "I-PER", "O", "B-MIS"],
    "url": "https://example.org/12",
}


@pytest.fixture
def root(tmp_path):
    for folder in ("text", "images"):
        (tmp_path / folder).mkdir()
    for name in RECORD["images"]:
        (tmp_path / "images" / name).write_bytes(b"")
    write(tmp_path, RECORD)
    return tmp_path


def write(root, *records, name="MNER-MI_train.txt"):
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (root / "text" / name).write_text("\n".join(lines), encoding="utf-8")


def reread(root, *records, **options):
    write(root, *records)
    return read_mner_mi(root, **options)


def odd(posts):
    return [(oddity.kind, oddity.where.partition("train.txt")[2]) for oddity in posts.oddities]


def test_post_example(root):
    posts = read_mner_mi(root)
    (post,) = posts
    assert (post.id, post.text, post.tokens) == ("12", "Ada Lace met Al", ("Ada", "Lace", "met", "Al"))
    assert [(e.span, e.key, e.type, e.boxes) for e in post.gold] == [
        ("Ada Lace", (0, 8), "PER", ()),
        ("Al", (13, 15), "MIS", ()),
    ]
    assert post.image == root / "images" / "12_0.jpg"
    assert post.more_images == (root / "images" / "12_1.jpg", root / "images" / "12_2.jpg")
    assert (post.grounded, posts.oddities, labels_of(posts).names) == (False, (), ("MIS", "PER"))


def test_post_without_images_or_mentions(root):
    for images in ({"images": []}, {"images": None}, {}):
        record = {"id": "x", "text": ["a"], "label": ["O"], **images}
        posts = reread(root, record)
        assert [(p.id, p.image, p.more_images, p.entities) for p in posts] == [("x", None, (), ())]
        assert posts.oddities == ()
    assert reread(root, {**RECORD, "images": "12_1.jpg"})[0].image == root / "images" / "12_1.jpg"


def test_python_literals_are_read_and_reported(root, caplog):
    (root / "images" / "O_26.jpg").write_bytes(b"")
    record = {"id": "twitter2017-O_26", "text": ["Ada's", '"'], "images": ["twitter2017-O_26.jpg"], "url": ""}
    record["label"] = ["B-MISC", "O"]
    posts = reread(root, RECORD, repr(record), repr({**record, "id": 9}))
    assert [(post.id, post.text) for post in posts][1:] == [("twitter2017-O_26", "Ada's \""), ("9", "Ada's \"")]
    assert posts[1].image == root / "images" / "O_26.jpg"
    assert [entity.type for entity in posts[1].gold] == ["MISC"]
    assert odd(posts) == [("python_literal", ":2"), ("python_literal", ":3")]
    assert [record.getMessage()[:23] for record in caplog.records] == ["python_literal: 2 times"]


def test_image_folder_of_twitter_2017(root):
    (root / "twitter2017_images").mkdir()
    (root / "twitter2017_images" / "O_26.jpg").write_bytes(b"")
    (post,) = reread(root, {**RECORD, "images": ["twitter2017-O_26.jpg", "12_1.jpg"]})
    assert post.image == root / "twitter2017_images" / "O_26.jpg"
    assert post.more_images == (root / "images" / "12_1.jpg",)
    (root / "images" / "twitter2017-O_26.jpg").write_bytes(b"")
    assert read_mner_mi(root)[0].image == root / "images" / "twitter2017-O_26.jpg"


@pytest.mark.parametrize(
    "line", ['__import__("os").abort()', "{'id': open('x')}", "{1: 2}[0]", "{'a'}", "{'id': 1", "1"]
)
def test_lines_are_not_executed(root, line):
    with pytest.raises(DataError, match=r"train\.txt:2: not (JSON|an object)"):
        reread(root, RECORD, line)


@pytest.mark.parametrize(
    "line", ["{" * 100_000, "{'a': " * 100_000, "{'a': " + "-" * 100_000 + "1}", "{'a': 1" + "+1" * 100_000 + "}"]
)
def test_too_deeply_nested_line_is_reported(root, line):
    with pytest.raises(DataError, match=r"train\.txt:1: not JSON"):
        reread(root, line)


def test_escapes_in_a_literal_do_not_warn(root, recwarn):
    (post,) = reread(root, r"{'text': ['a\d'], 'label': ['O']}")
    assert (post.text, len(recwarn)) == (r"a\d", 0)


def test_ids(root):
    bare = {key: RECORD[key] for key in ("text", "label")}
    posts = reread(root, {**bare, "id": "a"}, "", bare, {**bare, "id": None}, {**bare, "id": ""}, {**bare, "id": 3})
    assert [post.id for post in posts] == ["a", "3", "4", "5", "3#2"]
    assert odd(posts) == [("no_id", ":3"), ("no_id", ":4"), ("no_id", ":5"), ("duplicate_id", ":6")]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"label": ["O"]}, "4 tokens but 1 labels"),
        ({"label": ["O"] * 5}, "4 tokens but 5 labels"),
        ({"label": ["O", "O", "O", "PER"]}, "invalid BIO tag"),
        ({"label": ["O", "O", "O", "B-"]}, "invalid BIO tag"),
        ({"label": ["O", "O", "O", 0]}, "`label` must be a string"),
        ({"label": "OOOO"}, "`label` must be a list"),
        ({"text": "Ada"}, "`text` must be a list"),
        ({"text": None}, "`text` must be a list"),
        ({"text": ["a", "b", "c", None]}, "`text` must be a string"),
        ({"text": [], "label": []}, "has no words"),
        ({"text": ["", "", " ", "\u3000"]}, "has no words"),
        ({"images": {"a": 1}}, "`images` must be a list"),
        ({"images": [1]}, "`images` must be a string"),
        ({"images": ["../12_0.jpg"]}, "not a valid file name"),
        ({"images": ["https://example.org/a.jpg"]}, "not a valid file name"),
        ({"id": 1.5}, "`id` must be a string"),
        ({"id": True}, "`id` must be a string"),
        ({"id": [1]}, "`id` must be a string"),
    ],
)
def test_malformed_line_is_reported(root, change, fact):
    with pytest.raises(DataError, match=rf"train\.txt:2: .*{fact}"):
        reread(root, RECORD, {**RECORD, "id": 13, **change})


@pytest.mark.parametrize("line", ["[]", "1", "null", '"x"'])
def test_line_that_is_not_an_object_is_reported(root, line):
    with pytest.raises(DataError, match=r"train\.txt:1: not an object"):
        reread(root, line)


def test_oddities_are_reported(root):
    record = {**RECORD, "text": ["\ud83d", "", "Ada", "Bo"], "label": ["O", "B-PER", "I-PER", "I-LOC"], "images": []}
    posts = reread(root, record)
    assert [(e.span, e.key, e.type) for e in posts[0].gold] == [("Ada", (3, 6), "PER"), ("Bo", (7, 9), "LOC")]
    assert posts[0].text == "\ufffd  Ada Bo"
    assert odd(posts) == [("lone_surrogate", ":1"), ("stray_inside_tag", ":1: token 4")]
    assert odd(reread(root, "")) == [("empty_file", "")]


def test_missing_images(root):
    (root / "images" / "12_0.jpg").unlink()
    posts = read_mner_mi(root)
    assert posts[0].image == root / "images" / "12_1.jpg"
    assert posts[0].more_images == (root / "images" / "12_2.jpg",)
    assert odd(posts) == [("missing_image", ":1")]
    assert "12_0.jpg" in posts.oddities[0].message
    with pytest.raises(DataError, match=r"train\.txt:1: post 12 has no image 12_0\.jpg in .*images"):
        read_mner_mi(root, missing_images="error")


def test_line_ends_are_ignored(root):
    expected = read_mner_mi(root)
    line = json.dumps(RECORD).encode()
    for content in (line, line + b"\n", b"\xef\xbb\xbf" + line + b"\r\n\r\n"):
        (root / "text" / "MNER-MI_train.txt").write_bytes(content)
        assert read_mner_mi(root) == expected
    (root / "text" / "MNER-MI_train.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"train\.txt: not UTF-8"):
        read_mner_mi(root)


def test_splits_and_corpora(root):
    write(root, {**RECORD, "id": "mi"}, name="MNER-MI_val.txt")
    write(root, {**RECORD, "id": "uni"}, name="MNER-UNI_val.txt")
    for split in ("val", "dev"):
        assert read_mner_mi(root, split)[0].id == "mi"
        assert read_mner_mi(root, split, corpus="MNER-UNI")[0].id == "uni"
    for split in ("test", "../text/MNER-MI_train", ""):
        with pytest.raises(InputError, match=r"Accepted: MNER-MI_train.txt, MNER-MI_val.txt, MNER-UNI_val.txt"):
            read_mner_mi(root, split)
    with pytest.raises(InputError, match="missing or empty"):
        read_mner_mi(root / "nowhere")


def test_single_file(root, tmp_path_factory):
    expected = read_mner_mi(root)
    path = root / "text" / "MNER-MI_train.txt"
    assert read_mner_mi(path, "any") == expected
    elsewhere = tmp_path_factory.mktemp("file") / "posts.jsonl"
    path.rename(elsewhere)
    assert read_mner_mi(elsewhere, images=root / "images") == expected
    assert [oddity.kind for oddity in read_mner_mi(elsewhere).oddities] == ["no_image_folder"]


def test_link_out_of_the_root_is_not_a_split(root, tmp_path_factory):
    path = root / "text" / "MNER-MI_train.txt"
    elsewhere = tmp_path_factory.mktemp("file") / "secret.txt"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(InputError, match="no such split"):
        read_mner_mi(root)


def test_joiner_of_tokens_that_are_characters(root):
    write(root, {**RECORD, "text": ["看", "东", "京"], "label": ["O", "B-LOC", "I-LOC"]})
    (post,) = read_mner_mi(root, joiner="")
    assert (post.text, [(e.span, e.start, e.end) for e in post.gold]) == ("看东京", [("东京", 1, 3)])
