"""The search for demonstrations: its budget, its choice, its record, and failures."""

import itertools
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dspy import lm15
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scripted import entity, scripted_lm, words_of

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.optimizers.chains import demonstration_search
from gmner.optimizers.chains.demonstration_search import plan_rounds
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.programs.gmner import GMNER
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError, RunDirectoryError
from gmner.signatures.mentions import GoldEntity

Answer = Callable[[lm15.Request], Any]

WRONG = {"reasoning": "", "entities": []}
RIGHT = {"reasoning": "", "entities": [entity("Ana")]}


def absent(name: str) -> Post:
    return Post(name, f"Ana met {name}", None, (GoldEntity("Ana", 0, 3, "PER"),))


def shown(name: str) -> Post:
    gold = GoldEntity("Ana", 0, 3, "PER", (Box(1, 1, 5, 5),))
    return Post(name, f"Ana saw {name}", Image.new("RGB", (20, 10)), (gold,))


TRAIN = [absent(f"a{n}") for n in range(8)] + [shown(f"s{n}") for n in range(8)]
VAL = [absent(f"v{n}") for n in range(20)]


def shots(request: lm15.Request) -> str:
    """The texts of the demonstrations in a request."""
    parts = [part.text for m in request.messages[:-1] for part in m.parts if isinstance(part, lm15.TextPart)]
    return "\n".join(parts)


class Counted:
    """A metric that counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self._metric = 0, demonstration_search.gmner_metric
        monkeypatch.setattr(demonstration_search, "gmner_metric", self)

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self._metric(*args)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def compile_with(answer: Answer, run_dir: Path, budget: int | None = 200, **change: Any) -> tuple[GMNER, Any]:
    """Compile with a served LM; returns the program after MRSI and the LM's engine."""
    options: dict[str, Any] = {"trainset": TRAIN, "valset": VAL, **change}
    lm = scripted_lm(answer, name="served")
    mrsi = MRSI(demonstrations=Demonstrations(count=2, max_metric_calls=budget, sets=4))
    better = GMNER(lm).compile(**options, optimizer=MCR(mrsi=mrsi, progress=False), run_dir=run_dir)
    return better.history.programs["mrsi"], lm.engine


def record_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "demonstrations.json").read_text())


@given(st.integers(2, 20), st.integers(1, 60), st.integers(0, 500))
def test_rounds_halve_within_the_budget(sets: int, posts: int, budget: int):
    plan = plan_rounds(sets, posts, budget)
    assert sum(n * more for n, more in plan) <= budget
    assert sum(more for _, more in plan) <= posts
    assert bool(plan) == (budget >= 2)
    for (n, more), (following, _) in itertools.pairwise(plan):
        assert following == (n + 1) // 2
        assert more >= 1
    if plan:
        assert 2 <= plan[0][0] <= sets
        assert plan[-1][0] == 2 or sum(more for _, more in plan) == posts  # one set is left, or all posts are scored
        assert plan[0] == (2, min(posts, budget // 2)) or plan[0][1] >= min(8, posts)
    if budget >= sets * posts:
        assert plan == [(sets, posts)]


@pytest.mark.parametrize("budget", [0, 1, 2, 3, 17, 40, 95, 200])
def test_number_of_metric_calls_is_limited(budget: int, tmp_path: Path, counted: Counted):
    _, engine = compile_with(lambda request: RIGHT if "s1" in shots(request) else WRONG, tmp_path, budget)
    record = record_of(tmp_path)
    assert counted.calls == record["calls"] == sum(item["calls"] for item in record["sets"]) <= budget
    assert len(engine.requests) == counted.calls + 2 * len(VAL)  # plus the scores before and after
    if budget >= 2:
        assert counted.calls >= min(budget // 2, len(VAL) * len(record["sets"]))


def test_helpful_set_is_chosen_and_recorded(tmp_path: Path):
    first: dict[str, Any] = {}

    def answer(request: lm15.Request) -> Any:
        return RIGHT if first and first["key"] in shots(request) else WRONG

    compile_with(answer, tmp_path / "one")  # no set helps yet; the same seed gives the same sets
    drawn = record_of(tmp_path / "one")["sets"]
    assert [item["kind"] for item in drawn] == ["none", "greedy", *["random"] * 4]
    greedy = {f"{id_}" for id_ in drawn[1]["ids"]}
    goal = next(n for n, item in enumerate(drawn) if n > 1 and set(item["ids"]) - greedy)
    first["key"] = next(post.text for post in TRAIN if post.id in set(drawn[goal]["ids"]) - greedy)
    program, _ = compile_with(answer, tmp_path / "two")
    record = record_of(tmp_path / "two")
    chosen = record["sets"][record["chosen"]]
    assert (chosen["score"], chosen["kind"], len(chosen["styles"])) == (1.0, "random", 2)
    assert [demo["post_id"] for demo in program.answer.demos] == chosen["ids"]
    assert first["key"] in [demo["text"] for demo in program.answer.demos]
    assert record["sets"][0]["score"] == record["sets"][1]["score"] == 0.0
    assert all(set(item) == {"kind", "ids", "styles", "score", "calls", "errors"} for item in record["sets"])


@pytest.mark.parametrize("answer", [RIGHT, WRONG])
def test_ties_go_to_fewer_demonstrations(answer: Any, tmp_path: Path):
    program, _ = compile_with(lambda _: answer, tmp_path)
    assert program.answer.demos == []
    assert record_of(tmp_path)["chosen"] == 0


def test_ties_go_to_the_greedy_set(tmp_path: Path):
    program, _ = compile_with(lambda request: RIGHT if shots(request) else WRONG, tmp_path)
    assert record_of(tmp_path)["chosen"] == 1
    assert len(program.answer.demos) == 2


@pytest.mark.parametrize("change", [{"budget": None}, {"valset": None}, {"budget": 0}, {"budget": 1}])
def test_greedy_set_without_valset_or_budget(change: dict[str, Any], tmp_path: Path, counted: Counted):
    program, engine = compile_with(lambda _: WRONG, tmp_path, **change)
    record = record_of(tmp_path)
    assert (record["sets"][record["chosen"]]["kind"], record["calls"], counted.calls) == ("greedy", 0, 0)
    assert record["sets"][record["chosen"]]["score"] is None
    assert len(program.answer.demos) == 2
    assert len(engine.requests) == (0 if "valset" in change else 2 * len(VAL))


def test_no_calls_without_a_choice(tmp_path: Path, counted: Counted):
    lm = scripted_lm(WRONG)
    optimizer = MCR(mrsi=MRSI(demonstrations=Demonstrations(count=0, max_metric_calls=100)), progress=False)
    better = GMNER(lm).compile(trainset=TRAIN, valset=VAL, optimizer=optimizer, run_dir=tmp_path)
    assert (counted.calls, better.history.programs["mrsi"].answer.demos) == (0, [])


def test_resumed_compile_does_not_search_again(tmp_path: Path, counted: Counted):
    def answer(request: lm15.Request) -> Any:
        return RIGHT if "saw" in shots(request) else WRONG

    program, _ = compile_with(answer, tmp_path)
    before, spent = (tmp_path / "demonstrations.json").read_bytes(), counted.calls
    assert spent > 0
    again, engine = compile_with(lambda _: WRONG, tmp_path)  # another search would choose no demonstrations
    assert (tmp_path / "demonstrations.json").read_bytes() == before
    assert counted.calls == spent
    assert len(engine.requests) == 2 * len(VAL)
    assert again.answer.demos == program.answer.demos != []


def test_resumed_search_gives_the_same_choice(tmp_path: Path):
    def answer(request: lm15.Request) -> Any:
        return RIGHT if "s3" in shots(request) or "a2" in shots(request) else WRONG

    def killed(request: lm15.Request) -> Any:
        if "v7" in words_of(request):
            raise KeyboardInterrupt
        return answer(request)

    with pytest.raises(KeyboardInterrupt):
        compile_with(killed, tmp_path / "cut")
    assert not (tmp_path / "cut" / "demonstrations.json").exists()
    compile_with(answer, tmp_path / "cut")
    compile_with(answer, tmp_path / "whole")
    assert record_of(tmp_path / "cut") == record_of(tmp_path / "whole")


def test_record_of_other_chains_is_refused(tmp_path: Path):
    compile_with(lambda request: RIGHT if shots(request) else WRONG, tmp_path)
    record = record_of(tmp_path)
    record["sets"][record["chosen"]]["ids"][0] = "nobody"
    (tmp_path / "demonstrations.json").write_text(json.dumps(record))
    with pytest.raises(
        RunDirectoryError, match=r"demonstrations\.json .* does not belong to its chains.*Delete the file"
    ):
        compile_with(lambda _: WRONG, tmp_path)


def test_failing_posts_score_zero_and_do_not_stop_the_search(tmp_path: Path):
    """A prompt that is too long, an invalid answer, and a missing image."""

    def answer(request: lm15.Request) -> Any:
        if "saw" in shots(request):
            raise lm15.ContextLengthError("too long")
        return "no JSON" if "v3" in words_of(request) else RIGHT

    train = [post for post in TRAIN if "saw" in post.text]
    empty = Post("gone", "nothing here", tmp_path / "gone.png", ())  # a failed post must not count as correct
    compiled: dict[str, Any] = {"trainset": train, "valset": [*VAL, empty]}
    program, _ = compile_with(answer, tmp_path / "two", **compiled)
    record = record_of(tmp_path / "two")
    none, *others = record["sets"]
    assert (record["chosen"], program.answer.demos) == (0, [])
    assert none["errors"] == 2
    assert none["score"] == pytest.approx((none["calls"] - 2) / none["calls"])
    assert others
    assert all((item["score"], item["errors"]) == (0.0, item["calls"]) for item in others)


@pytest.mark.parametrize("error", [lm15.BillingError("unpaid"), lm15.AuthError("who are you?"), ValueError("a defect")])
def test_unavailable_server_stops_the_search(error: Exception, tmp_path: Path):
    def answer(_: lm15.Request) -> Any:
        raise error

    with pytest.raises(Exception, match=re.escape(str(error))):
        compile_with(answer, tmp_path)
    assert not (tmp_path / "demonstrations.json").exists()


def test_unannotated_valset_is_refused_before_any_call(tmp_path: Path):
    bare = Post("bare", "Ana met Bo")
    lm = scripted_lm(WRONG)
    optimizer = MCR(mrsi=MRSI(demonstrations=Demonstrations(max_metric_calls=50)), progress=False)
    with pytest.raises(InputError, match="of the validation set are not annotated"):
        GMNER(lm).compile(trainset=TRAIN, valset=[*VAL, bare], optimizer=optimizer, run_dir=tmp_path)
    assert lm.engine.requests == []


def test_posts_without_regions_are_scored_by_mner(tmp_path: Path):
    def answer(request: lm15.Request) -> Any:
        return {"reasoning": "", "entities": [entity("Ana", [0, 0, 9, 9])]} if "saw" in shots(request) else WRONG

    gold = (GoldEntity("Ana", 0, 3, "PER"),)
    val = [Post(f"v{n}", f"Ana met {n}", Image.new("RGB", (9, 9)), gold, grounded=False) for n in range(10)]
    compile_with(answer, tmp_path, valset=val)
    record = record_of(tmp_path)
    assert record["sets"][record["chosen"]]["score"] == 1.0


def test_result_does_not_depend_on_the_order_of_replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng, plain = random.Random(0), demonstration_search.answer_post

    def slowly(program: GMNER, post: Post) -> Prediction:
        time.sleep(rng.random() / 200)
        return plain(program, post)

    def answer(request: lm15.Request) -> Any:
        return RIGHT if (len(shots(request)) + len(words_of(request))) % 3 else WRONG

    compile_with(answer, tmp_path / "one", budget=60)
    monkeypatch.setattr(demonstration_search, "answer_post", slowly)
    compile_with(answer, tmp_path / "two", budget=60)
    assert record_of(tmp_path / "two") == record_of(tmp_path / "one")


@pytest.mark.slow
def test_trained_program_has_the_demonstrations_of_its_rows(
    program: Callable[[str], GMNER], posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The search uses the weights before training; its choice is part of every row and of the result."""
    told: list[int] = []

    def rows_of(self: MRSI, rows: Any, *args: Any, **options: Any) -> list[dict[str, Any]]:
        told.extend(len(row["prompt"]) for row in rows)
        return inject(self, rows, *args, **options)

    def helped(asked: GMNER, post: Post) -> float:
        return float(len(asked.answer.demos))

    inject = MRSI.inject
    monkeypatch.setattr(MRSI, "inject", rows_of)
    monkeypatch.setattr(demonstration_search, "_value", helped)
    searched = Demonstrations(count=2, max_metric_calls=6)
    mrsi = MRSI(styles=["text_first", "table"], demonstrations=searched, max_steps=1, batch=2, tuning="full")
    optimizer = MCR(mrsi=mrsi, cvo=None, progress=False)
    better = program("idefics3").compile(trainset=posts[:6], valset=posts[6:8], optimizer=optimizer, run_dir=tmp_path)
    after = better.history.programs["mrsi"]
    assert [demo["post_id"] for demo in after.answer.demos] == record_of(tmp_path)["sets"][1]["ids"]
    # System, two turns per demonstration, and the post. The post of a demonstration gets only the other one.
    assert set(told) == {2 + 2 * 2, 2 + 2 * 1}
    assert sum(length == 2 + 2 * 1 for length in told) == 2 * mrsi.per_post


def race(values: list[list[float]]) -> list[float | None]:
    found = demonstration_search._Race([GMNER()] * len(values))
    found.values = values
    return [found.score(place) for place in range(len(values))]


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "scores"),
    [
        ([[0.5, 1.0], [0.0, 0.5]], [0.75, 0.25]),
        ([[NAN, 1.0], [NAN, 0.5]], [1.0, 0.5]),  # no set has a score for the first post
        ([[NAN, 1.0], [0.0, 0.5]], [None, 0.25]),
        ([[NAN, NAN], [NAN, NAN]], [None, None]),
        ([[float("inf")], [0.0]], [None, 0.0]),
        ([[0.5], [NAN, 1.0], [NAN, 0.5]], [0.5, None, None]),  # the first set was dropped before the second post
    ],
)
def test_invalid_scores(values: list[list[float]], scores: list[float | None]):
    assert race(values) == scores


def test_metric_without_numbers_chooses_no_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(demonstration_search, "gmner_metric", lambda *_: NAN)
    compile_with(lambda _: WRONG, tmp_path)
    record = json.loads((tmp_path / "demonstrations.json").read_text())
    assert record["sets"][record["chosen"]]["kind"] == "greedy"
    assert {item["score"] for item in record["sets"]} == {None}
    assert "returned NaN" in caplog.text


def test_set_without_a_score_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The metric returns no number for the first, empty set, whose answers are the only ones without reasoning."""
    monkeypatch.setattr(demonstration_search, "gmner_metric", lambda _, answer: 0.2 if answer.reasoning else NAN)
    compile_with(lambda request: {**WRONG, "reasoning": shots(request)[:9]}, tmp_path)
    record = json.loads((tmp_path / "demonstrations.json").read_text())
    assert record["sets"][0]["score"] is None
    assert record["sets"][record["chosen"]]["score"] == 0.2
