"""Output files: finished once, resumed with failed or changed posts, and never replacing another file."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from corpus_runs import named, posts, run, stopping_after
from kills import kills
from PIL import Image
from scripted import scripted_lm

from gmner.data.jsonl import read_predictions
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.programs.corpus_file import CorpusFile
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError

RUN = {"program": "GMNER", "model": "m"}


def stop_after_two(folder: Path, given: list[Post]) -> None:
    """A stopped run: two predictions and an incomplete third one."""
    with CorpusFile(folder / "out.jsonl", RUN, given).opened() as file:
        for post in given[:3]:
            file.append(Prediction(post.id, post.text, f"Post: {post.text}"))
    part = folder / "out.jsonl.part"
    part.write_bytes(part.read_bytes()[:-7])


def requests_of_run(given: list[Post], out: Path, **options: Any) -> int:
    """Run a corpus; the number of requests."""
    lm = scripted_lm(named)
    run(GMNER(lm), given, out, **options)
    return len(lm.engine.requests)


def posts_with_images(folder: Path, shade: int, count: int = 3) -> list[Post]:
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (8, 8), (shade, number, 0)).save(folder / f"{number}.png")
    return [Post(str(number), f"Ana met {number}", folder / f"{number}.png") for number in range(count)]


def test_finished_run_sends_no_requests(tmp_path: Path):
    out = tmp_path / "out.jsonl"
    assert requests_of_run(posts(), out) == len(posts())
    before = out.read_bytes()
    assert requests_of_run(posts(), out) == 0
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("other", "given", "word"),
    [
        (lambda: GMNER(scripted_lm(named, name="b")), posts(), "model"),
        (lambda: StagedGMNER(scripted_lm(named)), posts(), "program"),
        (lambda: GMNER(scripted_lm(named), confidence=True), posts(), "confidence"),
        (lambda: GMNER(scripted_lm(named).copy(temperature=0.5)), posts(), "sampling"),
        (lambda: GMNER(scripted_lm(named)), posts(2), r"posts \(\d+ before, 2 now\)"),
    ],
    ids=["model", "staged", "confidence", "temperature", "limit"],
)
def test_finished_run_with_other_settings_is_refused(tmp_path: Path, other: Any, given: list[Post], word: str):
    out = tmp_path / "out.jsonl"
    requests_of_run(posts(), out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=f"already exists and is the result of a run with other .*{word}"):
        run(other(), given, out)
    assert out.read_bytes() == before
    run(GMNER(scripted_lm(named)), posts(2), out, overwrite=True)
    assert len(read_predictions(out)) == 2


def test_runs_may_be_resumed_with_more_tokens_and_the_default_temperature(tmp_path: Path):
    requests_of_run(posts(), tmp_path / "out.jsonl")  # with a temperature of 0
    same = GMNER(scripted_lm(named).copy(temperature=None, max_tokens=4096))
    assert len(run(same, posts(), tmp_path / "out.jsonl")) == len(posts())
    assert same.model.engine.requests == []


def test_other_output_file_is_refused(tmp_path: Path):
    out = tmp_path / "notes.txt"
    out.write_text("my notes")
    with pytest.raises(InputError, match="already exists"):
        requests_of_run(posts(), out)
    assert out.read_text() == "my notes"
    requests_of_run(posts(), tmp_path / "out.jsonl")
    (tmp_path / "out.jsonl").write_text("")  # modified by hand
    with pytest.raises(InputError, match="did not write it or it was changed"):
        requests_of_run(posts(), tmp_path / "out.jsonl")


def test_failed_posts_are_retried(tmp_path: Path):
    given, out = posts_with_images(tmp_path / "right", 1), tmp_path / "out.jsonl"
    wrong = [Post(post.id, post.text, tmp_path / "none.png") for post in given]
    assert requests_of_run(wrong, out) == 0
    assert all(prediction.error for prediction in read_predictions(out))
    assert requests_of_run(given, out) == 3
    assert not any(prediction.error for prediction in read_predictions(out))


def test_posts_with_a_changed_image_are_processed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    out, first = tmp_path / "out.jsonl", posts_with_images(tmp_path / "a", 1)
    assert requests_of_run(first, out) == 3
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert requests_of_run([Post(p.id, p.text, tmp_path / "copy" / p.image.name) for p in first], out) == 0
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "a" / "1.png")
    assert requests_of_run(first, out) == 1
    assert "Reprocessing 1 post whose image has changed: 1" in caplog.text


def test_stopped_run_processes_changed_images_again(tmp_path: Path):
    given, out = posts_with_images(tmp_path / "a", 1, 6), tmp_path / "out.jsonl"
    with pytest.raises(Exception, match="the power went"):
        run(GMNER(scripted_lm(stopping_after(4))), given, out)
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "a" / "0.png")
    assert requests_of_run(given, out) == 3  # the changed one, and the two that were not answered


@pytest.mark.parametrize("stopped", [False, True])
def test_predictions_for_missing_images_are_kept(tmp_path: Path, stopped: bool):
    given, out = posts_with_images(tmp_path / "right", 1, 6), tmp_path / "out.jsonl"
    if stopped:
        with pytest.raises(Exception, match="the power went"):
            run(GMNER(scripted_lm(stopping_after(4))), given, out)
    else:
        requests_of_run(given, out)
    wrong = [Post(post.id, post.text, tmp_path / "none.png") for post in given]
    assert requests_of_run(wrong, out) == 0
    failed = [prediction.id for prediction in read_predictions(out) if prediction.error]
    assert len(failed) == (2 if stopped else 0)
    assert requests_of_run(given, out) == len(failed)


def test_part_file_of_an_earlier_version_is_resumed(tmp_path: Path):
    out, program = tmp_path / "out.jsonl", GMNER(scripted_lm(named))
    with pytest.raises(Exception, match="the power went"):
        run(GMNER(scripted_lm(stopping_after(3))), posts(), out)
    part = tmp_path / "out.jsonl.part"
    lines = part.read_text().splitlines()
    part.write_text(
        "\n".join(line.partition(', "source"')[0] + "}" * (number > 0) for number, line in enumerate(lines)) + "\n"
    )
    run(program, posts(), out)
    assert len(program.model.engine.requests) == len(posts()) - len(lines) + 1


def test_concurrent_run_is_refused(tmp_path: Path):
    out = tmp_path / "out.jsonl"
    with CorpusFile(out, {"program": "GMNER"}, posts()).opened():
        with pytest.raises(InputError, match="Another process is writing this file"):
            requests_of_run(posts(), out)


def test_output_to_a_link_and_a_device(tmp_path: Path):
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "target.jsonl")
    requests_of_run(posts(), link)
    assert link.is_symlink()
    assert len(read_predictions(tmp_path / "target.jsonl")) == len(posts())
    reader, writer = os.pipe()
    try:
        requests_of_run(posts(2), Path(f"/dev/fd/{writer}"))
        assert os.read(reader, 10_000).count(b"\n") == 2
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.slow
def test_kill_at_any_write_loses_no_saved_prediction(tmp_path: Path):
    given = posts(4)

    def work(folder: Path) -> None:
        with CorpusFile(folder / "out.jsonl", RUN, given).opened() as file:
            for post in given:
                if post.id not in file.done:
                    file.append(Prediction(post.id, post.text, f"Post: {post.text}"))
            file.finish([file.done[post.id] for post in given])

    for kill in kills(work, tmp_path, lambda folder: stop_after_two(folder, given)):
        with CorpusFile(kill.folder / "out.jsonl", RUN, given).opened() as file:
            assert set(file.done) >= {post.id for post in given[:2]}, kill


def test_unusual_line_ends_in_a_finished_file(tmp_path: Path):
    given = [Post("1", "Ana\u2028met\x85Bo")]
    assert requests_of_run(given, tmp_path / "out.jsonl") == 1
    assert requests_of_run(given, tmp_path / "out.jsonl") == 0


def test_other_files_with_the_names_of_a_run_are_refused(tmp_path: Path):
    out, record = tmp_path / "out.jsonl", tmp_path / "out.jsonl.run.json"
    record.write_text("my notes")
    with pytest.raises(InputError, match="record of the run"):
        requests_of_run(posts(), out)
    assert record.read_text() == "my notes"
    record.unlink()
    with pytest.raises(Exception, match="the power went"):
        run(GMNER(scripted_lm(stopping_after(2))), posts(), out)
    out.write_text("my answers")
    with pytest.raises(InputError, match="did not write it or it was changed"):
        requests_of_run(posts(), out)
    assert out.read_text() == "my answers"
    assert requests_of_run(posts(), out, overwrite=True) == len(posts()) - 2


@pytest.mark.slow
def test_kill_while_failed_posts_are_retried_can_be_resumed(tmp_path: Path):
    given = posts(2)

    def begin_failed(folder: Path) -> None:
        with CorpusFile(folder / "out.jsonl", RUN, given).opened() as file:
            failed = Prediction.failed(given[0].id, given[0].text, InputError("no answer"))
            file.append(failed)
            file.append(Prediction(given[1].id, given[1].text, "old"))
            file.finish([failed, file.done[given[1].id]])

    def work(folder: Path) -> None:
        with CorpusFile(folder / "out.jsonl", RUN, given).opened() as file:
            if given[0].id not in file.done:
                file.append(Prediction(given[0].id, given[0].text, "new"))
            file.finish([file.done[post.id] for post in given])

    for kill in kills(work, tmp_path, begin_failed):
        work(kill.folder)
        assert [p.reasoning for p in read_predictions(kill.folder / "out.jsonl")] == ["new", "old"], kill


def test_damaged_part_file_is_refused(tmp_path: Path):
    (tmp_path / "out.jsonl.part").write_text('{"program": "GMNER"}\n["no", "answer"]\n')
    with pytest.raises(InputError, match="not the partial output of a stopped run"):
        requests_of_run(posts(), tmp_path / "out.jsonl")


def test_changed_arguments_are_reported_and_stored(tmp_path: Path):
    given, notes = posts(3), []
    for images in ("a", "b", "b", None):
        with CorpusFile(tmp_path / "out.jsonl", RUN, given, arguments={"--images": images}).opened() as file:
            notes.append([note for note in file.notes if "--images" in note])
            post = next(post for post in given if post.id not in file.done) if len(file.done) < 3 else None
            if post is not None:
                file.append(Prediction(post.id, post.text, ""))
            else:
                file.finish([file.done[post.id] for post in given])
    assert notes == [[], ["--images was a, now b"], [], ["--images was b, now not given"]]
    with CorpusFile(tmp_path / "out.jsonl", RUN, given, arguments={"--images": "c"}).opened() as file:
        assert "--images was not given, now c" in file.notes
        assert len(file.done) == 3
