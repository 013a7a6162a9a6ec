"""Posts as tables: lossless round trips, user-defined tables, and errors by row."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import full_posts

from gmner import World
from gmner.data.images.opening import open_image
from gmner.data.jsonl import read_posts, write_posts
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.table import from_dataset, to_dataset, to_examples
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, ImageError, InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity

TEXT = "Ada met Al"
ADA = {"span": "Ada", "start": 0, "end": 3, "type": "PER"}


def noise(size=(9, 7), mode="RGB"):
    return Image.effect_noise(size, 50).convert(mode)


def png(picture):
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def ids_of_their_own(posts):
    return [replace(post, id=str(index)) for index, post in enumerate(posts)]


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(full_posts(), max_size=4).map(ids_of_their_own))
def test_table_round_trip(posts):
    dataset = to_dataset(posts)
    assert len(dataset) == len(posts)
    assert from_dataset(dataset) == posts


def test_none_and_empty_are_distinguished():
    posts = [Post("none", TEXT), Post("empty", "", entities=(), tokens=(), scene=())]
    back = from_dataset(to_dataset(posts))
    assert [(p.entities, p.tokens, p.scene) for p in back] == [(None, None, None), ((), (), ())]
    assert from_dataset(to_dataset([])) == []


@given(full_posts(files=False))
@settings(max_examples=25)
def test_table_of_posts_from_jsonl(tmp_path_factory, post):
    folder = tmp_path_factory.mktemp("posts")
    post = replace(post, image=noise(), more_images=(noise((5, 4)),))
    write_posts([post], folder)
    read = read_posts(folder)
    (back,) = from_dataset(to_dataset(read), missing_images="error")
    assert [back] == read
    assert replace(back, image=None, more_images=()) == replace(post, image=None, more_images=())
    assert open_image(back.image).tobytes() == open_image(post.image).tobytes()


def test_table_round_trip_on_disk(tmp_path):
    noise().save(tmp_path / "a.jpg")
    world = World().posts("dev", 5)
    posts = [*world, Post("file", TEXT, tmp_path / "a.jpg", more_images=(tmp_path / "a.jpg",))]
    to_dataset(posts).save_to_disk(tmp_path / "table")
    pixels = open_image(tmp_path / "a.jpg").tobytes()
    os.remove(tmp_path / "a.jpg")
    back = from_dataset(datasets.load_from_disk(tmp_path / "table"))
    bare = [replace(post, image=None, more_images=()) for post in posts]
    assert [replace(post, image=None, more_images=()) for post in back] == bare
    assert all(open_image(a.image).tobytes() == b.image.tobytes() for a, b in zip(back, world, strict=False))
    assert [open_image(picture).tobytes() for picture in (back[-1].image, *back[-1].more_images)] == [pixels] * 2


def test_images_of_rows_are_decoded_lazily(tmp_path):
    (tmp_path / "broken.png").write_bytes(png(noise())[:60])
    drawn = noise()
    dataset = to_dataset([Post("1", TEXT, tmp_path / "broken.png"), Post("2", TEXT, drawn)])
    assert from_dataset(dataset)[0].image == tmp_path / "broken.png"
    assert dataset[1]["image"].tobytes() == drawn.tobytes()
    with pytest.raises(OSError, match="truncated"):
        dataset[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK"])
def test_images_in_memory_are_stored_losslessly(mode):
    picture = noise(mode=mode)
    (post,) = from_dataset(to_dataset([Post("1", TEXT, picture)]))
    assert post.image.mode == mode
    assert post.image.tobytes() == picture.tobytes()


def test_rotated_jpeg_is_not_recompressed():
    stream, turned = io.BytesIO(), Image.Exif()
    turned[0x0112] = 6
    noise().save(stream, format="JPEG", exif=turned)
    picture = Image.open(stream)
    (post,) = from_dataset(to_dataset([Post("1", TEXT, picture)]))
    assert open_image(post.image).size == (7, 9)
    assert open_image(post.image).tobytes() == open_image(picture).tobytes()


def test_image_without_a_storable_format_is_reported():
    with pytest.raises(ImageError, match="post 'x': An image cannot be written"):
        to_dataset([Post("x", TEXT, noise(mode="HSV"))])


def test_lone_surrogate_is_reported():
    with pytest.raises(InputError, match="post 'x': The text cannot be encoded as UTF-8"):
        to_dataset([Post("x", "\ud83d")])


def test_user_defined_table():
    dataset = datasets.Dataset.from_list(
        [
            {"id": "a", "text": TEXT, "url": 1, "entities": [{**ADA, "boxes": [[1, 2, 3, 4]]}]},
            {"id": "b", "text": TEXT, "url": 2, "entities": [{**ADA, "boxes": None}]},
            {"id": "c", "text": TEXT, "url": 3, "entities": None},
        ]
    )
    gold = GoldEntity("Ada", 0, 3, "PER")
    first, second, third = from_dataset(dataset)
    assert first == Post("a", TEXT, None, (replace(gold, boxes=(Box(1, 2, 3, 4),)),))
    assert second == Post("b", TEXT, None, (gold,))
    assert third == Post("c", TEXT)
    assert from_dataset(dataset.select([2, 0])) == [third, first]


def test_entities_of_a_table_without_boxes_are_not_grounded():
    dataset = datasets.Dataset.from_list([{"id": "a", "text": TEXT, "entities": [ADA]}])
    assert from_dataset(dataset) == [Post("a", TEXT, None, (GoldEntity("Ada", 0, 3, "PER"),), grounded=False)]
    (said,) = from_dataset(dataset.add_column("grounded", [True]))
    assert said.grounded is True


def test_image_columns(tmp_path):
    noise().save(tmp_path / "a.png")
    rows = [{"id": "1", "text": TEXT, "image": "a.png"}, {"id": "2", "text": TEXT, "image": None}]
    dataset = datasets.Dataset.from_list(rows)
    for table in (dataset, dataset.cast_column("image", datasets.Image())):
        posts = from_dataset(table, tmp_path)
        assert [post.image for post in posts] == [tmp_path / "a.png", None]
        assert posts.oddities == ()
    data = datasets.Dataset.from_list([{**rows[0], "image": png(noise())}])
    for table in (data, data.cast_column("image", datasets.Image())):
        assert open_image(from_dataset(table)[0].image).size == (9, 7)
    raw = {"path": ["a.png", None], "bytes": [None, None]}
    split = [{**row, "image": {key: values[n] for key, values in raw.items()}} for n, row in enumerate(rows)]
    assert [post.image for post in from_dataset(datasets.Dataset.from_list(split))] == [Path("a.png"), None]


def test_missing_image_is_an_oddity_or_an_error():
    dataset = to_dataset([Post("1", TEXT), Post("2", TEXT, Path("none.png"), more_images=(Path("other.png"),))])
    posts = from_dataset(dataset)
    assert posts[1].image == Path("none.png")
    assert [(oddity.kind, oddity.where) for oddity in posts.oddities] == [("missing_image", "row 1")] * 2
    assert "none.png" in posts.oddities[0].message
    with pytest.raises(DataError, match=r"row 1: an image is missing.*none\.png"):
        from_dataset(dataset, missing_images="error")
    with pytest.raises(InputError, match="missing_images must be"):
        from_dataset(dataset, missing_images="ignore")


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"id": 7}, "`id` must be a string"),
        ({"id": "0"}, "the id already occurs in row 0"),
        ({"text": None}, "`text` must be a string"),
        ({"entities": [{**ADA, "start": 1}]}, "does not match its offsets"),
        ({"entities": [{**ADA, "start": None}]}, "does not match its offsets"),
        ({"entities": [{**ADA, "boxes": [[1, 2, 3]]}]}, "must be four numbers"),
        ({"entities": [{**ADA, "boxes": [[3, 2, 1, 4]]}]}, "A box is invalid"),
        ({"entities": [{**ADA, "box": [1, 2, 3, 4]}]}, "not an entity"),
        ({"entities": "Ada"}, "`entities` must be a list"),
        ({"tokens": "Ada"}, "`tokens` must be a list"),
        ({"image": "../a.png"}, "outside the image folder"),
        ({"image": "https://example.org/a.png"}, "URL"),
        ({"image": 3}, "`image` must be a string"),
        ({"image": b"no picture"}, "broken"),
        ({"image": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}, "broken"),
        ({"more_images": ["a.png", None]}, "`image` must be a string"),
        ({"grounded": 1}, "`grounded` must be true or false"),
    ],
)
def test_invalid_row_error_names_its_number(tmp_path, fields, fact):
    # A table with only the invalid row, so that Arrow does not infer its types from a valid one.
    good = datasets.Dataset.from_list([{"id": "0", "text": TEXT}])
    bad = datasets.Dataset.from_list([{"id": "1", "text": TEXT} | fields])
    number = 0
    if isinstance(fields.get("id", ""), str) and not set(fields) - {"id"}:
        bad, number = datasets.concatenate_datasets([good, bad]), 1
    with pytest.raises(DataError, match=f"row {number}: .*{fact}"):
        from_dataset(bad, tmp_path)


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=8)
CELLS = VALUES | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(
    st.sampled_from(["id", "text", "image", "more_images", "entities", "tokens", "scene", "slice", "grounded"]),
    CELLS
    | st.lists(st.text("ab", max_size=2), max_size=2)
    | st.fixed_dictionaries({"bytes": st.binary(max_size=8)})
    | st.lists(st.fixed_dictionaries({"span": CELLS, "start": st.integers(-9, 9), "boxes": st.none()}), max_size=1),
)
@settings(max_examples=60)
def test_any_value_of_a_row_is_read_or_refused_with_its_number(key, value):
    dataset = datasets.Dataset.from_list([{"id": "1", "text": TEXT} | {key: value}])
    try:
        found = from_dataset(dataset)
    except DataError as error:
        found = error.fact
    assert found.startswith("row 0: ") if isinstance(found, str) else len(found) == 1


def test_other_tables_are_refused():
    with pytest.raises(DataError, match="no column `text`"):
        from_dataset(datasets.Dataset.from_list([{"id": "1"}]))
    splits = datasets.DatasetDict(train=to_dataset([Post("1", TEXT)]))
    for other in (splits, [Post("1", TEXT)]):
        with pytest.raises(InputError, match="Not a dataset of posts"):
            from_dataset(other)


def test_data_set_format_is_ignored():
    posts = World().posts("dev", 3)
    table = to_dataset(posts).with_format("numpy")
    assert [post.text for post in from_dataset(table)] == [post.text for post in posts]


@pytest.mark.slow
def test_importing_tables_and_exporters_is_light():
    modules = "gmner.data.table, gmner.data.export.coco, gmner.data.export.voc, gmner.data.export.fiftyone"
    heavy = "{'torch', 'transformers', 'datasets', 'dspy', 'fiftyone'}"
    code = f"import sys, {modules}, gmner.data.export.label_studio; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "set()"


def test_examples():
    posts = World().posts("dev", 2)
    examples = to_examples(posts)
    assert [example.post for example in examples] == posts
    assert set(examples[0].inputs().keys()) == {"text", "image"}


def test_predictions_table_round_trip(tmp_path):
    found = Predictions(
        [
            Prediction("a", TEXT, "r", (GroundedEntity("Ada", 0, 3, "PER", Box(1, 2, 3, 4), confidence=0.5),)),
            Prediction("b", TEXT, "", (GroundedEntity("Al", 8, 10, "LOC"),)),
            Prediction("c", TEXT, error={"kind": "bad_image", "message": "m"}),
        ]
    )
    table = to_dataset(found)
    table.save_to_disk(tmp_path / "table")
    rows = list(datasets.load_from_disk(tmp_path / "table"))
    assert [Prediction.from_record(row) for row in rows] == found
    assert to_dataset(list(found)).features == to_dataset(Predictions()).features == table.features


def test_table_has_items_of_one_kind():
    with pytest.raises(InputError, match="posts or"):
        to_dataset([Post("a", TEXT), Prediction("b", TEXT)])
    with pytest.raises(InputError, match=r"prediction 'b'.*cannot be encoded as UTF-8"):
        to_dataset([Prediction("b", TEXT, "\ud83d")])
