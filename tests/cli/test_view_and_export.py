"""`gmner view` and `gmner export`: HTML pages and files for other tools."""

import json
from pathlib import Path

import pytest
from command_line import fails, run
from PIL import Image

import gmner
from gmner.data.readers.twitter import read_twitter_gmner


def test_export_writes_files_for_other_tools(
    gold: Path, half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    coco, out = tmp_path / "out" / "coco.json", tmp_path / "out" / "file.json"
    assert run("export", "--to", "coco", "--gold", gold, "-o", coco) == 0
    assert len(json.loads(coco.read_text())["not_shown"]) == 2
    assert run("export", "--to", "label-studio", "--gold", gold, "--predictions", half, "-o", out) == 0
    assert [task["data"]["text"] for task in json.loads(out.read_text())] == ["Ana", "Ana"]
    assert "PER" in out.with_suffix(".xml").read_text()
    assert run("export", "--to", "voc", "--gold", gold, "--split", "dev", "-o", tmp_path / "voc") == 0
    assert [post.gold[0].type for post in read_twitter_gmner(tmp_path / "voc", "dev")] == ["PER", "PER"]
    assert capsys.readouterr().err.count("Wrote 2 posts to") == 3
    words = ("export", "--to", "voc", "--gold", gold, "--predictions", half, "-o", tmp_path / "voc2")
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "ignored (1): z" in said
    assert "Leave the predictions out" in said


def test_view_writes_a_page(gold: Path, half: Path, tmp_path: Path):
    for option in ("--gold", "--posts"):
        page = tmp_path / "new" / f"page{option}.html"
        assert run("view", half, option, gold, "-o", page) == 0
        assert "Ana" in page.read_text(encoding="utf-8")


def test_view_reports_posts_without_a_prediction(
    gold: Path, half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("view", half, "--gold", gold, "-o", tmp_path / "page.html") == 0
    said = capsys.readouterr().err
    assert "Posts without a prediction, scored as empty (1): b\n" in said
    assert "Predictions for unknown posts, ignored (1): z\n" in said
    assert "Scores on 2 posts, 1 of them without a prediction" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert run("view", half, "--posts", gold, "-o", tmp_path / "other.html") == 0
    assert "Posts without a prediction, not shown (1): b\n" in capsys.readouterr().err


def test_view_shows_systems_side_by_side(gold: Path, half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = tmp_path / "deep" / half.name
    other.parent.mkdir()
    other.write_bytes(half.read_bytes())
    whole = tmp_path / "whole.jsonl"
    whole.write_text(half.read_text().replace('"z"', '"b"'))
    page = tmp_path / "page.html"
    assert run("view", half, whole, other, "--gold", gold, "-o", page) == 0
    text, said = page.read_text(encoding="utf-8"), capsys.readouterr().err
    names = [f"{half.parent.name}/{half.stem}", f"{whole.parent.name}/whole", f"deep/{half.stem}"]
    assert all(f"<bdi>{name}</bdi>" in text for name in names)
    assert f"Mended and broken against {names[0]}" in text
    assert f"Posts without a prediction of {names[0]}, scored as empty (1): b\n" in said
    assert "whole, scored" not in said


def test_view_names_files_that_differ_in_their_suffix(gold: Path, half: Path, tmp_path: Path):
    other = half.with_suffix(".txt")
    other.write_bytes(half.read_bytes())
    assert run("view", half, other, "--gold", gold, "-o", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(f"<bdi>{path.name}</bdi>" in text for path in (half, other))


@pytest.mark.parametrize("words", [("view", "good", "foreign"), ("view", "foreign"), ("export",)])
def test_predictions_of_other_posts_are_refused(
    gold: Path, half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
):
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text(half.read_text().replace('"a"', '"y"'))
    files = [{"good": half, "foreign": foreign}[name] for name in words[1:]]
    options = files if words[0] == "view" else ["--to", "label-studio", "--predictions", foreign]
    said = fails(capsys, words[0], *options, "--gold", gold, "-o", tmp_path / "out.json")
    assert f"No prediction belongs to any of the posts (got '{foreign}')" in said
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(("files", "message"), [((0, 0), "given twice"), ((0, "-"), "does not read standard input")])
def test_view_refuses_files_that_it_cannot_compare(
    gold: Path, half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], files: tuple, message: str
):
    words = [half if file == 0 else file for file in files]
    assert run("view", *words, "--gold", gold, "-o", tmp_path / "page.html") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_view_does_not_replace_its_second_input(gold: Path, half: Path, tmp_path: Path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(half.read_bytes())
    assert run("view", half, other, "--gold", gold, "-o", other, "--overwrite") == 2
    assert other.read_bytes() == half.read_bytes()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three posts with images, in a folder of their own."""
    entity = gmner.GoldEntity("Ana", 0, 3, "PER", (gmner.Box(1.0, 2.0, 30.0, 40.0),))
    posts = [gmner.Post(id_, "Ana", Image.new("RGB", (64, 48)), (entity,), slice="mixed") for id_ in "abc"]
    return gmner.write_posts(posts, tmp_path / "corpus")


def test_import_reads_what_people_corrected(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tasks, out = tmp_path / "tasks.json", corpus.with_name("corrected.jsonl")
    assert run("export", "--to", "label-studio", "--gold", corpus, "-o", tasks) == 0
    done = json.loads(tasks.read_text())
    for task in done[:2]:
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    done[1]["annotations"][0]["result"] = []
    tasks.write_text(json.dumps(done))
    words = ("import", "--from", "label-studio", tasks, "--posts", corpus, "-o")
    for _ in range(2):
        assert run(*words, out) == 0
    assert "left out (1): c\nWrote 2 posts to" in capsys.readouterr().err
    before, after = gmner.read_posts(corpus), gmner.read_posts(out)
    assert [post.gold for post in after] == [before[0].gold, ()]
    assert [(post.image, post.slice) for post in after] == [(post.image, post.slice) for post in before[:2]]
    elsewhere = tmp_path / "x" / "corrected.jsonl"
    assert "is not in the image folder" in fails(capsys, *words, elsewhere)
    assert run("import", "--from", "label-studio", tasks, "--images", corpus.parent / "images", "-o", elsewhere) == 0
    assert len(gmner.read_posts(elsewhere, corpus.parent / "images", missing_images="error")) == 2
    assert "No images" not in capsys.readouterr().err
    assert run("import", "--from", "label-studio", tasks, "-o", tmp_path / "y.jsonl") == 0
    assert "No images were found; if the posts have images, pass --posts POSTS or" in capsys.readouterr().err
    capsys.readouterr()
    assert "output" in fails(capsys, *words, tasks, "--overwrite")
    tasks.write_text(json.dumps(done[2:]))
    said = fails(capsys, *words, elsewhere)
    assert "No post has an annotation" in said


def test_import_names_missing_images(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tasks, out = tmp_path / "tasks.json", tmp_path / "out.jsonl"
    assert run("export", "--to", "coco", "--gold", corpus, "-o", tasks) == 0
    wrong = corpus.parent / "images"
    assert run("import", "--from", "coco", tasks, "--posts", corpus, "--images", wrong, "-o", out) == 0
    said = capsys.readouterr().err
    assert f"Images are missing for 3 posts; the first: {wrong / 'images'}" in said
    assert run("import", "--from", "coco", tasks, "--posts", corpus, "-o", corpus.parent / "out.jsonl") == 0
    assert "Images are missing" not in capsys.readouterr().err


def test_import_with_several_image_folders(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The paths of the output are relative to the common parent of the folders."""
    tasks, out, folders = tmp_path / "tasks.json", tmp_path / "out.jsonl", [tmp_path / "one", tmp_path / "two"]
    assert run("export", "--to", "label-studio", "--gold", corpus, "-o", tasks) == 0
    done = json.loads(tasks.read_text())
    for task in done:
        task["annotations"] = [{"result": []}]
    tasks.write_text(json.dumps(done))
    first, *others = sorted((corpus.parent / "images").iterdir())
    for folder, images in zip(folders, ([first], others), strict=True):
        folder.mkdir()
        for image in images:
            image.rename(folder / image.name)
    options = ("--images", folders[0], "--images", folders[0] / ".." / "two")
    assert run("import", "--from", "label-studio", tasks, *options, "-o", out) == 0
    assert f"Wrote 3 posts to {out}; images: --images {tmp_path}\n" in capsys.readouterr().err
    posts = gmner.read_posts(out, tmp_path, missing_images="error")
    assert [post.image.parent.name for post in posts] == ["one", "two", "two"]
    said = fails(capsys, "import", "--from", "label-studio", tasks, "--posts", corpus, *options, "-o", out)
    assert "A JSONL file can have only one image folder" in said
    assert "PosixPath" not in said


def test_export_of_the_least_sure(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sure = {"a": 0.9, "b": 0.2, "c": 0.5}
    answers = [gmner.Prediction(id_, "Ana", "", (gmner.GroundedEntity("Ana", 0, 3, type, confidence=value),))
               for (id_, value), type in zip(sure.items(), ("BAND", "PER", "PER"), strict=True)]  # fmt: skip
    predictions, out = tmp_path / "predictions.jsonl", tmp_path / "tasks.json"
    gmner.write_predictions(answers, predictions)
    words = ("export", "--to", "label-studio", "--gold", corpus, "--least-sure", 2, "-o", out)
    assert run(*words, "--predictions", predictions) == 0
    tasks = json.loads(out.read_text())
    assert [(task["data"]["id"], task["predictions"][0]["score"]) for task in tasks] == [("b", 0.2), ("c", 0.5)]
    assert tasks[0]["data"]["image"].startswith("/data/local-files/?d=0000")
    assert 'value="BAND"' in out.with_suffix(".xml").read_text()  # of a post that is not exported, but known
    assert run(*words, "--predictions", predictions, "--overwrite", "--labels", "CLUB,PER") == 0
    assert 'value="CLUB"' in out.with_suffix(".xml").read_text()
    prefix = ("--image-url", "https://x.org/")
    assert run(*words, "--predictions", predictions, "--overwrite", *prefix) == 0
    assert json.loads(out.read_text())[0]["data"]["image"].startswith("https://x.org/0000")
    capsys.readouterr()
    said = fails(capsys, "export", "--to", "coco", "--gold", corpus, "-o", tmp_path / "coco.json", *prefix)
    assert "coco contains no URLs of images (got 'https://x.org/'). Accepted: label-studio" in said
    assert "--least-sure requires predictions" in fails(capsys, *words)
    failed = gmner.Prediction("d", "Ana", error={"kind": "bad_image", "message": "x"})
    nothing = gmner.Prediction("e", "Ana")
    assert [p.id for p in gmner.least_sure([nothing, *answers, failed])] == ["d", "b", "c", "a", "e"]
    with pytest.raises(gmner.InputError, match="count must be at least 1"):
        gmner.least_sure(answers, 0)
    unknown = gmner.Prediction("f", "Ana", "", (gmner.GroundedEntity("Ana", 0, 3, "PER"),))
    with pytest.raises(gmner.InputError, match=r"post 'f' has no confidence.*--confidence"):
        gmner.least_sure([unknown])
