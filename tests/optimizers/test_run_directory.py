"""Run directories: arguments, stages, locks, and kills."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kills import kills

from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.run_directory import RunDirectory
from gmner.signatures.errors import RunDirectoryError

HOLD = """
import sys, time
from gmner.optimizers.run_directory import RunDirectory
run = RunDirectory(sys.argv[1], {})
sys.stdout.write("held\\n")
sys.stdout.flush()
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that uses `tmp_path / "run"`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_keeps_the_arguments_canonically(tmp_path: Path):
    with RunDirectory(
        tmp_path / "a" / "b", {"seed": 1, "labels": ("PER", "LOC"), "grpo": {"z": None, "a": 0.5}}
    ) as run:
        kept = json.loads((run.path / "config.json").read_text())
        assert kept == run.config == {"grpo": {"a": 0.5, "z": None}, "labels": ["PER", "LOC"], "seed": 1}
        assert list(kept) == sorted(kept)


def test_resumes_with_the_same_arguments(tmp_path: Path):
    with RunDirectory(tmp_path, {"b": (1, 2), "a": {"y": 1, "x": float("nan")}}) as run:
        before = (run.path / "config.json").stat().st_mtime_ns
    with RunDirectory(tmp_path, {"a": {"x": float("nan"), "y": 1}, "b": [1, 2]}) as run:
        assert (run.path / "config.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("before", "now", "named"),
    [
        ({"seed": 1, "same": 2}, {"seed": 2, "same": 2}, "seed: 1 before, 2 now"),
        ({"a": 1}, {"a": 1, "b": "x"}, 'b: not set before, "x" now'),
        ({"a": None, "b": 1}, {"b": 1}, "a: null before, not set now"),
        ({"a": None}, {"a": False}, "a: null before, false now"),
        ({"grpo": {"rate": 1e-6, "g": 8}}, {"grpo": {"rate": 5e-6, "g": 8}}, "grpo.rate: 1e-06 before, 5e-06 now"),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, "a: 1 before, 2 now; b: 1 before, 2 now"),
        ({"styles": ["a"]}, {"styles": ["a", "b"]}, 'styles: ["a"] before, ["a", "b"] now'),
        ({"ids": list(range(99))}, {"ids": [*range(98), 7]}, "ids[98]: 98 before, 7 now"),
        ({"ids": list(range(99))}, {"ids": list(range(98))}, "ids: 99 values before, 98 now"),
        ({"text": "word " * 99 + "a"}, {"text": "word " * 99 + "b"}, 'word a" before, …'),
        ({"text": "a"}, {"text": "b" * 999}, 'text: "a" before, "bbb'),
    ],
)
def test_other_arguments_are_refused_by_name(tmp_path: Path, before: dict, now: dict, named: str):
    RunDirectory(tmp_path, before).close()
    kept = (tmp_path / "config.json").read_bytes()
    with pytest.raises(RunDirectoryError) as refusal:
        RunDirectory(tmp_path, now)
    text = str(refusal.value)
    assert named in text
    assert "same" not in text
    assert str(tmp_path) in text
    assert "another run_dir" in text
    assert len(text) < 700 + len(str(tmp_path))
    assert (tmp_path / "config.json").read_bytes() == kept
    RunDirectory(tmp_path, before).close()  # the lock is released after an error


def test_argument_that_is_not_json_is_refused(tmp_path: Path):
    with pytest.raises(RunDirectoryError, match=r"The argument optimizer cannot be saved"):
        RunDirectory(tmp_path / "run", {"seed": 1, "optimizer": object()})
    assert not (tmp_path / "run").exists()


def test_refuses_broken_arguments(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"seed":')
    with pytest.raises(RunDirectoryError, match=r"config\.json of the run in .* is not JSON"):
        RunDirectory(tmp_path, {"seed": 1})


def test_record_of_an_unfinished_stage(tmp_path: Path):
    with RunDirectory(tmp_path, {}) as run:
        run.stage("sft")
        with pytest.raises(RunDirectoryError, match=r"The stage sft of the run in .* is not finished"):
            run.record("sft")
        run.mark_done("sft")
        assert run.record("sft") == {}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".hidden", "a b"])
def test_invalid_stage_name_is_refused(tmp_path: Path, name: str):
    with RunDirectory(tmp_path, {}) as run, pytest.raises(RunDirectoryError, match="must be a valid folder name"):
        run.stage(name)


@pytest.mark.parametrize("name", ["", ".", "../other", "/etc/other", "a/../../b"])
def test_path_outside_the_run_is_refused(tmp_path: Path, name: str):
    with RunDirectory(tmp_path / "run", {}) as run:
        for use in (run.read_json, lambda n: run.write_json(n, 1)):
            with pytest.raises(RunDirectoryError, match="outside the run directory"):
                use(name)


def test_failed_write_keeps_the_old_file(tmp_path: Path):
    with RunDirectory(tmp_path, {}) as run:
        run.write_json("plan.json", {"old": "zwölf\u2028😀\r\n"})
        with pytest.raises(TypeError):
            run.write_json("plan.json", object())
        with pytest.raises(RunDirectoryError, match=r"no file other\.json"):
            run.read_json("other.json")
        assert run.read_json("plan.json") == {"old": "zwölf\u2028😀\r\n"}
        assert sorted(os.listdir(tmp_path)) == ["config.json", "lock", "plan.json"]


@pytest.mark.slow
def test_run_directory_is_exclusive(tmp_path: Path, holder: subprocess.Popen):
    with pytest.raises(RunDirectoryError, match=rf"is in use by process {holder.pid} on \S+\. Wait until it ends"):
        RunDirectory(tmp_path / "run", {})


@pytest.mark.slow
def test_lock_is_released_by_a_killed_process(tmp_path: Path, holder: subprocess.Popen):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert f"process {holder.pid}" in (tmp_path / "run" / "lock").read_text()
    with RunDirectory(tmp_path / "run", {}):
        assert f"process {os.getpid()}" in (tmp_path / "run" / "lock").read_text()


def test_run_cannot_be_opened_twice(tmp_path: Path):
    with RunDirectory(tmp_path, {}) as run:
        with pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()}"):
            RunDirectory(tmp_path, {})
        run.close()
        run.close()
        RunDirectory(tmp_path, {}).close()


def test_other_processes_of_a_group_only_read(tmp_path: Path):
    with RunDirectory(tmp_path / "run", {"seed": 1}) as main:
        other = RunDirectory(tmp_path / "run", {"seed": 1}, writes=False)
        main.mark_done("chains", {"made": 2})
        assert other.record("chains") == {"made": 2}
        other.mark_done("sft")
        other.write_json("plan.json", {})
        assert not main.done("sft")
        assert not (tmp_path / "run" / "plan.json").exists()


@pytest.mark.slow
def test_kill_leaves_a_run_that_can_be_resumed(tmp_path: Path):
    def work(folder: Path) -> None:
        with RunDirectory(folder / "run", {"seed": 1}) as run:
            run.write_json("scores.json", {"mrsi": {"f1": 2}})
            run.write_json("chains/chains.json", [{"id": n} for n in range(2000)])
            run.mark_done("mrsi", {"made": 2})

    def prepare(folder: Path) -> None:
        with RunDirectory(folder / "run", {"seed": 1}) as run:
            run.write_json("scores.json", {"mrsi": {"f1": 1}})

    for kill in kills(work, tmp_path, prepare):
        with RunDirectory(kill.folder / "run", {"seed": 1}) as run:
            assert run.read_json("scores.json")["mrsi"]["f1"] in (1, 2), kill
            if (run.path / "chains" / "chains.json").exists():
                assert len(run.read_json("chains/chains.json")) == 2000
            assert not run.done("mrsi") or run.record("mrsi") == {"made": 2}


def test_chain_log_loses_no_saved_line(tmp_path: Path):
    chains = [Chain(str(number), "stepwise", "Names: none. " * 3000 * number, ()) for number in range(3)]

    def work(folder: Path) -> None:
        with ChainLog(folder / "chains.part") as log:
            log.append(chains[2])

    def prepare(folder: Path) -> None:
        with ChainLog(folder / "chains.part") as log:
            for chain in chains[:2]:
                log.append(chain)
        with (folder / "chains.part").open("ab") as file:
            file.write(b'{"post_id": "cut o')

    for kill in kills(work, tmp_path, prepare):
        with ChainLog(kill.folder / "chains.part") as log:
            assert list(log.chains.values())[:2] == chains[:2], kill
