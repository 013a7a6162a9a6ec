"""Where a model looks while it writes an answer: shares of attention from span, verdict and box tokens.

Source: MCR (Ma et al., Findings of ACL 2026), table 5, compares attention to text and image in normal answers, in
textual bias, and after MCR. It does not say how attention is counted; the definitions here are ours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.entity_errors import Fault, find_errors
from gmner.optimizers.training.trainable import trainable_engine, without_adapter
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.gmner import GMNER
from gmner.programs.models.families.lookup import picture_ids
from gmner.programs.seams.transformers_seams import attention_of
from gmner.programs.trainable import post_inputs
from gmner.signatures.errors import ModelError
from gmner.signatures.wire import dump

LOG = logging.getLogger(__name__)

FROM, TO = ("span", "visible", "box"), ("image", "post", "chain")
"""Parts of the answer that attention comes from, and what it goes to."""

RIGHT_SHOWN, RIGHT_ABSENT, TEXTUAL_BIAS = "right, shown", "right, not shown", "boxed though not shown"
CASES = (RIGHT_SHOWN, RIGHT_ABSENT, TEXTUAL_BIAS)
"""Kinds of predicted entities that are compared."""


@dataclass
class AttentionShares:
    """Attention of one program to one set of posts.

    Attributes:
        counts: Case -> number of entities.
        sums: (case, from, to) -> sum over these entities of the share of attention, one value for each layer. A share
            is the attention of a token, as a mean over heads and over the tokens of the part, that goes to all tokens
            of an image, of the post, or of the chain of reasoning. What is left goes to the rest of prompt and answer.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CASES, 0))
    sums: dict[tuple[str, str, str], torch.Tensor] = field(default_factory=dict)

    def by_layer(self, case: str, source: str, target: str) -> list[float]:
        """The mean share in percent for each layer with attention; empty if no entity is of this case."""
        total = self.sums.get((case, source, target))
        return [] if total is None else (100 * total / self.counts[case]).tolist()

    def mean(self, case: str, source: str, target: str) -> float | None:
        """The mean over the layers in percent; None if no entity is of this case."""
        layers = self.by_layer(case, source, target)
        return sum(layers) / len(layers) if layers else None

    def add(self, case: str, shares: Mapping[tuple[str, str], torch.Tensor]) -> None:
        """Add the shares of one entity, one value for each layer."""
        self.counts[case] += 1
        for (source, target), values in shares.items():
            key = case, source, target
            self.sums[key] = self.sums[key] + values if key in self.sums else values.clone()


def attention_shares(
    program: GMNER, posts: Sequence[Post], predictions: Sequence[Prediction], *, progress: bool = True
) -> AttentionShares:
    """Measure the attention of a program's model while it wrote its answers.

    Each answer is run through the model once, without a cache, with eager attention in its language model. Only one
    layer's attention is in memory at a time.

    Args:
        program: A program on a local model.
        posts: Annotated posts.
        predictions: Its answers to them, in the same order. Posts whose text the tokenizer does not reproduce in the
            prompt are left out, with a warning.
        progress: Show a progress bar.

    Raises:
        ModelError: The model is not a local one, or none of its layers returns attention.
    """
    engine = trainable_engine(program.model)
    if engine is None:
        accepted = "a local model of gmner.load_vlm"
        raise ModelError("Attention needs a local model", received=program.model.model, accepted=accepted)
    shares, pairs, left = AttentionShares(), list(zip(posts, predictions, strict=True)), list[str]()
    with eager_attention(engine.model) as attended:
        for post, prediction in tqdm(pairs, desc="attention", unit="post", disable=not progress):
            cases = _cases(post, prediction)
            if cases and post.images:
                measured = _measured(program, engine, post, prediction, cases, attended)
                left += [] if measured else [post.id]
                for place, found in measured.items():
                    shares.add(cases[place], found)
    if left:
        LOG.warning(
            "%d posts are left out, because the tokenizer changes their text: %s", len(left), ", ".join(left[:5])
        )
    return shares


def _cases(post: Post, prediction: Prediction) -> dict[int, str]:
    """Index of each predicted entity that is compared -> its case."""
    cases, places = {}, {id(entity): place for place, entity in enumerate(prediction.entities)}
    for error in find_errors(post.gold, prediction.entities):
        if error.predicted is None or error.gold is None:
            continue
        place = places[id(error.predicted)]
        if not error.faults:
            cases[place] = RIGHT_SHOWN if error.gold.visible else RIGHT_ABSENT
        elif error.faults == (Fault.BOXED_ABSENT,):
            cases[place] = TEXTUAL_BIAS
    return cases


Attended = Callable[[Mapping[str, torch.Tensor]], list[torch.Tensor]]
"""Runs the model on inputs and returns, for each layer, the attention (tokens, tokens) as a mean over heads."""


def _measured(
    program: GMNER,
    engine: VLMEngine,
    post: Post,
    prediction: Prediction,
    cases: Mapping[int, str],
    attended: Attended,
) -> dict[int, dict[tuple[str, str], torch.Tensor]]:
    """The shares of each entity in `cases`; empty if the text of the post is not found in the prompt."""
    adapter, encoder = program.adapter(), ChatEncoder(engine.processor)
    inputs = post_inputs(post)
    signature = program.answer.signature
    values = {"reasoning": prediction.reasoning, "entities": list(prediction.entities)}
    answer = adapter.answer(signature, {**inputs, **values})
    batch = encoder([adapter.dialogue(signature, program.answer.demos, inputs)])
    prompt, written = batch["input_ids"][0], encoder.tokenizer.encode(answer, add_special_tokens=False)
    images = torch.isin(prompt, torch.tensor(picture_ids(engine.model.config)))
    tail = int(images.nonzero()[-1]) + 1
    targets = {"image": images.nonzero()[:, 0].tolist()}
    targets["post"] = [tail + place for place in _overlapping(encoder, prompt[tail:].tolist(), post.text)]
    if not targets["post"]:
        return {}
    ends = _ends(encoder, written)
    chain, parts = _parts(answer)
    begin = len(prompt)
    targets["chain"] = [begin + place for place in _between(ends, *chain)]
    layers = attended(_extended(batch, written))
    found: dict[int, dict[tuple[str, str], torch.Tensor]] = {}
    for place in cases:
        found[place] = {}
        for source, span in parts[place].items():
            # The token that is written is chosen at the position before it.
            rows = [begin + token - 1 for token in _between(ends, *span)]
            for target, keys in targets.items():
                found[place][source, target] = torch.stack([layer[rows][:, keys].sum(1).mean() for layer in layers])
    return found


def _parts(answer: str) -> tuple[tuple[int, int], list[dict[str, tuple[int, int]]]]:
    """Begin and end of the chain in an answer, and of span, verdict and box of each entity."""
    value, at = json.loads(answer), answer.index('"entities":[')
    chain, parts = (len('{"reasoning":'), at - 1), []
    for entity in value["entities"]:
        part = {}
        for key in FROM:
            begin = answer.index(f'"{key}":', at) + len(key) + 3
            at = begin + len(dump(entity[key]))
            part[key] = begin, at
        parts.append(part)
    return chain, parts


def _ends(encoder: ChatEncoder, ids: Sequence[int]) -> list[int]:
    """The number of characters of a text after each of its tokens."""
    return [
        len(encoder.tokenizer.decode(ids[: place + 1], clean_up_tokenization_spaces=False)) for place in range(len(ids))
    ]


def _between(ends: Sequence[int], begin: int, end: int) -> list[int]:
    """The tokens that overlap the characters from `begin` to `end`."""
    starts = [0, *ends[:-1]]
    return [place for place, start in enumerate(starts) if start < end and ends[place] > begin]


def _overlapping(encoder: ChatEncoder, ids: Sequence[int], text: str) -> list[int]:
    """The tokens of the last occurrence of a text; none if the tokenizer changed its characters."""
    whole = encoder.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    begin = whole.rfind(text)
    return [] if begin < 0 else _between(_ends(encoder, ids), begin, begin + len(text))


def _extended(batch: Mapping[str, Any], written: Sequence[int]) -> dict[str, torch.Tensor]:
    """The inputs of a prompt with the tokens of its answer."""
    length = batch["input_ids"].shape
    added = {
        "input_ids": torch.tensor([list(written)]),
        "attention_mask": torch.ones(1, len(written), dtype=torch.long),
    }
    zeros = torch.zeros(1, len(written), dtype=torch.long)
    return {
        name: torch.cat([value, added.get(name, zeros).to(value.dtype)], 1) if value.shape == length else value
        for name, value in batch.items()
    }


@contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[Attended]:
    """In this block, the language model computes attention that can be read.

    Raises:
        ModelError: On the first use, if none of its layers returns attention.
    """
    base = without_adapter(model)
    text = base.config.get_text_config()
    former = attention_of(text)
    layers: list[torch.Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        if isinstance(output, tuple) and len(output) > 1 and isinstance(output[1], torch.Tensor):
            layers.append(output[1][0].float().mean(0).cpu())

    def attended(inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        layers.clear()
        with torch.inference_mode():
            model(**{name: value.to(model.device) for name, value in inputs.items()}, use_cache=False)
        if not layers:
            raise ModelError("No layer of the model returns attention", received=type(base).__name__)
        return list(layers)

    attentions = [
        module for module in base.modules() if hasattr(module, "layer_idx") and getattr(module, "config", None) is text
    ]
    hooks = [module.register_forward_hook(keep) for module in attentions]
    base.set_attn_implementation({"text_config": "eager"})
    try:
        yield attended
    finally:
        base.set_attn_implementation({"text_config": former})
        for hook in hooks:
            hook.remove()
