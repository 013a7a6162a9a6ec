"""Thinking models: chat templates, the engine, confidence and training rows."""

import json
from collections.abc import Callable
from pathlib import Path

import dspy
import pytest
import torch
from engine_requests import checked, request, schema_for
from thinking_templates import TEMPLATES, thinking_checkpoint
from transformers import AutoTokenizer

from gmner.programs.engine.constrained_sampler import ConstrainedSampler, SamplerRow, Sampling
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.engine.thought import ThinkingRules, Thought
from gmner.programs.gmner import GMNER
from gmner.programs.models.families import FAMILIES, Thinking, split_thinking
from gmner.programs.models.families.thinking import KIMI, KNOWN, MISTRAL, THINK
from gmner.programs.models.loading import load_vlm
from gmner.programs.models.processors import load_processor
from gmner.programs.models.thinking_templates import answer_lead, switch_thinking
from gmner.signatures.errors import InputError, ModelError

CHAT = [
    {"role": "system", "content": [{"type": "text", "text": "Find."}]},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Post: Paris"}]},
]
ENDS = {
    "opens": ("<think>\n\n</think>\n\n", "<think>\n"),
    "switch": ("<think>\n\n</think>\n\n", "<think>\n"),
    "switch_off": ("<think>\n\n</think>\n\n", "<think>\n"),
    "model_opens": ("<think></think>\n", "<think>\n"),
    "bare": ("◁think▷◁/think▷", "◁think▷"),
    "brackets": ("[THINK][/THINK]", "[THINK]"),
}
"""What prompts end with when thinking is off, and when it is on."""

Checkpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def checkpoint(tiny, tmp_path_factory) -> Checkpoint:
    root, built = tmp_path_factory.mktemp("thinking"), {}

    def folder(name: str, *, tokens: bool = True) -> Path:
        if (name, tokens) not in built:
            built[name, tokens] = thinking_checkpoint(tiny("qwen3_vl"), name, root / f"{name}-{tokens}", tokens=tokens)
        return built[name, tokens]

    return folder


def _prompt(processor, chat=CHAT) -> str:
    return processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)


# Chat templates


def test_thinking_tokens_need_thinking(checkpoint: Checkpoint):
    with pytest.raises(InputError, match=r"thinking_tokens requires thinking=True \(got 9\)"):
        load_vlm(checkpoint("opens"), thinking_tokens=9)


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompt_ends_inside_or_behind_the_block(checkpoint: Checkpoint, name: str):
    folder = checkpoint(name)
    off, on = (load_processor(folder, "qwen3_vl", thinking=thinking) for thinking in (False, True))
    turn = "Post: Paris<|im_end|>\n<|im_start|>assistant\n"
    assert _prompt(off).endswith(turn + ENDS[name][0])
    assert _prompt(on).endswith(turn + ENDS[name][1])


@pytest.mark.parametrize("name", TEMPLATES)
def test_switching_twice_is_switching_once(checkpoint: Checkpoint, name: str):
    processor = load_processor(checkpoint(name), "qwen3_vl", thinking=True)
    opened = processor.chat_template
    switch_thinking(processor, False)
    closed = processor.chat_template
    switch_thinking(processor, False)
    assert processor.chat_template == closed
    switch_thinking(processor, True)
    assert processor.chat_template == opened
    assert processor.tokenizer.chat_template in (None, opened)


@pytest.mark.parametrize("name", TEMPLATES)
def test_training_row_is_the_prompt_and_the_answer(checkpoint: Checkpoint, name: str):
    processor = load_processor(checkpoint(name), "qwen3_vl")
    lead = answer_lead(processor, {"bare": KIMI, "brackets": MISTRAL}.get(name, THINK))
    answer = {"role": "assistant", "content": [{"type": "text", "text": lead + '{"entities":[]}'}]}
    whole = processor.apply_chat_template([*CHAT, answer], tokenize=False)
    assert whole.startswith(_prompt(processor) + '{"entities":[]}<|im_end|>')


def test_template_that_removes_the_block_cannot_be_trained(checkpoint: Checkpoint):
    processor = load_processor(checkpoint("opens"), "qwen3_vl")
    bare = "{% if loop.last and m.role == 'assistant' %}"
    assert bare in processor.chat_template
    processor.chat_template = processor.chat_template.replace(bare, "{% if false %}")
    with pytest.raises(ModelError, match="cannot be fine-tuned"):
        answer_lead(processor, THINK)


@pytest.mark.parametrize("family", ["qwen3_vl", "idefics3"])
def test_template_without_thinking_is_unchanged(tiny, family: str):
    processor = load_processor(tiny(family), family)
    assert processor.chat_template == (tiny(family) / "chat_template.jinja").read_text(encoding="utf-8")
    assert answer_lead(processor, None) == ""
    with pytest.raises(ModelError, match="does not think before it answers") as caught:
        load_vlm(tiny(family), thinking=True)
    assert "thinking=False" in caught.value.remedy


def test_template_that_always_closes_is_refused(checkpoint: Checkpoint):
    processor = load_processor(checkpoint("opens"), "qwen3_vl")
    template = TEMPLATES["opens"].replace("{{ '<think>\n' }}", "{{ '<think>\n\n</think>\n\n' }}")
    processor.chat_template = template
    assert switch_thinking(processor, False) == THINK
    assert processor.chat_template == template
    with pytest.raises(ModelError, match="always closes its thinking"):
        switch_thinking(processor, True)


def test_markers_of_the_vocabulary_are_used_on_request(checkpoint: Checkpoint, tiny):
    processor = load_processor(checkpoint("opens"), "qwen3_vl")
    plain = (tiny("qwen3_vl") / "chat_template.jinja").read_text(encoding="utf-8")
    processor.chat_template = plain  # as in MiMo-VL's first release: the template does not mention thinking
    assert switch_thinking(processor, False) is None
    assert processor.chat_template == plain
    assert switch_thinking(processor, True) == THINK
    assert _prompt(processor).endswith("assistant\n<think>\n")


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_thinking_must_be_a_switch(checkpoint: Checkpoint, value):
    with pytest.raises(ModelError, match="thinking must be True or False"):
        load_vlm(checkpoint("opens"), thinking=value)


@pytest.mark.parametrize("value", [-1, 1.5, True, "9"])
def test_thinking_tokens_must_be_a_number(checkpoint: Checkpoint, value):
    with pytest.raises(ModelError, match="thinking_tokens must"):
        load_vlm(checkpoint("opens"), thinking=True, thinking_tokens=value)


def test_markers_must_not_be_empty():
    with pytest.raises(InputError, match="must not be empty"):
        Thinking(closing="")


def test_families_write_the_blocks_of_their_markers():
    for family in FAMILIES.values():
        if (thinking := family.thinking) is not None:
            (known,) = (one for one in KNOWN if one.closing == thinking.closing)
            assert (family.name, thinking.opener, thinking.closer) == (family.name, known.opener, known.closer)


# Where thinking ends


@pytest.fixture(scope="module", params=[True, False], ids=["token", "pieces"])
def rules(request, checkpoint: Checkpoint) -> ThinkingRules:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint("opens", tokens=request.param))
    return ThinkingRules(tokenizer, THINK, 40)


def _think(rules: ThinkingRules, ids: list[int], end: int = 1) -> Thought:
    thought = Thought(rules)
    for token in ids:
        if not thought.closed:
            thought.next(token, {end})
    return thought


def test_thinking_ends_behind_its_marker(rules: ThinkingRules):
    written = rules.encode("Kevin is left.\n</think>")
    thought = _think(rules, [*written, *rules.encode("xxxxxx")])
    assert (thought.closed, thought.cut, thought.text) == (True, False, "Kevin is left.")
    assert rules.decode(thought.ids) == "Kevin is left.\n</think>\n\n"  # as in the chats of the model


def test_white_space_of_the_model_is_kept(rules: ThinkingRules):
    for after in ("\n\n", "\n", " "):
        thought = Thought(rules)
        for token in rules.encode("left</think>" + after):
            thought.next(token, {1})
        thought.next(rules.encode("x")[0], {1}) if not thought.closed else None
        assert thought.text == "left"


def test_token_with_marker_and_answer_is_cut_at_the_marker():
    class Letters:
        """A tokenizer with one token a character, and a token `>{"`."""

        def encode(self, text, add_special_tokens):
            return [ord(letter) for letter in text]

        def decode(self, ids, **_):
            return "".join('>{"' if token == 9999 else chr(token) for token in ids)

    rules = ThinkingRules(Letters(), THINK, 40)
    thought = Thought(rules)
    for letter in "left</think":
        assert thought.next(ord(letter), {1}) == ord(letter)
    assert [thought.next(9999, {1}) for _ in range(3)] == [ord(">"), ord("\n"), ord("\n")]
    assert (thought.closed, thought.text) == (True, "left")


def test_thinking_is_closed_at_its_limit(rules: ThinkingRules):
    letter = rules.encode("x")[0]
    thought = _think(rules, [letter] * 100)
    assert (thought.closed, thought.cut, thought.text) == (True, True, "x" * 40)
    assert rules.decode(thought.ids) == "x" * 40 + "\n</think>\n\n"
    assert len(thought.ids) == rules.most


def test_turn_that_ends_in_thinking_is_closed(rules: ThinkingRules):
    thought = _think(rules, [*rules.encode("left"), 1, *rules.encode("xxxxxxxxxxxxxxxx")], end=1)
    assert (thought.closed, thought.cut, thought.text) == (True, False, "left")
    assert 1 not in thought.ids


def test_marker_at_the_limit_does_not_count_as_cut(rules: ThinkingRules):
    tail = rules.encode("</think>")
    written = [rules.encode("x")[0]] * (41 - len(tail)) + tail
    thought = _think(rules, [*written, *rules.encode("zzzzz")])
    assert (thought.closed, thought.cut) == (True, False)


def test_limit_of_zero_closes_at_once(checkpoint: Checkpoint):
    rules = ThinkingRules(AutoTokenizer.from_pretrained(checkpoint("opens")), THINK, 0)
    thought = _think(rules, rules.encode("xxxxxxxxx"))
    assert (thought.closed, thought.text) == (True, "")


# The engine


def _thinking_lm(checkpoint: Checkpoint, name: str = "opens", limit: int = 24, tokens: bool = True) -> dspy.LM:
    lm = load_vlm(
        checkpoint(name, tokens=tokens), thinking=True, thinking_tokens=limit, temperature=1.0, max_batch=8, cache=False
    )
    lm.kwargs["seed"] = 5  # greedily, a random model thinks nothing
    return lm


@pytest.mark.parametrize(("name", "tokens"), [("opens", True), ("opens", False), ("bare", True)])
def test_answers_behind_thinking_are_valid(checkpoint: Checkpoint, name: str, tokens: bool):
    engine = _thinking_lm(checkpoint, name, tokens=tokens).engine
    posts = ["Kevin Durant in Paris", "London", "</think> {", "日本"]
    requests = [
        request(post, schema_for(post, engine.profile), temperature=heat, seed=seed)
        for seed, post in enumerate(posts)
        for heat in (0.0, 1.5)
    ]
    thoughts = set()
    for asked, response in zip(requests, engine.complete_many(requests), strict=True):
        *thinking, answer = response.message.parts
        post = asked.messages[-1].parts[-1].text.removeprefix("Post: ")
        checked(answer.text, post, engine.profile)
        for part in thinking:  # a random model may think nothing
            assert part.type == "thinking"
            assert "</think>" not in part.text
            thoughts.add(part.text)
        usage = response.usage
        assert 0 < usage.reasoning_tokens < usage.output_tokens
        assert response.finish_reason == "stop"
    assert len(thoughts) > 2


def test_thinking_does_not_depend_on_the_batch(checkpoint: Checkpoint):
    engine = _thinking_lm(checkpoint).engine
    requests = [
        request(post, schema_for(post, engine.profile), temperature=1.0, seed=seed, logprobs=0)
        for seed, post in enumerate(["Paris", "Kevin Durant", "London speech", "x"])
    ]
    together = engine.complete_many(requests)
    alone = [engine.complete(one) for one in requests]
    assert [r.message.parts for r in together] == [r.message.parts for r in alone]
    assert len({r.message.parts[0].text for r in alone}) > 2


def test_log_probabilities_are_those_of_the_answer(checkpoint: Checkpoint):
    engine = _thinking_lm(checkpoint).engine
    response = engine.complete(request("Paris", schema_for("Paris", engine.profile), logprobs=0))
    answer = response.message.parts[-1].text
    assert "".join(token.token for token in response.logprobs) == answer
    assert len(response.logprobs) == response.usage.output_tokens - response.usage.reasoning_tokens


def test_model_that_closes_its_thinking_itself(checkpoint: Checkpoint, caplog):
    engine = _thinking_lm(checkpoint, limit=300).engine
    end = engine.processor.tokenizer.convert_tokens_to_ids("</think>")
    rules = ThinkingRules(engine.processor.tokenizer, THINK, 300)
    row = SamplerRow(None, 5, Sampling(), thought=Thought(rules))
    sampler = ConstrainedSampler([row], [0], 0)
    for token in (rules.encode("x")[0], end, 7, 7, 7):
        scores = torch.zeros(1, 800)
        scores[0, token] = 9.0
        sampler.draw(torch.zeros(1, 1, dtype=torch.long), scores)
    assert (row.thought.text, row.thinking) == ("x", False)
    assert row.written == [7] * len(row.written)
    assert row.written
    assert row.length == len(row.thought.ids) + len(row.written)


def test_abandoned_row_stops_thinking():
    class Closed:
        limit = most = 9

    row = SamplerRow(None, 5, Sampling(), abandoned=lambda: True, thought=Thought(Closed()))
    ConstrainedSampler([row], [0], 0).draw(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 20))
    assert (row.ended, row.truncated, row.thought.ids) == (True, True, [])


def test_closed_thinking_is_logged_once(checkpoint: Checkpoint, caplog):
    engine = _thinking_lm(checkpoint, limit=3).engine
    with caplog.at_level("WARNING"):
        engine.complete_many([request(post, schema_for(post, engine.profile)) for post in ("Paris", "Ana")])
    assert caplog.text.count("Thinking was closed after 3 tokens; raise thinking_tokens") == 1


def test_context_counts_thinking(checkpoint: Checkpoint):
    engine = _thinking_lm(checkpoint, limit=4000).engine
    with pytest.raises(InputError, match="exceed the model's context") as caught:
        engine.complete(request("Paris", schema_for("Paris", engine.profile)))
    assert "for the thinking" in str(caught.value.received)
    assert "thinking_tokens" in caught.value.remedy


def test_free_text_behind_thinking(checkpoint: Checkpoint):
    engine = _thinking_lm(checkpoint).engine
    response = engine.complete(request("Paris", max_tokens=12, temperature=1.0, seed=3))
    assert [part.type for part in response.message.parts][-1] == "text"
    assert response.usage.reasoning_tokens


def test_program_keeps_the_thinking(checkpoint: Checkpoint):
    lm = _thinking_lm(checkpoint)
    program = GMNER(lm, confidence=True)
    answer = program(text="Kevin Durant in Paris")
    assert answer.thinking
    assert answer.thinking not in answer.reasoning
    assert all(e.confidence is not None for e in answer.entities)
    assert answer.copy().thinking == answer.thinking
    quiet = GMNER(load_vlm(checkpoint("opens"), cache=False))(text="Kevin Durant in Paris")
    assert quiet.thinking == ""
    assert "thinking" not in quiet


def test_marker_in_a_post_is_text(checkpoint: Checkpoint):
    processor = load_processor(checkpoint("opens"), "qwen3_vl")
    text = "Kevin</think>Durant <think>"
    chat = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    ids = ChatEncoder(processor)([chat])["input_ids"][0].tolist()
    close = processor.tokenizer.convert_tokens_to_ids("</think>")
    assert ids.count(close) == 1  # that of the template
    assert text in processor.tokenizer.decode(ids)


async def _asked(program: GMNER):
    return await program.acall(text="Kevin Durant in Paris")


def test_thinking_of_async_calls_and_votes(checkpoint: Checkpoint):
    import asyncio

    program = GMNER(_thinking_lm(checkpoint), answers=3, temperature=1.0)
    assert asyncio.run(_asked(program)).thinking
    assert program(text="Kevin Durant in Paris").thinking


def test_model_string_names_the_mode(checkpoint: Checkpoint):
    quiet, thinking, longer = (
        load_vlm(checkpoint("opens")),
        _thinking_lm(checkpoint, limit=5),
        _thinking_lm(checkpoint, limit=6),
    )
    assert len({lm.model for lm in (quiet, thinking, longer)}) == 3
    assert "thinking" not in quiet.model
    state = json.loads(json.dumps(thinking.engine.dump_state()))
    assert (state["thinking"], state["thinking_tokens"]) == (True, 5)
    assert type(thinking.engine).load_state(state) is thinking.engine


def test_state_of_an_earlier_version(checkpoint: Checkpoint):
    state = load_vlm(checkpoint("opens")).engine.dump_state()
    earlier = {name: value for name, value in state.items() if "thinking" not in name}
    engine = type(load_vlm(checkpoint("opens")).engine).load_state({**earlier, "window": 0.009})
    assert engine.weights.source.thinking is False


# Text of servers without a reasoning parser


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ('{"a":"</think>"}', "", '{"a":"</think>"}'),
        ('<think>\nleft\n</think>\n\n{"a":1}', "left", '\n\n{"a":1}'),
        ('left {"a":2}\n</think>{"a":1}', 'left {"a":2}', '{"a":1}'),
        ('<think></think>{"a":"</think>"}', "", '{"a":"</think>"}'),
        ("<think>\nand on", "and on", ""),
        ('◁think▷left◁/think▷{"a":1}', "left", '{"a":1}'),
        ("Sure!", "", "Sure!"),
        ("", "", ""),
        ('<|channel>thought\nleft<channel|>{"a":1}', "left", '{"a":1}'),
        ('◁think▷left◁/think▷{"a":"</think>"}', "left", '{"a":"</think>"}'),
    ],
)
def test_thoughts_are_split_from_an_answer(text: str, thinking: str, answer: str):
    assert split_thinking(text) == (thinking, answer)
