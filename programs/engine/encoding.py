"""Chats to token ids, so that model markers inside a post stay text.

A post may hold `<image>` or `<|im_start|>`. A tokenizer would read them as control tokens: a forged turn, or a picture
that is not there. transformers can encode such strings as text (`sanitize_control_tokens`), but only for processors
without a `__call__` of their own, and Idefics3 has one. So here, for every processor alike: each marker in a text is
swapped for one spare special token before the processor runs, and that token's id for the ids of the marker's letters
after it. Texts without markers, that is all ordinary ones, are encoded as the processor alone does it, as in training.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import BatchFeature, ProcessorMixin

from gmner.signatures.errors import InputError, ModelError

Conversation = list[dict[str, Any]]
"""Turns `{"role", "content": [{"type": "image", "image": PIL image} | {"type": "text", "text": str}]}`."""

_NEVER = re.compile(r"(?!)")


class ChatEncoder:
    """Encodes chats for one processor; not for use by two threads at once.

    Args:
        processor: The processor of a vision-language model with a chat template; padding on the left.

    Raises:
        ModelError: The processor has no chat template.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        template = processor.chat_template or self.tokenizer.chat_template
        if not template:
            raise ModelError("The model has no chat template", remedy="use an instruction-tuned checkpoint")
        added = self.tokenizer.added_tokens_decoder.values()
        # Longest first: a marker takes precedence over the markers it contains.
        markers = [token.content for token in added if token.special or token.content in str(template)]
        markers = sorted((token for token in markers if not token.isspace()), key=len, reverse=True)
        self._markers = re.compile("|".join(map(re.escape, markers))) if markers else _NEVER
        used = {self.tokenizer.eos_token, *(getattr(processor, name, None) for name in ("image_token", "video_token"))}
        plain = [token.content for token in added if token.special and not (token.lstrip or token.rstrip)]
        self._spares = [token for token in plain if token not in used and token not in str(template)]

    def markers(self, text: str) -> list[str]:
        """The model markers that stand in a text, in order; an ordinary text has none."""
        return self._markers.findall(text)

    def __call__(self, conversations: Sequence[Conversation]) -> BatchFeature:
        """Encode chats as one left-padded batch, each ending where the model's answer begins.

        Raises:
            InputError: A marker in a text cannot be told from the chat's own.
        """
        hidden = [self._hidden(conversation) for conversation in conversations]
        if not any(hidden):
            return self._encode(conversations)
        for spare in self._spares:
            batch = self._encode([self._swapped(conversation, spare) for conversation in conversations])
            spare_id = self.tokenizer.convert_tokens_to_ids(spare)
            live = batch["input_ids"] * batch["attention_mask"] - (1 - batch["attention_mask"])
            if [(row == spare_id).sum().item() for row in live] == [len(row) for row in hidden]:
                return self._restored(batch, spare_id, hidden)
        raise InputError("Model markers in a text cannot be encoded as text", received=hidden)

    def _encode(self, conversations: Sequence[Conversation]) -> BatchFeature:
        with _without_channel_warnings():
            return self.processor.apply_chat_template(
                list(conversations),
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True, "padding_side": "left"},
            )

    def _hidden(self, conversation: Conversation) -> list[str]:
        texts = [part["text"] for turn in conversation for part in turn["content"] if part["type"] == "text"]
        return [marker for text in texts for marker in self.markers(text)]

    def _swapped(self, conversation: Conversation, spare: str) -> Conversation:
        def swap(part: dict[str, Any]) -> dict[str, Any]:
            return {**part, "text": self._markers.sub(spare, part["text"])} if part["type"] == "text" else part

        return [{**turn, "content": [swap(part) for part in turn["content"]]} for turn in conversation]

    def _letters(self, marker: str) -> list[int]:
        ids = self.tokenizer.encode(marker, add_special_tokens=False, split_special_tokens=True)
        if self.tokenizer.convert_tokens_to_ids(marker) in ids:
            raise InputError("The tokenizer cannot write a model marker as text", received=marker)
        return ids

    def _restored(self, batch: BatchFeature, spare_id: int, hidden: Sequence[list[str]]) -> BatchFeature:
        """Put the letters' ids where the spare token stands, in every tensor that has one value a token."""
        names = [name for name in batch if batch[name].shape == batch["input_ids"].shape]
        rows: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for row, markers in enumerate(hidden):
            live = batch["attention_mask"][row] == 1
            ids = batch["input_ids"][row][live].tolist()
            left = iter(markers)
            spelled = [self._letters(next(left)) if token == spare_id else [token] for token in ids]
            repeats = torch.tensor([len(letters) for letters in spelled])
            for name in names:
                rows[name].append(batch[name][row][live].repeat_interleave(repeats))
            rows["input_ids"][-1] = torch.tensor([token for letters in spelled for token in letters])
        for name, values in rows.items():
            padding = self.tokenizer.pad_token_id if name == "input_ids" else 0
            batch[name] = torch.nn.utils.rnn.pad_sequence(values, True, padding, padding_side="left")
        return batch


@contextmanager
def _without_channel_warnings() -> Iterator[None]:
    """InternVL's processor warns that it takes the first axis for the channels where an image is 1 or 3 pixels wide.

    It has put them there itself.
    """
    logger = logging.getLogger("transformers.image_utils")
    logger.addFilter(_no_channel_warning)
    try:
        yield
    finally:
        logger.removeFilter(_no_channel_warning)


def _no_channel_warning(record: logging.LogRecord) -> bool:
    return "channel dimension is ambiguous" not in record.getMessage()


def deduplicated(conversations: Sequence[Conversation]) -> tuple[list[Conversation], list[int]]:
    """The different ones among conversations, and for each conversation its place among them."""
    found: list[Conversation] = []
    places: list[int] = []
    alike: dict[str, list[int]] = {}  # by their words, as comparing pictures takes time
    for conversation in conversations:
        known = alike.setdefault(_words(conversation), [])
        place = next((place for place in known if found[place] == conversation), len(found))
        if place == len(found):
            found.append(conversation)
            known.append(place)
        places.append(place)
    return found, places


def _words(conversation: Conversation) -> str:
    contents = [turn["content"] for turn in conversation]
    parts = [[{"text": content}] if isinstance(content, str) else content for content in contents]
    return "\n".join(part.get("text") or "" for content in parts for part in content)
