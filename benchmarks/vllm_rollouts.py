"""Runs CVO with rollouts of vLLM, and checks that vLLM and the trained model assign the same probabilities.

Needs vLLM. Trains three steps on posts of the world, every fourth without an image, and prints for each step the
minimum, mean and maximum importance ratio of the answers: the probability in training divided by that in vLLM. It is 1
if both use the same prompt and weights. With random weights it is lower, because vLLM never samples image placeholders.

    python benchmarks/vllm_rollouts.py                              # embedded model, LoRA
    python benchmarks/vllm_rollouts.py --as-trl                     # pass prompts to vLLM as TRL does
    python benchmarks/vllm_rollouts.py --rollouts constrained       # constrained by the schemas of the posts; no ratio
    python benchmarks/vllm_rollouts.py --model ./tiny --cpu         # another model, CPU build of vLLM
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
    """Make the CPU build of vLLM run eagerly, and keep its weights unpacked so that they can be replaced."""
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
    """Train three steps, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id (default: the embedded model)")
    parser.add_argument("--rollouts", choices=["free", "constrained"], default="free")
    parser.add_argument("--tuning", choices=["lora", "full"], default="lora")
    parser.add_argument("--as-trl", action="store_true", help="pass prompts to vLLM as TRL does; all posts have images")
    parser.add_argument("--cpu", action="store_true", help="use the CPU build of vLLM")
    args = parser.parse_args()
    logging.getLogger("vllm").setLevel(logging.ERROR)
    if args.cpu:
        on_cpu()
    if args.as_trl:
        ConstrainedGRPOTrainer._generate_single_turn = GRPOTrainer._generate_single_turn
    program = GMNER(load_vlm(args.model, cache=False))
    posts = World().posts("train", 12)
    if not args.as_trl:
        posts = [post if index % 4 else replace(post, image=None) for index, post in enumerate(posts)]
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
        sys.stdout.write(f"step {entry['step']}: reward {entry['reward']:.2f}, ratio {ratio or 'not available'}\n")


if __name__ == "__main__":
    main()
