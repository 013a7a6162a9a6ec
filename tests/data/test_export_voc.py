"""Posts in the format of Twitter-GMNER: the reader reads back the same posts."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from defusedxml.ElementTree import parse
from hypothesis import given
from hypothesis import strategies as st
from kills import kills
from PIL import Image
from strategies import posts
from tiers import daily

from gmner import World, read_twitter_gmner
from gmner.data.export.from_voc import from_voc
from gmner.data.export.voc import write_voc
from gmner.data.images.opening import open_image
from gmner.data.post import Post
from gmner.signatures.boxes import Box
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.mentions import GoldEntity

TEXT = "Ada met Al"
BOX = Box(0.1, 2.5, 30.0, 40.0)
ADA = GoldEntity("Ada", 0, 3, "PER", (BOX,))
POST = Post("1", TEXT, None, (ADA,), ("Ada", "met", "Al"))


@st.composite
def writable(draw):
    """Posts whose mentions with equal spans share their boxes, without duplicates."""
    found = []
    for number, post in enumerate(draw(st.lists(posts(), max_size=3))):
        boxes = {}
        for entity in post.gold:
            boxes.setdefault(entity.span, tuple(dict.fromkeys(entity.boxes)))
        entities = tuple(replace(entity, boxes=boxes[entity.span]) for entity in post.gold)
        found.append(replace(post, id=str(number), entities=entities))
    return found


@pytest.mark.slow
@given(writable())
def test_voc_round_trip(tmp_path_factory, given_posts):
    folder = tmp_path_factory.mktemp("voc")
    write_voc(given_posts, folder, "dev")
    assert read_twitter_gmner(folder, "dev") == given_posts


def test_corrected_posts_have_the_images_of_the_given_folder(tmp_path):
    """An odd box is reported once, by the reader."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    post = replace(POST, image=tmp_path / "a.png", entities=(replace(ADA, boxes=(Box(1, 1, 99, 9),)),))
    write_voc([post], tmp_path / "voc", "dev")
    (same,), images = from_voc(tmp_path / "voc", "dev", [post]), tmp_path / "voc" / "images"
    assert same.image == post.image
    back = from_voc(tmp_path / "voc", "dev", [post], images)
    assert back[0].image == images / "1.png"
    assert [oddity.kind for oddity in back.oddities] == ["box_outside_image"]


@pytest.mark.slow
def test_voc_round_trip_of_the_world(tmp_path):
    world = World().posts("dev", 12)
    path = write_voc(world, tmp_path, "dev")
    assert path == tmp_path / "txt" / "dev.txt"
    back = read_twitter_gmner(tmp_path, "dev", missing_images="error")
    bare = [replace(post, image=None, scene=None, slice=None) for post in world]
    assert [replace(post, image=None) for post in back] == bare
    assert all(open_image(a.image).tobytes() == b.image.tobytes() for a, b in zip(back, world, strict=True))
    assert back.oddities == ()
    root = parse(tmp_path / "xml" / f"{world[0].id}.xml").getroot()
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["320", "320", "3"]


@pytest.mark.slow
@pytest.mark.parametrize("split", daily(["train", "dev"], "dev"))
def test_voc_round_trip_of_the_sample(twitter_root, tmp_path, split):
    given_posts = read_twitter_gmner(twitter_root, split)
    path = write_voc(given_posts, tmp_path, split)
    assert path.read_bytes() == (twitter_root / "txt" / f"{split}.txt").read_bytes()
    back = read_twitter_gmner(tmp_path, split)
    assert [replace(post, image=None) for post in back] == [replace(post, image=None) for post in given_posts]
    pictures = [(a.image, b.image) for a, b in zip(back, given_posts, strict=True) if b.image is not None]
    assert pictures
    assert all(a.read_bytes() == b.read_bytes() for a, b in pictures)


def test_numbers_are_written_unchanged(tmp_path):
    box = Box(0.1, 2.0, 1 / 3 + 1, 1e17)
    write_voc([replace(POST, entities=(replace(ADA, boxes=(box,)),))], tmp_path)
    (item,) = parse(tmp_path / "xml" / "1.xml").findall("object")
    assert [corner.text for corner in item.find("bndbox")] == ["0.1", "2", "1.3333333333333333", "1" + "0" * 17]
    assert read_twitter_gmner(tmp_path, "train")[0].gold[0].boxes == (box,)


def test_post_without_tokens_is_split_at_spaces(tmp_path):
    write_voc([replace(POST, tokens=None)], tmp_path)
    assert read_twitter_gmner(tmp_path, "train") == [POST]


def test_export_removes_boxes_of_an_earlier_one(tmp_path):
    write_voc([POST], tmp_path)
    bare = replace(POST, entities=(replace(ADA, boxes=()),))
    write_voc([bare], tmp_path)
    assert read_twitter_gmner(tmp_path, "train") == [bare]


def test_images_with_any_file_name_are_found(tmp_path):
    drawn = Image.effect_noise((9, 7), 50).convert("RGB")
    for name in ("a.JPEG", "b.bin"):
        drawn.save(tmp_path / name, format="PNG")
    given_posts = [Post(name, TEXT, tmp_path / name, ()) for name in ("a.JPEG", "b.bin")]
    write_voc(given_posts, tmp_path / "out")
    back = read_twitter_gmner(tmp_path / "out", "train")
    assert [post.id for post in back] == ["a.JPEG", "b.bin"]
    assert all(open_image(post.image).tobytes() == drawn.tobytes() for post in back)


def test_duplicates_are_written_once(tmp_path):
    write_voc([replace(POST, entities=(replace(ADA, boxes=(BOX, BOX)),))], tmp_path)
    assert read_twitter_gmner(tmp_path, "train") == [POST]


def words(*tokens, **fields):
    return replace(POST, text=" ".join(tokens), tokens=tokens, entities=(), **fields)


TWICE = Post("1", "Al Al", None, (GoldEntity("Al", 0, 2, "PER", (BOX,)), GoldEntity("Al", 3, 5, "PER")))


@pytest.mark.parametrize(
    ("post", "fact"),
    [
        (replace(POST, id="../x"), "id is not a valid file name"),
        (replace(POST, id=" x"), "id is not a valid file name"),
        (replace(POST, id=""), "id is not a valid file name"),
        (replace(POST, id="a\nb"), "id is not a valid file name"),
        (replace(POST, entities=None), "not annotated"),
        (replace(POST, entities=(), grounded=False), "no box annotations"),
        (replace(POST, more_images=(Image.new("RGB", (1, 1)),)), "several images"),
        (replace(POST, tokens=("Ada", "met")), "tokens that are separated"),
        (replace(POST, tokens=(), text="", entities=()), "no tokens"),
        (replace(POST, tokens=None, text="Ada  met Al"), "tokens that are separated"),
        (replace(POST, tokens=None, text="", entities=()), "tokens that are separated"),
        (words("a", "b\tc"), "tokens that are separated"),
        (words("a", "b\nc"), "tokens that are separated"),
        (words("a", "b "), "tokens that are separated"),
        (words("a", "\ud83d"), "tokens that are separated"),
        (words("IMGID:2", "a"), "header of a tweet"),
        (replace(POST, entities=(GoldEntity("Ad", 0, 2, "PER"),)), "splits a token"),
        (replace(POST, entities=(ADA, GoldEntity("Ada met", 0, 7, "ORG"))), "overlaps another"),
        (replace(POST, entities=(replace(ADA, type="a person"),)), "A type cannot be used as a tag"),
        (replace(POST, entities=(replace(ADA, type=""),)), "A type cannot be used as a tag"),
        (TWICE, "same words have different boxes"),
        (
            Post("1", "A\x0bda", None, (GoldEntity("A\x0bda", 0, 4, "PER", (BOX,)),)),
            "a character that XML cannot represent",
        ),
        (
            Post("1", "\u3000 Ada", None, (GoldEntity("\u3000 Ada", 0, 5, "PER", (BOX,)),)),
            "starts or ends with white space",
        ),
    ],
)
def test_unrepresentable_post_is_reported_and_nothing_is_written(tmp_path, post, fact):
    with pytest.raises(InputError, match=f"post {post.id!r}: .*{fact}".replace("\\", "\\\\")):
        write_voc([replace(POST, id="good"), post], tmp_path)
    assert os.listdir(tmp_path) == []


def test_other_refusals(tmp_path):
    with pytest.raises(InputError, match="id occurs twice"):
        write_voc([POST, POST], tmp_path)
    with pytest.raises(InputError, match="split must be a valid"):
        write_voc([POST], tmp_path, "../dev")
    with pytest.raises(ImageError, match="post '1': An image is missing"):
        write_voc([replace(POST, image=tmp_path / "none.jpg")], tmp_path)
    with pytest.raises(ImageError, match="post '1': An image cannot be written"):
        write_voc([replace(POST, image=Image.new("HSV", (2, 2)))], tmp_path)
    assert os.listdir(tmp_path) == []


def test_truncated_image_leaves_the_folder_unchanged(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    Image.effect_noise((90, 90), 60).save(tmp_path / "b.dat", "PNG")
    (tmp_path / "b.dat").write_bytes((tmp_path / "b.dat").read_bytes()[:2000])
    posts = [Post(name, "Ada", tmp_path / file, ()) for name, file in (("a", "a.png"), ("b", "b.dat"))]
    write_voc(posts[:1], tmp_path / "out")
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "out").rglob("*"))
    with pytest.raises(ImageError, match="post 'b'"):
        write_voc(posts, tmp_path / "out", "dev")
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "out").rglob("*")) == before


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_kill_leaves_the_old_or_the_new_folder(tmp_path: Path):
    new = [POST, replace(POST, id="new", entities=(replace(ADA, type="ORG"),))]

    def prepare(folder: Path) -> None:
        shutil.copytree(tmp_path / "before", folder, dirs_exist_ok=True)

    def work(folder: Path) -> None:
        write_voc(new, folder / "voc")

    write_voc([POST], tmp_path / "before" / "voc")
    write_voc([replace(POST, id="other")], tmp_path / "before" / "voc", "dev")
    prepare(tmp_path / "after")
    work(tmp_path / "after")
    before, after = (_content(tmp_path / name / "voc") for name in ("before", "after"))
    assert {"txt/train.txt", "txt/dev.txt", "xml/other.xml", "xml/new.xml"} <= set(after) - (set(before) - set(after))
    for kill in kills(work, tmp_path, prepare):
        assert _content(kill.folder / "voc") in (before, after), kill
        work(kill.folder)
        assert _content(kill.folder / "voc") == after, kill
        assert [path.name for path in kill.folder.iterdir()] == ["voc"], kill


def test_split_is_written_into_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_voc([POST], tmp_path)
    monkeypatch.chdir(tmp_path)
    write_voc([POST], ".", "dev")
    assert sorted(path.name for path in Path("txt").iterdir()) == ["dev.txt", "train.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "txt", "xml"]
