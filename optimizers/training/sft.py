"""TRL's SFTTrainer, which computes a prompt with several answers once."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset, Image, List
from torch.utils.data import Sampler
from trl import SFTTrainer

from gmner.optimizers.training.shared_prompts import SharedPrompts, shares_prompts


class SharingSFTTrainer(SFTTrainer):
    """TRL's SFTTrainer in whose batches the rows of a prompt are neighbours and share it.

    Loss and gradients are those of the rows one by one. Models whose rows cannot share a prompt (see `shares_prompts`)
    and losses that need all logits are trained as TRL does it, on the same batches; rows that all have different
    prompts also in its order.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        groups = prompt_groups(kwargs["train_dataset"])
        super().__init__(*args, **kwargs)
        several = len(set(groups)) < len(groups)
        self._order = PromptSampler(groups, self.args.seed) if several else None
        usual = self.compute_loss_func is None and self.label_smoother is None and not self.aux_loss_enabled
        self._shares = several and usual and shares_prompts(self.accelerator.unwrap_model(self.model))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return super()._get_train_sampler(train_dataset) if self._order is None else self._order

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL's loss, of the model that shares prompts."""
        bare = self.accelerator.unwrap_model(model)
        if self._shares:
            model = SharedPrompts(model, bare, by_row=False)
        return super().compute_loss(model, inputs, *args, **kwargs)


class PromptSampler(Sampler[int]):
    """Rows in an order that follows from the seed and the epoch; the rows of a prompt are neighbours.

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
        """Choose the order of an epoch; the trainer calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The rows of an epoch."""
        order = list(self._rows)
        random.Random(f"rows-{self._seed}-{self._epoch}").shuffle(order)
        return (row for group in order for row in self._rows[group])

    def __len__(self) -> int:
        """Number of rows."""
        return self._length


def prompt_groups(rows: Dataset) -> list[int]:
    """For each row of `prompt` and `images` the number of its prompt; equal ones have the same number."""
    if "images" in rows.column_names:
        rows = rows.cast_column("images", List(Image(decode=False)))
    numbers: dict[str, int] = {}
    groups = []
    for row in rows.select_columns([name for name in ("prompt", "images") if name in rows.column_names]):
        pictures = [hashlib.sha256(image["bytes"]).hexdigest() for image in row.get("images") or ()]
        groups.append(numbers.setdefault(json.dumps([row["prompt"], pictures]), len(numbers)))
    return groups
