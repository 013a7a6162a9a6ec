"""Training of the decoder: losses over the assistant's tokens, the identity of names, and supervised attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from gmner.programs.seams.transformers_seams import with_encoded_images
from gmner.recipes.embedded.encoding import IGNORED
from gmner.recipes.embedded.model import coordinate_ids
from gmner.recipes.embedded.vision import name_rows, soft_coordinate_loss
from gmner.signatures.labels import COARSE

GAZE_LAYERS, GAZE_HEADS, GAZE_WEIGHT = (2, 3), 2, 1.0
"""Decoder layers with supervised attention, number of supervised heads in each, and weight of this loss."""

IDENTITY_LAYERS, IDENTITY_WEIGHT = 2, 0.3
"""After this many layers, the last token of a name, alias or handle predicts its entity; weight of this loss."""

TYPE_LAYERS, TYPE_WEIGHT = 3, 0.3
"""After this many layers, the token `CONTEXT` after a mention predicts its type; weight of this loss."""

DECISIONS = ('{"box":[', '{"box":null}', '","visible":true}', '","visible":false}', *COARSE)
"""The tokens that decide whether something is shown, and those of the types."""


class AnswerTeacher(nn.Module):
    """The model's body and its tied head, with a loss that grows with the distance of a coordinate from its target."""

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
        self.to_type = nn.Linear(table.shape[1], len(tuple(COARSE)))
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
        **targets: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Mean loss per learned token, and its parts.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) int64.
            labels: (B, T) int64, `IGNORED` for tokens without a loss.
            features: (B, patches, width) float, the vision tower's output, or None.
            targets: What else is learned, each of them optional.
                named: (N, 3) int64, row, position and index into `NAMES` of each name.
                typed: (N, 3) int64, row, position and index into `COARSE` of each mention.
                gaze_from: (N, 3) int64, row, index into `GAZE_LAYERS` and position of each gaze.
                gaze_to: (N, T) bool, the positions that each gaze should attend to.

        Returns:
            `loss` and its parts: words, decisions, coordinates, identity of names, types of mentions, gazes.
        """
        seen = {} if features is None else with_encoded_images({}, self.body.connector(features).flatten(0, 1))
        output = self.body(
            input_ids=input_ids,
            attention_mask=attention_mask,
            **seen,
            use_cache=False,
            output_attentions="gaze_from" in targets,
            output_hidden_states=True,
        )
        loss, parts = self._spoken(output.last_hidden_state, labels)
        if "named" in targets:
            row, at, whose = targets["named"].T
            scores = self.to_name(output.hidden_states[IDENTITY_LAYERS][row, at]) @ self.name_rows.T
            parts["identity_loss"] = nn.functional.cross_entropy(scores.float(), whose)
            loss = loss + IDENTITY_WEIGHT * parts["identity_loss"]
        if "typed" in targets:
            row, at, type_ = targets["typed"].T
            scores = self.to_type(output.hidden_states[TYPE_LAYERS][row, at])
            parts["type_loss"] = nn.functional.cross_entropy(scores.float(), type_)
            loss = loss + TYPE_WEIGHT * parts["type_loss"]
        if "gaze_from" in targets:
            attention = [output.attentions[layer] for layer in GAZE_LAYERS]
            parts["gaze_loss"] = gaze_loss(attention, targets["gaze_from"], targets["gaze_to"])
            loss = loss + GAZE_WEIGHT * parts["gaze_loss"]
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}

    def _spoken(self, hidden: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean loss per assistant token: soft targets for coordinates, weighted decisions."""
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
    """Negative log of the share of attention that falls on its targets.

    Args:
        attention: (B, heads, T, T) attention weights of each of the `GAZE_LAYERS`.
        gaze_from: (N, 3) int64, row, index into `GAZE_LAYERS` and position.
        gaze_to: (N, T) bool.

    Returns:
        The mean over gazes and heads, summed over layers.
    """
    total = attention[0].new_zeros((), dtype=torch.float32)
    for place, weights in enumerate(attention):
        here = gaze_from[:, 1] == place
        if here.any():
            row, _, at = gaze_from[here].T
            inside = (weights[row, :GAZE_HEADS, at].float() * gaze_to[here][:, None].float()).sum(-1)
            total = total - (inside + 1e-4).log().mean()
    return total
