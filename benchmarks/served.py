"""Compares a served model with the same weights in the local engine: answers and speed.

Serve a checkpoint with any OpenAI-compatible server, then pass its name and the weights:

    vllm serve programs/models/embedded --served-model-name embedded --dtype float32
    python benchmarks/served.py --served embedded

    vllm serve ./mcr-merged --served-model-name mcr          # the output of `gmner merge`
    python benchmarks/served.py --served mcr --model ./mcr-merged

Build a small merged checkpoint with random weights to test a server (qwen2_5_vl, smolvlm and others, `tests/tiny.py`):

    python benchmarks/served.py --build qwen2_5_vl runs/tiny-qwen2_5_vl
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import dspy
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from tiny import FAMILIES, build_tiny

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.world.generate import World
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.schema import Limits

# vLLM requires a video processor if a family has one, as checkpoints on the Hub do. The sizes are never used.
_QWEN_VIDEO = {"temporal_patch_size": 2, "merge_size": 2, "size": {"shortest_edge": 4096, "longest_edge": 24576}}
VIDEO = {
    "qwen2_vl": {"video_processor_type": "Qwen2VLVideoProcessor", "patch_size": 14, **_QWEN_VIDEO},
    "qwen2_5_vl": {"video_processor_type": "Qwen2VLVideoProcessor", "patch_size": 14, **_QWEN_VIDEO},
    "qwen3_vl": {"video_processor_type": "Qwen3VLVideoProcessor", "patch_size": 16, **_QWEN_VIDEO},
    "internvl": {"video_processor_type": "InternVLVideoProcessor", "size": {"height": 56, "width": 56}},
    "smolvlm": {
        "video_processor_type": "SmolVLMVideoProcessor",
        "size": {"longest_edge": 128},
        "max_image_size": {"longest_edge": 64},
        "video_sampling": {"fps": 1, "max_frames": 4, "video_size": {"longest_edge": 64}},
    },
}


def build(family: str, folder: Path) -> None:
    """Save random weights of a family with a merged random adapter, as `gmner merge` does."""
    with tempfile.TemporaryDirectory() as work:
        base, adapter = build_tiny(family, Path(work, "base")), Path(work, "adapter")
        torch.manual_seed(1)
        tuned = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        get_peft_model(AutoModelForImageTextToText.from_pretrained(base), tuned).save_pretrained(adapter)
        GMNER(load_vlm(base, adapter=adapter, cache=False)).save_merged(folder)
    if family in VIDEO:
        (folder / "video_preprocessor_config.json").write_text(json.dumps(VIDEO[family]), encoding="utf-8")


def answers(program: GMNER, posts: Sequence[Post]) -> tuple[list[Prediction], float]:
    """Answer posts, and measure the number of posts per second."""
    program.batch_posts(posts[:4], progress=False)  # warm-up
    began = time.perf_counter()
    predictions = program.batch_posts(posts, progress=False)
    return predictions, len(posts) / (time.perf_counter() - began)


def compared(served: Sequence[Prediction], here: Sequence[Prediction]) -> str:
    """Describe how many answers are equal, and how far their confidences differ."""
    failed = [answer for answer in served if answer.error]
    equal = [
        (ours, theirs)
        for theirs, ours in zip(served, here, strict=True)
        if not theirs.error and compared_parts(ours) == compared_parts(theirs)
    ]
    differences = [
        abs(our_entity.confidence - their_entity.confidence)
        for ours, theirs in equal
        for our_entity, their_entity in zip(ours.entities, theirs.entities, strict=True)
        if our_entity.confidence is not None and their_entity.confidence is not None
    ]
    lines = [f"{len(equal)} of {len(here)} answers are equal, {len(failed)} failed"]
    lines += [f"  {answer.id}: {answer.error['message']}" for answer in failed[:3] if answer.error]
    if differences:
        lines.append(f"confidences of {len(differences)} entities differ by up to {max(differences):.2g}")
    return "\n".join(lines)


def compared_parts(answer: Prediction) -> list[object]:
    """The compared parts of an answer: reasoning, spans, types and boxes."""
    return [answer.reasoning, *((e.key, e.type, e.box) for e in answer.entities)]


def main() -> None:
    """Answer the posts with both, and compare the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--build", nargs=2, metavar=("FAMILY", "FOLDER"), help=f"only build a checkpoint: {', '.join(FAMILIES)}"
    )
    parser.add_argument("--api-base", default="http://localhost:8000/v1", help="URL of the server, including /v1")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--served", help="name of the model on the server")
    parser.add_argument("--model", help="local weights: folder or Hub id (default: the embedded model)")
    parser.add_argument("--posts", type=int, default=64, help="number of posts of the world, split dev")
    parser.add_argument("--reasoning", type=int, default=200, help="maximum number of characters of reasoning")
    args = parser.parse_args()
    if args.build:
        if args.build[0] not in FAMILIES:
            parser.error(f"unknown family {args.build[0]}; choose from {', '.join(FAMILIES)}")
        build(args.build[0], Path(args.build[1]))
        return
    if not args.served:
        parser.error("--served is required: the name of the model on the server")
    posts, limits = World().posts("dev", args.posts), Limits(reasoning=args.reasoning)
    lm = load_vlm(args.model, cache=False)
    name = f"openai/{args.served}"
    served_lm = dspy.LM(name, api_base=args.api_base, api_key=args.api_key, max_tokens=None, cache=False, num_retries=0)
    here = GMNER(lm, limits=limits, confidence=True)
    served = GMNER(served_lm, profile=lm.engine.profile, limits=limits, confidence=True)
    ours, our_speed = answers(here, posts)
    theirs, their_speed = answers(served, posts)
    sys.stdout.write(f"{compared(theirs, ours)}\n")
    sys.stdout.write(f"{their_speed:.1f} posts per second served, {our_speed:.1f} local\n")


if __name__ == "__main__":
    main()
