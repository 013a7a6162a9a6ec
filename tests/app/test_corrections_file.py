"""The file of corrections: read by a compile, kept over restarts, never somebody else's."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from gmner.app.corrections import CorrectionsFile
from gmner.data.jsonl import read_posts, write_posts
from gmner.data.post import Post
from gmner.programs.gold_check import check_posts
from gmner.signatures.boxes import Box
from gmner.signatures.errors import DataError, ImageError, InputError
from gmner.signatures.mentions import GoldEntity

ADA = GoldEntity("Ada", 0, 3, "PER", (Box(1, 2, 30, 40),))


def post(id: str = "p", image: object = None, entities: tuple[GoldEntity, ...] | None = (ADA,)) -> Post:
    return Post(id, "Ada sings", image, entities)  # type: ignore[arg-type]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "uploads").mkdir()
    Image.new("RGB", (60, 50), "teal").save(tmp_path / "uploads" / "a.png")
    return tmp_path / "uploads" / "a.png"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / "corrections.jsonl"


def test_nothing_is_written_before_the_first_correction(path: Path):
    CorrectionsFile(path).close()
    assert list(path.parent.iterdir()) == []


def test_corrections_are_posts_that_a_compile_takes(path: Path, picture: Path):
    file = CorrectionsFile(path)
    file.save(post("a", picture))
    file.save(post("b/../c", picture, ()))
    picture.unlink()  # an upload does not stay
    read = read_posts(path, missing_images="error")
    assert read == [
        post("a", path.parent / "images" / "a_1.png"),
        post("b/../c", path.parent / "images" / "b_c_1.png", ()),
    ]
    assert not check_posts(read, labels=["PER"]).faults
    assert not read.oddities


def test_progress_is_kept_over_restarts(path: Path, picture: Path):
    file = CorrectionsFile(path)
    file.save(post("a", picture))
    file.close()
    again = CorrectionsFile(path)
    assert "a" in again
    assert "b" not in again
    assert again.get("a") == post("a", path.parent / "images" / "a_1.png")
    again.save(post("b"))
    assert [item.id for item in read_posts(path)] == ["a", "b"]


def test_a_later_correction_replaces_the_earlier_one(path: Path):
    file = CorrectionsFile(path)
    file.save(post("a"))
    file.save(post("b"))
    file.save(post("a", entities=()))
    assert len(file) == 2
    assert [(item.id, item.gold) for item in read_posts(path)] == [("a", ()), ("b", (ADA,))]


def test_discard(path: Path):
    file = CorrectionsFile(path)
    file.save(post("a"))
    file.discard("b")
    file.discard("a")
    assert len(file) == 0
    assert path.read_text() == ""
    file.close()
    assert len(CorrectionsFile(path)) == 0


def test_images_inside_the_folder_are_not_copied(tmp_path: Path):
    given = write_posts([replace(post("a", Image.new("RGB", (60, 50))))], tmp_path / "data")
    (loaded,) = read_posts(given)
    CorrectionsFile(given.with_name("c.jsonl")).save(loaded)
    assert read_posts(given.with_name("c.jsonl")) == [loaded]
    assert len(list((tmp_path / "data" / "images").iterdir())) == 1


def test_several_images(path: Path):
    images = [Image.new("RGB", (60, 50), colour) for colour in ("teal", "red")]
    boxed = GoldEntity("Ada", 0, 3, "PER", (Box(1, 2, 30, 40, picture=2),))
    CorrectionsFile(path).save(Post("a", "Ada sings", images[0], (boxed,), more_images=(images[1],)))
    (read,) = read_posts(path)
    assert [Image.open(image).getpixel((0, 0)) for image in read.images] == [(0, 128, 128), (255, 0, 0)]
    assert read.gold == (boxed,)


def test_a_file_of_another_command_is_refused(path: Path):
    path.write_text(json.dumps({"id": "a", "text": "Ada"}) + "\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="was not written by gmner app"):
        CorrectionsFile(path)
    assert path.read_bytes() == before


def test_a_changed_file_is_refused(path: Path):
    file = CorrectionsFile(path)
    file.save(post("a"))
    file.close()
    path.write_text(path.read_text().replace("sings", "sinks"))
    with pytest.raises(InputError, match="changed by something else"):
        CorrectionsFile(path)


def test_a_file_that_changes_while_the_app_runs_is_not_replaced(path: Path):
    file = CorrectionsFile(path)
    file.save(post("a"))
    path.write_text("precious\n")
    with pytest.raises(InputError, match="while the app was running"):
        file.save(post("b"))
    assert path.read_text() == "precious\n"
    fresh = CorrectionsFile(path.with_name("other.jsonl"))
    path.with_name("other.jsonl").write_text("precious\n")
    with pytest.raises(InputError, match="while the app was running"):
        fresh.save(post("b"))


def test_an_interrupted_write_is_resumed(path: Path, monkeypatch: pytest.MonkeyPatch):
    file = CorrectionsFile(path)
    file.save(post("a"))

    def stop(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(OSError, match="disk full"):
            file.save(post("b"))
    assert "b" not in file
    file.close()
    assert [item.id for item in read_posts(path)] == ["a"]
    assert "a" in CorrectionsFile(path)
    assert not [name for name in os.listdir(path.parent) if name.endswith(".new")]


def test_two_apps_do_not_write_one_file(path: Path):
    one, other = CorrectionsFile(path), CorrectionsFile(path)
    one.save(post("a"))
    with pytest.raises(InputError, match="are being written by"):
        other.save(post("b"))
    one.close()
    with pytest.raises(InputError, match="while the app was running"):
        other.save(post("b"))


def test_inputs_are_not_replaced(path: Path):
    path.write_text("{}\n")
    with pytest.raises(InputError, match="would replace an input"):
        CorrectionsFile(path, [path])


def test_refusals(tmp_path: Path, path: Path):
    with pytest.raises(InputError, match="folder of the corrections does not exist"):
        CorrectionsFile(tmp_path / "no" / "c.jsonl")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="are not a file"):
        CorrectionsFile(tmp_path / "full")
    file = CorrectionsFile(path)
    with pytest.raises(InputError, match="must have entities"):
        file.save(post("a", entities=None))
    with pytest.raises(ImageError, match="An image is missing"):
        file.save(post("a", tmp_path / "gone.png"))
    assert not path.exists()


def test_a_damaged_record_beside_the_file_is_refused(path: Path):
    file = CorrectionsFile(path)
    file.save(post("a"))
    file.close()
    path.with_name(".corrections.jsonl.app.json").write_text("[" * 9000)
    with pytest.raises(InputError, match="was not written by gmner app"):
        CorrectionsFile(path)


def test_a_damaged_file_is_an_error_with_its_line(path: Path):
    import hashlib

    path.write_text("no JSON\n")
    note = {"written_by": "gmner app", "sha256": [hashlib.sha256(path.read_bytes()).hexdigest()]}
    path.with_name(".corrections.jsonl.app.json").write_text(json.dumps(note))
    with pytest.raises(DataError, match=r"corrections\.jsonl:1: not JSON"):
        CorrectionsFile(path)


def test_threads_lose_no_correction(path: Path):
    file = CorrectionsFile(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: file.save(post(str(number))), range(12)))
    assert {item.id for item in read_posts(path)} == set(map(str, range(12)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: file.discard(str(number)), range(0, 12, 2)))
    assert {item.id for item in read_posts(path)} == set(map(str, range(1, 12, 2)))


def test_a_correction_of_another_window_is_not_written_over(path: Path):
    file, fresh = CorrectionsFile(path), ""
    file.save(post("a"), fresh)
    seen = file.revision("a")
    with pytest.raises(InputError, match=r"corrected elsewhere since it was opened here.*Open it again"):
        file.save(post("a", entities=()), fresh)
    file.save(post("a"), fresh)  # the same correction, such as a second click
    file.save(post("a", entities=()), seen)
    with pytest.raises(InputError, match="corrected elsewhere"):
        file.discard("a", seen)
    assert read_posts(path)[0].gold == ()
    file.close()
    assert CorrectionsFile(path).revision("a") == file.revision("a") != seen
    file.discard("a", file.revision("a"))
    assert file.revision("a") == fresh


def test_a_link_to_the_file_is_kept(path: Path, picture: Path):
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere" / "real.jsonl")
    file = CorrectionsFile(path)
    file.save(post("a", picture))
    file.save(post("b"))
    file.close()
    assert path.is_symlink()
    assert [item.id for item in read_posts(path, missing_images="error")] == ["a", "b"]
    assert len(CorrectionsFile(path)) == 2


def test_uploads_are_copied_even_from_inside_the_folder(path: Path):
    upload = path.parent / "gmner-app" / "a.png"
    upload.parent.mkdir()
    Image.new("RGB", (60, 50), "teal").save(upload)
    file = CorrectionsFile(path)
    revision = file.save(post("a", upload), copy=True)
    assert file.opened("a") == (post("a", path.parent / "images" / "a_1.png"), revision)
    assert file.opened("b") == (None, "")
    assert file.save(post("a", upload), revision, copy=True) == revision
    upload.unlink()
    assert [one.image for one in read_posts(path, missing_images="error")] == [path.parent / "images" / "a_1.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_images_are_not_copied_through_a_link(path: Path, picture: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (path.parent / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="their folder is a link to a place outside"):
        CorrectionsFile(path).save(post("a", picture))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not path.exists()
