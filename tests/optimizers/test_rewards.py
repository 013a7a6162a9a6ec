"""The five rewards: tables of examples, errors, and properties."""

import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmner.data.post import Post
from gmner.optimizers import rewards
from gmner.optimizers.rewards import DEFAULT_WEIGHTS, Reward, cvo, judge, reward_columns
from gmner.optimizers.rewards.judgement import Finding, Judgement
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import DataError, InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame

SIZE = (1000, 500)  # in the wire format, x is in pixels and y is twice the pixels
FRAME = Frame(BoxFormat(), SIZE)
TEXT = "Ada Okoro sings for Lagos in Lagos tonight"
ADA, BAND, CITY = (0, 9, "PER"), (20, 25, "ORG"), (29, 34, "LOC")
LEFT, RIGHT, WHOLE = [0, 0, 400, 1000], [600, 0, 1000, 1000], [0, 0, 1000, 1000]
NAMES = list(DEFAULT_WEIGHTS)


def gold(place: tuple[int, int, str], *boxes: list[int], text: str = TEXT) -> GoldEntity:
    """A gold mention with boxes in the wire format."""
    start, end, type_ = place
    return GoldEntity(text[start:end], start, end, type_, tuple(FRAME.decode(box) for box in boxes))


def entity(span: str, type_: str, box: list[int] | None = None) -> dict[str, Any]:
    return {"span": span, "type": type_, "visible": box is not None, "box": box}


def answer(*entities: dict[str, Any]) -> str:
    return json.dumps({"reasoning": "because", "entities": entities})


def score(completion: Any, *entities: GoldEntity, text: str = TEXT, **options: Any) -> dict[str, float | None]:
    """All five rewards of one completion, called as TRL calls them."""
    columns = {k: [v] for k, v in reward_columns(Post("p", text, entities=entities), FRAME).items()}
    extra = {"prompts": [[]], "completion_ids": [[1]], "trainer_state": None, "log_extra": print, "image": [None]}
    return {f.__name__: f(completions=[completion], **columns, **extra)[0] for f in cvo(**options)}


def total(scores: dict[str, float | None]) -> float:
    """The weighted sum as in TRL: a reward that does not apply adds nothing."""
    return sum(DEFAULT_WEIGHTS[name] * (value or 0.0) for name, value in scores.items())


# The columns: case, entities of the answer, gold, then R_c, R_s, R_t, R_u, R_e.
TABLE: list[tuple[str, list[dict[str, Any]], list[GoldEntity], float, float, float, float | None, float | None]] = [
    ("empty, empty", [], [], 1, 1, 1, None, None),
    ("empty, absent", [], [gold(ADA)], 0, 0, 0, None, 0),
    ("empty, shown", [], [gold(ADA, LEFT)], 0, 0, 0, 0, 0),
    ("named, empty", [entity("Ada Okoro", "PER")], [], 0, 0, 0, None, None),
    ("right, absent", [entity("Ada Okoro", "PER")], [gold(ADA)], 1, 1, 1, None, 1),
    ("right, shown", [entity("Ada Okoro", "PER", LEFT)], [gold(ADA, LEFT)], 1, 1, 1, 1, 1),
    ("shown missed", [entity("Ada Okoro", "PER")], [gold(ADA, LEFT)], 1, 1, 1, 0, 0),
    ("absent grounded", [entity("Ada Okoro", "PER", LEFT)], [gold(ADA)], 1, 1, 1, None, 0),
    ("wrong type", [entity("Ada Okoro", "LOC", LEFT)], [gold(ADA, LEFT)], 1, 1, 0, 1, 1),
    ("half a span", [entity("Ada", "PER", LEFT)], [gold(ADA, LEFT)], 1, 0, 0, 0, 0),
    ("boxes apart", [entity("Ada Okoro", "PER", RIGHT)], [gold(ADA, LEFT)], 1, 1, 1, 0, 1),
    ("exactly sigma", [entity("Ada Okoro", "PER", [0, 0, 400, 500])], [gold(ADA, LEFT)], 1, 1, 1, 0.5, 1),
    ("below sigma", [entity("Ada Okoro", "PER", [0, 0, 400, 499])], [gold(ADA, LEFT)], 1, 1, 1, 0, 1),
    ("second gold box", [entity("Ada Okoro", "PER", RIGHT)], [gold(ADA, LEFT, RIGHT)], 1, 1, 1, 1, 1),
    ("best gold box", [entity("Ada Okoro", "PER", LEFT)], [gold(ADA, WHOLE, [0, 0, 400, 500])], 1, 1, 1, 0.5, 1),
    ("one cell", [entity("Ada Okoro", "PER", [5, 5, 5, 5])], [gold(ADA, [5, 5, 5, 5])], 1, 1, 1, 1, 1),
    # The n-th prediction of a span refers to its n-th occurrence.
    (
        "two occurrences",
        [entity("Lagos", "ORG", LEFT), entity("Lagos", "LOC")],
        [gold(BAND, LEFT), gold(CITY)],
        1, 1, 1, 1, 1,
    ),
    ("first of two", [entity("Lagos", "LOC")], [gold(BAND, LEFT), gold(CITY)], 0.5, 2 / 3, 0, 0, 0),
    (
        "one of three",
        [entity("Ada Okoro", "PER", LEFT)],
        [gold(ADA, LEFT), gold(BAND), gold(CITY)],
        1 / 3, 0.5, 1 / 3, 1, 0.5,
    ),
    ("one too many", [entity("Ada Okoro", "PER"), entity("tonight", "OTHER")], [gold(ADA)], 0.5, 2 / 3, 0.5, None, 1),
    # A repeated mention: the box with the highest IoU is matched, any box before none; the other one is surplus.
    (
        "duplicate, one box better",
        [entity("Ada Okoro", "PER", RIGHT), entity("Ada Okoro", "LOC", LEFT)],
        [gold(ADA, LEFT)],
        0.5, 2 / 3, 0, 1, 1,
    ),
    (
        "duplicate, hedged, shown",
        [entity("Ada Okoro", "PER"), entity("Ada Okoro", "PER", LEFT)],
        [gold(ADA, LEFT)],
        0.5, 2 / 3, 0.5, 1, 1,
    ),
    (
        "duplicate, hedged, absent",
        [entity("Ada Okoro", "PER"), entity("Ada Okoro", "PER", LEFT)],
        [gold(ADA)],
        0.5, 2 / 3, 0.5, None, 0,
    ),
    (
        "duplicate, the first of equals",
        [entity("Ada Okoro", "LOC"), entity("Ada Okoro", "PER")],
        [gold(ADA)],
        0.5, 2 / 3, 0, None, 1,
    ),
    # Balanced: one of one shown wrong, two of two absent correct.
    (
        "always None",
        [entity("Ada Okoro", "PER"), entity("Lagos", "ORG"), entity("Lagos", "LOC")],
        [gold(ADA, LEFT), gold(BAND), gold(CITY)],
        1, 1, 1, 0, 0.5,
    ),
    (
        "always the whole picture",
        [entity("Ada Okoro", "PER", WHOLE), entity("Lagos", "ORG", WHOLE), entity("Lagos", "LOC", WHOLE)],
        [gold(ADA, LEFT), gold(BAND), gold(CITY)],
        1, 1, 1, 0, 0.5,
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_reward_values(row: tuple):
    _, entities, annotated, *expected = row
    assert list(score(answer(*entities), *annotated).values()) == pytest.approx(expected)


INVALID = {
    "no JSON": "Ada Okoro is shown",
    "empty": "",
    "cut": answer(entity("Ada Okoro", "PER", LEFT))[:-1],
    "fenced": f"```json\n{answer(entity('Ada Okoro', 'PER', LEFT))}\n```",
    "followed by text": answer(entity("Ada Okoro", "PER", LEFT)) + " That is all.",
    "single quotes": str({"reasoning": "", "entities": []}),
    "a list": json.dumps([entity("Ada Okoro", "PER", LEFT)]),
    "extra key": json.dumps({"reasoning": "", "entities": [], "more": 1}),
    "no reasoning": json.dumps({"entities": []}),
    "reasoning is no string": json.dumps({"reasoning": None, "entities": []}),
    "entities are no list": json.dumps({"reasoning": "", "entities": {}}),
    "extra key of an entity": answer({**entity("Ada Okoro", "PER", LEFT), "score": 1}),
    "unknown type": answer(entity("Ada Okoro", "PERSON", LEFT)),
    "type of another kind": answer(entity("Ada Okoro", ["PER"], LEFT)),  # type: ignore[arg-type]
    "span not in the text": answer(entity("Ada Okoro", "PER", LEFT), entity("Abuja", "LOC")),
    "span of another case": answer(entity("ada okoro", "PER", LEFT)),
    "part of a word": answer(entity("Ada Okor", "PER", LEFT)),
    "empty span": answer(entity("", "PER", LEFT)),
    "reversed corners": answer(entity("Ada Okoro", "PER", [400, 0, 0, 1000])),
    "three numbers": answer(entity("Ada Okoro", "PER", [0, 0, 400])),
    "floats": answer(entity("Ada Okoro", "PER", [0.0, 0, 400, 1000])),
    "booleans": answer(entity("Ada Okoro", "PER", [False, 0, 400, 1000])),
    "NaN": answer(entity("Ada Okoro", "PER", [math.nan, 0, 400, 1000])),
    "outside the frame": answer(entity("Ada Okoro", "PER", [0, 0, 400, 1001])),
    "negative": answer(entity("Ada Okoro", "PER", [-1, 0, 400, 1000])),
    "visible without a box": answer({**entity("Ada Okoro", "PER"), "visible": True}),
    "a box and not visible": answer({**entity("Ada Okoro", "PER", LEFT), "visible": False}),
    "deeply nested": "[" * 100_000,
    "a number too long": '{"reasoning":"","entities":' + "1" * 5000 + "}",
}


@pytest.mark.parametrize("annotated", [[gold(ADA, LEFT)], [gold(ADA)], []], ids=["shown", "absent", "none"])
@pytest.mark.parametrize("completion", INVALID.values(), ids=INVALID)
def test_invalid_answer_gets_zero_from_every_reward(completion: str, annotated: list[GoldEntity]):
    assert score(completion, *annotated) == dict.fromkeys(NAMES, 0.0)


def test_box_without_an_image_is_invalid():
    columns = {k: [v] for k, v in reward_columns(Post("p", TEXT, entities=(gold(ADA),)), Frame(BoxFormat())).items()}
    for reward in cvo():
        assert reward([answer(entity("Ada Okoro", "PER", LEFT))], **columns) == [0.0]
        assert reward([answer(entity("Ada Okoro", "PER"))], **columns) == [None if reward.name == "grounding" else 1.0]


def test_sigma_and_hard_rewards():
    annotated, completion = gold(ADA, LEFT), answer(entity("Ada Okoro", "PER", [0, 0, 400, 750]))
    assert score(completion, annotated)["grounding"] == 0.75
    assert score(completion, annotated, soft=False)["grounding"] == 1.0
    assert score(completion, annotated, sigma=0.75)["grounding"] == 0.75
    assert score(completion, annotated, sigma=0.75, soft=False)["grounding"] == 1.0
    assert score(completion, annotated, sigma=0.76)["grounding"] == 0.0


def test_other_labels_and_coordinate_conventions():
    labels, absolute = LabelSet.of({"singer": "who sings"}), BoxFormat("original")
    resized = BoxFormat("resized")
    annotated = GoldEntity("Ada Okoro", 0, 9, "singer", (Box(0, 0, 400, 500),))
    post = Post("p", TEXT, entities=(annotated,))
    for box_format, box in ((absolute, [0, 0, 400, 500]), (resized, [0, 0, 40, 50])):
        columns = {k: [v] for k, v in reward_columns(post, Frame(box_format, SIZE, (100, 50))).items()}
        completion = answer(entity("Ada Okoro", "singer", box))
        assert [f([completion], **columns) for f in cvo(labels, box_format)] == [[1.0]] * 5
        assert [f([completion], **columns) for f in cvo(COARSE, box_format)] == [[0.0]] * 5


def test_formats_of_completions():
    text = answer(entity("Ada Okoro", "PER", LEFT))
    expected = score(text, gold(ADA, LEFT))
    parts = [{"type": "text", "text": text[:9]}, {"type": "image"}, {"type": "text", "text": text[9:]}]
    for content in (text, parts):
        assert score([{"role": "assistant", "content": content}], gold(ADA, LEFT)) == expected
    for broken in ([], [{"role": "assistant"}], 3, None, [{"role": "assistant", "content": None}]):
        with pytest.raises(InputError, match="A completion has an unknown format"):
            score(broken, gold(ADA, LEFT))


@pytest.mark.parametrize("reward", cvo(), ids=NAMES)
def test_errors_not_caused_by_the_answer_are_raised(reward: Reward, monkeypatch: pytest.MonkeyPatch):
    completion, fits = answer(entity("Ada Okoro", "PER", LEFT)), {"size": [[1000, 500]], "resized": [None]}
    misplaced = json.dumps([{"span": "Ada", "start": 1, "end": 4, "type": "PER", "boxes": []}])
    with pytest.raises(DataError, match="is not in the text at its offsets"):
        reward([completion], [TEXT], [misplaced], **fits)
    with pytest.raises(ValueError, match="Expecting value"):
        reward([completion], [TEXT], ["no JSON"], **fits)
    with pytest.raises(ValueError, match="zip"):
        reward([completion, completion], [TEXT], ["[]"], **fits)
    with pytest.raises(TypeError, match="gold"):
        reward(completions=[completion], post_text=[TEXT], **fits)  # type: ignore[call-arg]
    # In the parser a missing size would look like an invalid box, and the model would learn from a wrong reward.
    with pytest.raises(InputError, match="needs the size of the resized image"):
        Reward(reward.name, box_format=BoxFormat("resized"))([completion], [TEXT], ["[]"], **fits)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rewards.judgement, "parse_task_answer", broken)
    judge.cache_clear()
    with pytest.raises(ZeroDivisionError):
        reward([completion], [TEXT], ["[]"], **fits)


def test_reward_columns():
    post = Post("p", TEXT, entities=(gold(ADA, LEFT, RIGHT), gold(CITY)))
    columns = reward_columns(post, Frame(BoxFormat("resized"), SIZE, (100, 50)))
    assert json.loads(json.dumps(columns)) == columns
    assert columns["post_text"] == TEXT
    assert (columns["size"], columns["resized"]) == ([1000, 500], [100, 50])
    assert json.loads(columns["gold"]) == [
        {"span": "Ada Okoro", "start": 0, "end": 9, "type": "PER", "boxes": [[0, 0, 400, 500], [600, 0, 1000, 500]]},
        {"span": "Lagos", "start": 29, "end": 34, "type": "LOC", "boxes": []},
    ]
    assert reward_columns(Post("p", TEXT, entities=()), Frame(BoxFormat())) == {
        "post_text": TEXT, "gold": "[]", "size": None, "resized": None,
    }  # fmt: skip


def test_reward_columns_refuses_invalid_posts():
    with pytest.raises(InputError, match="annotated posts"):
        reward_columns(Post("p", TEXT), FRAME)
    with pytest.raises(InputError, match="resized"):
        reward_columns(Post("p", TEXT, entities=()), Frame(BoxFormat("resized"), SIZE))
    with pytest.raises(DataError, match="is not in the text at its offsets"):
        reward_columns(Post("p", TEXT, entities=(GoldEntity("Ada", 1, 4, "PER"),)), FRAME)
    with pytest.raises(DataError, match="same offsets"):
        reward_columns(Post("p", TEXT, entities=(gold(ADA), gold(ADA, LEFT))), FRAME)


def test_names_weights_and_pickling():
    functions = cvo(sigma=0.7, soft=False)
    assert [f.__name__ for f in functions] == NAMES == ["count", "span", "type", "grounding", "entailment"]
    assert all(weight > 0 for weight in DEFAULT_WEIGHTS.values())
    score(answer(), gold(ADA))  # the cache is filled
    assert pickle.loads(pickle.dumps(functions)) == functions
    assert len(pickle.dumps(functions)) < 2000


def test_invalid_reward_settings_are_refused():
    with pytest.raises(InputError, match=r"Unknown reward.*spans.*count, span, type"):
        Reward("spans")
    for sigma in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(InputError, match="sigma"):
            cvo(sigma=sigma)


def test_each_completion_is_parsed_once(monkeypatch: pytest.MonkeyPatch):
    parsed: list[str] = []
    parse = rewards.judgement.parse_task_answer
    counted = lambda task, text, *rest: parsed.append(text) or parse(task, text, *rest)  # noqa: E731
    monkeypatch.setattr(rewards.judgement, "parse_task_answer", counted)
    judge.cache_clear()
    completions = [answer(entity("Ada Okoro", "PER", [0, 0, 400, y])) for y in range(100)]
    columns = {k: [v] * 100 for k, v in reward_columns(Post("p", TEXT, entities=(gold(ADA, LEFT),)), FRAME).items()}
    for reward in cvo():
        reward(completions, **columns)
    assert parsed == completions
    assert judge.cache_info().maxsize is not None


def test_equal_completions_with_other_posts_and_settings():
    completion = answer(entity("Ada Okoro", "PER", LEFT))
    texts, annotated = [TEXT, TEXT, "Ada Okoro"], [gold(ADA, LEFT), gold(ADA), gold(ADA, RIGHT)]
    rows = [reward_columns(Post("p", t, entities=(e,)), FRAME) for t, e in zip(texts, annotated, strict=True)]
    batch = {k: [row[k] for row in rows] for k in rows[0]}
    grounding, entailment = cvo()[3:]
    assert grounding([completion] * 3, **batch) == [1.0, None, 0.0]
    assert entailment([completion] * 3, **batch) == [1.0, 0.0, 1.0]
    assert cvo(box_format=BoxFormat(scale=100))[0]([completion] * 3, **batch) == [0.0] * 3


def test_rewards_are_thread_safe():
    completions = [answer(entity("Ada Okoro", "PER", [0, 0, 400, y])) for y in range(200)]
    columns = {k: [v] * 200 for k, v in reward_columns(Post("p", TEXT, entities=(gold(ADA, LEFT),)), FRAME).items()}
    judge.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: cvo()[3](completions, **columns), range(16)))
    assert all(result == results[0] for result in results)


# 2 of 5 mentions are shown, as in Twitter-GMNER; boxes cover from a twentieth of the image to nearly all of it.
FACE, CLOSE, BANNER = [400, 200, 600, 450], [50, 20, 950, 1000], [0, 0, 1000, 300]
POSTS: list[list[GoldEntity]] = [
    [gold(ADA, CLOSE)],
    [gold(ADA, LEFT), gold(BAND), gold(CITY)],
    [gold(ADA), gold(CITY)],
    [gold(ADA, FACE), gold(BAND, BANNER)],
    [gold(BAND)],
    [gold(ADA), gold(BAND, [0, 0, 100, 100]), gold(CITY)],
    [gold(BAND, RIGHT, LEFT), gold(CITY)],
    [gold(CITY)],
    [],
]
SHORTCUTS = {
    "always None": lambda e: [entity(e.span, e.type)],
    "always the whole picture": lambda e: [entity(e.span, e.type, WHOLE)],
    "always the middle": lambda e: [entity(e.span, e.type, [250, 250, 750, 750])],
    "both": lambda e: [entity(e.span, e.type), entity(e.span, e.type, WHOLE)],
    "one wrong type": lambda e: [{**gold_record(e), "type": "OTHER"}],
    "nothing": lambda e: [],
}


def gold_record(e: GoldEntity) -> dict[str, Any]:
    return entity(e.span, e.type, FRAME.encode(e.boxes[0]) if e.boxes else None)


def with_all_strings(post: list[GoldEntity]) -> tuple[str, list[GoldEntity]]:
    """The post with a text that contains its spans in order, so that an answer can predict each."""
    text, placed = "", []
    for e in post:
        start = len(text) + 1
        text += f" {e.span}x{len(placed)} ,"
        span = f"{e.span}x{len(placed)}"
        placed.append(GoldEntity(span, start, start + len(span), e.type, e.boxes))
    return text or "nothing", placed


def average(respond: Any) -> float:
    """The mean total reward over the posts of an answer that is built mention by mention."""
    scores = []
    for post in POSTS:
        text, entities = with_all_strings(post)
        completion = answer(*(record for e in entities for record in respond(e)))
        scores.append(total(score(completion, *entities, text=text)))
    return sum(scores) / len(scores)


def test_small_gold_set_resembles_the_data():
    mentions = [e for post in POSTS for e in post]
    assert sum(not e.visible for e in mentions) / len(mentions) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("shortcut", SHORTCUTS.values(), ids=SHORTCUTS)
def test_correct_answers_score_higher_than_shortcuts(shortcut: Any):
    assert average(shortcut) < average(lambda e: [gold_record(e)]) - 0.3


def test_imperfect_grounding_scores_higher_than_shortcuts():
    """Every fifth shown / not shown decision is wrong, and its boxes barely reach sigma."""
    count = iter(range(999))

    def looks(e: GoldEntity) -> list[dict[str, Any]]:
        if next(count) % 5 == 4:
            return [entity(e.span, e.type, None if e.visible else WHOLE)]
        if not e.visible:
            return [entity(e.span, e.type)]
        x1, y1, x2, y2 = FRAME.encode(e.boxes[0])
        return [entity(e.span, e.type, [x1, y1, x2, y2 - math.floor(0.45 * (y2 - y1))])]

    value = average(looks)
    assert value > average(SHORTCUTS["always None"])
    assert value > average(SHORTCUTS["always the whole picture"])


# Properties. Words are distinct, so each span has one occurrence.
WORDS = ["Ada", "Lagos", "Bandu", "Kiri", "Moto", "Zeno", "Wela", "Quor"]
PLAIN = " ".join(WORDS)
TYPES = list(COARSE)
wire_boxes = st.tuples(*[st.integers(0, 1000)] * 4).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
)
golds = st.lists(
    st.tuples(st.sampled_from(WORDS), st.sampled_from(TYPES), st.lists(wire_boxes, max_size=2)),
    unique_by=lambda g: g[0], max_size=6,
).map(lambda found: [
    gold((PLAIN.index(w), PLAIN.index(w) + len(w), t), *boxes, text=PLAIN)
    for w, t, boxes in sorted(found, key=lambda g: PLAIN.index(g[0]))
])  # fmt: skip
predictions = st.lists(
    st.builds(entity, st.sampled_from(WORDS), st.sampled_from(TYPES), st.none() | wire_boxes), max_size=8
)


@given(golds, predictions, st.floats(0.01, 1.0), st.booleans())
def test_rewards_are_in_range(annotated: list[GoldEntity], entities: list[dict], sigma: float, soft: bool):
    scores = score(answer(*entities), *annotated, text=PLAIN, sigma=sigma, soft=soft)
    assert all(value is None or 0.0 <= value <= 1.0 for value in scores.values())
    assert (scores["grounding"] is None) == (not any(e.visible for e in annotated))
    assert (scores["entailment"] is None) == (not annotated)


@given(golds, st.text() | st.text(alphabet='{}[]":,0123456789 entiyspabox').map(lambda t: '{"reasoning":"' + t))
def test_any_completion_is_judged(annotated: list[GoldEntity], completion: str):
    assert all(value is None or 0.0 <= value <= 1.0 for value in score(completion, *annotated, text=PLAIN).values())


@given(golds)
def test_gold_answer_gets_one(annotated: list[GoldEntity]):
    scores = score(answer(*map(gold_record, annotated)), *annotated, text=PLAIN)
    assert {value for value in scores.values() if value is not None} == {1.0}


@given(golds, predictions, st.randoms(use_true_random=False))
def test_rewards_do_not_depend_on_the_order_of_entities(annotated: list[GoldEntity], entities: list[dict], random: Any):
    distinct = list({e["span"]: e for e in entities}.values())
    shuffled = random.sample(distinct, len(distinct))
    assert score(answer(*distinct), *annotated, text=PLAIN) == score(answer(*shuffled), *annotated, text=PLAIN)


@given(golds, predictions, st.sampled_from(TYPES), st.none() | wire_boxes)
def test_additional_wrong_entity_raises_only_the_count_reward(
    annotated: list[GoldEntity], entities: list[dict], type_: str, box: list[int] | None
):
    text = f"{PLAIN} tonight"
    before = score(answer(*entities), *annotated, text=text)
    after = score(answer(*entities, entity("tonight", type_, box)), *annotated, text=text)
    for name in ("span", "type", "grounding", "entailment"):
        assert (after[name] or 0.0) <= (before[name] or 0.0)
    if len(entities) >= len(annotated):
        assert after["count"] <= before["count"]


@given(golds.filter(len), st.data())
def test_filling_up_the_count_never_raises_the_total(annotated: list[GoldEntity], data: Any):
    named = data.draw(st.integers(1, len(annotated)))
    right = [gold_record(e) for e in annotated[:named]]
    text = f"{PLAIN} tonight"
    before, after = (score(answer(*right, *more), *annotated, text=text) for more in ([], [entity("tonight", "OTHER")]))
    assert total(after) < total(before)


@given(golds, st.floats(0.01, 0.99))
def test_higher_sigma_never_raises_the_reward(annotated: list[GoldEntity], sigma: float):
    completion = answer(*(entity(e.span, e.type, WHOLE) for e in annotated))
    low, high = (score(completion, *annotated, text=PLAIN, sigma=s)["grounding"] for s in (sigma, 1.0))
    assert (low is None and high is None) or high <= low


def test_rewards_are_functions_of_the_judgement():
    columns = reward_columns(Post("p", TEXT, entities=(gold(ADA, LEFT), gold(CITY))), FRAME)
    judged = judge(answer(entity("Ada Okoro", "LOC", LEFT)), TEXT, columns["gold"], SIZE, None)
    assert judged == Judgement(1, (Finding(True, True, False, True, 1.0), Finding(False)))
    assert judge("", TEXT, columns["gold"], SIZE, None) is None
