"""Dynamic sampling: groups whose answers all earn the same are replaced by other prompts while CVO trains.

Source: DAPO (Yu et al., 2025), section 3.2. DAPO draws whole batches until enough groups differ; here the groups that
do not are drawn again in their places, which keeps those that do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

_EQUAL = 1e-6

Row = dict[str, Any]


class Rollouts(NamedTuple):
    """What `GRPOTrainer._generate` returns, and what its rewards made of it: an element a row, or None for no row."""

    prompt_ids: list[Any]
    completion_ids: list[Any]
    tool_mask: list[Any] | None
    completions: list[Any]
    logprobs: list[Any] | None
    extra_fields: dict[str, Any]
    images: list[Any] | None
    tool_images: list[Any]
    rewards: list[Any]
    logged: list[Any]

    def with_rows(self, places: Sequence[int], other: Rollouts, sources: Sequence[int]) -> Rollouts:
        """These with the rows `sources` of `other` at `places`."""

        def merged(old: list[Any] | None, new: list[Any] | None) -> list[Any] | None:
            if old is None and new is None:
                return None
            kept = list(old) if old is not None else [[]] * len(self.prompt_ids)
            for source, place in zip(sources, places, strict=True):
                kept[place] = [] if new is None else new[source]
            return kept

        names = [name for name in self._fields if name not in ("extra_fields", "tool_images")]
        changed: dict[str, Any] = {name: merged(getattr(self, name), getattr(other, name)) for name in names}
        if not any(changed["images"] or ()):
            changed["images"] = None
        return self._replace(**changed)


@dataclass(frozen=True)
class GroupSampling:
    """How groups without a difference are replaced.

    Args:
        rows: The training rows, by index.
        generations: Answers a group.
        redraws: Most times that groups of one step are drawn again.
        seed: Seed of the order in which prompts are drawn.
        process: This process's number.
        processes: Number of processes; each holds an equal share of the batch, in order.
        gather: Lists of all processes, joined in their order.
        whole: Whether only whole batches can be answered, as by vLLM's server: it takes every group of all processes to
            be complete. What comes of rows that are not replaced is then dropped.
    """

    rows: Any
    generations: int
    redraws: int
    seed: int
    process: int = 0
    processes: int = 1
    gather: Callable[[list[Any]], list[Any]] = list
    whole: bool = False

    def draw(
        self, inputs: list[Row], step: int, sample: Callable[[list[Row]], tuple[Rollouts, torch.Tensor]]
    ) -> tuple[list[Row], Rollouts, int, int]:
        """Rows whose groups differ in what they earn, as many as there were.

        Args:
            inputs: This process's rows; the rows of a group are neighbours.
            step: Optimizer step, from which the order of further prompts follows.
            sample: Answers rows, and gives the rollouts and what each row of all processes earned; NaN: nothing.

        Returns:
            The rows, their rollouts, how many of the groups differ, and how many were drawn (all processes).
        """
        inputs = list(inputs)
        rollouts, earned = sample(inputs)
        groups = earned.view(-1, self.generations).clone()
        fresh = self._further(inputs, step)
        drawn = len(groups)
        for _ in range(self.redraws):
            equal = [place for place, group in enumerate(groups) if not differs(group)]
            new = dict(zip(equal, fresh, strict=False))  # fewer where the rows are used up
            if not new:
                break
            drawn += len(new)
            places = [self._places(new, len(inputs), process) for process in range(self.processes)]
            asked = self._asked(places, len(inputs))
            mine = places[self.process]
            for place in mine:
                inputs[place] = self.rows[new[(self.process * len(inputs) + place) // self.generations]]
            found, earned = sample([inputs[place] for place in asked[self.process]])
            rollouts = rollouts.with_rows(mine, found, [asked[self.process].index(place) for place in mine])
            for process, own in enumerate(places):
                for place in own:
                    group, member = divmod(process * len(inputs) + place, self.generations)
                    groups[group, member] = earned[process * len(asked[process]) + asked[process].index(place)]
        return inputs, rollouts, sum(differs(group) for group in groups), drawn

    def _further(self, inputs: Sequence[Row], step: int) -> Any:
        """Indices of rows that are not in the batch, each once, in an order that all processes share."""
        used = set(self.gather([_key(row) for row in inputs]))
        order = random.Random(f"{self.seed}-{step}").sample(range(len(self.rows)), len(self.rows))
        keys = self.rows.select_columns([name for name in ("post", "call") if name in self.rows.column_names])
        return (index for index in order if _key(keys[index]) not in used)

    def _places(self, groups: Mapping[int, int], rows: int, process: int) -> list[int]:
        """Places of a process's rows that belong to these groups."""
        return [place for place in range(rows) if (process * rows + place) // self.generations in groups]

    def _asked(self, places: Sequence[list[int]], rows: int) -> list[list[int]]:
        """Places of the rows that each process answers anew: its own, and others up to an equal number."""
        if self.whole:
            return [list(range(rows)) for _ in places]
        most = max(len(own) for own in places)
        return [(own + [place for place in range(rows) if place not in own])[:most] for own in places]


def differs(group: torch.Tensor) -> bool:
    """Whether the answers of a group earned different rewards; NaN does not count."""
    known = group[~group.isnan()]
    return bool(len(known)) and bool(known.max() - known.min() > _EQUAL)


def _key(row: Row) -> tuple[Any, Any]:
    return row.get("post"), row.get("call")
