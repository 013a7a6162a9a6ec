"""Measures the speed of generation with the engine, with plain transformers on the same prompts, and with vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from gmner.data.post import Post
from gmner.optimizers.gpu_kit.meter import Meter
from gmner.optimizers.training.program_calls import post_inputs
from gmner.programs.engine.generation import Completion, Generator, Prompt
from gmner.programs.engine.vllm_generation import VLLMGenerator
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.gmner import GMNER
from gmner.programs.models.checkpoint import load_checkpoint
from gmner.programs.seams.vllm_seams import OfflineLLM
from gmner.signatures.forms import form_of


def prompts_of(program: GMNER, posts: Sequence[Post], tokens: int) -> list[Prompt]:
    """The prompts of the program for posts, with answers of at most `tokens` tokens."""
    adapter, signature = program.adapter(), program.answer.signature
    form = form_of(list(signature.output_fields))
    return [
        Prompt(
            adapter.dialogue(signature, [], post_inputs(post)),
            form.schema(adapter.request(post_inputs(post))),
            tokens,
        )
        for post in posts
    ]


def answering(engine: VLMEngine, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Generate one batch with the engine and its schemas, then as many steps with transformers without schemas.

    Images are encoded in every run. A warm-up run of each side is not counted.

    Returns:
        One record per side: rows, tokens of the longest prompt, steps, seconds until the first token (`read_seconds`)
        and in total, tokens per second in total and after the first token, and memory.
    """
    generator = Generator(engine.weights, cached_images=0)
    short = [Prompt(prompt.conversation, prompt.schema, 1) for prompt in prompts]
    written = generator.generate(prompts)
    steps = max(completion.tokens for completion in written)
    length = max(completion.prompt_tokens for completion in written)

    def generate_with_transformers(count: int) -> None:
        batch = generator.encoder([prompt.conversation for prompt in prompts])
        batch = batch.to(engine.model.device, dtype=engine.model.dtype)
        with torch.inference_mode():
            engine.model.generate(**batch, do_sample=False, min_new_tokens=count, max_new_tokens=count)

    sides: list[dict[str, Any]] = []
    for name in ("engine", "transformers"):
        if name == "transformers":
            generate_with_transformers(2)
        with Meter() as read:
            if name == "engine":
                generator.generate(short)
            else:
                generate_with_transformers(1)
        with Meter() as whole:
            if name == "engine":
                tokens = sum(completion.tokens for completion in generator.generate(prompts))
            else:
                generate_with_transformers(steps)
                tokens = steps * len(prompts)
        rest = max(1e-9, whole.seconds - read.seconds)
        sides.append(
            {
                "side": name, "rows": len(prompts), "prompt_tokens": length, "steps": steps, "tokens": tokens,
                "read_seconds": round(read.seconds, 3), "seconds": round(whole.seconds, 3),
                "tokens_per_second": round(tokens / whole.seconds, 1),
                "tokens_per_second_after_first": round((tokens - len(prompts)) / rest, 1),
                "milliseconds_per_step": round(1000 * rest / max(1, steps - 1), 2), **whole.memory(),
            }
        )  # fmt: skip
    return sides


def answering_with_vllm(engine: VLMEngine, prompts: Sequence[Prompt], batches: Sequence[int]) -> list[dict[str, Any]]:
    """Generate answers to the same prompts with vLLM in this process, with the same schemas and the free memory.

    Args:
        engine: The engine with the model.
        prompts: The prompts of the largest batch.
        batches: Batch sizes. Each batch is the first prompts; vLLM's cache of prefixes is off, so that it reads them.

    Returns:
        One record per batch size, without memory: vLLM reserves most of what is free.

    Raises:
        ModelError: vLLM is not installed, finds no device, or cannot load the model.
    """
    lengths = [completion.prompt_tokens for completion in Generator(engine.weights).generate(
        [Prompt(prompt.conversation, prompt.schema, 1) for prompt in prompts]
    )]  # fmt: skip
    limit = max(prompt.limit for prompt in prompts)
    free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (1, 1)
    checkpoint = load_checkpoint(replace(engine.weights.source, model=str(engine.path), dtype="auto"))
    llm = OfflineLLM(
        engine.path, max_model_len=max(lengths) + limit + 64, gpu_memory_utilization=0.9 * free / total,
        enable_prefix_caching=False, mm_processor_cache_gb=0,
    )  # fmt: skip
    generator = VLLMGenerator(checkpoint, llm, None)
    generator.generate(prompts[:1])
    sides = []
    for rows in batches:
        with Meter() as whole:
            answers = generator.generate(prompts[:rows])
        tokens = sum(answer.tokens for answer in answers if isinstance(answer, Completion))
        sides.append({
            "side": "vllm", "rows": rows, "prompt_tokens": max(lengths[:rows]), "tokens": tokens,
            "seconds": round(whole.seconds, 3), "tokens_per_second": round(tokens / whole.seconds, 1),
        })  # fmt: skip
    return sides


def scoring(program: GMNER, posts: Sequence[Post]) -> dict[str, Any]:
    """Posts per minute of `batch_posts`, after one post as a warm-up."""
    program.batch_posts(posts[:1], progress=False)
    with Meter() as whole:
        answers = program.batch_posts(posts, progress=False)
    return {
        "posts": len(posts), "max_batch": program.model.engine.max_batch, "seconds": round(whole.seconds, 2),
        "posts_per_minute": round(60 * len(posts) / whole.seconds, 1),
        "failed": sum(answer.error is not None for answer in answers), **whole.memory(),
    }  # fmt: skip
