"""A post keeps its own image, whatever its id, wherever it is written, and whenever the process is killed."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from kills import kills
from PIL import Image

from gmner.data.export.voc import write_voc
from gmner.data.images.fetched_posts import fetch_posts
from gmner.data.jsonl import read_posts, write_posts
from gmner.data.post import Post
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.signatures.errors import ImageError, InputError

HOSTILE = (
    "张三", "李四", "王五", "a b", "a_b", "a/b", "a\\b", "A B", "A_B", "..", ".", "/etc", "CON", "nul.png", "x" * 5000,
    "x" * 5001, "é", "e\u0301", "a\nb", "😀", "-", "_",
)  # fmt: skip


def colour(number: int) -> tuple[int, int, int]:
    return (number * 11 % 256, number * 7 % 256, 99)


def post_with_image(ids: Sequence[str]) -> list[Post]:
    return [Post(name, "Ana", Image.new("RGB", (4, 3), colour(number))) for number, name in enumerate(ids)]


def colours(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for post in read_posts(folder):
        with Image.open(post.image) as picture:
            found[post.id] = picture.getpixel((0, 0))
    return found


@pytest.mark.parametrize("turned", [lambda posts: posts[::-1], lambda posts: posts[3:] + posts[:3], sorted])
def test_rewriting_posts_in_another_order(tmp_path: Path, turned):
    wanted = {name: colour(number) for number, name in enumerate(HOSTILE)}
    write_posts(post_with_image(HOSTILE), tmp_path)
    assert colours(tmp_path) == wanted
    by_id = {post.id: post for post in read_posts(tmp_path)}
    for _ in range(3):
        write_posts([by_id[name] for name in turned(list(HOSTILE))], tmp_path)
        assert colours(tmp_path) == wanted
    assert {path.parent for path in tmp_path.rglob("*.png")} == {tmp_path / "images"}


def test_rewriting_the_same_posts_adds_no_files(tmp_path: Path):
    write_posts(post_with_image(HOSTILE), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    write_posts(post_with_image(HOSTILE), tmp_path)
    write_posts(read_posts(tmp_path), tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_several_images_stay_with_their_post(tmp_path: Path):
    first, second = post_with_image(["a", "a_1"])
    posts = [replace(first, more_images=(second.image,)), replace(second, more_images=(first.image,))]
    write_posts(posts, tmp_path)
    write_posts(read_posts(tmp_path)[::-1], tmp_path)
    for post in read_posts(tmp_path):
        found = [Image.open(path).getpixel((0, 0)) for path in (post.image, *post.more_images)]
        assert found == ([colour(0), colour(1)] if post.id == "a" else [colour(1), colour(0)])


@pytest.mark.slow
def test_kill_leaves_each_post_with_its_own_image(tmp_path: Path):
    ids = ("张三", "李四", "王五")
    write_posts(post_with_image(ids), tmp_path / "old")
    wanted = {name: colour(number) for number, name in enumerate(ids)}

    def rewrite(folder: Path) -> None:
        write_posts(read_posts(folder)[::-1], folder)

    orders = set()
    for kill in kills(rewrite, tmp_path / "kills", lambda folder: shutil.copytree(
        tmp_path / "old", folder, dirs_exist_ok=True
    )):  # fmt: skip
        assert colours(kill.folder) == wanted, kill
        orders.add(tuple(post.id for post in read_posts(kill.folder)))
    assert orders == {ids, ids[::-1]}


def test_missing_image_changes_nothing(tmp_path: Path):
    write_posts(post_with_image(["a", "b"]), tmp_path)
    with pytest.raises(ImageError, match="'c'"):
        write_posts([*read_posts(tmp_path)[::-1], Post("c", "t", tmp_path / "none.png")], tmp_path)
    assert colours(tmp_path) == {"a": colour(0), "b": colour(1)}


def test_local_images_are_fetched_beside_existing_ones(tmp_path: Path):
    write_posts(post_with_image(["张三", "李四"]), tmp_path)
    lines = (tmp_path / "posts.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "turned.jsonl").write_text("\n".join(lines[::-1]), encoding="utf-8")
    fetch_posts(tmp_path / "turned.jsonl", tmp_path / "new", progress=False)
    (tmp_path / "posts.jsonl").unlink()
    fetch_posts(tmp_path / "turned.jsonl", tmp_path, progress=False)
    assert colours(tmp_path) == colours(tmp_path / "new") == {"张三": colour(0), "李四": colour(1)}


def annotated(posts: Sequence[Post]) -> list[Post]:
    return [replace(post, entities=()) for post in posts]


def test_voc_images_stay_with_their_post(tmp_path: Path):
    write_voc(annotated(post_with_image(["1", "2"])), tmp_path)
    one, two = read_twitter_gmner(tmp_path, "train")
    write_voc([two, one], tmp_path)
    assert Image.open(tmp_path / "images" / "2.png").getpixel((0, 0)) == colour(1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    with pytest.raises(InputError, match=r"post '2'.*belongs to post '1'.*empty folder"):
        write_voc([replace(one, id="2"), replace(two, id="1")], tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()} == before


@pytest.mark.parametrize("picture", [None, Image.new("RGB", (4, 3))])
def test_voc_removes_images_of_an_earlier_export(tmp_path: Path, picture: Image.Image | None):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "1.jpg")
    with pytest.raises(InputError, match=r"with this id, which belongs to none of the posts.*1\.jpg"):
        write_voc([Post("1", "Ana", picture, ())], tmp_path)
    assert not (tmp_path / "txt").exists()


def test_voc_refuses_too_long_ids(tmp_path: Path):
    with pytest.raises(InputError, match="not a valid file name"):
        write_voc([Post("x" * 300, "Ana", None, ())], tmp_path)
    assert list(tmp_path.iterdir()) == []
