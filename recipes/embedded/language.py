"""The decoder's stages: the loss over the assistant's words, over whose names are, and over where to look."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from gmner.programs.seams.transformers_seams import with_encoded_images
from gmner.recipes.embedded.dialogues import IGNORED
from gmner.recipes.embedded.model import coordinate_ids
from gmner.recipes.embedded.vision import name_rows, soft_coordinate_loss

GAZE_LAYERS, GAZE_HEADS, GAZE_WEIGHT = (2, 3), 2, 1.0
"""Decoder layers whose first heads are shown where to look: a name at its thing; then a coordinate at its name, and a
copied token at its place in the post."""

IDENTITY_LAYERS, IDENTITY_WEIGHT = 2, 0.3
"""After so many layers the last token of a name, alias or handle knows whose it is: as much as looking it up needs."""

DECISIONS = ('{"box":[', '{"box":null}', '","visible":true}', '","visible":false}')
"""The tokens in which the answer to "is it there" lies."""


class AnswerTeacher(nn.Module):
    """The model's body and its tied head, with a loss that counts a near miss of a coordinate less than a far one."""

    coordinates: torch.Tensor
    place: torch.Tensor
    weight: torch.Tensor
    name_rows: torch.Tensor

    def __init__(
        self,
        model: Idefics3ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        decision_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.body = model.model
        table = model.get_input_embeddings().weight.detach()
        self.to_name = nn.Linear(table.shape[1], table.shape[1])
        self.register_buffer("name_rows", name_rows(table, tokenizer))
        self.register_buffer("coordinates", torch.tensor(coordinate_ids(tokenizer)), persistent=False)
        place = torch.full((len(tokenizer),), -1)
        place[self.coordinates] = torch.arange(len(self.coordinates))
        self.register_buffer("place", place, persistent=False)
        weight = torch.ones(len(tokenizer))
        weight[tokenizer.convert_tokens_to_ids(list(DECISIONS))] = decision_weight
        self.register_buffer("weight", weight, persistent=False)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        features: torch.Tensor | None = None,
        named: torch.Tensor | None = None,
        gaze_from: torch.Tensor | None = None,
        gaze_to: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Mean loss a learned token, and what it consists of.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) int64.
            labels: (B, T) int64, `IGNORED` where nothing is learned.
            features: (B, patches, width) float, the vision tower's output, or None.
            named: (N, 3) int64, row, position and index in `NAMES` of every name, or None.
            gaze_from: (N, 3) int64, row, place in `GAZE_LAYERS` and position of each gaze, or None.
            gaze_to: (N, T) bool, where each gaze should fall, or None.

        Returns:
            `loss`, and its parts: of words, decisions and coordinates, of whose names are, and of gazes.
        """
        seen = {} if features is None else with_encoded_images({}, self.body.connector(features).flatten(0, 1))
        output = self.body(
            input_ids=input_ids,
            attention_mask=attention_mask,
            **seen,
            use_cache=False,
            output_attentions=gaze_from is not None,
            output_hidden_states=True,
        )
        loss, parts = self._spoken(output.last_hidden_state, labels)
        if named is not None:
            row, at, whose = named.T
            scores = self.to_name(output.hidden_states[IDENTITY_LAYERS][row, at]) @ self.name_rows.T
            parts["identity_loss"] = nn.functional.cross_entropy(scores.float(), whose)
            loss = loss + IDENTITY_WEIGHT * parts["identity_loss"]
        if gaze_from is not None and gaze_to is not None:
            parts["gaze_loss"] = gaze_loss([output.attentions[layer] for layer in GAZE_LAYERS], gaze_from, gaze_to)
            loss = loss + GAZE_WEIGHT * parts["gaze_loss"]
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}

    def _spoken(self, hidden: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean loss of what is said, a token; coordinates softly, decisions with their weight."""
        learned = labels[:, 1:] != IGNORED
        target = labels[:, 1:][learned]
        logits = (hidden[:, :-1][learned] @ self.body.get_input_embeddings().weight.T).float()
        number = self.place[target] >= 0
        losses = nn.functional.cross_entropy(logits[~number], target[~number], reduction="none")
        total, boxes = (losses * self.weight[target[~number]]).sum(), losses.new_zeros(())
        if number.any():
            inside = logits[number]
            among = inside[:, self.coordinates]
            leak = inside.logsumexp(-1) - among.logsumexp(-1)
            boxes = soft_coordinate_loss(among, self.place[target[number]]) + leak.mean()
            total = total + boxes * number.sum()
        decided = losses[self.weight[target[~number]] != 1]
        parts = {"coordinate_loss": boxes, "word_loss": losses.mean(), "decision_loss": decided.mean()}
        return total / len(target), parts


def gaze_loss(attention: Sequence[torch.Tensor], gaze_from: torch.Tensor, gaze_to: torch.Tensor) -> torch.Tensor:
    """How much of the attention of the `GAZE_HEADS` misses what it should fall on.

    Args:
        attention: (B, heads, T, T) attention weights of each of the `GAZE_LAYERS`.
        gaze_from: (N, 3) int64, row, place in `GAZE_LAYERS` and position.
        gaze_to: (N, T) bool.

    Returns:
        Over the layers, the sum of the means of -log(attention on the right places).
    """
    total = attention[0].new_zeros((), dtype=torch.float32)
    for place, weights in enumerate(attention):
        here = gaze_from[:, 1] == place
        if here.any():
            row, _, at = gaze_from[here].T
            inside = (weights[row, :GAZE_HEADS, at].float() * gaze_to[here][:, None].float()).sum(-1)
            total = total - (inside + 1e-4).log().mean()
    return total
