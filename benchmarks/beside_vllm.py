"""Compares the default engine with vLLM: the answers, and the speed, on the same posts and schemas.

Needs vLLM (docs/extraction.md, "vLLM in this process"). Each round answers other posts of the world,
alternately with both engines, so that vLLM's cache of prompts holds only what posts have in common. The first round is
a warm-up. The ratio is the time of vLLM divided by that of the default engine: above 1, the default engine is faster.

    python benchmarks/beside_vllm.py                                      # the embedded model, batches of 8 and 16
    python benchmarks/beside_vllm.py --model runs/smollm2 --posts 16      # another model: a folder or a Hub id
    python benchmarks/beside_vllm.py --model runs/smollm2 --adapter runs/smollm2-lora --eager
"""

from __future__ import annotations

import argparse
import sys
from statistics import median
from time import perf_counter
from typing import Any

import dspy

from gmner.data.world.generate import World
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.errors import GmnerError
from gmner.signatures.number_checks import check_integer
from gmner.signatures.schema import MAX_REASONING, Limits

ENGINES = ("transformers", "vllm")


def compare(args: argparse.Namespace, batch: int) -> None:
    """Answer all rounds with both engines in batches of one size, and print a line.

    Raises:
        GmnerError: vLLM is not installed, or a model cannot be loaded.
    """
    options: dict[str, dict[str, Any]] = {
        "transformers": {},
        "vllm": {"max_model_len": args.context, "enforce_eager": args.eager},
    }
    programs = {
        name: GMNER(
            load_vlm(
                args.model, adapter=args.adapter, engine=name, max_batch=batch, dtype=args.dtype, cache=False,
                **options[name],
            ),
            limits=Limits(reasoning=args.reasoning),
        )
        for name in ENGINES
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in ENGINES}
    tokens, same, count = 0, 0, 0
    for turn in range(args.rounds + 1):
        posts, answers = World().posts("dev", args.posts, start=turn * args.posts), []
        for name, program in programs.items():
            begin = perf_counter()
            with dspy.track_usage() as usage:
                answers.append(program.batch_posts(posts, progress=False))
            if turn:
                times[name].append(perf_counter() - begin)
                if name == "transformers":
                    tokens += sum(total["completion_tokens"] for total in usage.get_total_tokens().values())
        same += sum(
            one.error is None and (one.reasoning, one.entities) == (other.reasoning, other.entities)
            for one, other in zip(*answers, strict=True)
        )
        count += len(posts)
    for program in programs.values():
        program.model.engine.close()
    rates = {name: tokens / args.rounds / median(seconds) for name, seconds in times.items()}
    sys.stdout.write(
        f"{rates['transformers'] / rates['vllm']:6.2f}  batch {batch}: {rates['transformers']:.0f} tokens/s, "
        f"vLLM {rates['vllm']:.0f}; {same} of {count} answers are the same\n"
    )
    sys.stdout.flush()


def main() -> None:
    """Measure and print all batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id (default: the embedded model)")
    parser.add_argument("--adapter", help="folder of a LoRA adapter; vLLM applies it without merging")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16], help="largest numbers of answers at a time")
    parser.add_argument("--posts", type=int, default=64, help="posts in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32", help="precision of both engines (default: %(default)s)")
    parser.add_argument("--context", type=int, default=3000, help="vLLM's max_model_len (default: %(default)s)")
    parser.add_argument(
        "--reasoning", type=int, default=MAX_REASONING, help="largest number of characters of reasoning"
    )
    parser.add_argument("--eager", action="store_true", help="vLLM does not compile the model")
    args = parser.parse_args()
    try:
        for name in ("posts", "rounds"):
            check_integer(f"--{name}", getattr(args, name))
        sys.stdout.write("ratio\n")
        for batch in args.batch:
            compare(args, batch)
    except GmnerError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
