"""Posts and predictions as JSONL: round trips and errors."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import answered, boxes, full_posts, posts

from gmner.data.images.opening import open_image
from gmner.data.jsonl import read_posts, read_predictions, write_posts, write_predictions
from gmner.data.post import Post, SceneObject
from gmner.data.prediction import Prediction
from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, ImageError, InputError, TruncatedAnswerError
from gmner.signatures.mentions import GroundedEntity

TEXT = "Ada met Al"
ENTITY = {"span": "Ada", "start": 0, "end": 3, "type": "PER", "visible": True, "box": [1.0, 2.0, 3.5, 4.0]}
RECORD = {"id": "1", "text": TEXT, "reasoning": "why", "entities": [ENTITY], "error": None}
GOLD = {"span": "Ada", "start": 0, "end": 3, "type": "PER", "boxes": [[1, 2, 3, 4]]}
POST = {"id": "1", "text": TEXT, "image": "a.png", "entities": [GOLD]}
THING = {"name": "x", "type": "PER", "box": [1, 2, 3, 4]}


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@given(answered())
def test_prediction_round_trip(pair):
    post, found = pair
    prediction = Prediction(post.id, post.text, "line\nbreak ✓", tuple(found))
    back = Prediction.from_record(json.loads(json.dumps(prediction.to_record())))
    places = [entity.key for entity in found]
    for index, (entity, read) in enumerate(zip(found, back.entities, strict=True)):
        again = entity.key in places[:index]
        assert read == replace(entity, alignment=Alignment.REUSED if again else Alignment.EXACT)
    assert back.to_record() == prediction.to_record()


def test_prediction_format():
    entities = (
        GroundedEntity("Ada", 0, 3, "PER", Box(1.0, 2.0, 3.5, 4.0)),
        GroundedEntity("Bob", -1, -1, "PER", None, Alignment.MISSING),
    )
    hidden = {"span": "Bob", "start": -1, "end": -1, "type": "PER", "visible": False, "box": None}
    prediction = Prediction("1", TEXT, "why", entities)
    assert prediction.to_record() == {**RECORD, "entities": [ENTITY, hidden]}
    assert Prediction.from_record(prediction.to_record()) == prediction


def test_more_boxes_are_written_only_if_present(tmp_path):
    first, second = Box(1.0, 2.0, 3.5, 4.0), Box(0.0, 0.0, 1.0, 1.0)
    one, two = (GroundedEntity("Ada", 0, 3, "PER", first, more_boxes=more) for more in ((), (second, first)))
    record = Prediction("1", TEXT, "why", (one, two)).to_record()
    assert record["entities"] == [ENTITY, {**ENTITY, "more_boxes": [[0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.5, 4.0]]}]
    write_predictions([Prediction("1", TEXT, "", (two,))], tmp_path / "p.jsonl")
    assert read_predictions(tmp_path / "p.jsonl")[0].entities == (two,)


def test_failure_is_recorded_with_its_kind(tmp_path):
    failed = Prediction.failed("1", TEXT, TruncatedAnswerError("The budget ended"))
    assert failed.error == {"kind": "truncated_answer", "message": "The budget ended."}
    write_predictions([failed], tmp_path / "out.jsonl")
    assert read_predictions(tmp_path / "out.jsonl") == [failed]


def changed(**fields):
    return {**RECORD, "entities": [{**ENTITY, **fields}]}


@pytest.mark.parametrize(
    ("record", "fact"),
    [
        ([], "not a prediction"),
        ({"id": "1"}, "not a prediction"),
        ({**RECORD, "more": 1}, "not a prediction"),
        ({**RECORD, "id": 1}, "`id` must be a string"),
        ({**RECORD, "reasoning": None}, "`reasoning` must be a string"),
        ({**RECORD, "entities": None}, "must be a list"),
        ({**RECORD, "entities": [1]}, "not an entity"),
        ({**RECORD, "error": "x"}, "not the error"),
        ({**RECORD, "error": {"kind": "x", "message": 1}}, "`message` must be a string"),
        (changed(start=1), "does not match its offsets"),
        (changed(start=-10, end=-7), "does not match its offsets"),
        (changed(span="", start=0, end=0), "does not match its offsets"),
        (changed(start=False), "does not match its offsets"),
        (changed(end=3.0), "does not match its offsets"),
        (changed(type=None), "`type` must be a string"),
        (changed(visible=False), "contradict each other"),
        (changed(visible=1), "contradict each other"),
        (changed(box=None), "contradict each other"),
        (changed(box=[1, 2, 3]), "must be four numbers"),
        (changed(box=[1, 2, 3, True]), "must be four numbers"),
        (changed(box="1 2 3 4"), "must be four numbers"),
        (changed(box=[3, 2, 1, 4]), "A box is invalid"),
        (changed(box=[1, 2, 3, float("nan")]), "A box is invalid"),
        (changed(box=[1, 2, 3, 10**400]), "A box is invalid"),
        (changed(more=1), "not an entity"),
        (changed(more_boxes=None), "`more_boxes` must be a list"),
        (changed(more_boxes=[[1, 2, 3]]), "must be four numbers"),
        (changed(visible=False, box=None, more_boxes=[[1, 2, 3, 4]]), "`more_boxes` requires `box`"),
    ],
)
def test_invalid_prediction_error_names_file_and_line(tmp_path, record, fact):
    path = lines(tmp_path / "p.jsonl", {**RECORD, "id": "0"}, record)
    with pytest.raises(DataError, match=rf"p\.jsonl:2: .*{fact}"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"{", "1: not JSON"),
        (b"\n\n{]\n", "3: not JSON"),
        (b"[" * 100_000, "1: not JSON"),
        (b'{"id": "\xff"}', "not UTF-8"),
    ],
)
def test_broken_line_is_reported(tmp_path, content, fact):
    (tmp_path / "p.jsonl").write_bytes(content)
    for read in (read_predictions, read_posts):
        with pytest.raises(DataError, match=rf"p\.jsonl:? ?{fact}"):
            read(tmp_path / "p.jsonl")


def test_duplicate_id_is_reported(tmp_path):
    for read, record in ((read_predictions, RECORD), (read_posts, POST)):
        with pytest.raises(DataError, match=r"p\.jsonl:2: the id already occurs in line 1"):
            read(lines(tmp_path / "p.jsonl", record, record))


def test_line_ends_and_blank_lines_are_ignored(tmp_path):
    path = tmp_path / "p.jsonl"
    line = json.dumps({**RECORD, "text": "Ada met\u2028Al"}, ensure_ascii=False)
    path.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n")
    assert [prediction.text for prediction in read_predictions(path)] == ["Ada met\u2028Al"]
    path.write_bytes(b"")
    assert read_predictions(path) == []


def test_missing_file(tmp_path):
    for read in (read_predictions, read_posts):
        with pytest.raises(InputError, match="File not found"):
            read(tmp_path / "none.jsonl")


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "new" / "out.jsonl"
    good = Prediction("1", TEXT)
    write_predictions([good], path)

    def breaks():
        yield Prediction("2", TEXT)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_predictions(breaks(), path)
    assert read_predictions(path) == [good]
    assert os.listdir(path.parent) == ["out.jsonl"]


def test_post_example(tmp_path):
    (post,) = read_posts(lines(tmp_path / "posts.jsonl", POST))
    assert (post.id, post.text, post.image) == ("1", TEXT, tmp_path / "a.png")
    assert [(e.span, e.key, e.type, e.boxes) for e in post.gold] == [("Ada", (0, 3), "PER", (Box(1, 2, 3, 4),))]
    (bare,) = read_posts(lines(tmp_path / "bare.jsonl", {"id": "1", "text": TEXT}))
    assert (bare.image, bare.entities) == (None, None)
    (empty,) = read_posts(lines(tmp_path / "none.jsonl", {"id": "1", "text": TEXT, "entities": []}))
    assert empty.entities == ()
    with pytest.raises(InputError, match="image folder does not exist"):
        read_posts(tmp_path / "posts.jsonl", tmp_path / "pictures")
    (tmp_path / "pictures").mkdir()
    (elsewhere,) = read_posts(tmp_path / "posts.jsonl", tmp_path / "pictures")
    assert elsewhere.image == tmp_path / "pictures" / "a.png"


def gold(**fields):
    return {**POST, "entities": [{**GOLD, **fields}]}


@pytest.mark.parametrize(
    ("record", "fact"),
    [
        ({"id": "1"}, "not a post"),
        ({**POST, "more": 1}, "not a post"),
        ({**POST, "text": None}, "`text` must be a string"),
        ({**POST, "entities": {}}, "`entities` must be a list"),
        ({**POST, "tokens": [1]}, "`token` must be a string"),
        ({**POST, "slice": 1}, "`slice` must be a string"),
        ({**POST, "scene": [{"name": "x"}]}, "not an object of a scene"),
        ({**POST, "scene": [{**THING, "attributes": "red"}]}, "`attributes` must be a list"),
        ({**POST, "scene": [{**THING, "covered": 1.5}]}, "`covered` must be a number from 0 to 1"),
        ({**POST, "scene": [{**THING, "depth": -1}]}, "`depth` must be an integer"),
        ({**POST, "image": 1}, "`image` must be a string"),
        ({**POST, "more_images": "a.png"}, "`more_images` must be a list"),
        ({**POST, "more_images": ["../a.png"]}, "outside the image folder"),
        ({**POST, "grounded": 0}, "`grounded` must be true or false"),
        ({**POST, "image": "../a.png"}, "outside the image folder"),
        ({**POST, "image": "/etc/passwd"}, "outside the image folder"),
        ({**POST, "image": "https://example.org/a.png"}, "URL"),
        ({**POST, "image": "data:image/png;base64,AAAA"}, "not a data URI"),
        (gold(start=2), "does not match its offsets"),
        (gold(boxes=[[1, 2, 3]]), "must be four numbers"),
        (gold(boxes=None, more=1), "not an entity"),
    ],
)
def test_invalid_post_error_names_file_and_line(tmp_path, record, fact):
    with pytest.raises(DataError, match=rf"p\.jsonl:1: .*{fact}"):
        read_posts(lines(tmp_path / "p.jsonl", record))


@given(posts(), st.none() | st.lists(boxes(), max_size=2), st.none() | st.just("mixed"))
def test_post_round_trip(tmp_path_factory, post, scene, slice_):
    things = None if scene is None else tuple(SceneObject("Ada ✓", "PER", box, ("a hat",), 0.25, 3) for box in scene)
    post = replace(post, scene=things, slice=slice_)
    folder = tmp_path_factory.mktemp("posts")
    write_posts([post, replace(post, id="2", entities=None, tokens=None)], folder)
    assert read_posts(folder) == [post, replace(post, id="2", entities=None, tokens=None)]


@pytest.mark.slow
@given(full_posts(files=False))
def test_post_with_every_field_round_trip(tmp_path_factory, post):
    folder = tmp_path_factory.mktemp("posts")
    read = read_posts(write_posts([post], folder))
    assert (read, [oddity for oddity in read.oddities if oddity.kind != "zero_area_box"]) == ([post], [])


def test_missing_fields_are_not_written(tmp_path):
    path = write_posts([Post("1", TEXT), Post("2", TEXT, grounded=False)], tmp_path)
    bare = {"id": "1", "text": TEXT, "image": None}
    written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert written == [bare, {**bare, "id": "2", "grounded": False}]


def test_post_with_several_images_round_trip(tmp_path):
    drawn, wide = (Image.effect_noise((9, 7), 50).convert(mode) for mode in ("RGB", "CMYK"))
    drawn.save(tmp_path / "photo.JPG", format="JPEG")
    read = read_posts(write_posts([Post("1", TEXT, drawn, more_images=(wide, tmp_path / "photo.JPG"))], tmp_path / "a"))
    (post,) = read_posts(write_posts(read, tmp_path / "b"))
    assert open_image(post.image).tobytes() == drawn.tobytes()
    assert open_image(post.more_images[0]).tobytes() == open_image(wide).tobytes()
    assert post.more_images[1].read_bytes() == (tmp_path / "photo.JPG").read_bytes()
    assert len(os.listdir(tmp_path / "b" / "images")) == 3


def test_rotated_image_in_memory_matches_its_boxes(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 8
    Image.effect_noise((9, 7), 50).save(tmp_path / "a.jpg", exif=turned)
    with Image.open(tmp_path / "a.jpg") as picture:
        (post,) = read_posts(write_posts([Post("1", TEXT, picture)], tmp_path / "out"))
    assert open_image(post.image).tobytes() == open_image(tmp_path / "a.jpg").tobytes()


def test_missing_image_is_an_oddity_or_an_error(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "there.png")
    record = {**POST, "id": "2", "image": "there.png", "more_images": ["there.png", "gone.png"]}
    path = lines(tmp_path / "p.jsonl", {**POST, "image": None}, record)
    posts = read_posts(path)
    assert posts[1].more_images == (tmp_path / "there.png", tmp_path / "gone.png")
    oddity, *boxes = posts.oddities
    assert (oddity.kind, oddity.where) == ("missing_image", f"{path}:2")
    assert {box.kind for box in boxes} == {"box_outside_image"}  # of an image of 2 x 2 pixels
    assert "gone.png" in oddity.message
    with pytest.raises(DataError, match=r"p\.jsonl:2: an image is missing.*gone\.png"):
        read_posts(path, missing_images="error")
    with pytest.raises(InputError, match="missing_images must be"):
        read_posts(path, missing_images="ignore")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "\ud83d.png", "a/" * 3000])
def test_impossible_file_name_is_a_missing_image(tmp_path, name):
    path = lines(tmp_path / "p.jsonl", {**POST, "image": name})
    found = posts_or_fact(read_posts, path)
    if isinstance(found, str):
        assert found.startswith(f"{path}:1: ")
    else:
        assert [oddity.kind for oddity in found.oddities] == ["missing_image"]


def posts_or_fact(read, path):
    """The posts, or the fact of the error."""
    try:
        return read(path)
    except DataError as error:
        return error.fact


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=4), values, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["id", "text", "image", "more_images", "entities", "tokens", "scene", "slice", "grounded"]), JSON
)
def test_any_value_of_a_post_is_read_or_refused_with_its_line(tmp_path_factory, key, value):
    path = lines(tmp_path_factory.mktemp("fuzz") / "p.jsonl", {**POST, key: value})
    found = posts_or_fact(read_posts, path)
    assert found.startswith(f"{path}:1: ") if isinstance(found, str) else len(found) == 1


@given(st.binary(max_size=8), st.integers(0, 400), st.booleans())
def test_broken_files_are_refused_with_file_and_line(tmp_path_factory, junk, at, cut):
    for name, read, record in (("posts", read_posts, POST), ("predictions", read_predictions, RECORD)):
        path = lines(tmp_path_factory.mktemp("fuzz") / f"{name}.jsonl", record, {**record, "id": "2"})
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + junk + (b"" if cut else whole[at:]))
        found = posts_or_fact(read, path)
        assert found.startswith(f"{path}:") if isinstance(found, str) else len(found) <= 2


def test_lone_surrogate_round_trip(tmp_path):
    post = Post("1", "Ada \ud83d")
    assert read_posts(write_posts([post], tmp_path)) == [post]


def test_images_round_trip(tmp_path):
    drawn = Image.effect_noise((9, 7), 50).convert("RGB")
    drawn.save(tmp_path / "photo.JPG", format="JPEG")
    ids = ("a/b", "a_b", "../../x", "", "é")
    written = [Post(id_, "t", drawn) for id_ in ids] + [Post("photo", "t", tmp_path / "photo.JPG")]
    path = write_posts(written, tmp_path / "out")
    back = read_posts(path)
    assert [post.id for post in back] == [*ids, "photo"]
    assert all(open_image(post.image).tobytes() == drawn.tobytes() for post in back[:-1])
    assert back[-1].image.read_bytes() == (tmp_path / "photo.JPG").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["out", "photo.JPG"]


def test_missing_image_cannot_be_written(tmp_path):
    with pytest.raises(ImageError, match="post '1': An image is missing"):
        write_posts([Post("1", "t", tmp_path / "none.png")], tmp_path / "out")
    assert not (tmp_path / "out" / "posts.jsonl").exists()
