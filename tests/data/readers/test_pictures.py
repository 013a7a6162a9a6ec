"""Where readers look for images, and how they report missing ones."""

import logging
from pathlib import Path

import pytest

from gmner.data.oddities import OddityLog
from gmner.data.readers.image_folder import Pictures
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.signatures.errors import DataError, InputError

TWEETS = "IMGID:7\nAda\tO\n\nIMGID:8\nAl\tO\n\nIMGID:9\nBo\tO\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "txt").mkdir()
    (tmp_path / "xml").mkdir()
    (tmp_path / "txt" / "dev.txt").write_text(TWEETS)
    (tmp_path / "xml" / "7.xml").write_text("<annotation/>")
    return tmp_path


def folder(root, name, *files):
    path = root / name
    path.mkdir(parents=True, exist_ok=True)
    for file in files:
        (path / file).write_bytes(b"")
    return path


def pictures(posts):
    return [post.image and f"{post.image.parent.name}/{post.image.name}" for post in posts]


def kinds(posts):
    return [oddity.kind for oddity in posts.oddities]


@pytest.mark.parametrize("file", ["7.jpg", "7.JPG", "7.jpeg", "7.png", "7.PNG", "7.webp"])
def test_images_with_any_suffix_are_found(root, file):
    folder(root, "images", file, "8.txt", "9.jpg.part", "7")
    posts = read_twitter_gmner(root, "dev")
    assert pictures(posts) == [f"images/{file}", None, None]
    assert kinds(posts) == ["missing_image"] * 2


def test_jpg_is_preferred(root):
    folder(root, "images", "7.png", "7.jpeg", "7.JPG", "7.jpg", "8.gif", "8.png")
    assert pictures(read_twitter_gmner(root, "dev"))[:2] == ["images/7.jpg", "images/8.png"]


def test_first_folder_with_the_image_is_used(root, tmp_path_factory):
    first = folder(tmp_path_factory.mktemp("a"), "first", "8.png")
    second = folder(root, "second", "8.jpg", "9.jpg")
    assert pictures(read_twitter_gmner(root, "dev", [first, str(second)])) == [None, "first/8.png", "second/9.jpg"]
    assert pictures(read_twitter_gmner(root, "dev", (second, first))) == [None, "second/8.jpg", "second/9.jpg"]


def test_given_folders_replace_the_known_ones(root):
    folder(root, "images", "7.jpg")
    folder(root, "twitter10000", "7.jpg", "8.jpg")
    other = folder(root, "other", "9.jpg")
    assert pictures(read_twitter_gmner(root, "dev")) == ["images/7.jpg", "twitter10000/8.jpg", None]
    assert pictures(read_twitter_gmner(root, "dev", other)) == [None, None, "other/9.jpg"]


def test_missing_images_are_listed_and_logged_once(root, caplog):
    images = folder(root, "images", "8.jpg")
    posts = read_twitter_gmner(root, "dev")
    path = root / "txt" / "dev.txt"
    assert [(oddity.kind, oddity.where) for oddity in posts.oddities] == [
        ("missing_image", f"{path}:2"),
        ("missing_image", f"{path}:8"),
    ]
    assert posts.oddities[0].message == f"post 7 has no image 7 in {images}; the post is read without it"
    (record,) = caplog.records
    assert record.getMessage().startswith("missing_image: 2 times")


def test_missing_folder_is_one_oddity(root, caplog):
    caplog.set_level(logging.INFO, logger="gmner")
    posts = read_twitter_gmner(root, "dev")
    assert [(oddity.kind, oddity.where) for oddity in posts.oddities] == [("no_image_folder", str(root))]
    assert "none of the image folders images, twitter10000" in caplog.text


def test_empty_folder_is_accepted(root):
    folder(root, "images")
    assert kinds(read_twitter_gmner(root, "dev")) == ["missing_image"] * 3


def test_missing_image_is_an_error_on_request(root):
    first, second = folder(root, "a", "7.jpg"), folder(root, "b")
    with pytest.raises(DataError) as caught:
        read_twitter_gmner(root, "dev", [first, second], missing_images="error")
    assert caught.value.fact == f"{root / 'txt' / 'dev.txt'}:5: post 8 has no image 8 in {first}, {second}"
    with pytest.raises(DataError, match=r"dev\.txt:2: post 7 has no image 7 in any folder"):
        read_twitter_gmner(root, "dev", missing_images="error")
    folder(root, "b", "8.jpg", "9.png")
    assert None not in pictures(read_twitter_gmner(root, "dev", [first, second], missing_images="error"))


def test_invalid_arguments(root):
    with pytest.raises(InputError, match="'warn' or 'error'"):
        read_twitter_gmner(root, "dev", missing_images="ignore")
    with pytest.raises(InputError, match="images must name at least one folder"):
        read_twitter_gmner(root, "dev", [])
    with pytest.raises(InputError, match="does not exist"):
        read_twitter_gmner(root, "dev", [root, root / "nowhere"])


def test_link_out_of_the_folders_is_refused(root, tmp_path_factory):
    secret = folder(tmp_path_factory.mktemp("b"), "elsewhere", "8.jpg")
    images = folder(root, "images", "9.jpg")
    (images / "7.jpg").symlink_to(images / "9.jpg")
    (images / "8.jpg").symlink_to(secret / "8.jpg")
    posts = read_twitter_gmner(root, "dev")
    assert pictures(posts) == ["images/7.jpg", None, "images/9.jpg"]
    (oddity,) = posts.oddities
    assert (oddity.kind, oddity.where) == ("link_outside", f"{root / 'txt' / 'dev.txt'}:5")
    with pytest.raises(DataError, match=r"dev\.txt:5: the image 8 of post 8 is a link that leads outside"):
        read_twitter_gmner(root, "dev", missing_images="error")
    assert pictures(read_twitter_gmner(root, "dev", [images, secret]))[1] == "images/8.jpg"


def test_known_folder_that_leads_out_must_be_given(root, tmp_path_factory):
    elsewhere = folder(tmp_path_factory.mktemp("c"), "elsewhere", "7.jpg")
    (root / "images").symlink_to(elsewhere)
    posts = read_twitter_gmner(root, "dev")
    assert pictures(posts) == [None] * 3
    assert kinds(posts) == ["link_outside", "no_image_folder"]
    assert pictures(read_twitter_gmner(root, "dev", root / "images"))[0] == "images/7.jpg"


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "/a.jpg", "a/../b.jpg", "a//b.jpg", "..", ".", "", "a\\b.jpg", "C:a.jpg", "http://x/a.jpg", "a\0"],
)
def test_name_that_could_leave_the_folder_is_refused(tmp_path, name):
    found = Pictures([tmp_path], [tmp_path], OddityLog(), "warn")
    with pytest.raises(DataError, match=r"f:1: the name of an image is not a valid file name"):
        found.find([name], "7", "f:1")


def test_name_in_a_subfolder_is_found(tmp_path):
    folder(tmp_path, "train2014", "a.jpg")
    found = Pictures([tmp_path], [tmp_path], OddityLog(), "error")
    assert found.find(["train2014/a.jpg"], "7", "f:1") == Path(tmp_path / "train2014" / "a.jpg")
    assert found.find(["b.jpg", "train2014/a.png"], "7", "f:1") == Path(tmp_path / "train2014" / "a.jpg")
    with pytest.raises(DataError, match="has no image"):
        found.find(["val2014/a.jpg"], "7", "f:1")
