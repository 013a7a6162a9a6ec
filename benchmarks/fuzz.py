"""Fuzz test: random weights answer random posts; every answer must be valid, complete, and have verbatim spans.

    python benchmarks/fuzz.py                                # 10,000 answers of all families
    python benchmarks/fuzz.py --answers 500 --families qwen2_5_vl
    python benchmarks/fuzz.py --scripts thai chinese         # words of these posts of tests/scripts.py only

Stops at the first invalid answer with exit status 1, and prints the post as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from family_checkpoints import CHECKPOINTS, build_checkpoint, registered
from scripts import SAMPLES
from tiny import FAMILIES, build_tiny

from gmner.data.post import Post
from gmner.optimizers.training.program_calls import post_inputs
from gmner.programs.engine.constrained_sampler import Sampling
from gmner.programs.engine.generation import Generator, Prompt
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.errors import AnswerError
from gmner.signatures.forms import form_of
from gmner.signatures.schema import Limits

EVERY = (*FAMILIES, *CHECKPOINTS)
BATCH, LONG_EVERY, LONG = 16, 200, 4000
SIZES = [None, (64, 64), (90, 60), (33, 200), (300, 77)]
WORDS = [
    "Paris", "É", "naïve", "😀", "👩‍👩‍👧", "🏳️‍🌈", '"', "'", "\\", "\\n", "\\u0041",
    "\u202eabc\u202c", "مرحبا", "שלום", "日本", "한국어", "</s>", "<image>", "<|im_end|>",
    "<|im_start|>system", "\x00", "\x07", "\x1b[31m", "\x7f", "\u2028", "\u0085", "\ufeff",
    "a\u0301", "'s", "{", "}]", "[[ ## x ## ]]", "#x_y", "@name", "http://t.co/x", "\t", "\n",
    "\r\n", "  ", "1,5", "null", "true", "<IMG_CONTEXT>", "<row_1_col_1>", "\ud7ff",
]  # fmt: skip
SCRIPTS = {sample.id: sample.text.split(" ") for sample in SAMPLES}


def fuzzed(draw: random.Random, number: int, words: list[str]) -> Post:
    """A random post of these words; every 200th post has 2,000 words."""
    count = 2000 if number % LONG_EVERY == LONG_EVERY - 1 else draw.randint(1, 24)
    size = draw.choice(SIZES)
    image = None if size is None else Image.new("RGB", size, draw.choice(["red", "blue", "white"]))
    text = " ".join(draw.choice(words) for _ in range(count))
    return Post(str(number), text if text.strip() else "-", image)


def batches(posts: list[Post]) -> Iterator[list[Post]]:
    """Split posts into batches of sixteen; long posts get their own batch, because rows are padded to the longest."""
    short = [post for post in posts if len(post.text) < LONG]
    yield from ([post] for post in posts if len(post.text) >= LONG)
    yield from (short[begin : begin + BATCH] for begin in range(0, len(short), BATCH))


def check(program: GMNER, posts: list[Post], generator: Generator) -> str:
    """Check the answers of one batch, and return the first error; empty if there is none."""
    adapter, signature = program.adapter(), program.answer.signature
    form = form_of(list(signature.output_fields))
    requests = [adapter.request(post_inputs(post)) for post in posts]
    prompts = [
        Prompt(
            adapter.dialogue(signature, [], post_inputs(post)),
            form.schema(request),
            None,
            Sampling(1.0, seed=int(post.id)),
        )
        for post, request in zip(posts, requests, strict=True)
    ]
    for post, request, completion in zip(posts, requests, generator.generate(prompts), strict=True):
        try:
            entities = form.parse(completion.text, request, True)["entities"]
        except AnswerError as error:
            return f"{error} {json.dumps([post.text, completion.text])}"
        if completion.truncated or any(post.text[e.start : e.end] != e.span for e in entities):
            return f"truncated, or not verbatim: {json.dumps([post.text, completion.text])}"
    return ""


def built(family: str, folder: Path) -> Path:
    """Write the tiny checkpoint of a family."""
    return (build_tiny if family in FAMILIES else build_checkpoint)(family, folder)


def main() -> int:
    """Generate answers, and stop at the first invalid one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--families", nargs="+", choices=EVERY, default=EVERY)
    parser.add_argument("--scripts", nargs="+", choices=list(SCRIPTS), help="default: all, and unusual words")
    args = parser.parse_args()
    words = [word for name in args.scripts or SCRIPTS for word in SCRIPTS[name]] + ([] if args.scripts else WORDS)
    per_family, done = -(-args.answers // len(args.families)), 0
    with tempfile.TemporaryDirectory() as folder, registered():
        for family in args.families:
            lm = load_vlm(built(family, Path(folder) / family), cache=False)
            program, generator = GMNER(lm, limits=Limits(reasoning=24, entities=3)), Generator(lm.engine.weights)
            draw = random.Random(family)
            posts = [fuzzed(draw, number, words) for number in range(per_family)]
            for batch in tqdm(list(batches(posts)), desc=family, unit="batch"):
                error = check(program, batch, generator)
                if error:
                    sys.stdout.write(f"{family}: {error}\n")
                    return 1
                done += len(batch)
    sys.stdout.write(
        f"{done:,} answers of {len(args.families)} families: all valid and complete, every span verbatim\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
