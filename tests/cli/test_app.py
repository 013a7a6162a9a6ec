"""`gmner app`: what the page starts with, and what is refused before it does."""

import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from command_line import fails, run

from gmner.app import serving
from gmner.app.corrections import CorrectionsFile
from gmner.app.settings import AppSettings
from gmner.data.post import Post
from gmner.programs.choice import ProgramChoice
from gmner.signatures.errors import InputError


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[AppSettings, int | None]]:
    """The settings and ports with which the page was served; the working folder is a temporary one."""
    seen: list[tuple[AppSettings, int | None]] = []

    def serve(settings: AppSettings, started: Any, *, port: int | None = None) -> None:
        seen.append((settings, port))
        started("http://127.0.0.1:7860/")

    monkeypatch.setattr(serving, "serve", serve)
    monkeypatch.chdir(tmp_path)
    return seen


def test_without_arguments(served: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert run("app") == 0
    ((settings, port),) = served
    assert (settings.choice.model, settings.second, settings.review, port) == (None, None, None, None)
    assert settings.corrections is not None
    assert settings.corrections.path == Path("corrections.jsonl")
    assert not settings.fixed
    said = capsys.readouterr()
    assert said.out == "http://127.0.0.1:7860/\n"
    assert "corrections.jsonl (0 so far)" in said.err
    assert opened == ["http://127.0.0.1:7860/"]


def test_a_program_and_a_second_one(served: list[Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("webbrowser.open", lambda _: pytest.fail("a browser was opened"))
    words = ("--model", "m", "--labels", "A,B", "--staged", "--votes", 3, "--confidence", "--limit-pictures", 2)
    assert run("app", "--no-browser", "--port", 8123, "--second", "n", *words) == 0
    ((settings, port),) = served
    choice = settings.choice
    assert (choice.model, choice.labels.names, choice.staged, choice.answers) == ("m", ("A", "B"), True, 3)
    assert (choice.confidence, choice.limit_pictures, port) == (True, 2, 8123)
    second = settings.second
    assert (second.model, second.confidence, second.answers, second.limit_pictures) == ("n", True, 3, 2)
    assert (second.labels, second.staged) == (None, False)


def test_a_corpus(served: list[Any], gold: Path, half: Path, capsys: pytest.CaptureFixture[str]):
    assert run("app", "--no-browser", "--posts", gold, "--answers", half) == 0
    ((settings, _),) = served
    assert list(settings.review.posts) == ["a", "b"]
    assert settings.corrections.path == gold.with_name("gold.corrections.jsonl")
    assert settings.review.answer("a").entities[0].span == "Ana"
    assert settings.review.answer("b") is None
    assert "Predictions for unknown posts, ignored (1): z" in capsys.readouterr().err


def test_progress_is_read_again(served: list[Any], gold: Path):
    assert run("app", "--no-browser", "--posts", gold) == 0
    settings = served[0][0]
    settings.corrections.save(Post("a", "Ana", entities=()))
    settings.corrections.close()
    assert run("app", "--no-browser", "--posts", gold) == 0
    assert served[1][0].review.counts() == (1, 2)


def test_refusals(served: list[Any], gold: Path, half: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "--answers requires --posts" in fails(capsys, "app", "--answers", half)
    assert "would replace an input" in fails(capsys, "app", "--posts", gold, "--corrections", gold)
    assert "was not written by gmner app" in fails(capsys, "app", "--corrections", half)
    assert "--served requires --server" in fails(capsys, "app", "--served", "qwen")
    assert "gmner: --votes cannot be used for referring" in fails(capsys, "app", "--format", "grec", "--votes", 3)
    (tmp_path / "other.jsonl").write_text('{"id": "q", "text": "Ana"}\n')
    changed = half.with_name("changed.jsonl")
    changed.write_text(half.read_text().splitlines()[0].replace('"text": "Ana', '"text": "Ana!'))
    assert "has another text" in fails(capsys, "app", "--posts", gold, "--answers", changed)
    assert "No prediction belongs" in fails(capsys, "app", "--posts", tmp_path / "other.jsonl", "--answers", half)
    assert served == []


@pytest.mark.parametrize("port", ["0", "70000", "-1", "x", "7860.5"])
def test_invalid_ports(port: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        run("app", "--port", port)
    assert "must be an integer from 1 to 65535" in capsys.readouterr().err


def test_without_gradio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    assert fails(capsys, "app") == "gmner: The app needs Gradio, which is not installed. pip install 'gmner[app]'.\n"
    with pytest.raises(InputError, match=r"pip install 'gmner\[app\]'"):
        serving.launch_app()


def test_only_the_page_imports_gradio(repo_root: Path):
    found = {
        path.relative_to(repo_root).as_posix()
        for room in ("signatures", "data", "programs", "optimizers", "app", "cli")
        for path in (repo_root / room).rglob("*.py")
        if re.search(r"^\s*(import|from) (gradio|starlette)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == {f"app/{name}.py" for name in ("editor", "page", "review_tab", "serving", "try_tab")}
    serving = (repo_root / "app" / "serving.py").read_text(encoding="utf-8")
    assert not re.search(r"^(import|from) (gradio|starlette|gmner\.app\.page)", serving, re.MULTILINE)


def test_launch_app_closes_the_page_to_visitors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen: list[Any] = []
    monkeypatch.setattr(serving, "serve", lambda settings, _, **address: seen.append((settings, address)))
    serving.launch_app("b", host="0.0.0.0", port=7860)
    serving.launch_app("b", second="c", labels=["A"], corrections=tmp_path / "c.jsonl")
    serving.launch_app(fixed=True)
    assert seen.pop()[0].fixed
    (public, address), (own, at_home) = seen
    assert (public.choice.model, public.corrections, public.fixed, address) == (
        "b", None, True, {"host": "0.0.0.0", "port": 7860},
    )  # fmt: skip
    assert (own.second.model, own.choice.labels.names, own.fixed) == ("c", ("A",), False)
    assert own.corrections is not None
    assert at_home == {"host": "127.0.0.1", "port": None}


def test_ctrl_c_lets_others_write_the_corrections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "running", lambda settings, **_: nullcontext("http://127.0.0.1:7860/"))
    monkeypatch.setattr(serving.threading.Event, "wait", interrupt)
    file = CorrectionsFile(tmp_path / "c.jsonl")
    file.save(Post("a", "Ana", entities=()))
    seen: list[str] = []
    serving.serve(AppSettings(ProgramChoice(), corrections=file), seen.append)
    assert seen == ["http://127.0.0.1:7860/"]
    CorrectionsFile(tmp_path / "c.jsonl").save(Post("b", "Ana", entities=()))


@pytest.mark.nightly
def test_ctrl_c_ends_the_command(tmp_path: Path):
    command = [sys.executable, "-m", "gmner.cli.main", "app", "--no-browser"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert errors.endswith("Stopped\n")
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
