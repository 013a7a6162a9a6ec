"""The command line: help, completion, errors, Ctrl-C, and a command from outside the package."""

import argparse
import dataclasses
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import fails, run

from gmner.cli import registry
from gmner.cli.command import Command, FileRules
from gmner.cli.main import parser
from gmner.cli.printing import print_result
from gmner.data.jsonl import write_predictions
from gmner.data.prediction import Prediction
from gmner.data.readers.readers import READERS
from gmner.signatures.errors import InputError, ServerError

HEAVY = ("torch", "transformers", "dspy", "datasets", "trl", "scipy")
NAMES = tuple(command.name for command in registry.COMMANDS.values())
ALL_HELP = """
import sys, json
from gmner.cli.main import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as stop:
        assert not stop.code, words
assert not set(json.loads(sys.argv[2])) & set(sys.modules)
"""
ODD = "\x1b[2J\u202e\x9b\ud83d\nz"
EXTERNAL = Command(
    "count",
    "count posts",
    "gmner count posts.jsonl",
    lambda parser: parser.add_argument("posts", type=Path),
    lambda given: print_result(str(len(given.posts.read_text().splitlines()))),
)


@pytest.fixture
def registered() -> Iterator[None]:
    """Removes the command that a test registers."""
    yield
    registry.unregister(EXTERNAL.name)


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120)


def test_help_imports_no_heavy_library():
    wanted = [["--help"], ["--version"], *([name, "--help"] for name in NAMES)]
    done = python("-c", ALL_HELP, json.dumps(wanted), json.dumps(HEAVY))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nexample") == len(NAMES) + 1


@pytest.mark.parametrize("command", registry.COMMANDS.values(), ids=lambda command: command.name)
def test_example_of_a_command_runs(command: Command):
    words = shlex.split(command.example)
    assert words[:2] == ["gmner", command.name]
    assert parser().parse_args(words[1:]).command == command.name


@pytest.mark.usefixtures("registered")
def test_command_registered_from_outside(gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert registry.register(EXTERNAL) is registry.register(EXTERNAL)
    assert run("count", gold) == 0
    assert capsys.readouterr().out == "2\n"
    with pytest.raises(SystemExit):
        run("--help")
    assert "count posts\n" in (told := capsys.readouterr().out)
    assert "  gmner count posts.jsonl\n" in told
    with pytest.raises(InputError, match="Another command is registered under this name"):
        registry.register(dataclasses.replace(EXTERNAL, name="extract"))


@pytest.mark.usefixtures("registered")
def test_files_of_an_external_command_are_checked(gold: Path, capsys: pytest.CaptureFixture[str]):
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("posts", type=Path)
        parser.add_argument("-o", "--output", type=Path)

    registry.register(dataclasses.replace(EXTERNAL, add_arguments=add_arguments))
    assert "replace an input" in fails(capsys, "count", gold, "-o", gold)
    assert "does not write to standard output" in fails(capsys, "count", gold, "-o", "-")
    assert "does not read standard input" in fails(capsys, "count", "-")
    registry.unregister(EXTERNAL.name)
    rules = FileRules(kept_beside=(".part",))
    registry.register(dataclasses.replace(EXTERNAL, add_arguments=add_arguments, files=rules))
    part = gold.rename(gold.with_name("counts.jsonl.part"))
    assert "replace an input" in fails(capsys, "count", part, "-o", gold.with_name("counts.jsonl"))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("No posts", received="x"), 2, "No posts (got 'x')"),
        (OSError(28, "No space left on device"), 2, "[Errno 28] No space left on device"),
        (ServerError("The server is down"), 1, "The server is down"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_one_line_and_an_exit_code(
    gold: Path, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
):
    def stop(given: argparse.Namespace) -> None:
        raise error

    registry.register(dataclasses.replace(EXTERNAL, run=stop))
    assert run("count", gold) == code
    assert capsys.readouterr().err.startswith(f"gmner: {said}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gmner extract --mod", {"--model"}),
        ("gmner ex", {"extract", "export"}),
        ("gmner compile --preset t", {"tiny"}),
        ("gmner evaluate --protocol a", {"all"}),
    ],
)
def test_shell_completion(line: str, words: set[str]):
    ask = f"{sys.executable} -m gmner 8>&1 9>/dev/null 1>/dev/null"
    variables = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    told = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, env={**os.environ, **variables})
    assert {word.strip() for word in told.stdout.split("\n") if word.strip()} == words


@pytest.mark.e2e
def test_runs_as_a_module():
    done = python("-m", "gmner", "evaluate", "none.jsonl", "--gold", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gmner: File or folder not found (got 'nowhere')")
    assert "Traceback" not in done.stderr


def test_control_characters_of_posts_are_escaped_on_the_terminal(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_predictions([Prediction(ODD, "Ana"), Prediction("a", "Ana")], tmp_path / "odd.jsonl")
    for words in ("evaluate", "view"):
        more = ["-o", tmp_path / "page.html"] if words == "view" else ["--json"]
        assert run(words, tmp_path / "odd.jsonl", "--gold", gold, *more) == 0
        said = capsys.readouterr()
        assert not set(said.out + said.err) & set("\x1b\u202e\x9b\ud83d")
        assert "\\u001b[2J\\u202e\\u009b\\ud83d\\nz" in said.err
        if words == "evaluate":
            assert json.loads(said.out)["unknown"] == [ODD]


def test_ctrl_c_reports_whether_the_command_resumes(
    gold: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gmner.data.readers.choose.read_dataset", interrupt)
    assert run("extract", gold, "-o", tmp_path / "o.jsonl") == 130
    assert capsys.readouterr().err.endswith("finished work is kept, run the same command again to resume\n")
    assert run("evaluate", half, "--gold", gold) == 130
    assert capsys.readouterr().err == "gmner: interrupted\n"


@pytest.mark.parametrize("words", [[], ["nope"], ["extract"], ["extract", "p", "-o", "o", "--limit", "0"]])
def test_unknown_commands_and_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        run(*words)
    assert stop.value.code == 2
    assert "usage: gmner" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon"])
def test_minutes_must_be_positive(minutes: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        run("compile", "--train", "t", "--run-dir", "r", "-o", "b", "--max-minutes", minutes)
    assert f"--max-minutes: must be a positive number of minutes (got '{minutes}')" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-3", "1.5", "all"])
def test_counts_must_be_positive_integers(limit: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        run("extract", "posts.jsonl", "-o", "out.jsonl", "--limit", limit)
    assert f"--limit: must be an integer of at least 1 (got '{limit}')" in capsys.readouterr().err


def test_help_lists_the_readable_formats(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        run("extract", "--help")
    assert f"one of {', '.join(READERS)} (default: auto" in capsys.readouterr().out
