"""Staged programs: whole answers from single calls, their rewards, and a compile of all three stages."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
import torch
from PIL import Image
from scripted import schema_of, scripted_lm, words_of
from worlds import drawn

from gmner.data.post import Post
from gmner.optimizers.compilation import Compilation
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.rewards import Reward
from gmner.optimizers.rewards.staged_calls import call_title, whole_answer
from gmner.optimizers.training.rows import program_rows
from gmner.programs.call_column import call_column
from gmner.programs.staged import StagedGMNER
from gmner.programs.staged_calls import staged_calls, trace_of, traced
from gmner.programs.trainable import ProgramCall
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.schema import Limits

LIMITS = Limits(reasoning=8, entities=2)
TEXT = "Ana met Ben in Rome"
BOX = [100, 100, 300, 300]
KNOWN: list[dict[str, Any]] = [
    {"span": "Ana", "type": "PER", "start": 0, "end": 3, "visible": True, "box": BOX},
    {"span": "Ben", "type": "PER", "start": 8, "end": 11, "visible": False, "box": [0, 0, 50, 50]},
    {
        "span": "Rome",
        "type": "LOC",
        "start": 15,
        "end": 19,
        "visible": True,
        "box": None,
    },  # a gold mention that was not extracted
]


def asked(stage: str, place: int = 0) -> str:
    return call_column(stage, place, KNOWN, 2)


def boxes(stage: str, place: int, completion: object) -> dict[str, Any] | None:
    """Span -> box of the whole answer."""
    answer = whole_answer(json.dumps(completion), asked(stage, place), TEXT)
    return None if answer is None else {e["span"]: e["box"] for e in json.loads(answer)["entities"]}


def mentions(*spans: str) -> dict[str, Any]:
    return {"mentions": [{"span": span, "type": "PER"} for span in spans]}


@pytest.mark.parametrize(
    ("stage", "place", "completion", "expected"),
    [
        ("extract", 0, mentions("Ana", "Ben"), {"Ana": BOX, "Ben": None}),
        ("extract", 0, mentions("Ben"), {"Ben": None}),
        ("extract", 0, mentions("Ana", "Rome"), {"Ana": BOX, "Rome": None}),
        ("extract", 0, mentions("met"), {"met": None}),  # it was not verified
        ("extract", 0, mentions(), {}),
        ("verify", 1, {"evidence": "", "visible": True}, {"Ana": BOX, "Ben": [0, 0, 50, 50]}),
        ("verify", 0, {"evidence": "", "visible": False}, {"Ana": None, "Ben": None}),
        ("ground", 0, {"box": [1, 2, 3, 4]}, {"Ana": [1, 2, 3, 4], "Ben": None}),
        ("ground", 0, {"box": None}, {"Ana": None, "Ben": None}),
        ("ground", 1, {"box": [1, 2, 3, 4]}, {"Ana": BOX, "Ben": [1, 2, 3, 4]}),
        ("extract", 0, mentions("Cy"), None),
        ("extract", 0, {"box": None}, None),
        ("verify", 0, {"evidence": "", "visible": "yes"}, None),
        ("verify", 0, {"visible": True}, None),
        ("ground", 0, {}, None),
    ],
)
def test_whole_answer_with_a_new_completion(
    stage: str, place: int, completion: object, expected: dict[str, Any] | None
):
    assert boxes(stage, place, completion) == expected


def test_call_is_rewarded_for_the_whole_answer():
    gold = [
        {"span": "Ana", "start": 0, "end": 3, "type": "PER", "boxes": [[20, 10, 60, 30]]},
        {"span": "Ben", "start": 8, "end": 11, "type": "PER", "boxes": []},
    ]

    def paid(name: str, stage: str, place: int, *completions: object) -> list[float | None]:
        rows = {"post_text": TEXT, "gold": json.dumps(gold), "size": [200, 100], "resized": None}
        columns: dict[str, Any] = {key: [value] * len(completions) for key, value in rows.items()}
        return Reward(name)(
            [json.dumps(c) for c in completions], call=[asked(stage, place)] * len(completions), **columns
        )

    verdicts = [{"evidence": "", "visible": value} for value in (True, False)]
    assert paid("entailment", "verify", 0, *verdicts) == [1.0, 0.5]
    assert paid("entailment", "verify", 1, *verdicts) == [0.5, 1.0]
    assert paid("grounding", "ground", 0, {"box": BOX}, {"box": [300, 300, 100, 100]}, {"box": None}) == [1.0, 0.0, 0.0]
    # A box with reversed corners makes the whole answer invalid, as in a program with one call.
    assert paid("span", "ground", 0, {"box": BOX}, {"box": [300, 300, 100, 100]}) == [1.0, 0.0]
    assert paid("span", "extract", 0, mentions("Ana", "Ben"), mentions("Ana"), mentions("Cy")) == [
        1.0,
        pytest.approx(2 / 3),
        0,
    ]


def test_refusals_and_titles():
    assert [call_title(asked("extract")), call_title(asked("ground", 1))] == ["extract", "ground Ben"]
    assert call_title(call_column("extract", 0, [], 0)) == "extract"
    with pytest.raises(InputError, match=r"Unknown stage.*look"):
        asked("look")
    with pytest.raises(InputError, match=r"index of an extracted mention.*2"):
        asked("verify", 2)


class Script:
    """Ana and Ben are extracted; all three are verified; only Ana and Rome get a box."""

    def __call__(self, request: Any) -> dict[str, Any]:
        said = words_of(request)
        name = next((name for name in ("Ana", "Ben", "Rome") if f"Entity: {name}" in said), None)
        if name is None:
            return mentions("Ana", "Ben")
        if "visible" in schema_of(request)["properties"]:
            return {"evidence": "", "visible": name != "Ana"}
        return {"box": None if name == "Ben" else BOX}


def test_calls_of_extracted_and_gold_mentions():
    gold = (GoldEntity("Ana", 0, 3, "PER", (Box(20, 10, 60, 30),)), GoldEntity("Rome", 15, 19, "LOC"))
    post = Post("a", TEXT, Image.new("RGB", (200, 100)), gold)
    program = StagedGMNER(scripted_lm(Script()))
    record = json.loads(json.dumps(traced(program, [post], progress=False)))
    trace = trace_of(record[0])
    assert [m.span for m in trace.mentions] == ["Ana", "Ben", "Rome"]
    assert (trace.named, trace.visible) == (2, (False, True, True))
    assert trace.boxes == (Box(20, 10, 60, 30), None, Box(20, 10, 60, 30))
    calls = staged_calls(program, [post], {"a": trace})
    # Ana is grounded because of the gold, Ben because of the verdict; Rome was not extracted, so it has no calls.
    assert [call_title(call.rest or "") for call in calls] == [
        "extract",
        "verify Ana",
        "ground Ana",
        "verify Ben",
        "ground Ben",
    ]
    assert calls[1].signature is program.verify.signature
    assert staged_calls(program, [post], {}) == []
    words = Post("b", TEXT, None, ())
    wordy = staged_calls(program, [words], {"b": trace_of(traced(program, [words], progress=False)[0] or {})})
    assert [call_title(call.rest or "") for call in wordy] == ["extract"]


def test_post_with_a_failing_call_is_skipped(caplog: pytest.LogCaptureFixture):
    program = StagedGMNER(scripted_lm({"mentions": [{"span": "nobody", "type": "PER"}]}))
    assert traced(program, [Post("a", TEXT, None, ())], progress=False) == [None]
    assert "1 of 1 posts are not used for training" in caplog.text


def test_each_call_of_a_chain_is_a_row():
    posts = drawn("train", 6)
    program = StagedGMNER(scripted_lm({}))
    adapter = program.adapter()
    chains = MRSI().chains(posts, adapter, random.Random(0))
    rows = program_rows(program, chains, {post.id: post for post in posts}, adapter, [])
    shown = {post.id: sum(e.visible for e in post.gold) for post in posts}
    named = {post.id: len(post.gold) for post in posts}
    assert len(rows) == sum(1 + named[c.post_id] + shown[c.post_id] for c in chains)
    first = chains[0]
    answers = [json.loads(row["completion"][0]["content"][0]["text"]) for row in rows][: 1 + named[first.post_id]]
    assert set(answers[0]) == {"mentions"}
    assert answers[1]["evidence"] == first.reasoning


@pytest.mark.slow
def test_staged_compile_resumes(
    tiny_lm: Callable[[str], dspy.LM],
    posts: list[Post],
    tmp_path: Path,
    weights: Callable[[Path], dict[str, torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
):
    student = StagedGMNER(tiny_lm("idefics3"), limits=LIMITS)
    usual: dict[str, Any] = {"prompts": 2, "generations": 4, "max_completion_length": 400, "tuning": "full"}
    optimizer = MCR(mrsi=MRSI(max_steps=1, batch=2), cvo=CVO(max_steps=2, rate=1e-2, **usual), progress=False)
    better = student.compile(trainset=posts[:8], optimizer=optimizer, run_dir=tmp_path / "whole")
    assert isinstance(better, StagedGMNER)
    before, after = (weights(tmp_path / "whole" / stage) for stage in ("mrsi", "cvo"))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert len(better(text=posts[0].text, image=posts[0].image).entities) <= 2
    page = (tmp_path / "whole" / "cvo" / "rollouts.html").read_text(encoding="utf-8")
    assert "verify " in page or "ground " in page or "extract, answer" in page

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CVO, "optimize", stopped)
        with pytest.raises(KeyboardInterrupt):
            student.compile(trainset=posts[:8], optimizer=optimizer, run_dir=tmp_path / "cut")
    asked_before = []
    with monkeypatch.context() as patch:
        patch.setattr("gmner.programs.staged.traced", lambda *_, **__: pytest.fail("they were asked before"))
        calls = Compilation._calls
        patch.setattr(Compilation, "_calls", lambda *a: asked_before.extend(calls(*a)) or asked_before)
        student.compile(trainset=posts[:8], optimizer=optimizer, run_dir=tmp_path / "cut")
    assert all(isinstance(call, ProgramCall) for call in asked_before)
    assert [n for n, value in weights(tmp_path / "cut" / "cvo").items() if not torch.equal(value, after[n])] == []


@pytest.mark.slow
def test_plan_of_a_staged_compile(
    tiny_lm: Callable[[str], dspy.LM], posts: list[Post], capsys: pytest.CaptureFixture[str]
):
    student = StagedGMNER(tiny_lm("idefics3"), limits=LIMITS)
    usual: dict[str, Any] = {"prompts": 2, "generations": 2, "max_completion_length": 400, "redraws": 0}
    optimizer = MCR(
        mrsi=MRSI(batch=2, epochs=1, least_steps=0), cvo=CVO(epochs=1, least_steps=0, **usual), progress=False
    )
    student.compile(trainset=posts[:4], optimizer=optimizer, dry_run=True)
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    # Four posts per stage: one chain each, and a row or a prompt for every call.
    assert rows["mrsi"][1] == rows["cvo"][1] == "4"
    assert int(rows["mrsi"][3]) > 4 / 2
    assert int(rows["cvo"][3]) >= 4 / 2


def test_staged_program_gets_no_demonstrations_from_chains(tiny_lm: Callable[[str], dspy.LM], posts: list[Post]):
    student = StagedGMNER(tiny_lm("idefics3"), limits=LIMITS)
    with pytest.raises(InputError, match="cannot set demonstrations on a staged program"):
        student.compile(trainset=posts[:4], optimizer=MCR(mrsi=MRSI(tuning="none"), progress=False))
