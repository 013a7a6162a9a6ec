"""The page of a compile: while it runs, when it is finished, and for folders that are not a run."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from chromium import BROWSER, Tab
from worlds import drawn

from gmner.cli.main import main
from gmner.data.post import Post
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.run_page import render_run, write_run_page
from gmner.programs.gmner import GMNER
from gmner.signatures.errors import InputError

pytestmark = pytest.mark.slow  # the shared compile takes seconds


@pytest.fixture(scope="module")
def run_dir(program: Callable[[str], GMNER], posts: list[Post], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compile with a valset; the ids of its posts would be markup if they were not escaped."""
    folder = tmp_path_factory.mktemp("run") / "a <b>run"
    train = [dataclasses.replace(post, id=f"<i>{post.id}") for post in posts[:12]]
    options: dict[str, Any] = {"max_completion_length": 400, "redraws": 0, "prompts": 2, "generations": 2}
    optimizer = MCR(
        mrsi=MRSI(max_steps=2, batch=2, sft_options={"logging_steps": 1}),
        cvo=CVO(max_steps=2, **options, grpo_options={"save_steps": 1}),
        progress=False,
    )
    program("idefics3").compile(trainset=train, valset=drawn("dev", 2), optimizer=optimizer, run_dir=folder)
    return folder


def test_page_of_a_finished_run(run_dir: Path):
    path = write_run_page(run_dir)
    page = path.read_text(encoding="utf-8")
    assert path == run_dir / "run.html"
    assert re.findall(r'class="state ([a-z-]+)"', page) == ["done", "done"]
    assert page.count("2 steps</small>") == 2
    names = ("textual bias: grounded absent", "GMNER F1 by slice (posts)", ">loss<")
    for words in ("before", "after MRSI", "after CVO", *names):
        assert words in page
    assert 'href="cvo/rollouts.html"' in page
    assert "the program " in page
    assert page.count("<summary><bdi>step 1, post ") == page.count("<summary><bdi>step 2, post ") == 4
    assert "<b>run" not in page
    assert "&lt;i&gt;train-" in page
    score = json.loads((run_dir / "scores-cvo.json").read_text())["mner"]["f1"]
    assert f"<td>{score:.2f}</td>" in page
    assert "http://" not in re.sub(r'xmlns="[^"]*"', "", page)


def test_page_of_an_unfinished_run(run_dir: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    for name in ("cvo/done.json", "result.json", "scores-cvo.json", "cvo/rollouts.html"):
        (copy / name).unlink()
    page = render_run(copy)
    assert re.findall(r'class="state ([a-z-]+)"', page) == ["done", "running-or-stopped"]
    assert "2 of 2 steps" in page
    assert "none yet" in page
    assert "after CVO" not in page
    assert "rollouts.html" not in page
    shutil.rmtree(copy / "cvo")
    shutil.rmtree(copy / "mrsi")
    page = render_run(copy)
    assert re.findall(r'class="state ([a-z-]+)"', page) == ["not-started", "not-started"]
    assert "<svg" not in page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_in_light_and_dark_mode_and_on_a_phone(tab: Tab, run_dir: Path, tmp_path: Path, scheme: str):
    tab.prefer(scheme)
    tab.resize(1280, 900)
    tab.open(write_run_page(run_dir, tmp_path / "run.html"))
    words = ("h1", "dt", "dd", "caption", "td", ".stage h2 small", "summary", "a", ".unchanged")
    assert tab.contrast(*words) >= 4.5
    sampled = ".sampled details:nth-of-type(1)"
    assert not tab.ask(f"document.querySelector('{sampled}').open")
    tab.ask("document.querySelector('.sampled').scrollIntoView()")
    tab.click(f"{sampled} summary")
    assert tab.ask(f"document.querySelector('{sampled}').open")
    assert '"entities"' in tab.ask(f"document.querySelector('{sampled} pre').innerText")
    tab.resize(390, 844)
    assert tab.ask("document.documentElement.scrollWidth") <= 390
    assert tab.messages == []


def test_command_writes_the_page(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["run", str(run_dir), "-o", str(tmp_path / "page.html")]) == 0
    assert str(tmp_path / "page.html") in capsys.readouterr().err
    assert (tmp_path / "page.html").is_file()
    assert main(["run", str(tmp_path)]) == 2
    assert "Not the run directory of a compile" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "nowhere")]) == 2
    assert "Run directory not found" in capsys.readouterr().err
    for content in ("{}", '{"model": 1, "train": []}', '{"model": "m", "train": 2}'):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError, match="Not the run directory"):
            render_run(tmp_path)


def test_page_needs_no_torch(run_dir: Path, tmp_path: Path):
    """`gmner run --watch` then starts quickly, and takes little memory beside a training."""
    script = "import sys, gmner.cli.main as c; c.main(sys.argv[1:]); print({'torch', 'dspy'} & {*sys.modules})"
    words = [sys.executable, "-c", script, "run", str(run_dir), "-o", str(tmp_path / "page.html")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "set()\n"
    assert (tmp_path / "page.html").is_file()


def test_page_elsewhere_links_to_the_run(run_dir: Path, tmp_path: Path):
    for page in (tmp_path / "page.html", tmp_path / "deep" / "page.html", run_dir.parent / "page.html"):
        written = write_run_page(run_dir, page).read_text(encoding="utf-8")
        (link,) = re.findall(r'href="([^"]*rollouts[^"]*)"', written)
        assert (page.parent / unquote(link)).resolve() == (run_dir / "cvo" / "rollouts.html").resolve()


def test_page_of_two_runs_shows_what_differs(run_dir: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(run_dir, other)
    config = json.loads((other / "config.json").read_text())
    config["cvo"]["rate"] = 0.125
    (other / "config.json").write_text(json.dumps(config))
    (other / "result.json").unlink()
    path = write_run_page([run_dir, other], tmp_path / "two.html")
    page = path.read_text(encoding="utf-8")
    assert "Settings that differ" in page
    assert "cvo.rate" in page
    assert "mrsi.rate" not in page.split("<main>")[0]
    heads = re.findall(r'<th scope="colgroup" colspan="3"><bdi>([^<]*)</bdi></th>', page)
    assert heads == ["a &lt;b&gt;run", "other"] * 2
    assert page.count('<th scope="col">after CVO</th>') == 4
    assert page.count('class="state done"') == 4
    assert page.count("All rollouts with images") == 2
    assert "<summary><bdi>step 1, post " not in page
    lines = re.findall(r'<polyline [^>]*stroke="(#[0-9a-f]+)"', page)
    assert lines.count(lines[0]) == lines.count(lines[1]) == len(lines) / 2
    assert "<title>other, step 1: " in page
    keys = re.findall(r'<svg class="key".*?stroke="(#[0-9a-f]+)"', page)
    assert sorted({*keys}) == sorted({*lines})
    with pytest.raises(InputError, match="different run directories"):
        render_run(run_dir, run_dir)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [1400, 800, 390])
def test_nothing_is_cut_off(tab: Tab, run_dir: Path, tmp_path: Path, width: int):
    other = tmp_path / "other"
    shutil.copytree(run_dir, other)
    tab.resize(width, 900)
    for folders in ([run_dir], [run_dir, other]):
        tab.open(write_run_page(folders, tmp_path / "run.html"))
        assert tab.ask("document.documentElement.scrollWidth") <= width
        sections = "[...document.querySelectorAll('.tables section, .stage')]"
        wide = f"{sections}.filter(s => s.scrollWidth > s.clientWidth + 1)"
        if width > 400 or len(folders) == 1:
            assert tab.ask(f"{wide}.length") == 0
        assert tab.ask(f"{wide}.every(s => s.tabIndex === 0)")  # what scrolls can be reached with the keyboard
        heights = "[...document.querySelectorAll('.curves text')].map(t => t.getBoundingClientRect().height)"
        assert tab.ask(f"Math.min(...{heights})") >= 11


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_curves_have_no_white_ground_in_dark_mode_and_show_values_under_the_mouse(
    tab: Tab, run_dir: Path, tmp_path: Path
):
    tab.prefer("dark")
    tab.open(write_run_page(run_dir, tmp_path / "run.html"))
    assert tab.ask("document.querySelector('.curves svg > rect') === null")
    colour = "getComputedStyle(document.querySelector('.curves text')).fill"
    assert tab.ask(f"parseInt({colour}.slice(4)) > 150")
    tab.hover(".curves .point")
    assert tab.ask("getComputedStyle(document.querySelector('.curves .point')).opacity") == "1"
    assert tab.ask("document.querySelector('.curves .point title').textContent").startswith("step 1: ")


def test_watched_page_reloads_until_the_run_is_finished(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    (copy / "run.html").unlink(missing_ok=True)  # an earlier page has the name of the other folder
    result = (copy / "result.json").read_bytes()
    (copy / "result.json").unlink()
    pages = []

    def wait(seconds: float) -> None:
        pages.append((seconds, (copy / "run.html").read_text(encoding="utf-8")))
        if len(pages) == 2:
            (copy / "result.json").write_bytes(result)

    monkeypatch.setattr("gmner.cli.run.time", SimpleNamespace(sleep=wait))  # other threads keep their own
    assert main(["run", str(copy), "--watch", "3"]) == 0
    assert [seconds for seconds, _ in pages] == [3, 3]
    assert all('<meta http-equiv="refresh" content="3">' in page and "none yet" in page for _, page in pages)
    assert all("updated every 3 seconds" in page for _, page in pages)
    last = (copy / "run.html").read_text(encoding="utf-8")
    assert "refresh" not in last
    assert "updated every" not in last
    assert "none yet" not in last
    assert str(copy / "run.html") in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_watched_page_does_not_close_what_a_person_reads(tab: Tab, run_dir: Path, tmp_path: Path):
    later = "new Promise(done => setTimeout(() => done(window.mine === 1), 1500))"
    tab.open(write_run_page(run_dir, tmp_path / "run.html", refresh=1))
    tab.ask("window.mine = 1, document.querySelector('.sampled details').open = true")
    assert tab.ask(later)
    tab.ask("document.querySelector('.sampled details').open = false")
    tab.wait_for_load()
    assert tab.ask("window.mine === undefined")
    assert tab.messages == []


def test_validation_scores_by_step_are_drawn(run_dir: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    record = json.loads((copy / "cvo" / "done.json").read_text())
    record["log"] += [{"step": step, "eval_gmner_f1": 10.0 * step, "eval_mner_f1": 90.0} for step in (1, 2)]
    (copy / "cvo" / "done.json").write_text(json.dumps(record))
    page = render_run(copy)
    for words in (">GMNER F1 on the validation set<", ">10.00 to 20.00<", ">90.00 to 90.00<"):
        assert words in page
