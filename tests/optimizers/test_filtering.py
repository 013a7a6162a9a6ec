"""The filter: posts that are always or never answered correctly are useless for GRPO."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

import dspy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scripted import entity, scripted_lm, words_of

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.optimizers.filtering import FilteredPosts, f1_metric, filter_by_outcome
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError, ModelError
from gmner.signatures.mentions import GoldEntity


def _post(text: str, *names: str) -> Post:
    gold = tuple(GoldEntity(name, text.index(name), text.index(name) + len(name), "PER") for name in names)
    return Post(text, text, None, gold)


def _answer(*names: str) -> Mapping[str, object]:
    return {"reasoning": "", "entities": [entity(name) for name in names]}


class Drawn:
    """Answers one post always correctly, one never and one sometimes, depending on the seed and temperature."""

    posts = (_post("always Ada", "Ada"), _post("never Bob", "Bob"), _post("sometimes Cyd", "Cyd"), _post("no name"))

    def __init__(self) -> None:
        self.seeds: dict[str, list[int | None]] = {}
        self._lock = threading.Lock()

    def __call__(self, request: dspy.lm15.Request) -> Mapping[str, object] | str:
        words, seed, heat = words_of(request), request.config.seed, request.config.temperature
        with self._lock:
            mine = self.seeds.setdefault(next(post.id for post in self.posts if post.text in words), [])
            mine.append(seed)
        if "always" in words:
            return _answer("Ada")
        if "sometimes" in words:
            return _answer("Cyd") if heat == 0.7 and seed is not None and len(mine) % 2 else _answer()
        return "no JSON at all" if "never" not in words else _answer()


@pytest.fixture
def drawn() -> Drawn:
    return Drawn()


def test_keeps_posts_with_mixed_outcomes(drawn: Drawn):
    found = filter_by_outcome(GMNER(scripted_lm(drawn)), Drawn.posts, answers=4, temperature=0.7)
    assert [post.text for post in found.posts] == ["sometimes Cyd"]
    assert (found.right, found.wrong) == (("always Ada",), ("never Bob", "no name"))
    assert found.scores == {
        "always Ada": (1, 1, 1, 1), "never Bob": (0, 0, 0, 0), "sometimes Cyd": (1, 0, 1, 0), "no name": (0, 0, 0, 0),
    }  # fmt: skip


def test_failed_answer_scores_zero_even_if_gold_is_empty(drawn: Drawn):
    (empty,) = [post for post in Drawn.posts if post.text == "no name"]
    assert f1_metric(empty, Prediction(empty.id, empty.text)) == 1.0
    found = filter_by_outcome(GMNER(scripted_lm(drawn)), Drawn.posts, answers=3, temperature=0.7)
    assert found.scores["no name"] == (0, 0, 0)
    assert found.failed == 3


def test_every_answer_has_its_own_seed_and_runs_are_reproducible():
    runs = []
    for seed in (5, 5, 6):
        drawn = Drawn()
        filter_by_outcome(GMNER(scripted_lm(drawn)), Drawn.posts, answers=4, temperature=0.7, seed=seed)
        runs.append(drawn.seeds)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    for seeds in runs[0].values():
        assert None not in seeds
        assert len(set(seeds)) == len(seeds) == 4


def test_program_is_not_changed(drawn: Drawn):
    program = GMNER(scripted_lm(drawn))
    program.answer.config = {"top_p": 0.9}
    lm = program.model
    before = (dict(lm.kwargs), lm.cache, lm.history, program.history)
    filter_by_outcome(program, Drawn.posts, answers=2, temperature=0.7)
    assert program.model is lm
    assert (lm.kwargs, lm.cache, lm.history, program.history) == before
    assert program.answer.config == {"top_p": 0.9}
    program.deepcopy()(text="sometimes Cyd")
    assert lm.engine.requests[-1].config.temperature == 0
    assert lm.engine.requests[-1].config.seed is None


def test_neither_reads_nor_writes_the_cache(drawn: Drawn):
    lm = scripted_lm(drawn, name="cached").copy(cache=True, temperature=0.7)
    program = GMNER(lm)
    for _ in range(2):
        filter_by_outcome(program, Drawn.posts, answers=2, temperature=0.7)
    assert len(lm.engine.requests) == 2 * 2 * len(Drawn.posts)


def test_settings_of_a_predictor_are_overridden(drawn: Drawn):
    program = GMNER(scripted_lm(drawn))
    program.answer.config = {"temperature": 0.0, "seed": 1, "top_p": 0.9}
    filter_by_outcome(program, Drawn.posts, answers=2, temperature=0.7)
    requests = program.model.engine.requests
    assert {request.config.temperature for request in requests} == {0.7}
    assert {request.config.top_p for request in requests} == {0.9}
    assert len({request.config.seed for request in requests}) == 2


def test_lm_without_seed_support(drawn: Drawn):
    lm = scripted_lm(drawn)
    lm.engine.supported_params = lm.engine.supported_params - {"seed"}
    filter_by_outcome(GMNER(lm), Drawn.posts, answers=2, temperature=0.7)
    assert {request.config.seed for request in lm.engine.requests} == {None}


def test_configured_lm_of_dspy(drawn: Drawn):
    with dspy.context(lm=scripted_lm(drawn)):
        found = filter_by_outcome(GMNER(), Drawn.posts, answers=2, temperature=0.7)
    assert [post.text for post in found.posts] == ["sometimes Cyd"]
    with pytest.raises(ModelError, match="no LM"):
        filter_by_outcome(GMNER(), Drawn.posts)


def test_every_stage_of_a_staged_program_samples():
    first = scripted_lm({"mentions": [{"span": "Ada", "type": "PER"}]})
    second = scripted_lm({"evidence": "", "visible": False}, name="b")
    program = StagedGMNER(first)
    program.verify.lm = second
    posts = [replace(_post(text, "Ada"), image=Image.new("RGB", (8, 8))) for text in ("one Ada", "two Ada")]
    assert filter_by_outcome(program, posts, answers=2, temperature=0.7).failed == 0
    for lm in (first, second):
        assert len(lm.engine.requests) == 4
        assert {request.config.temperature for request in lm.engine.requests} == {0.7}
    assert [program.extract.lm, program.verify.lm, program.ground.lm] == [first, second, first]


def test_keeps_all_posts_with_a_warning_if_none_is_useful(drawn: Drawn, caplog: pytest.LogCaptureFixture):
    posts = Drawn.posts[:2]
    with caplog.at_level(logging.WARNING):
        found = filter_by_outcome(GMNER(scripted_lm(drawn)), posts, answers=2)
    assert found.posts == posts
    assert (found.right, found.wrong) == (("always Ada",), ("never Bob",))
    assert "1 are always answered correctly and 1 never" in caplog.text


def test_any_metric(drawn: Drawn):
    def half(post: Post, answer: Prediction) -> float:
        return 0.5

    found = filter_by_outcome(GMNER(scripted_lm(drawn)), Drawn.posts[:3], answers=2, metric=half)
    assert found.posts == Drawn.posts[:3]


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_score_out_of_range_is_refused(drawn: Drawn, score: float):
    with pytest.raises(InputError, match="score of post 'always Ada'"):
        filter_by_outcome(GMNER(scripted_lm(drawn)), Drawn.posts, answers=2, metric=lambda post, answer: score)


@pytest.mark.parametrize("wrong", [{"answers": 1}, {"temperature": 0.0}, {"temperature": float("nan")}])
def test_sampling_without_variation_is_refused(drawn: Drawn, wrong: dict):
    with pytest.raises(InputError):
        filter_by_outcome(GMNER(scripted_lm(drawn)), Drawn.posts, **wrong)
    assert drawn.seeds == {}


def test_unusable_posts_are_refused(drawn: Drawn):
    program = GMNER(scripted_lm(drawn))
    for posts in ((), Drawn.posts[:1] * 2, (Post("x", "x"),)):
        with pytest.raises(InputError):
            filter_by_outcome(program, posts)


SCORES = st.lists(st.lists(st.sampled_from((0.0, 0.5, 1.0)), min_size=3, max_size=3), min_size=1, max_size=6)


@given(SCORES)
def test_sorted_by_score_and_json_round_trip(table: list[list[float]]):
    posts = tuple(_post(f"post {number}") for number in range(len(table)))
    left = {post.id: list(row) for post, row in zip(posts, table, strict=True)}
    program = GMNER(scripted_lm(_answer()))
    found = filter_by_outcome(
        program, posts, answers=3, metric=lambda post, _: left[post.id].pop(0), threads=1, progress=False
    )
    kept = [post for post, row in zip(posts, table, strict=True) if set(row) not in ({0.0}, {1.0})]
    assert list(found.posts) == (kept or list(posts))
    assert [found.scores[post.id] for post in posts] == [tuple(row) for row in table]
    assert not {*found.right} & {*found.wrong}
    record = json.loads(json.dumps(found.to_record()))
    assert FilteredPosts.from_record(record, posts[::-1]) == found


@pytest.mark.parametrize(("kept", "prompts", "said"), [(2, 17, True), (2, 16, False), (4, 400, False)])
def test_few_posts_for_many_prompts_cause_a_warning(kept, prompts, said, caplog: pytest.LogCaptureFixture):
    posts = tuple(_post(f"post {number}") for number in range(4))
    right = tuple(post.id for post in posts[kept:])
    FilteredPosts(posts[:kept], right, (), {post.id: (1.0, 0.5, 1.0) for post in posts}).warn_if_few(prompts)
    assert (
        "Only 2 of 4 posts have mixed results over 3 answers each, and CVO would use each of them 8" in caplog.text
    ) == said


def test_record_of_other_posts_is_refused(drawn: Drawn):
    record = filter_by_outcome(GMNER(scripted_lm(drawn)), Drawn.posts, answers=2).to_record()
    with pytest.raises(InputError, match="other posts"):
        FilteredPosts.from_record(record, Drawn.posts[:3])
    with pytest.raises(InputError, match="other posts"):
        FilteredPosts.from_record(record, (*Drawn.posts, _post("one more")))


@pytest.mark.slow
def test_on_a_checkpoint(program: Callable[[str], GMNER], posts: list[Post]):
    student = program("idefics3")
    greedy = [answer.to_record() for answer in student.batch_posts(posts[:2], progress=False)]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    answers: list[list[str]] = [[], []]

    def keep(into: list[str]) -> Callable[[Post, Prediction], float]:
        return lambda post, answer: float(into.append(f"{post.id} {answer.to_record()}") or 0.0)

    for into in answers:
        found = filter_by_outcome(student, posts[:2], answers=3, metric=keep(into), progress=False)
        assert found.failed == 0
    assert answers[0] == answers[1]
    assert len(set(answers[0])) > 2  # a random model at temperature 1 does not repeat itself
    assert torch.equal(torch.get_rng_state(), state)
    assert [answer.to_record() for answer in student.deepcopy().batch_posts(posts[:2], progress=False)] == greedy
