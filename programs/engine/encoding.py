"""`ChatEncoder`: encodes chats as token ids, with model markers inside a post encoded as plain text.

A post may contain `<image>` or `<|im_start|>`. A tokenizer would encode them as control tokens: a forged turn, or an
image that does not exist. transformers can encode such strings as text (`sanitize_control_tokens`), but only for
processors without their own `__call__`, and Idefics3 has one. The method here works for every processor: before the
processor runs, each marker in a text is replaced by a spare special token; afterwards, the id of that token is replaced
by the ids of the marker's characters. A text without markers is encoded by the processor alone, as in training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature, ProcessorMixin

from gmner.programs.seams.transformers_seams import without_channel_warnings
from gmner.signatures.errors import InputError, ModelError

Conversation = list[dict[str, Any]]
"""Turns `{"role", "content": [{"type": "image", "image": PIL image} | {"type": "text", "text": str}]}`."""

_NEVER = re.compile(r"(?!)")


class ChatEncoder:
    """Encodes chats for one processor. Not thread-safe.

    Args:
        processor: The processor of a vision-language model, with a chat template and left padding.

    Raises:
        ModelError: The processor has no chat template.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        template = processor.chat_template or self.tokenizer.chat_template
        if not template:
            raise ModelError("The model has no chat template", remedy="Use an instruction-tuned checkpoint")
        added = self.tokenizer.added_tokens_decoder.values()
        # Longest first: a regular expression takes the first alternative that matches, which must not be a marker
        # that is part of a longer one.
        markers = [token.content for token in added if token.special or token.content in str(template)]
        markers = sorted((token for token in markers if not token.isspace()), key=len, reverse=True)
        self._markers = re.compile("|".join(map(re.escape, markers))) if markers else _NEVER
        used = {self.tokenizer.eos_token, *(getattr(processor, name, None) for name in ("image_token", "video_token"))}
        # A token with lstrip or rstrip takes in the spaces beside it, and would change the text around a marker.
        plain = [token.content for token in added if token.special and not (token.lstrip or token.rstrip)]
        self._spares = [token for token in plain if token not in used and token not in str(template)]

    def markers(self, text: str) -> list[str]:
        """List the model markers in a text, in order; ordinary texts have none."""
        return self._markers.findall(text)

    def __call__(self, conversations: Sequence[Conversation]) -> BatchFeature:
        """Encode chats as one left-padded batch; each ends with the generation prompt.

        Raises:
            InputError: A marker in a text cannot be distinguished from those of the chat template.
        """
        markers = [self._markers_of(conversation) for conversation in conversations]
        if not any(markers):
            return self._encode(conversations)
        # A spare fits if it occurs as often as there are markers: some tokenizers split or drop unknown specials.
        for spare in self._spares:
            batch = self._encode([self._with_spares(conversation, spare) for conversation in conversations])
            spare_id = self.tokenizer.convert_tokens_to_ids(spare)
            spare_or_padding = batch["input_ids"] * batch["attention_mask"] - (1 - batch["attention_mask"])
            if [(row == spare_id).sum().item() for row in spare_or_padding] == [len(row) for row in markers]:
                return self._with_character_ids(batch, spare_id, markers)
        raise InputError("Model markers in a text cannot be encoded as text", received=markers)

    def compact(self, conversation: Conversation) -> list[int]:
        """The token ids of a chat with a single placeholder for each image, which vLLM expands itself.

        Otherwise as `__call__`: the generation prompt is included, and markers in texts are encoded as text.

        Raises:
            InputError: See `__call__`.
        """
        markers = self._markers_of(conversation)
        if not markers:
            return self._compact_ids(conversation)
        for spare in self._spares:
            ids = self._compact_ids(self._with_spares(conversation, spare))
            spare_id, left = self.tokenizer.convert_tokens_to_ids(spare), iter(markers)
            if ids.count(spare_id) == len(markers):
                spelled = (self._character_ids(next(left)) if token == spare_id else [token] for token in ids)
                return [token for letters in spelled for token in letters]
        raise InputError("Model markers in a text cannot be encoded as text", received=markers)

    def _compact_ids(self, conversation: Conversation) -> list[int]:
        with without_channel_warnings():
            text = self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
            # As `apply_chat_template(tokenize=True)` of processors does.
            bos = self.tokenizer.bos_token
            added = bos is None or not text.startswith(bos)
            return self.tokenizer(text, add_special_tokens=added)["input_ids"]

    def _encode(self, conversations: Sequence[Conversation]) -> BatchFeature:
        with without_channel_warnings():
            return self.processor.apply_chat_template(
                list(conversations),
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True, "padding_side": "left"},
            )

    def _markers_of(self, conversation: Conversation) -> list[str]:
        texts = [part["text"] for turn in conversation for part in turn["content"] if part["type"] == "text"]
        return [marker for text in texts for marker in self.markers(text)]

    def _with_spares(self, conversation: Conversation, spare: str) -> Conversation:
        def swap(part: dict[str, Any]) -> dict[str, Any]:
            return {**part, "text": self._markers.sub(spare, part["text"])} if part["type"] == "text" else part

        return [{**turn, "content": [swap(part) for part in turn["content"]]} for turn in conversation]

    def _character_ids(self, marker: str) -> list[int]:
        ids = self.tokenizer.encode(marker, add_special_tokens=False, split_special_tokens=True)
        if self.tokenizer.convert_tokens_to_ids(marker) in ids:  # only special tokens are split: `</think>` is none
            ids = [i for part in (marker[0], marker[1:]) for i in self.tokenizer.encode(part, add_special_tokens=False)]
        if self.tokenizer.convert_tokens_to_ids(marker) in ids:
            raise InputError("The tokenizer cannot write a model marker as text", received=marker)
        return ids

    def _with_character_ids(self, batch: BatchFeature, spare_id: int, hidden: Sequence[list[str]]) -> BatchFeature:
        """Replace each spare token by the ids of its marker, in every tensor that has one value a token."""
        names = [name for name in batch if batch[name].shape == batch["input_ids"].shape]
        rows: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for row, markers in enumerate(hidden):
            live = batch["attention_mask"][row] == 1
            ids = batch["input_ids"][row][live].tolist()
            left = iter(markers)
            spelled = [self._character_ids(next(left)) if token == spare_id else [token] for token in ids]
            repeats = torch.tensor([len(letters) for letters in spelled])
            for name in names:
                rows[name].append(batch[name][row][live].repeat_interleave(repeats))
            rows["input_ids"][-1] = torch.tensor([token for letters in spelled for token in letters])
        for name, values in rows.items():
            padding = self.tokenizer.pad_token_id if name == "input_ids" else 0
            batch[name] = torch.nn.utils.rnn.pad_sequence(values, True, padding, padding_side="left")
        return batch


def deduplicated(conversations: Sequence[Conversation]) -> tuple[list[Conversation], list[int]]:
    """Remove duplicates.

    Returns:
        The distinct conversations, and for each given conversation its index among them.
    """
    distinct: list[Conversation] = []
    indices: list[int] = []
    same_text: dict[str, list[int]] = {}  # by their text: comparing images pixel by pixel takes time
    for conversation in conversations:
        known = same_text.setdefault(_words(conversation), [])
        place = next((place for place in known if distinct[place] == conversation), len(distinct))
        if place == len(distinct):
            distinct.append(conversation)
            known.append(place)
        indices.append(place)
    return distinct, indices


def _words(conversation: Conversation) -> str:
    contents = [turn["content"] for turn in conversation]
    parts = [[{"text": content}] if isinstance(content, str) else content for content in contents]
    return "\n".join(part.get("text") or "" for content in parts for part in content)
