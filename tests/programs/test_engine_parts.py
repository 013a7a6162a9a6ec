"""Parts of the engine: profiles, chat encoding, grammars, batches."""

import json
import pickle
import random
import re
import threading
import warnings
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
import torch
from engine_requests import HOSTILE, SIZE, checked, schema_for
from hypothesis import given
from hypothesis import strategies as st
from llguidance.numpy import apply_token_bitmask_inplace
from PIL import Image
from tiny import FAMILIES
from transformers import AutoConfig, AutoTokenizer
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from gmner.programs.engine.batching import Batcher, ending_with
from gmner.programs.engine.constrained_sampler import ConstrainedSampler, SamplerRow, Sampling
from gmner.programs.engine.encoding import ChatEncoder
from gmner.programs.engine.grammar import GrammarCompiler, forbid
from gmner.programs.models.families import ModelProfile, ResizeRule, profile_for_name, profile_of
from gmner.programs.models.processors import load_processor
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import ImageError, InputError, ModelError
from gmner.signatures.schema import longest_answer

FRAMES = {family: "resized" if family == "qwen2_5_vl" else "normalized" for family in FAMILIES}
SIZES = [(60, 60), (90, 60), (33, 200), (640, 480), (1023, 77), (20, 20), (199, 1)]


def _chat(*texts, picture=True):
    image = [{"type": "image", "image": Image.new("RGB", SIZE, "red")}] if picture else []
    return [{"role": "user", "content": [*image, *({"type": "text", "text": text} for text in texts)]}]


# Profiles


@pytest.mark.parametrize("family", FAMILIES)
def test_profile_has_the_coordinate_convention_of_the_family(tiny_lm, family):
    lm = tiny_lm(family)
    assert lm.engine.profile.box_format.frame == FRAMES[family]
    assert pickle.loads(pickle.dumps(lm.engine.profile)) == lm.engine.profile


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_resized_size_equals_that_of_the_processor(tiny_lm, family):
    engine = tiny_lm(family).engine
    patch = engine.processor.image_processor.patch_size
    for size in SIZES:
        grid = engine.processor.image_processor([Image.new("RGB", size)])["image_grid_thw"][0]
        assert engine.profile.resized(size) == (int(grid[2]) * patch, int(grid[1]) * patch)


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([28, 32]))
def test_resize_rule_equals_that_of_transformers(width, height, factor):
    rule = ResizeRule(factor, factor**2 * 4, factor**2 * 700)
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(ImageError, match="too narrow"):
            rule((width, height))
    else:
        assert rule((width, height))[::-1] == smart_resize(height, width, factor, rule.min_pixels, rule.max_pixels)


@pytest.mark.parametrize(
    ("name", "frame", "resized"),
    [
        ("openai/Qwen/Qwen2.5-VL-7B-Instruct", "resized", (644, 476)),
        ("hosted_vllm/qwen2_5_vl-3b", "resized", (644, 476)),
        ("openai/Qwen/Qwen2-VL-2B", "normalized", (644, 476)),
        ("openai/Qwen/Qwen3-VL-8B-Instruct", "normalized", (640, 480)),
        ("openai/HuggingFaceTB/SmolVLM-Instruct", "normalized", None),
        ("openai/OpenGVLab/InternVL3-8B-hf", "normalized", None),
    ],
)
def test_profile_of_served_model(name, frame, resized):
    profile = profile_for_name(name)
    assert profile.box_format.frame == frame
    assert profile.resized((640, 480)) == resized


def test_profile_file_overrides_the_family(tmp_path):
    file = tmp_path / "gmner.json"
    file.write_text('{"box_format": {"frame": "normalized", "scale": 100}, "terse": true}')
    assert profile_of("idefics3", None, tmp_path) == ModelProfile(
        BoxFormat("normalized", 100), terse=True, max_pictures=1
    )
    file.write_text('{"box_format": {"order": "yxyx", "form": "floats"}}')
    assert profile_of("idefics3", None, tmp_path).box_format == BoxFormat("normalized", 1000, "yxyx", "floats")
    for bad in (
        '{"box_format": {"order": "xywh"}}',
        '{"boxes": {}}',
        "[]",
        "{",
        '{"box_format": {"frame": "cm"}}',
        '{"terse": 1}',
        '{"box_format": {"size": 1}}',
    ):
        file.write_text(bad)
        with pytest.raises(ModelError, match="not a valid profile"):
            profile_of("idefics3", None, tmp_path)


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        ('{"frame": "resized"}', "a profile has no key frame; its keys are box_format, terse, resize, max_pictures"),
        ('{"box_format": ["yxyx"]}', "box_format must be an object with frame, scale, order, form"),
        ('{"box_format": {"size": 1}}', "box_format has no key size"),
        ('{"resize": {"factor": 28}}', "resize lacks min_pixels, max_pixels"),
    ],
)
def test_invalid_profiles_are_explained_in_words(tmp_path: Path, data: str, fact: str):
    file = tmp_path / "gmner.json"
    file.write_text(data)
    with pytest.raises(ModelError, match=re.escape(fact)):
        profile_of("idefics3", None, tmp_path)


# Encoding


@pytest.mark.parametrize("family", FAMILIES)
def test_chats_are_encoded_as_in_trl(tiny, family):
    processor = load_processor(tiny(family), family)
    chat = _chat("Post: Kevin Durant cries 😀 at the MVP speech…\nfast")
    plain = processor.apply_chat_template([chat], add_generation_prompt=True, tokenize=True, return_dict=True)
    assert ChatEncoder(processor)([chat])["input_ids"].tolist() == [list(ids) for ids in plain["input_ids"]]


@pytest.mark.parametrize("family", FAMILIES)
def test_chat_markers_in_texts_are_text(tiny, family):
    processor = load_processor(tiny(family), family)
    encoder, tokenizer = ChatEncoder(processor), processor.tokenizer
    specials = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    everything = " ".join(token.content for token in tokenizer.added_tokens_decoder.values())
    chats = [_chat("Post: a  b"), _chat(f"Post: {HOSTILE}", everything), _chat(everything, picture=False)]
    clean = [_chat("Post: a  b"), _chat("Post: ", "x"), _chat("x", picture=False)]
    hostile, ordinary = encoder(chats), encoder(clean)
    for name in set(hostile) - {"input_ids", "attention_mask", "mm_token_type_ids"}:
        assert torch.equal(hostile[name], ordinary[name])
    for row in range(3):
        found, wanted = (
            [
                token
                for token in batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
                if token in specials
            ]
            for batch in (hostile, ordinary)
        )
        assert found == wanted
        live = hostile["input_ids"][row][hostile["attention_mask"][row] == 1]
        assert everything in tokenizer.decode(live) or row == 0
    if "mm_token_type_ids" in hostile:
        assert torch.equal(hostile["mm_token_type_ids"] == 1, hostile["input_ids"] == processor.image_token_id)


def test_image_only_idefics_prompt_equals_the_original(tiny):
    smol = load_processor(tiny("smolvlm"), "smolvlm")
    stock = Idefics3Processor(
        smol.image_processor, smol.tokenizer, image_seq_len=smol.image_seq_len, chat_template=smol.chat_template
    )
    chat = _chat("Post: Paris")
    assert torch.equal(ChatEncoder(stock)([chat])["input_ids"], ChatEncoder(smol)([chat])["input_ids"])


def test_processor_without_template_is_refused(tiny):
    processor = load_processor(tiny("idefics3"), "idefics3")
    processor.chat_template = processor.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="chat template"):
        ChatEncoder(processor)


# Grammar


@pytest.fixture(scope="module")
def compiler(tiny_lm):
    engine = tiny_lm("idefics3").engine
    return GrammarCompiler(engine.model, engine.processor.tokenizer, "llguidance"), engine


def _walk(compiler, engine, schema, seed):
    """An answer under the grammar, with tokens sampled uniformly from the allowed ones, and their number."""
    tokenizer, size = engine.processor.tokenizer, engine.model.config.get_text_config().vocab_size
    row = SamplerRow(compiler.compile(schema), longest_answer(schema), Sampling(temperature=1.0, seed=seed))
    logits, ids = (
        ConstrainedSampler([row], [tokenizer.eos_token_id], tokenizer.eos_token_id),
        torch.zeros(1, 1, dtype=torch.long),
    )
    while ids[0, -1] != tokenizer.eos_token_id or ids.shape[1] == 1:
        token = logits(ids, torch.zeros(1, size)).argmax(-1, keepdim=True)
        assert int(token) < len(tokenizer)
        ids = torch.cat([ids, token], 1)
    assert not row.truncated
    return tokenizer.decode(ids[0, 1:-1]), ids.shape[1] - 2


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.mark.slow
@given(text=_TEXTS, seed=st.integers(0, 99), pictured=st.booleans())
def test_every_output_under_the_grammar_is_valid(compiler, text, seed, pictured):
    grammars, engine = compiler
    size = SIZE if pictured else None
    schema = schema_for(text, engine.profile, size, reasoning=12)
    answer, tokens = _walk(grammars, engine, schema, seed)
    checked(answer, text, engine.profile, size)
    assert tokens <= longest_answer(schema)
    assert answer == json.dumps(json.loads(answer), ensure_ascii=False, separators=(",", ":")) or "\\u" in answer


@pytest.mark.slow
def test_spans_are_limited_to_the_text(compiler):
    grammars, engine = compiler
    text = 'O\'Neil "Shaq" \\o/ café 🏀'
    schema = schema_for(text, engine.profile, None, reasoning=1)
    spans = schema["properties"]["entities"]["items"]["properties"]["span"]["enum"]
    schema["properties"]["entities"]["minItems"] = 1
    seen = {
        checked(_walk(grammars, engine, schema, seed)[0], text, engine.profile, None).entities for seed in range(60)
    }
    found = {entity.span for entities in seen for entity in entities}
    assert found <= set(spans)
    assert {"🏀", '"'} <= found


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"type": "string", "pattern": "("}, {"$ref": "#/missing"}])
def test_invalid_schema_is_reported(compiler, schema):
    with pytest.raises(InputError, match="cannot be compiled"):
        compiler[0].compile(schema)


def test_thousands_of_unusual_words_are_accepted(compiler):
    grammars, engine = compiler
    chosen = random.Random(0)
    text = " ".join("".join(chosen.choices('É😀"\\مש日a\u0301#{}[]\u2028', k=3)) for _ in range(1200))
    answer, _ = _walk(grammars, engine, schema_for(text, engine.profile, None, reasoning=1), 0)
    checked(answer, text, engine.profile, None)


def test_back_ends_of_outlines(tiny_lm):
    engine = tiny_lm("idefics3").engine
    with pytest.raises(ModelError, match="Unknown grammar back end"):
        GrammarCompiler(engine.model, engine.processor.tokenizer, "guesswork")
    core = GrammarCompiler(engine.model, engine.processor.tokenizer, "outlines_core")
    answer, _ = _walk(core, engine, {"enum": ["red", "blue"], "x-guidance": {}}, 0)
    assert json.loads(answer) in ("red", "blue")


def test_finished_rows_are_not_changed(compiler):
    grammars, engine = compiler
    end = engine.processor.tokenizer.eos_token_id
    rows = [SamplerRow(grammars.compile({"const": "a"}), 9, Sampling()), SamplerRow(None, 3, Sampling())]
    logits, ids = ConstrainedSampler(rows, [end], end), torch.zeros(2, 1, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(8):
            scores = torch.rand(2, engine.model.config.get_text_config().vocab_size)
            scores[1, end] = -1.0
            token = logits(ids, scores).argmax(-1, keepdim=True)
            token[0] = engine.processor.tokenizer.pad_token_id if rows[0].ended else token[0]
            ids = torch.cat([ids, token], 1)
    assert rows[0].ended
    assert not rows[0].truncated
    assert rows[1].truncated
    assert ids[1, 4] == end


def test_top_k_and_top_p_limit_sampling():
    scores = torch.tensor([[3.0, 2.0, 1.0, float("-inf")]])
    for sampling in (Sampling(1.0, top_k=1), Sampling(1.0, top_p=0.1)):
        assert all(SamplerRow(None, 1, sampling).draw(scores).item() == 0 for _ in range(20))
    drawn = {SamplerRow(None, 1, Sampling(5.0, seed=seed)).draw(scores).item() for seed in range(60)}
    assert drawn == {0, 1, 2}


# Batches


class Scheduler:
    """Answers all admitted requests at once."""

    def __init__(self, answer, most):
        self.answer, self.most, self.calls = answer, most, []

    @property
    def capacity(self):
        return self.most - len(self.calls)

    @property
    def active(self):
        return bool(self.calls)

    def admit(self, calls):
        self.calls += calls

    def step(self):
        calls, self.calls = self.calls, []
        replies = self.answer([call.question for call in calls], [call.abandoned for call in calls]) if calls else []
        for call, reply in zip(calls, replies, strict=True):
            call.settle(reply)

    def forget(self):
        self.calls = []


def batcher_of(answer, most, window):
    return Batcher(Scheduler(answer, most), window)


def test_batches_keep_order_and_bounds():
    sizes = []
    batcher = batcher_of(lambda batch, _: sizes.append(len(batch)) or [item * 2 for item in batch], 4, 0.02)
    assert [future.result(5) for future in batcher.submit(*range(10))] == [item * 2 for item in range(10)]
    assert sizes == [4, 4, 2]
    futures = [batcher.submit(item)[0] for item in range(9)]
    assert [future.result(5) for future in futures] == [item * 2 for item in range(9)]
    batcher.close()


def test_errors_are_raised_in_their_own_call():
    def answer(batch, _):
        if "crash" in batch:
            raise RuntimeError("all of it")
        return [ValueError(item) if item == "bad" else item for item in batch]

    batcher = batcher_of(answer, 8, 0.05)
    good, bad = batcher.submit("good", "bad")
    assert good.result(5) == "good"
    with pytest.raises(ValueError, match="bad"):
        bad.result(5)
    for future in batcher.submit("crash", "beside it"):
        with pytest.raises(RuntimeError, match="all of it"):
            future.result(5)
    assert batcher.submit("good")[0].result(5) == "good"
    batcher.close()


def test_close_finishes_waiting_calls_and_ends_the_thread():
    gate = threading.Event()
    batcher = batcher_of(lambda batch, _: gate.wait(5) and list(batch), 1, 0.0)
    futures = batcher.submit(0, 1, 2)
    futures[2].cancel()
    gate.set()
    batcher.close()
    assert [future.result(0) for future in futures[:2]] == [0, 1]
    assert not batcher._worker.is_alive()
    with pytest.raises(ModelError, match="closed"):
        batcher.submit(1)


def test_abandoned_request_is_detected_while_it_runs():
    begun, gate, seen = threading.Event(), threading.Event(), []

    def answer(batch, abandoned):
        begun.set()
        gate.wait(5)
        seen.append([is_abandoned() for is_abandoned in abandoned])
        return batch

    batcher, end = batcher_of(answer, 3, 0.05), threading.Event()
    kept, cancelled = batcher.submit("kept", "cancelled")
    with ending_with(end):
        (ended,) = batcher.submit("ended")
    begun.wait(5)
    with ending_with(end):
        (never_begun,) = batcher.submit("never begun")
    assert cancelled.cancel()
    end.set()
    gate.set()
    assert kept.result(5) == "kept"
    for future in (cancelled, ended, never_begun):
        with pytest.raises(CancelledError):
            future.result(5)
    batcher.close()
    assert seen == [[False, True, True]]


def test_sixteen_threads_get_all_replies():
    batcher = batcher_of(lambda batch, _: [item + 1 for item in batch], 5, 0.001)
    results = {}

    def ask(start):
        for item in range(start, start + 20):
            results[item] = batcher.submit(item)[0].result(5)

    threads = [threading.Thread(target=ask, args=(20 * index,)) for index in range(16)]
    random.Random(0).shuffle(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {item: item + 1 for item in range(320)}
    batcher.close()


def test_tiny_checkpoints_load_with_the_auto_classes(tiny):
    for family in FAMILIES:
        assert AutoConfig.from_pretrained(tiny(family)).model_type == family
        assert len(AutoTokenizer.from_pretrained(tiny(family))) < 512


@given(st.integers(1, 3), st.integers(1, 4), st.integers(-40, 40), st.randoms(use_true_random=False))
def test_mask_equals_that_of_llguidance(rows, words, beyond, rng):
    bits = torch.tensor(
        [[rng.randrange(-(2**31), 2**31) for _ in range(words)] for _ in range(rows)], dtype=torch.int32
    )
    scores = torch.zeros(rows, max(1, 32 * words + beyond))
    theirs = scores.numpy().copy()
    apply_token_bitmask_inplace(theirs, bits.numpy())
    assert torch.equal(forbid(scores, bits), torch.from_numpy(theirs))
