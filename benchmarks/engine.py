"""The engine beside plain transformers and Outlines' own path: what the schemas, the batches and the loading cost.

Every figure is a ratio of two sides measured in turns in one run, median of the rounds.

    python benchmarks/engine.py                # the embedded model, and random weights with a vocabulary of 150,000
    OMP_NUM_THREADS=1 python benchmarks/engine.py --rounds 5 --posts 300
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
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}<image>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def large_vocabulary(folder: Path) -> Path:
    """Random weights of the Idefics3 family with as many tokens as Qwen has: what a mask costs grows with them."""
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
    Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=_TEMPLATE).save_pretrained(folder)
    return folder


def asked(program: GMNER, post: Post, tokens: int | None) -> Prompt:
    """The prompt that the engine makes of a post."""
    adapter, signature = program.adapter(), program.answer.signature
    messages = adapter.dialogue(signature, [], post_inputs(post))
    schema = form_of(list(signature.output_fields)).schema(adapter.request(post_inputs(post)))
    return Prompt(messages, schema, tokens)


def in_turns(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, work in sides.items():
            begin = perf_counter()
            work()
            if turn:
                times[name].append(perf_counter() - begin)
    return {name: median(values) for name, values in times.items()}


def constrained(program: GMNER, posts: Sequence[Post], rounds: int, tokens: int | None) -> None:
    """One batch under its schemas against plain `generate` on the same prompts, as many steps for both."""
    engine = program.model.engine
    prompts = [asked(program, post, tokens) for post in posts[:BATCH]]
    generator = Generator(engine.weights, cached_images=0)  # every round encodes its pictures
    steps = max(completion.tokens for completion in generator.generate(prompts)) + (tokens is None)

    def plain() -> None:
        batch = generator.encoder([prompt.conversation for prompt in prompts]).to(dtype=engine.model.dtype)
        with torch.inference_mode():
            engine.model.generate(**batch, do_sample=False, min_new_tokens=steps, max_new_tokens=steps)

    times = in_turns({"plain": plain, "schemas": lambda: generator.generate(prompts)}, rounds)
    _say(
        f"{BATCH} prompts, {steps} steps: under their schemas {steps / times['schemas']:.0f} steps/s, plain "
        f"transformers {steps / times['plain']:.0f}",
        times["plain"] / times["schemas"],
    )


def beside_outlines(program: GMNER, posts: Sequence[Post], rounds: int) -> None:
    """One post at a time, each with its own schema: Outlines' default path, and its own with our back end."""
    engine = program.model.engine
    prompts = [asked(program, post, None) for post in posts[:3]]
    model, tokenizer = outlines.from_transformers(engine.model, engine.processor), engine.processor.tokenizer
    generator = Generator(engine.weights, cached_images=0)
    written: dict[str, int] = {}
    cut: dict[str, int] = {}

    def ours() -> None:
        written["ours"] = sum(generator.generate([prompt])[0].tokens for prompt in prompts)

    def theirs(name: str, backend: str | None) -> None:
        written[name] = cut[name] = 0
        for prompt in prompts:
            turns = [{"role": t["role"], "content": [_part(p) for p in t["content"]]} for t in prompt.conversation]
            schema = outlines.types.JsonSchema(json.dumps(prompt.schema))
            found = outlines.Generator(model, schema, backend=backend)(Chat(turns), max_new_tokens=300, do_sample=False)
            written[name] += len(tokenizer(found)["input_ids"])
            cut[name] += not found.rstrip().endswith("}")

    names = {"Outlines with llguidance": "llguidance", "Outlines by default": None}
    sides = {name: partial(theirs, name, backend) for name, backend in names.items()}
    times = in_turns({"ours": ours, **sides}, rounds)
    speed = {name: written[name] / seconds for name, seconds in times.items()}
    for name in names:
        _say(
            f"one post at a time: ours {speed['ours']:.0f} tokens/s, {name} {speed[name]:.0f} "
            f"({cut[name]} of {len(prompts)} answers cut at 300 tokens)", speed["ours"] / speed[name],
        )  # fmt: skip


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return part
    picture = part["image"].copy()
    picture.format = "PNG"
    return {"type": "image", "image": outlines.inputs.Image(picture)}


def corpus(program: GMNER, posts: Sequence[Post], rounds: int) -> None:
    """A corpus in batches against one post after another, and against a plain transformers script without schemas."""
    engine = program.model.engine

    def batches() -> object:
        return program.batch_posts(posts, progress=False)

    # Before anything else has run on the main thread: its idle OpenMP threads would take time from the engine's.
    sides = {"batches": batches, "singly": lambda: [program(text=post.text, image=post.image) for post in posts]}
    times = in_turns(sides, rounds)
    rate = {name: len(posts) / seconds for name, seconds in times.items()}
    _say(
        f"{len(posts)} posts: {rate['batches']:.1f} a second in batches of {CORPUS_BATCH}, {rate['singly']:.1f} one "
        "by one", times["singly"] / times["batches"],
    )  # fmt: skip

    generator = Generator(engine.weights, cached_images=0)
    lengths = [completion.tokens + 1 for completion in generator.generate([asked(program, p, None) for p in posts])]

    def script() -> None:
        ordered = sorted(range(len(posts)), key=lambda place: -len(posts[place].text))  # as our run does
        for begin in range(0, len(posts), CORPUS_BATCH):
            places = ordered[begin : begin + CORPUS_BATCH]
            chats = [asked(program, posts[place], None).conversation for place in places]
            steps = max(lengths[place] for place in places)
            with torch.inference_mode():
                batch = generator.encoder(chats).to(dtype=engine.model.dtype)
                engine.model.generate(**batch, do_sample=False, min_new_tokens=steps, max_new_tokens=steps)

    times = in_turns({"batches": batches, "script": script}, rounds)
    _say(
        f"{len(posts)} posts: {len(posts) / times['batches']:.1f} a second, a plain script without schemas on the same "
        f"batches {len(posts) / times['script']:.1f}", times["script"] / times["batches"],
    )  # fmt: skip


def one_long_post(program: GMNER, posts: Sequence[Post], rounds: int) -> None:
    """A post of 1,000 words among 15 short ones, against the same posts apart."""
    words = " ".join(post.text for post in posts).split()
    short, long = list(posts[:15]), Post("long", " ".join((words * 1000)[:1000]))
    sides = {
        "together": lambda: program.batch_posts([long, *short], progress=False),
        "apart": lambda: [program.batch_posts(some, progress=False) for some in ([long], short)],
    }
    times = in_turns(sides, rounds)
    _say(
        f"15 short posts and one of 1,000 words: {times['together']:.1f} s together, {times['apart']:.1f} s apart",
        times["together"] / times["apart"],
    )


def imports(rounds: int) -> None:
    """`import gmner` in a new process, against a process that imports nothing."""
    sides = {
        name: lambda code=code: subprocess.run([sys.executable, "-c", code], check=True)
        for name, code in {"nothing": "pass", "gmner": "import gmner"}.items()
    }
    times = in_turns(sides, rounds)
    _say(
        f"import gmner: {times['gmner'] - times['nothing']:.3f} s beside an empty process",
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
    """Peak of a process that answers a post: ours, against one with transformers and the same weights alone."""
    peaks = [
        int(subprocess.run([sys.executable, "-c", _POST + code + _PEAK], check=True, capture_output=True).stdout) / 1024
        for code in (_OURS, _BARE)
    ]
    _say(f"memory: {peaks[0]:.0f} MB, transformers with the same weights {peaks[1]:.0f} MB", peaks[0] / peaks[1])


def loading(rounds: int) -> None:
    """From the call of `load_vlm()` to the first answer, against the answers after it; libraries are loaded already."""
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
        f"load_vlm() to its first answer {median(first):.2f} s, a later answer {median(later):.2f} s",
        median(first) / median(later),
    )


def _say(what: str, ratio: float) -> None:
    sys.stdout.write(f"{ratio:6.2f}  {what}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--posts", type=int, default=128, help="posts of the corpus")
    args = parser.parse_args()
    posts = World().posts("dev", args.posts)
    sys.stdout.write("ratio\n")
    imports(args.rounds)
    program = GMNER(load_vlm(cache=False, max_batch=CORPUS_BATCH))
    sys.stdout.write("the embedded model\n")
    corpus(program, posts, args.rounds)
    one_long_post(program, posts, args.rounds)
    constrained(program, posts, args.rounds, None)
    beside_outlines(program, posts, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write("random weights, a vocabulary of 150,000\n")
        large = load_vlm(large_vocabulary(Path(folder)), cache=False)
        constrained(GMNER(large, limits=Limits(reasoning=400)), posts, args.rounds, 64)
    loading(args.rounds)
    memory()


if __name__ == "__main__":
    main()
