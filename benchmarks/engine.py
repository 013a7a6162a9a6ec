"""Compares the engine with plain transformers and with Outlines: the cost of schemas, batches and loading.

Every figure is the ratio of two variants that are measured alternately in one run; the median of the rounds is used.

    python benchmarks/engine.py                # embedded model, and random weights with 150,000 tokens
    OMP_NUM_THREADS=1 python benchmarks/engine.py --rounds 5 --posts 300
    python benchmarks/engine.py --model runs/smollm2                      # another model, at batch 8 and 16
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from string import ascii_lowercase, ascii_uppercase
from time import perf_counter
from typing import Any

import outlines
import torch
from outlines.inputs import Chat
from smollm2 import CHATML
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)

from gmner.data.post import Post
from gmner.data.world.generate import World
from gmner.optimizers.training.program_calls import post_inputs
from gmner.programs.engine.generation import Generator, Prompt
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.forms import form_of
from gmner.signatures.schema import Limits

BATCH, CORPUS_BATCH = 8, 16
TOKENS = 64
"""Largest number of tokens of an answer if answers have no end of their own."""


def large_vocabulary(folder: Path) -> Path:
    """Save random weights of the Idefics3 family with as many tokens as Qwen; the cost of masks grows with them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = ascii_lowercase + ascii_uppercase
    pairs = [a + b for a, b in product(letters, repeat=2)]
    triples = [pair + c for pair, c in product(pairs, letters)]
    vocabulary = {token: index for index, token in enumerate([*alphabet, *pairs, *triples])}
    merges = [(pair[0], pair[1]) for pair in pairs] + [(triple[:2], triple[2]) for triple in triples]
    raw = Tokenizer(models.BPE(vocabulary, merges))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    specials = ["<|im_end|>", "<|im_start|>", "<image>", "<fake_token_around_image>", "<global-img>"]
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>")
    text = {
        "model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 256, "intermediate_size": 640,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "tie_word_embeddings": True,
    }  # fmt: skip
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = Idefics3Config(
        vision_config={**vision, "image_size": 64, "patch_size": 16}, text_config=text, scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )  # fmt: skip
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 64}, do_image_splitting=False
    )
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=CHATML).save_pretrained(folder)
    return folder


def post_prompt(program: GMNER, post: Post, tokens: int | None) -> Prompt:
    """The prompt of the engine for a post."""
    adapter, signature = program.adapter(), program.answer.signature
    messages = adapter.dialogue(signature, [], post_inputs(post))
    schema = form_of(list(signature.output_fields)).schema(adapter.request(post_inputs(post)))
    return Prompt(messages, schema, tokens)


def in_turns(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each variant, measured alternately; the first round is a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, work in variants.items():
            begin = perf_counter()
            work()
            if turn:
                times[name].append(perf_counter() - begin)
    return {name: median(values) for name, values in times.items()}


def constrained(program: GMNER, posts: Sequence[Post], rounds: int, tokens: int | None, rows: int = BATCH) -> None:
    """Compare one constrained batch with plain `generate` on the same prompts, for the same number of steps."""
    engine = program.model.engine
    prompts = [post_prompt(program, post, tokens) for post in posts[:rows]]
    generator = Generator(engine.weights, cached_images=0)  # without a cache, so that every round encodes its images
    written = [completion.tokens for completion in generator.generate(prompts)]
    steps = max(written) + (tokens is None)

    def plain() -> None:
        batch = generator.encoder([prompt.conversation for prompt in prompts]).to(dtype=engine.model.dtype)
        with torch.inference_mode():
            engine.model.generate(**batch, do_sample=False, min_new_tokens=steps, max_new_tokens=steps)

    times = in_turns({"plain": plain, "schemas": lambda: generator.generate(prompts)}, rounds)
    _say(
        f"{rows} prompts, {steps} steps: constrained {steps / times['schemas']:.1f} steps/s and "
        f"{sum(written) / times['schemas']:.0f} tokens/s, plain transformers {steps / times['plain']:.1f} and "
        f"{rows * steps / times['plain']:.0f}",
        times["plain"] / times["schemas"],
    )


def beside_outlines(program: GMNER, posts: Sequence[Post], rounds: int) -> None:
    """Compare with Outlines one post at a time, each with its own schema: default backend, and llguidance."""
    engine = program.model.engine
    prompts = [post_prompt(program, post, None) for post in posts[:3]]
    model, tokenizer = outlines.from_transformers(engine.model, engine.processor), engine.processor.tokenizer
    generator = Generator(engine.weights, cached_images=0)
    written: dict[str, int] = {}
    truncated: dict[str, int] = {}

    def ours() -> None:
        written["ours"] = sum(generator.generate([prompt])[0].tokens for prompt in prompts)

    def theirs(name: str, backend: str | None) -> None:
        written[name] = truncated[name] = 0
        for prompt in prompts:
            turns = [{"role": t["role"], "content": [_part(p) for p in t["content"]]} for t in prompt.conversation]
            schema = outlines.types.JsonSchema(json.dumps(prompt.schema))
            answer = outlines.Generator(model, schema, backend=backend)(
                Chat(turns), max_new_tokens=300, do_sample=False
            )
            written[name] += len(tokenizer(answer)["input_ids"])
            truncated[name] += not answer.rstrip().endswith("}")

    names = {"Outlines with llguidance": "llguidance", "Outlines with its default backend": None}
    variants = {name: partial(theirs, name, backend) for name, backend in names.items()}
    times = in_turns({"ours": ours, **variants}, rounds)
    speed = {name: written[name] / seconds for name, seconds in times.items()}
    for name in names:
        _say(
            f"one post at a time: gmner {speed['ours']:.0f} tokens/s, {name} {speed[name]:.0f} "
            f"({truncated[name]} of {len(prompts)} answers truncated at 300 tokens)", speed["ours"] / speed[name],
        )  # fmt: skip


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return part
    image = part["image"].copy()
    image.format = "PNG"
    return {"type": "image", "image": outlines.inputs.Image(image)}


def corpus(program: GMNER, posts: Sequence[Post], rounds: int) -> None:
    """Compare a corpus in batches with one post at a time, and with a transformers script without schemas."""
    engine = program.model.engine

    def batches() -> object:
        return program.batch_posts(posts, progress=False)

    # Must run before other work on the main thread, whose idle OpenMP threads would slow down the engine.
    variants = {"batches": batches, "singly": lambda: [program(text=post.text, image=post.image) for post in posts]}
    times = in_turns(variants, rounds)
    rate = {name: len(posts) / seconds for name, seconds in times.items()}
    _say(
        f"{len(posts)} posts: {rate['batches']:.1f} per second in batches of {CORPUS_BATCH}, {rate['singly']:.1f} one "
        "at a time", times["singly"] / times["batches"],
    )  # fmt: skip

    generator = Generator(engine.weights, cached_images=0)
    lengths = [
        completion.tokens + 1 for completion in generator.generate([post_prompt(program, p, None) for p in posts])
    ]

    def script() -> None:
        ordered = sorted(range(len(posts)), key=lambda index: -len(posts[index].text))  # as in a corpus run
        for begin in range(0, len(posts), CORPUS_BATCH):
            indices = ordered[begin : begin + CORPUS_BATCH]
            chats = [post_prompt(program, posts[index], None).conversation for index in indices]
            steps = max(lengths[index] for index in indices)
            with torch.inference_mode():
                batch = generator.encoder(chats).to(dtype=engine.model.dtype)
                engine.model.generate(**batch, do_sample=False, min_new_tokens=steps, max_new_tokens=steps)

    times = in_turns({"batches": batches, "script": script}, rounds)
    _say(
        f"{len(posts)} posts: {len(posts) / times['batches']:.1f} per second, a plain script without schemas on the "
        f"same batches {len(posts) / times['script']:.1f}", times["script"] / times["batches"],
    )  # fmt: skip


def one_long_post(program: GMNER, posts: Sequence[Post], rounds: int) -> None:
    """Compare a batch of one post of 1,000 words and 15 short posts with separate batches of both."""
    words = " ".join(post.text for post in posts).split()
    short, long = list(posts[:15]), Post("long", " ".join((words * 1000)[:1000]))
    variants = {
        "together": lambda: program.batch_posts([long, *short], progress=False),
        "separate": lambda: [program.batch_posts(group, progress=False) for group in ([long], short)],
    }
    times = in_turns(variants, rounds)
    _say(
        f"15 short posts and one of 1,000 words: {times['together']:.1f} s together, {times['separate']:.1f} s apart",
        times["together"] / times["separate"],
    )


def imports(rounds: int) -> None:
    """Compare a process that imports gmner with an empty process."""
    variants = {
        name: lambda code=code: subprocess.run([sys.executable, "-c", code], check=True)
        for name, code in {"nothing": "pass", "gmner": "import gmner"}.items()
    }
    times = in_turns(variants, rounds)
    _say(
        f"import gmner: {times['gmner'] - times['nothing']:.3f} s more than an empty process",
        times["gmner"] / times["nothing"],
    )


_POST = """
from gmner.data.world.generate import World
post = World().posts("dev", 1)[0]
"""
_BARE = """
import torch
from gmner.programs.models.weights import EMBEDDED
from gmner.programs.models.processors import load_processor
from transformers import AutoModelForImageTextToText
model = AutoModelForImageTextToText.from_pretrained(EMBEDDED).eval()
processor = load_processor(EMBEDDED, model.config.model_type)
chat = [{"role": "user", "content": [{"type": "image", "image": post.image}, {"type": "text", "text": post.text}]}]
batch = processor.apply_chat_template(
    [chat], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
with torch.inference_mode():
    model.generate(**batch, do_sample=False, max_new_tokens=64)
"""
_OURS = """
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
GMNER(load_vlm(cache=False))(text=post.text, image=post.image)
"""
_PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def memory() -> None:
    """Compare the peak memory of a process that answers a post with one that uses only transformers."""
    peaks = [
        int(subprocess.run([sys.executable, "-c", _POST + code + _PEAK], check=True, capture_output=True).stdout) / 1024
        for code in (_OURS, _BARE)
    ]
    _say(f"memory: {peaks[0]:.0f} MB, transformers with the same weights {peaks[1]:.0f} MB", peaks[0] / peaks[1])


def loading(rounds: int) -> None:
    """Compare the time from `load_vlm()` to the first answer with that of a later one, without imports."""
    post, first, later = World().posts("dev", 1)[0], [], []
    for _ in range(rounds):
        begin = perf_counter()
        program = GMNER(load_vlm(cache=False))
        program(text=post.text, image=post.image)
        first.append(perf_counter() - begin)
        begin = perf_counter()
        program(text=post.text, image=post.image)
        later.append(perf_counter() - begin)
    _say(
        f"load_vlm() to first answer {median(first):.2f} s, a later answer {median(later):.2f} s",
        median(first) / median(later),
    )


def _say(text: str, ratio: float) -> None:
    sys.stdout.write(f"{ratio:6.2f}  {text}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--posts", type=int, default=128, help="number of posts in the corpus")
    parser.add_argument("--model", help="measure only the speed of this model: a folder or a Hub id")
    parser.add_argument("--dtype", default="auto", help="precision of --model (default: %(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16], help="batch sizes for --model")
    args = parser.parse_args()
    posts = World().posts("dev", max(args.posts, *args.batch))
    sys.stdout.write("ratio\n")
    if args.model is not None:
        lm = load_vlm(args.model, dtype=args.dtype, cache=False)
        for rows in args.batch:
            constrained(GMNER(lm, limits=Limits(reasoning=400)), posts, args.rounds, TOKENS, rows)
        return
    imports(args.rounds)
    program = GMNER(load_vlm(cache=False, max_batch=CORPUS_BATCH))
    sys.stdout.write("the embedded model\n")
    corpus(program, posts, args.rounds)
    one_long_post(program, posts, args.rounds)
    constrained(program, posts, args.rounds, None)
    beside_outlines(program, posts, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write("random weights with a vocabulary of 150,000 tokens\n")
        large = load_vlm(large_vocabulary(Path(folder)), cache=False)
        constrained(GMNER(large, limits=Limits(reasoning=400)), posts, args.rounds, TOKENS)
    loading(args.rounds)
    memory()


if __name__ == "__main__":
    main()
