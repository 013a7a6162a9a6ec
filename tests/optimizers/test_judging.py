"""Judging is fast and equal to the reference implementation, for valid and invalid answers."""

import json
import random
from typing import Any

import pytest
from plain_judge import plain_judge, plain_parse, plain_rewards

from gmner.data.post import Post
from gmner.optimizers.rewards import cvo, judge, judgement, judgements, reward_columns
from gmner.optimizers.rewards.judgement import gold_entities
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import AnswerError
from gmner.signatures.labels import COARSE
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame, parse_answer

TEXT = "Ada Okoro sings for Lagos in Lagos , Sage Group and Sage , « Ṣadé » tonight"
SPANS = ("Ada Okoro", "Ada", "Lagos", "Sage", "Sage Group", "Group", "Ṣadé", "tonight")
FRAMES = (
    Frame(BoxFormat(), (640, 480)), Frame(BoxFormat("resized"), (640, 480), (56, 84)),
    Frame(BoxFormat("original"), (30, 40)), Frame(BoxFormat(), None), Frame(BoxFormat(order="yxyx"), (640, 480)),
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1001, 10**30, 0.5, float("nan"), "", "PER", "Lago", [], {}, [1, 2, 3], [0, 0, 5, 5.0],
    [5, 5, 0, 0], [True, 0, 1, 1], ["PER"], "\ud800",
)  # fmt: skip


def record(draw: random.Random, extent: int) -> dict[str, Any]:
    x1, x2 = sorted(draw.choices(range(extent + 1), k=2))
    y1, y2 = sorted(draw.choices(range(extent + 1), k=2))
    box = draw.choice([None, [x1, y1, x2, y2]])
    return {"span": draw.choice(SPANS), "type": draw.choice(list(COARSE)), "visible": box is not None, "box": box}


def mutated(value: Any, draw: random.Random) -> Any:
    """A JSON value with one change somewhere inside."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(list(value))
        how = draw.random()
        if how < 0.1:
            return {name: inner for name, inner in value.items() if name != key}
        if how < 0.2:
            return {**value, "more": 1}
        return {**value, key: mutated(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        return [*value[:place], mutated(value[place], draw), *value[place + draw.randrange(2) :]]
    return draw.choice(ODD)


def answer(draw: random.Random, extent: int) -> str:
    """A valid answer, or one with changed values or changed characters."""
    value: Any = {"reasoning": "a « b »", "entities": [record(draw, extent) for _ in range(draw.randrange(6))]}
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        value = mutated(value, draw)
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5, indent=draw.choice((None, None, 1)))
    if draw.random() < 0.2:
        place = draw.randrange(len(text) + 1)
        text = text[:place] + draw.choice(("", "}", " ", "\ufeff", '"', "0", "\x00", "\n")) + text[place + 1 :]
    return text


def outcome(call: Any) -> Any:
    """The result of a call, or the error that it raises."""
    try:
        return call()
    except AnswerError as error:
        return type(error), error.fact, repr(error.received)


@pytest.mark.parametrize("frame", FRAMES, ids=["normalized", "resized", "original", "no image", "yxyx"])
def test_judge_equals_the_reference_implementation(frame: Frame):
    draw = random.Random(0)
    boxes = () if frame.size is None else (Box(0, 0, 20, 30), Box(5, 5, 15, 25))
    gold = (
        GoldEntity("Ada Okoro", 0, 9, "PER", boxes[:1]), GoldEntity("Lagos", 29, 34, "LOC"),
        GoldEntity("Sage", 52, 56, "ORG", boxes),
    )  # fmt: skip
    columns = reward_columns(Post("p", TEXT, entities=gold), frame)
    extent = min(frame.box_format.extent(frame.size, frame.resized)) if frame.size else 1000
    answers = [answer(draw, extent) for _ in range(600)]
    expected, valid = [], 0
    for text in answers:
        found = outcome(lambda: plain_parse(text, TEXT, COARSE, frame))  # noqa: B023
        parsed = outcome(lambda: parse_answer(text, TEXT, COARSE, frame).entities)  # noqa: B023
        assert parsed == found, text
        right = not (found and found[0] is AnswerError)
        valid += right
        expected.append(plain_judge(found, gold_entities(columns["gold"], TEXT)) if right else None)
    assert valid > 50
    assert valid < 550
    batch = {name: [value] * len(answers) for name, value in columns.items()}
    assert judgements(answers, **batch, box_format=frame.box_format) == expected
    paid = [plain_rewards(judged) for judged in expected]
    for reward in cvo(box_format=frame.box_format):
        assert reward(answers, **batch) == pytest.approx([scores[reward.name] for scores in paid], nan_ok=False)
    size, resized = (None if batch[name][0] is None else tuple(batch[name][0]) for name in ("size", "resized"))
    one = [judge(a, TEXT, columns["gold"], size, resized, COARSE, frame.box_format) for a in answers[:100]]
    assert one == expected[:100]


def test_batch_is_judged_once_for_all_rewards(monkeypatch: pytest.MonkeyPatch):
    draw, frame, judged = random.Random(1), FRAMES[0], []
    rows = judgement.judge_rows
    monkeypatch.setattr("gmner.optimizers.rewards.batch.judge_rows", lambda *a: judged.append(1) or rows(*a))
    answers = [answer(draw, 1000) for _ in range(20)]
    columns = reward_columns(Post("p", TEXT, entities=()), frame)
    batch = {name: [value] * 20 for name, value in columns.items()}
    first = [reward(answers, **batch) for reward in cvo()]
    assert len(judged) == 1
    assert [reward(list(answers), **{name: list(c) for name, c in batch.items()}) for reward in cvo()] == first
    assert len(judged) == 1
    assert [reward(answers[1:], **{name: c[1:] for name, c in batch.items()}) for reward in cvo()] != first
    assert len(judged) == 2
    answers[0] = "changed in place"
    assert cvo()[0](answers, **batch)[0] == 0.0
    assert [reward(answers, **batch, labels=None)[0] for reward in cvo()] == [0.0] * 5
    assert len(judged) == 3


def test_equal_answers_are_parsed_once(monkeypatch: pytest.MonkeyPatch):
    parsed: list[str] = []
    parse = judgement.parse_task_answer
    counted = lambda task, text, *rest: parsed.append(text) or parse(task, text, *rest)  # noqa: E731
    monkeypatch.setattr(judgement, "parse_task_answer", counted)
    columns = reward_columns(Post("p", TEXT, entities=()), FRAMES[0])
    batch = {name: [value] * 8 for name, value in columns.items()}
    answers = ['{"reasoning":"once","entities":[]}', "never"] * 4
    assert cvo()[0](answers, **batch) == [1.0, 0.0] * 4
    assert parsed == answers[:2]
