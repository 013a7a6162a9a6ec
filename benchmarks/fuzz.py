"""Fuzz test: random weights answer random posts; every answer must be valid, complete, and have verbatim spans.

    python benchmarks/fuzz.py                                # 10,000 answers of all families
    python benchmarks/fuzz.py --answers 500 --families qwen2_5_vl kimi_vl
    python benchmarks/fuzz.py --scripts thai chinese         # words of these posts of tests/scripts.py only

The families are all that are registered and not refused. A family with a tiny checkpoint in tests/ answers with its own
architecture and chat template. For any other, for example one that exists only on servers, a tiny Qwen2.5-VL
answers in the coordinate convention of the family. The prompts are the short ones of the embedded model, because
random weights do not read them and long prompts take most of the time.

The posts go through the scripts in turn: the words of one script, then of the next, then unusual words mixed with all
of them. A post has up to 24 words and 600 bytes; every 200th has 2,000 words, or 12,000 bytes where words are long.

Prints a table. Stops at the first invalid answer with exit status 1, and prints the post as JSON; exit status 1 also
if none of 100 or more answers of a family contains a box, because boxes were not tested then.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import dspy
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from family_checkpoints import CHECKPOINTS, build_checkpoint
from scripts import SAMPLES
from tiny import FAMILIES, build_tiny

from gmner.data.post import Post
from gmner.optimizers.training.program_calls import post_inputs
from gmner.programs.engine.constrained_sampler import Sampling
from gmner.programs.engine.generation import Generator, Prompt
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import FAMILIES as KNOWN
from gmner.programs.models.families import ModelProfile
from gmner.programs.models.loading import load_vlm
from gmner.signatures.errors import AnswerError
from gmner.signatures.forms import form_of
from gmner.signatures.mentions import GroundedEntity
from gmner.signatures.schema import Limits

BATCH, LONG_EVERY, LONG_WORDS = 32, 200, 2000
SHORT_BYTES, LONG_BYTES, CONTEXT = 600, 12_000, 16_384
"""Largest size of the posts (a long one may have 4,000 Han characters), and a context that holds it byte by byte."""
ENOUGH = 100
"""Answers of a family of which some must have a box."""
STAND_IN = "qwen2_5_vl"
"""The architecture that answers for a family without a tiny checkpoint: its processor has a resize rule."""
SIZES = [None, (64, 64), (90, 60), (33, 200), (300, 77)]
WORDS = [
    "Paris", "É", "naïve", "😀", "👩‍👩‍👧", "🏳️‍🌈", '"', "'", "\\", "\\n", "\\u0041",
    "\u202eabc\u202c", "مرحبا", "שלום", "日本", "한국어", "</s>", "<image>", "<|im_end|>",
    "<|im_start|>system", "\x00", "\x07", "\x1b[31m", "\x7f", "\u2028", "\u0085", "\ufeff",
    "a\u0301", "'s", "{", "}]", "[[ ## x ## ]]", "#x_y", "@name", "http://t.co/x", "\t", "\n",
    "\r\n", "  ", "1,5", "null", "true", "<IMG_CONTEXT>", "<row_1_col_1>", "<think>", "</think>", "\ud7ff",
]  # fmt: skip
SCRIPTS = {sample.id: sample.text.split(" ") for sample in SAMPLES}
NAMES = tuple(name for name, family in KNOWN.items() if not family.refused)
TINY = (*FAMILIES, *CHECKPOINTS)


def vocabularies(scripts: Sequence[str] | None) -> Mapping[str, list[str]]:
    """The words of each script; without a choice of scripts, also unusual words mixed with all of them."""
    chosen = {name: SCRIPTS[name] for name in scripts or SCRIPTS}
    return chosen if scripts else {**chosen, "mixed": [word for words in SCRIPTS.values() for word in words] + WORDS}


def is_long(number: int) -> bool:
    """Whether the post with this number, from 0, is a long one."""
    return number % LONG_EVERY == LONG_EVERY - 1


def fuzzed(draw: random.Random, number: int, words: list[str]) -> Post:
    """A random post of these words; every 200th post is long."""
    count, most = (LONG_WORDS, LONG_BYTES) if is_long(number) else (draw.randint(1, 24), SHORT_BYTES)
    size = draw.choice(SIZES)
    image = None if size is None else Image.new("RGB", size, draw.choice(["red", "blue", "white"]))
    text = " ".join(draw.choice(words) for _ in range(count)).encode()[:most].decode(errors="ignore")
    return Post(str(number), text if text.strip() else "-", image)


def batches(posts: list[Post]) -> Iterator[list[Post]]:
    """Split posts into batches; long posts get their own batch, because rows are padded to the longest."""
    short = [post for post in posts if not is_long(int(post.id))]
    yield from ([post] for post in posts if is_long(int(post.id)))
    yield from (short[begin : begin + BATCH] for begin in range(0, len(short), BATCH))


@cache
def checkpoint(architecture: str, folder: Path) -> Path:
    """The tiny checkpoint of an architecture with a context for long posts, built at the first call."""
    target = (build_checkpoint if architecture in CHECKPOINTS else build_tiny)(architecture, folder / architecture)
    config = json.loads((file := target / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["max_position_embeddings"] = CONTEXT
    file.write_text(json.dumps(config), encoding="utf-8")
    return target


def lm_of(family: str, folder: Path) -> dspy.LM:
    """The model that answers for a family, see above."""
    if family in TINY:
        return load_vlm(checkpoint(family, folder), profile={"terse": True}, cache=False)
    known = KNOWN[family]
    profile = ModelProfile(known.box_format, terse=True, rule=known.default_resize)
    return load_vlm(checkpoint(STAND_IN, folder), profile=profile, cache=False)


def fault(post: Post, entities: Sequence[GroundedEntity]) -> str:
    """What is wrong with the entities of an answer that was parsed; empty if nothing is."""
    if any(post.text[e.start : e.end] != e.span for e in entities):
        return "a span is not verbatim"
    boxes = [entity.box for entity in entities if entity.box is not None]
    if boxes and post.image is None:
        return "a box without an image"
    return "" if all(box.inside(post.image.size) for box in boxes) else "a box outside of the image"


def check(program: GMNER, posts: list[Post], generator: Generator, seen: Counter[str]) -> str:
    """Check the answers of one batch, count what they contain, and return the first error; empty if there is none."""
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
        if wrong := "truncated" if completion.truncated else fault(post, entities):
            return f"{wrong}: {json.dumps([post.text, completion.text])}"
        seen.update(answers=1, entities=len(entities), boxes=sum(e.box is not None for e in entities))
    return ""


def fuzz(family: str, lm: dspy.LM, words: Mapping[str, list[str]], answers: int) -> tuple[str, Counter[str]]:
    """Let a model answer posts of all scripts in turn: the first error, empty if there is none, and what was seen."""
    program, generator = GMNER(lm, limits=Limits(reasoning=24, entities=3)), Generator(lm.engine.weights)
    # A generator of random numbers for each script, so that a post does not depend on the choice of scripts.
    draws, scripts, seen = {name: random.Random(f"{family} {name}") for name in words}, list(words), Counter[str]()
    turns = [scripts[number % len(scripts)] for number in range(answers)]
    posts = [fuzzed(draws[script], number, words[script]) for number, script in enumerate(turns)]
    for batch in tqdm(list(batches(posts)), desc=family, unit="batch"):
        if error := check(program, batch, generator, seen):
            return error, seen
    return "no answer has a box" if seen["answers"] >= ENOUGH and not seen["boxes"] else "", seen


def main() -> int:
    """Generate answers, and stop at the first invalid one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--families", nargs="+", choices=NAMES, default=NAMES, metavar="FAMILY")
    parser.add_argument("--scripts", nargs="+", choices=list(SCRIPTS), help="default: all, and unusual words")
    args = parser.parse_args()
    words, per_family = vocabularies(args.scripts), -(-args.answers // len(args.families))
    total: Counter[str] = Counter()
    sys.stdout.write("| family | convention | weights | answers | entities | boxes |\n|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        for family in args.families:
            lm = lm_of(family, Path(folder))
            error, seen = fuzz(family, lm, words, per_family)
            if error:
                sys.stdout.write(f"{family}: {error}\n")
                return 1
            weights = family if family in TINY else STAND_IN
            counts = " | ".join(f"{seen[name]:,}" for name in ("answers", "entities", "boxes"))
            convention = " ".join(map(str, lm.engine.profile.box_format.as_data().values()))
            sys.stdout.write(f"| {family} | {convention} | {weights} | {counts} |\n")
            sys.stdout.flush()
            total += seen
    sys.stdout.write(
        f"{total['answers']:,} answers of {len(args.families)} families, {len(words)} vocabularies, "
        f"{total['boxes']:,} boxes: all valid and complete, every span verbatim, every box inside its image\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
