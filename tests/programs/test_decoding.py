"""The decoding loop of the engine gives the same answers as that of transformers."""

import dataclasses

import pytest
import torch
from PIL import Image
from tiers import daily
from tiny import FAMILIES
from transformers import LogitsProcessorList

from gmner.programs.engine.constrained_sampler import ConstrainedSampler, Sampling
from gmner.programs.engine.decoding import Decoding
from gmner.programs.engine.generation import Completion, Generator, Prompt
from gmner.programs.models.families import picture_ids

pytestmark = pytest.mark.slow

LENGTHS = (1, 40, 3, 12, 25, 2)
families = pytest.mark.parametrize("family", daily(FAMILIES, "qwen2_5_vl", "smolvlm", "internvl"))
SIZES = ((90, 60), None, (60, 60), (33, 120), (90, 60), None)


def _prompt(number: int, *, heat: float = 0.0, seed: int | None = None, chat: int | None = None) -> Prompt:
    """A prompt whose answer has its own length; `chat` selects the text and the image of another number."""
    said = number if chat is None else chat
    size = SIZES[said]
    picture = [] if size is None else [{"type": "image", "image": Image.new("RGB", size, (40 * said, 90, 10))}]
    conversation = [{"role": "user", "content": [*picture, {"type": "text", "text": "Post: Paris " * (said + 1)}]}]
    schema = {"type": "string", "minLength": LENGTHS[number], "maxLength": LENGTHS[number]}
    return Prompt(conversation, schema, 200, Sampling(heat, seed=seed), logprobs=True)


@pytest.fixture
def sizes(tiny_lm):
    """`sizes(model)`: records the rows of each of its forward passes from now on."""
    handles = []

    def watch(model: torch.nn.Module) -> list[int]:
        seen: list[int] = []

        def note(module, args, kwargs):
            seen.append(len(kwargs["input_ids"]))

        handles.append(model.register_forward_pre_hook(note, with_kwargs=True))
        return seen

    yield watch
    for handle in handles:
        handle.remove()


def _by_transformers(generator: Generator, prompts: list[Prompt], loop: Decoding | None = None) -> list[Completion]:
    """The answers of `generate` with its own loop, or with a custom one."""
    rows, weights = [generator._row(prompt) for prompt in prompts], generator._weights
    inputs = generator.encoder([prompt.conversation for prompt in prompts])
    for row, size in zip(rows, inputs["attention_mask"].sum(1).tolist(), strict=True):
        row.prompt_tokens = size
    drawing = ConstrainedSampler(rows, weights.end_ids, weights.end_ids[0], picture_ids(weights.model.config))
    with torch.inference_mode():
        weights.model.generate(
            **inputs, do_sample=False, max_new_tokens=201, eos_token_id=weights.end_ids,
            logits_processor=LogitsProcessorList([drawing]), custom_generate=loop,
        )  # fmt: skip
    return [generator.completion(row) for row in rows]


def _same(ours: list[Completion], theirs: list[Completion]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.text, mine.tokens, mine.prompt_tokens) == (other.text, other.tokens, other.prompt_tokens)
        assert [value for _, value in mine.logprobs] == pytest.approx([v for _, v in other.logprobs], abs=1e-4)


@families
def test_answers_equal_those_of_transformers(tiny_lm, family, sizes):
    engine = tiny_lm(family).engine
    generator, seen = Generator(engine.weights), sizes(engine.model)
    prompts = [_prompt(number, heat=number % 2, seed=number) for number in range(len(LENGTHS))]
    ours = generator.generate(prompts)
    assert seen[0] == len(prompts)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] <= 2
    work = sum(seen)
    seen.clear()
    theirs = _by_transformers(generator, prompts)
    assert sum(seen) > 1.2 * work
    _same(ours, theirs)
    _same(_by_transformers(generator, prompts, Decoding()), theirs)


@pytest.mark.parametrize("missing", [0, 5])
def test_answer_at_its_limit_needs_no_further_pass(tiny_lm, sizes, missing):
    engine = tiny_lm("idefics3").engine
    generator, seen = Generator(engine.weights), sizes(engine.model)
    whole = generator.generate([_prompt(3)])[0]
    assert len(seen) == whole.tokens + 1
    seen.clear()
    most = whole.tokens - missing
    (answer,) = generator.generate([dataclasses.replace(_prompt(3), max_tokens=most)])
    assert len(seen) == answer.tokens == most
    assert answer.truncated == bool(missing)
    assert whole.text.startswith(answer.text)


# Prompts of all lengths, and of equal length, for which `generate` makes no mask.
@pytest.mark.parametrize("chat", [None, 0])
@families
def test_answers_do_not_depend_on_the_rest_of_the_batch(tiny_lm, family, chat, sizes):
    engine = tiny_lm(family).engine
    generator = Generator(engine.weights)
    prompts = [_prompt(number, heat=number % 2, seed=number, chat=chat) for number in range(len(LENGTHS))]
    alone = [generator.generate([prompt])[0] for prompt in prompts]
    seen = sizes(engine.model)
    stream, ended, rows = generator.new_batch(), [], {}
    # A long text alone; pictures and words, shorter and longer, with an answer of one token; and a text again.
    for numbers in ((1,), (0, 2, 3), (4,), (5,)):
        rows |= dict(zip(numbers, generator.add(stream, [prompts[number] for number in numbers]), strict=True))
        for _ in range(3):
            ended += stream.step()
    assert rows[0] in ended
    assert rows[1] not in ended
    while stream:
        ended += stream.step()
    assert not stream.step()
    assert len(ended) == len(set(ended)) == len(rows)
    assert max(seen) >= 4
    _same([generator.completion(rows[number]) for number in range(len(prompts))], alone)


@families
def test_prompt_with_several_answers_is_prefilled_once(tiny_lm, family, sizes):
    engine = tiny_lm(family).engine
    generator = Generator(engine.weights)
    said = [0, 1, 0, 3, 3, 0]
    prompts = [_prompt(number, heat=1.0, seed=number, chat=chat) for number, chat in enumerate(said)]
    singly = [generator.generate([prompt])[0] for prompt in prompts]
    seen = sizes(engine.model)
    together = generator.generate(prompts)
    assert seen[:2] == [3, 6]
    assert [answer.text for answer in together] == [answer.text for answer in singly]
    assert [answer.prompt_tokens for answer in together] == [answer.prompt_tokens for answer in singly]
    assert len({answer.text for answer in together}) == len(said)


def test_prompts_with_different_images_are_not_shared(tiny_lm, sizes):
    engine = tiny_lm("idefics3").engine
    red, blue, again = _prompt(0), _prompt(0), _prompt(0)
    blue.conversation[0]["content"][0]["image"] = Image.new("RGB", SIZES[0], "blue")
    seen = sizes(engine.model)
    Generator(engine.weights).generate([red, blue, again])
    assert seen[0] == 2
