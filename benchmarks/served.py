"""A served model beside the same weights here: are the answers the same, and how fast do they come?

Serve a checkpoint with any server of the OpenAI form, then name it and its weights:

    vllm serve programs/models/embedded --served-model-name embedded --dtype float32
    python benchmarks/served.py --served embedded

    vllm serve ./mcr-merged --served-model-name mcr          # what `gmner merge` wrote
    python benchmarks/served.py --served mcr --model ./mcr-merged

Small merged checkpoints of random weights, to try a server with (`tests/tiny.py`: qwen2_5_vl, smolvlm and others):

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

# vLLM asks for a video processor where a family has one. Checkpoints of the hub bring it; these sizes are never used.
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
    """Write random weights of a family with a random adapter merged, as `gmner merge` does."""
    with tempfile.TemporaryDirectory() as work:
        base, adapter = build_tiny(family, Path(work, "base")), Path(work, "adapter")
        torch.manual_seed(1)
        tuned = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        get_peft_model(AutoModelForImageTextToText.from_pretrained(base), tuned).save_pretrained(adapter)
        GMNER(load_vlm(base, adapter=adapter, cache=False)).save_merged(folder)
    if family in VIDEO:
        (folder / "video_preprocessor_config.json").write_text(json.dumps(VIDEO[family]), encoding="utf-8")


def answers(program: GMNER, posts: Sequence[Post]) -> tuple[list[Prediction], float]:
    """What a program says of posts, and how many a second."""
    program.batch_posts(posts[:4], progress=False)  # what the first answers cost once is left out
    began = time.perf_counter()
    found = program.batch_posts(posts, progress=False)
    return found, len(posts) / (time.perf_counter() - began)


def compared(served: Sequence[Prediction], here: Sequence[Prediction]) -> str:
    """How many answers are the same, and how far the confidences of these are apart."""
    failed = [answer for answer in served if answer.error]
    kept = [
        (ours, theirs)
        for theirs, ours in zip(served, here, strict=True)
        if not theirs.error and said(ours) == said(theirs)
    ]
    apart = [
        abs(one.confidence - other.confidence)
        for ours, theirs in kept
        for one, other in zip(ours.entities, theirs.entities, strict=True)
        if one.confidence is not None and other.confidence is not None
    ]
    lines = [f"{len(kept)} of {len(here)} answers are the same, {len(failed)} failed"]
    lines += [f"  {answer.id}: {answer.error['message']}" for answer in failed[:3] if answer.error]
    if apart:
        lines.append(f"confidences of {len(apart)} entities are up to {max(apart):.2g} apart")
    return "\n".join(lines)


def said(answer: Prediction) -> list[object]:
    """What counts of an answer: reasoning, spans, types, boxes."""
    return [answer.reasoning, *((e.key, e.type, e.box) for e in answer.entities)]


def main() -> None:
    """Ask both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", nargs=2, metavar=("FAMILY", "FOLDER"), help=f"{', '.join(FAMILIES)}; then stop")
    parser.add_argument("--api-base", default="http://localhost:8000/v1", help="address of the server, up to /v1")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--served", help="name of the model on the server")
    parser.add_argument("--model", help="the weights here: a folder or hub id; default: the embedded model")
    parser.add_argument("--posts", type=int, default=64, help="posts of the world's dev split")
    parser.add_argument("--reasoning", type=int, default=200, help="most characters of reasoning")
    args = parser.parse_args()
    if args.build:
        if args.build[0] not in FAMILIES:
            parser.error(f"{args.build[0]} is none of {', '.join(FAMILIES)}")
        build(args.build[0], Path(args.build[1]))
        return
    if not args.served:
        parser.error("--served is missing: the name of the model on the server")
    posts, limits = World().posts("dev", args.posts), Limits(reasoning=args.reasoning)
    lm = load_vlm(args.model, cache=False)
    name = f"openai/{args.served}"
    there = dspy.LM(name, api_base=args.api_base, api_key=args.api_key, max_tokens=None, cache=False, num_retries=0)
    here = GMNER(lm, limits=limits, confidence=True)
    served = GMNER(there, profile=lm.engine.profile, limits=limits, confidence=True)
    ours, our_speed = answers(here, posts)
    theirs, their_speed = answers(served, posts)
    sys.stdout.write(f"{compared(theirs, ours)}\n")
    sys.stdout.write(f"{their_speed:.1f} posts a second served, {our_speed:.1f} here\n")


if __name__ == "__main__":
    main()
