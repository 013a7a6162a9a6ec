"""Tokenizer of the embedded model: byte-level BPE with single tokens for the fixed parts of an answer."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gmner.data.world.cast import known
from gmner.data.world.text import write_text
from gmner.signatures.labels import COARSE
from gmner.signatures.tasks import SHORT_INSTRUCTIONS

_TRAINED = ("GroundEntities", "ExtractMentions", "VerifyVisibility", "GroundMention")

SCALE = 100
"""Largest coordinate of the normalized frame. Every coordinate is one token."""

END, PAD, START = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
SPECIALS = [PAD, START, END, "<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"]
JSON_PARTS = [
    '{"reasoning":"', '","entities":[', '{"span":"', '","type":"', '","visible":true,"box":[',
    '","visible":false,"box":null}', '{"mentions":[', '{"evidence":"', '","visible":true}', '","visible":false}',
    '{"box":[', '{"box":null}', "]}",
]  # fmt: skip
"""Fixed parts of an answer, one token each: answers are short, and the decision `visible` is one step."""

_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = (
    "Picture : shows not shown the post names name is a at it also only in both type types PER LOC ORG OTHER person "
    "place organisation other no yes nothing there box boxes and or so same kind but instead another Entity Post "
    "Names Types Shown Not Boxes Which Where Is What who where what which In Named none None answer check compare"
)

CHAT_TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}{%- if m.content is string %}{{- m.content }}"
    "{%- else %}{%- for c in m.content %}{%- if c.type == 'image' %}{{- '<image>' }}{%- elif c.type == 'text' %}"
    "{{- c.text }}{%- endif %}{%- endfor %}{%- endif %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


def _corpus(posts: int) -> Iterator[str]:
    rng = random.Random(0)
    names = [who.name for who in known()]
    for _ in range(posts):
        yield f"Post: {write_text(rng.sample(known(), rng.randint(0, 4)), rng).text}"
        name, other = rng.sample(names, 2)
        yield f" {name} [{rng.randint(0, SCALE)},{rng.randint(0, SCALE)}]; {other} (PER), {name}: {other}. {name}."
        yield name
        yield " ".join(rng.sample(_WORDS.split(), 8))
    for _ in range(40):
        yield from (f"{v}," for v in range(SCALE + 1))
        yield "\n".join(
            [*(SHORT_INSTRUCTIONS[task] for task in _TRAINED), "user assistant system\nuser\nassistant\nsystem\n"]
        )
        yield " ".join(COARSE)


def train_tokenizer(vocab_size: int = 2048, posts: int = 8000) -> PreTrainedTokenizerFast:
    """Train the tokenizer on texts of the world, without the entities that are held out of pre-training.

    Args:
        vocab_size: Size of the vocabulary, including special tokens and answer parts.
        posts: Number of training texts.

    Returns:
        A fast tokenizer for any UTF-8 text, with single tokens for the numbers 0..`SCALE`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIALS) - len(JSON_PARTS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(posts), trainer)
    tokenizer.add_tokens([AddedToken(part, normalized=False) for part in JSON_PARTS])
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, padding_side="left")
    fast.chat_template = CHAT_TEMPLATE
    return fast
