"""`SharingSFTTrainer`: TRL's SFTTrainer, which computes a prompt with several answers once."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset, Image, List
from torch.utils.data import Sampler

from gmner.optimizers.training.shared_prompts import SharedPrompts, shares_prompts
from gmner.optimizers.training.trl_seams import OpenSFTTrainer, scoring_labels_only


class SharingSFTTrainer(OpenSFTTrainer):
    """TRL's SFTTrainer, which puts the rows of a prompt next to each other and computes the prompt once.

    Loss and gradients equal those of separate rows. If the model cannot share prompts (see `shares_prompts`) or the
    loss needs all logits, the same batches are computed as in TRL. If all prompts differ, TRL's order is kept too. On a
    CPU, logits are computed only for the tokens of answers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        groups = prompt_groups(kwargs["train_dataset"])
        super().__init__(*args, **kwargs)
        several = len(set(groups)) < len(groups)
        self._order = PromptSampler(groups, self.args.seed) if several else None
        self._shares = several and self.fused_loss and shares_prompts(self.accelerator.unwrap_model(self.model))

    def train_sampler(self, dataset: Any = None) -> Any:
        """The order of the rows: those of a prompt follow one another."""
        return super().train_sampler(dataset) if self._order is None else self._order

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL's loss, computed by the model that shares prompts."""
        bare = self.accelerator.unwrap_model(model)
        if self._shares:
            model = SharedPrompts(model, bare, by_row=False)
        with scoring_labels_only():
            return super().compute_loss(model, inputs, *args, **kwargs)


class PromptSampler(Sampler[int]):
    """Shuffles prompts by seed and epoch; the rows of a prompt follow one another.

    Args:
        groups: For each row the number of its prompt.
        seed: Seed of the order.
    """

    def __init__(self, groups: Sequence[int], seed: int) -> None:
        self._rows: dict[int, list[int]] = {}
        for row, group in enumerate(groups):
            self._rows.setdefault(group, []).append(row)
        self._length, self._seed, self._epoch = len(groups), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; called by the trainer."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The indices of the rows in the order of the epoch."""
        order = list(self._rows)
        random.Random(f"rows-{self._seed}-{self._epoch}").shuffle(order)
        return (row for group in order for row in self._rows[group])

    def __len__(self) -> int:
        """Number of rows."""
        return self._length


def prompt_groups(rows: Dataset) -> list[int]:
    """The number of each row's prompt (columns `prompt` and `images`); equal prompts have the same number."""
    if "images" in rows.column_names:
        rows = rows.cast_column("images", List(Image(decode=False)))
    numbers: dict[str, int] = {}
    groups = []
    for row in rows.select_columns([name for name in ("prompt", "images") if name in rows.column_names]):
        images = [hashlib.sha256(image["bytes"]).hexdigest() for image in row.get("images") or ()]
        groups.append(numbers.setdefault(json.dumps([row["prompt"], images]), len(numbers)))
    return groups
