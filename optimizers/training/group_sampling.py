"""Dynamic sampling: replaces groups whose answers all have equal rewards, from which GRPO learns nothing.

Source: DAPO (Yu et al., 2025), section 3.2. DAPO samples whole batches until enough groups have different rewards. Here
only the groups with equal rewards are replaced by other prompts.
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
    """Sampled answers as TRL returns them, with their rewards: one element for each row, or None for all rows."""

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
        """Replace the rows at `places` by the rows `sources` of `other`."""

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
    """Replaces groups with equal rewards by other prompts.

    Args:
        rows: The training set.
        generations: Answers per group.
        redraws: Maximum number of times that groups are replaced in one step.
        seed: Seed of the order in which prompts are drawn.
        process: Rank of this process.
        processes: Number of processes; each holds an equal share of the batch, in order of rank.
        gather: Joins the lists of all processes, in order of rank.
        whole: Always sample a whole batch. vLLM's server needs it, because it requires the groups of all processes to
            be complete. The answers of rows that are not replaced are then dropped.
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
        """Sample answers, and replace groups with equal rewards.

        Args:
            inputs: The rows of this process; those of a group follow one another.
            step: The optimizer step, which determines the order of further prompts.
            sample: Samples an answer to each row. Returns the rollouts, and the total reward of each row of all
                processes; NaN: no reward applies.

        Returns:
            The rows (as many as given), their rollouts, the number of groups with different rewards, and the number of
            groups that were sampled (both over all processes).
        """
        inputs = list(inputs)
        rollouts, totals = sample(inputs)
        groups = totals.view(-1, self.generations).clone()
        fresh = self._further(inputs, step)
        drawn = len(groups)
        for _ in range(self.redraws):
            equal = [place for place, group in enumerate(groups) if not differs(group)]
            new = dict(zip(equal, fresh, strict=False))  # fewer than needed once the training set is used up
            if not new:
                break
            drawn += len(new)
            places = [self._places(new, len(inputs), process) for process in range(self.processes)]
            again = self._sampled_again(places, len(inputs))
            mine = places[self.process]
            for place in mine:
                inputs[place] = self.rows[new[(self.process * len(inputs) + place) // self.generations]]
            fresh_rollouts, totals = sample([inputs[place] for place in again[self.process]])
            rollouts = rollouts.with_rows(mine, fresh_rollouts, [again[self.process].index(place) for place in mine])
            for process, own in enumerate(places):
                for place in own:
                    group, member = divmod(process * len(inputs) + place, self.generations)
                    groups[group, member] = totals[process * len(again[process]) + again[process].index(place)]
        return inputs, rollouts, sum(differs(group) for group in groups), drawn

    def _further(self, inputs: Sequence[Row], step: int) -> Any:
        """Indices of the rows that are not in the batch, in the same random order on all processes."""
        used = set(self.gather([_key(row) for row in inputs]))
        order = random.Random(f"{self.seed}-{step}").sample(range(len(self.rows)), len(self.rows))
        keys = self.rows.select_columns([name for name in ("post", "call") if name in self.rows.column_names])
        return (index for index in order if _key(keys[index]) not in used)

    def _places(self, groups: Mapping[int, int], rows: int, process: int) -> list[int]:
        """Places of the rows of a process that belong to these groups."""
        return [place for place in range(rows) if (process * rows + place) // self.generations in groups]

    def _sampled_again(self, places: Sequence[list[int]], rows: int) -> list[list[int]]:
        """Places of the rows that each process samples again: those of its groups, and others up to an equal number."""
        if self.whole:
            return [list(range(rows)) for _ in places]
        most = max(len(own) for own in places)
        return [(own + [place for place in range(rows) if place not in own])[:most] for own in places]


def differs(group: torch.Tensor) -> bool:
    """Whether the rewards of a group differ, NaN left out."""
    known = group[~group.isnan()]
    return bool(len(known)) and bool(known.max() - known.min() > _EQUAL)


def _key(row: Row) -> tuple[Any, Any]:
    return row.get("post"), row.get("call")
