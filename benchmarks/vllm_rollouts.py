"""CVO with rollouts of a real vLLM: are the sampled tokens as likely there as in the model that is trained?

For an environment that has vLLM beside this project. Three steps on posts of the world, every fourth without a picture,
and a line a step: the importance ratio of an answer, training's probability over vLLM's, least, mean and greatest. It
is 1 where both read the same prompt with the same weights, and below by what vLLM may not write (placeholders of
pictures), which random weights would.

    python benchmarks/vllm_rollouts.py                              # the embedded model, LoRA
    python benchmarks/vllm_rollouts.py --as-trl                     # with TRL's own hand-over, without ours
    python benchmarks/vllm_rollouts.py --rollouts constrained       # under the posts' schemas: no ratio, but valid
    python benchmarks/vllm_rollouts.py --model ./tiny --cpu         # another model; vLLM's CPU build
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from trl import GRPOTrainer

from gmner.data.world.generate import World
from gmner.optimizers.cvo import CVO
from gmner.optimizers.training.grpo import ConstrainedGRPOTrainer
from gmner.optimizers.training.program_calls import answer_calls
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm

_RATIO = "sampling/importance_sampling_ratio/"


def on_cpu() -> None:
    """Let vLLM's CPU build start eagerly and keep weights that can be replaced, which it packs away else."""
    import vllm
    from vllm.model_executor.layers import utils

    started = vllm.LLM.__init__

    def start(self: Any, *args: Any, **kwargs: Any) -> None:
        started(self, *args, enforce_eager=True, dtype="float32", **kwargs)

    def unpacked(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = lambda x, _, bias=None: torch.nn.functional.linear(x, layer.weight, bias)

    vllm.LLM.__init__ = start
    utils.dispatch_cpu_unquantized_gemm = unpacked


def main() -> None:
    """Train three steps and say what the samples were like."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub id; none: the embedded model")
    parser.add_argument("--rollouts", choices=["free", "constrained"], default="free")
    parser.add_argument("--tuning", choices=["lora", "full"], default="lora")
    parser.add_argument("--as-trl", action="store_true", help="hand prompts to vLLM as TRL does; all with pictures")
    parser.add_argument("--cpu", action="store_true", help="the CPU build of vLLM")
    args = parser.parse_args()
    logging.getLogger("vllm").setLevel(logging.ERROR)
    if args.cpu:
        on_cpu()
    if args.as_trl:
        ConstrainedGRPOTrainer._generate_single_turn = GRPOTrainer._generate_single_turn
    program = GMNER(load_vlm(args.model, cache=False))
    posts = World().posts("train", 12)
    if not args.as_trl:
        posts = [post if place % 4 else replace(post, image=None) for place, post in enumerate(posts)]
    options = {"use_vllm": True, "vllm_gpu_memory_utilization": 0.3, "vllm_max_model_length": 1500}
    settings = CVO(
        max_steps=3, prompts=2, generations=4, max_completion_length=120, rate=1e-3, tuning=args.tuning,
        rollouts=args.rollouts, redraws=0, grpo_options=options,
    )  # fmt: skip
    rows = settings.rows(answer_calls(posts, program.answer.signature, []), program.adapter())
    with tempfile.TemporaryDirectory() as folder:
        log = settings.optimize(rows, program.model.engine, program.adapter(), Path(folder), seed=0, progress=False)
    for entry in (entry for entry in log if "reward" in entry):
        ratio = " ".join(f"{entry[_RATIO + which]:.4f}" for which in ("min", "mean", "max") if _RATIO + which in entry)
        sys.stdout.write(f"step {entry['step']}: reward {entry['reward']:.2f}, ratio {ratio or 'not kept'}\n")


if __name__ == "__main__":
    main()
