"""Dynamic sampling: groups with equal rewards are replaced, in one process and in two."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import Dataset

from gmner.optimizers.training.group_sampling import GroupSampling, Rollouts, differs

GENERATIONS = 4


def rows_of(names: str) -> Dataset:
    return Dataset.from_list([{"post": name, "images": []} for name in names])


def answered(rows: list[dict[str, Any]]) -> Rollouts:
    """Rollouts whose text identifies their prompt."""
    names = [row["post"] for row in rows]
    return Rollouts(names, names, None, names, None, {}, None, [], names, names)


def rewards_of(rows: list[dict[str, Any]]) -> torch.Tensor:
    """Rewards that differ within the group of a post in capitals and are 1 for all others."""
    return torch.tensor([float(row["post"].isupper() and place % 2 == 0) for place, row in enumerate(rows)])


def batch(names: str) -> list[dict[str, Any]]:
    return [{"post": name, "images": []} for name in names for _ in range(GENERATIONS)]


def posts(rows: list[dict[str, Any]]) -> str:
    return "".join(row["post"] for row in rows[::GENERATIONS])


def sample(rows: list[dict[str, Any]]) -> tuple[Rollouts, torch.Tensor]:
    return answered(rows), rewards_of(rows)


def test_only_groups_with_equal_rewards_are_replaced():
    sampling = GroupSampling(rows_of("aAbBCD"), GENERATIONS, redraws=3, seed=0)
    rows, rollouts, used, drawn = sampling.draw(batch("aAb"), 0, sample)
    assert posts(rows)[1] == "A"
    assert set(posts(rows)) <= set("ABCD")
    assert used == 3
    assert drawn == 5
    assert rollouts.completions == [row["post"] for row in rows]


def test_prompts_are_drawn_once_per_step_and_rounds_are_limited():
    asked: list[str] = []

    def counted(rows: list[dict[str, Any]]) -> tuple[Rollouts, torch.Tensor]:
        asked.append(posts(rows))
        return sample(rows)

    rows, _, used, drawn = GroupSampling(rows_of("abcdefgh"), GENERATIONS, 2, seed=0).draw(batch("ab"), 0, counted)
    assert len(asked) == 3
    assert sorted("".join(asked)) == sorted(set("".join(asked)))
    assert (used, drawn) == (0, 6)
    assert posts(rows) == asked[-1]


def test_group_stays_if_no_prompt_is_left():
    rows, _, used, drawn = GroupSampling(rows_of("aB"), GENERATIONS, 5, seed=0).draw(batch("aB"), 0, sample)
    assert (posts(rows), used, drawn) == ("aB", 1, 2)


def test_order_of_prompts_depends_on_seed_and_step():
    def drawn_at(seed: int, step: int) -> str:
        sampling = GroupSampling(rows_of("abcdefghijklmnop"), GENERATIONS, 1, seed)
        return posts(sampling.draw(batch("abcd"), step, sample)[0])

    assert drawn_at(0, 5) == drawn_at(0, 5)
    assert len({drawn_at(0, 5), drawn_at(0, 6), drawn_at(1, 5)}) == 3


def test_calls_of_one_post_are_separate_prompts():
    data = Dataset.from_list([{"post": "a", "call": call, "images": []} for call in ("x", "y")])
    rows = [{"post": "a", "call": "x", "images": []}] * GENERATIONS
    found, *_ = GroupSampling(data, GENERATIONS, 1, seed=0).draw(rows, 0, sample)
    assert {row["call"] for row in found} == {"y"}


@pytest.mark.parametrize("names", ["aBcD", "ABcd", "abcd", "ABCD", "abCD"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("generations", [4, 8])
def test_two_processes_draw_the_same_prompts_as_one(names: str, generations: int, whole: bool):
    """With eight answers, a group of this batch spans both processes."""
    data, full = (
        rows_of("abcdefABCDEF"),
        [{"post": n, "images": []} for n in names[: 16 // generations] for _ in range(generations)],
    )
    half = len(full) // 2

    def earned(rows: list[dict[str, Any]]) -> torch.Tensor:
        return torch.tensor([float(row["post"].isupper() and place % 2 == 0) for place, row in enumerate(rows)])

    alone, *counts = GroupSampling(data, generations, 2, seed=3).draw(
        full, 7, lambda rows: (answered(rows), earned(rows))
    )
    gather = _gatherer(2)
    found: dict[int, Any] = {}

    def work(process: int) -> None:
        def draw(rows: list[dict[str, Any]]) -> tuple[Rollouts, torch.Tensor]:
            return answered(rows), torch.tensor(gather(process, earned(rows).tolist()))

        sampling = GroupSampling(data, generations, 2, 3, process, 2, lambda mine: gather(process, mine), whole)
        found[process] = sampling.draw(full[process * half : (process + 1) * half], 7, draw)

    threads = [threading.Thread(target=work, args=(process,)) for process in (0, 1)]
    [thread.start() for thread in threads]
    [thread.join(10) for thread in threads]
    assert [row["post"] for row in found[0][0] + found[1][0]] == [row["post"] for row in alone]
    assert [list(found[n][2:]) for n in (0, 1)] == [counts[1:], counts[1:]]
    for rows, rollouts, *_ in found.values():
        assert rollouts.completions == [row["post"] for row in rows]


def _gatherer(processes: int) -> Callable[[int, list[Any]], list[Any]]:
    """Gathers lists from threads that simulate processes."""
    barrier, parts = threading.Barrier(processes, timeout=10), dict[int, list[Any]]()

    def gather(process: int, mine: list[Any]) -> list[Any]:
        parts[process] = mine
        barrier.wait()
        joined = [value for number in range(processes) for value in parts[number]]
        barrier.wait()
        return joined

    return gather


def test_images_belong_to_their_rows():
    old = Rollouts(["p"] * 2, ["c"] * 2, None, ["t"] * 2, None, {}, None, [], [1, 1], [{}, {}])
    new = Rollouts(["q"], ["d"], None, ["u"], None, {}, [["picture"]], [], [2], [{"said": 1}])
    merged = old.with_rows([1], new, [0])
    assert merged.images == [[], ["picture"]]
    assert (merged.rewards, merged.logged) == ([1, 2], [{}, {"said": 1}])
    assert merged.with_rows([1], Rollouts(["p"], ["c"], None, ["t"], None, {}, None, [], [1], [{}]), [0]).images is None


def test_answers_without_applicable_rewards_are_equal():
    nan = float("nan")
    assert not differs(torch.tensor([nan, nan]))
    assert not differs(torch.tensor([1.0, nan]))
    assert differs(torch.tensor([1.0, nan, 0.5]))
