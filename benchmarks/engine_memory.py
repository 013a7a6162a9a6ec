"""Compares the peak memory of the engine with that of `generate` of transformers on the same prompts.

Both use a real decoder and run in separate processes, which load the checkpoint and answer one batch of posts.

    python benchmarks/engine_memory.py --model runs/smollm2               # the checkpoint of benchmarks/smollm2.py
    python benchmarks/engine_memory.py --model runs/smollm2 --batch 8
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from gmner.data.world.generate import World
from gmner.optimizers.training.program_calls import post_inputs
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.processors import load_processor
from gmner.signatures.schema import Limits


def peak() -> int:
    """Peak resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024


def plain(model: Path, chats: Path, tokens: int) -> None:
    """Run `generate` on the chats of the engine."""
    loaded = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    processor = load_processor(model, loaded.config.model_type)
    images = [post.image for post in World().posts("dev", 64)]
    batch = ChatEncoder(processor)(_with_images(json.loads(chats.read_text()), images))
    with torch.inference_mode():
        loaded.generate(**batch, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens)


def engine(model: Path, batch: int, tokens: int) -> None:
    """Answer the posts with the engine."""
    program = GMNER(load_vlm(str(model), cache=False, dtype="float32", max_batch=batch), limits=_limits(tokens))
    program.batch_posts(World().posts("dev", 64)[:batch], progress=False)


def chats_of(model: Path, batch: int, tokens: int) -> list[Any]:
    """The chats of the engine for the posts, with image indices instead of images."""
    program = GMNER(load_vlm(str(model), cache=False), limits=_limits(tokens))
    adapter, chats = program.adapter(), []
    for number, post in enumerate(World().posts("dev", 64)[:batch]):
        turns = adapter.dialogue(program.answer.signature, [], post_inputs(post))
        parts = [[{**p, "image": number} if p["type"] == "image" else p for p in turn["content"]] for turn in turns]
        chats.append([{**turn, "content": content} for turn, content in zip(turns, parts, strict=True)])
    return chats


def _with_images(chats: list[Any], images: list[Any]) -> list[Any]:
    for chat in chats:
        for turn in chat:
            for part in turn["content"]:
                if part["type"] == "image":
                    part["image"] = images[part["image"]]
    return chats


def _limits(tokens: int) -> Limits:
    return Limits(reasoning=tokens, entities=2)


def main() -> None:
    """Measure one variant, or all variants in separate processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--side", choices=["plain", "engine", "chats", "load"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    chats = args.model / "chats.json"
    if args.side == "chats":
        chats.write_text(json.dumps(chats_of(args.model, args.batch, args.tokens)))
    elif args.side is not None:
        if args.side == "plain":
            plain(args.model, chats, args.tokens)
        elif args.side == "engine":
            engine(args.model, args.batch, args.tokens)
        else:
            load_vlm(str(args.model), cache=False, dtype="float32")
        sys.stdout.write(f"{peak()}\n")
    else:
        peaks = {side: _measured(args, side) for side in ("chats", "load", "plain", "engine")}
        sys.stdout.write(
            f"{args.batch} answers of about {args.tokens} tokens: engine {peaks['engine']} MB, plain transformers "
            f"{peaks['plain']} MB, ratio {peaks['engine'] / peaks['plain']:.2f}; only loaded {peaks['load']} MB\n"
        )


def _measured(args: argparse.Namespace, side: str) -> int:
    options = ("--model", args.model, "--batch", args.batch, "--tokens", args.tokens, "--side", side)
    command = [sys.executable, __file__, *map(str, options)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.split()[-1]) if side != "chats" else 0


if __name__ == "__main__":
    main()
