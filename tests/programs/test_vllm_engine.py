"""`load_vlm(engine="vllm")`: the same answers, prompts and errors as the transformers engine; vLLM is a stand-in."""

import copy
import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import dspy
import pytest
import torch
import vllm_stand_in
from engine_requests import HOSTILE, checked, request, schema_for, text_of
from peft import LoraConfig, get_peft_model
from PIL import Image
from thinking_templates import thinking_checkpoint
from transformers import AutoModelForImageTextToText
from vllm_stand_in import LLM

import gmner
from gmner.cli.main import main
from gmner.data.post import Post
from gmner.optimizers.mcr import MCR
from gmner.programs.engine.grammar import grammar_text
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.seams import vllm_seams
from gmner.signatures.errors import InputError, ModelError, TruncatedAnswerError
from gmner.signatures.schema import Limits

pytestmark = pytest.mark.slow

SHORT = Limits(reasoning=20, entities=2)
POSTS = [
    Post("1", "Kevin Durant in Paris"),
    Post("2", "red team", Image.new("RGB", (60, 90), "red")),
    Post("3", "London speech", Image.new("RGB", (90, 60), "blue")),
]
FAMILY = "qwen2_5_vl"


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    return vllm_stand_in.install(monkeypatch)


@pytest.fixture
def lm(tiny: Callable[[str], Path], vllm: type[LLM]) -> dspy.LM:
    return load_vlm(tiny(FAMILY), engine="vllm", cache=False)


def adapter(model: Path, folder: Path, **settings: object) -> Path:
    torch.manual_seed(1)
    base = AutoModelForImageTextToText.from_pretrained(model)
    settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **settings}
    get_peft_model(base, LoraConfig(**settings)).save_pretrained(folder)
    return folder


def test_answers_whole_corpus_in_one_list_like_transformers(vllm: type[LLM]):
    ours, theirs = (GMNER(load_vlm(cache=False, engine=name), limits=SHORT) for name in ("transformers", "vllm"))
    theirs.model.engine._batcher._window = 1.0  # a slow machine may prepare the next post late
    expected = ours.batch_posts(POSTS, progress=False)
    answers = theirs.batch_posts(POSTS, progress=False)
    assert [answer.entities for answer in answers] == [answer.entities for answer in expected]
    assert not any(answer.error for answer in answers)
    (made,) = vllm.made
    ((prompts, params, lora),) = made.calls  # one call of vLLM for the whole corpus
    assert sorted(len(prompt.get("multi_modal_data", {}).get("image", [])) for prompt in prompts) == [0, 1, 1]
    assert lora is None
    assert {(one.temperature, one.logit_bias is None) for one in params} == {(0.0, False)}
    assert all("no_forcing" in one.structured_outputs.grammar for one in params)
    assert made.options["structured_outputs_config"] == {"backend": "guidance"}
    assert theirs.model.model == f"{ours.model.model}+vllm"  # not the same entries in DSPy's cache


def test_each_request_has_its_schema_sampling_and_limit(lm: dspy.LM, vllm: type[LLM]):
    engine = lm.engine
    schema = schema_for(HOSTILE, engine.profile)
    hostile = request(HOSTILE, schema, temperature=0.7, top_p=0.9, top_k=5, seed=3)
    free = request("Paris", None, max_tokens=4)
    first, second = engine.complete_many([hostile, free])
    checked(text_of(first), HOSTILE, engine.profile)
    ((prompts, (one, other), _),) = vllm.made[0].calls
    assert one.structured_outputs.grammar == grammar_text(schema)
    assert (one.temperature, one.top_p, one.top_k, one.seed) == (0.7, 0.9, 5, 3)
    assert (other.structured_outputs, other.max_tokens, second.finish_reason) == (None, 4, "length")
    placeholder = engine.weights.config.image_token_id
    # One placeholder for each of the two images; markers in the text of the post are text.
    assert prompts[0]["prompt_token_ids"].count(placeholder) == 2


@pytest.mark.parametrize("family", ["qwen2_5_vl", "idefics3", "internvl"])
def test_compact_prompts_expand_to_the_prompt_of_transformers(
    tiny: Callable[[str], Path], vllm: type[LLM], family: str
):
    lm = load_vlm(tiny(family), engine="vllm", cache=False)
    response = lm.engine.complete(request("Kevin in Paris", max_tokens=2))
    ((prompt,), _, _) = vllm.made[0].calls[0]
    ids = vllm.made[0]._inputs(vllm.made[0]._generator(None), prompt)["input_ids"][0].tolist()
    assert response.usage.input_tokens == len(ids) > len(prompt["prompt_token_ids"])


def test_other_preparation_of_images_is_logged_once(lm: dspy.LM, caplog: pytest.LogCaptureFixture, monkeypatch):
    original = LLM._inputs

    def longer(self, generator, prompt):
        inputs = original(self, generator, prompt)
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            inputs[name] = torch.cat([inputs[name], inputs[name][:, -1:]], 1)
        return inputs

    monkeypatch.setattr(LLM, "_inputs", longer)
    with caplog.at_level(logging.WARNING, "gmner"):
        for _ in range(2):
            lm.engine.complete(request("Paris", max_tokens=1))
    assert caplog.text.count("prepares a prompt with images differently") == 1


def test_confidence_equals_that_of_transformers(vllm: type[LLM]):
    pair = [
        GMNER(load_vlm(cache=False, engine=name), limits=SHORT, confidence=True) for name in ("transformers", "vllm")
    ]
    expected, found = (program.batch_posts(POSTS[:2], progress=False) for program in pair)
    values = [[entity.confidence for entity in answer.entities] for answer in found]
    assert values == [[pytest.approx(entity.confidence, rel=1e-5) for entity in answer.entities] for answer in expected]
    assert all(one.logprobs == 0 for one in vllm.made[0].calls[0][1])


def test_votes_are_sampled_with_their_own_seeds(lm: dspy.LM, vllm: type[LLM]):
    GMNER(lm, limits=SHORT, answers=3)(text="Kevin in Paris")
    params = [one for _, each, _ in vllm.made[0].calls for one in each]
    assert {(one.temperature, one.seed) for one in params} == {(0.7, 0), (0.7, 1), (0.7, 2)}


def test_thinking_is_limited_and_closed_as_in_transformers(
    tiny: Callable[[str], Path], vllm: type[LLM], tmp_path: Path
):
    folder = thinking_checkpoint(tiny("qwen3_vl"), "opens", tmp_path / "thinking")
    vllm.thought = "the red team"
    lm = load_vlm(folder, engine="vllm", thinking=True, thinking_tokens=40, cache=False)
    asked = request("Paris", schema_for("Paris", lm.engine.profile))
    response = lm.engine.complete(asked)
    thinking, answer = response.message.parts
    assert (thinking.text, lm.model[-16:]) == ("the red team", "+vllm+thinking40")
    checked(answer.text, "Paris", lm.engine.profile)
    (first, (round_one,), _), (second, (round_two,), _) = vllm.made[0].calls
    assert (round_one.stop, round_one.max_tokens, round_one.structured_outputs) == ("</think>", 40, None)
    assert (round_one.include_stop_str_in_output, round_one.skip_special_tokens) == (True, False)
    tokenizer = lm.engine.processor.tokenizer
    ids, longer = first[0]["prompt_token_ids"], second[0]["prompt_token_ids"]
    assert longer[: len(ids)] == ids
    assert tokenizer.decode(longer[len(ids) :]) == "the red team</think>\n\n"
    assert response.usage.reasoning_tokens == len(longer) - len(ids)
    assert round_two.structured_outputs is not None

    cut = load_vlm(folder, engine="vllm", thinking=True, thinking_tokens=2, cache=False).engine.complete(asked)
    ids = vllm.made[1].calls[1][0][0]["prompt_token_ids"]
    assert tokenizer.decode(ids).endswith("\n</think>\n\n")
    assert "</think>" not in cut.message.parts[0].text


def test_errors_are_those_of_transformers_and_fail_alone(tiny: Callable[[str], Path], lm: dspy.LM):
    ours = load_vlm(tiny(FAMILY), cache=False).engine
    profile = ours.profile
    requests = [
        request("Paris", schema_for("Paris", profile), max_tokens=3),  # cut off
        request("Paris " * 5000, size=None),  # longer than the context
        request("Paris", max_tokens=4090),  # does not fit with its answer
        request("Paris", schema_for("Paris", profile)),
    ]
    *failed, good = lm.engine.complete_many(requests)
    *expected, _ = ours.complete_many(requests)
    assert [type(error) for error in failed] == [TruncatedAnswerError, InputError, InputError]
    assert [str(error) for error in failed[1:]] == [str(error) for error in expected[1:]]
    assert str(failed[0]).startswith("The answer did not end within 3 tokens")
    checked(text_of(good), "Paris", profile)


def test_other_refusals_of_vllm_name_its_message(lm: dspy.LM, monkeypatch: pytest.MonkeyPatch):
    def refuse(self, prompts, sampling_params, **_):
        raise ValueError("At most 1 image(s) may be provided in one prompt.")

    monkeypatch.setattr(LLM, "generate", refuse)
    with pytest.raises(InputError, match=r"vLLM refuses the request\. At most 1 image"):
        lm.engine.complete(request("Paris", max_tokens=2))


def test_dead_engine_fails_every_call_without_further_tries(lm: dspy.LM, monkeypatch: pytest.MonkeyPatch):
    class EngineDeadError(Exception):
        pass

    tries = []

    def dead(self, prompts, sampling_params, **_):
        tries.append(len(prompts))
        raise EngineDeadError("EngineCore encountered an issue")

    monkeypatch.setattr(LLM, "generate", dead)
    failed = lm.engine.complete_many([request("Paris", max_tokens=2) for _ in range(4)])
    assert [type(error) for error in failed] == [EngineDeadError] * 4
    assert tries == [4]


def test_spans_of_a_long_text_are_limited_to_it(lm: dspy.LM, vllm: type[LLM]):
    text = " ".join(f"word{n}" for n in range(300))
    (answer,) = lm.engine.complete_many([request(text, schema_for(text, lm.engine.profile), max_tokens=20)])
    ((_, (one,), _),) = vllm.made[0].calls
    assert "substring_chunks" in one.structured_outputs.grammar  # a server gets the length of a span only
    assert isinstance(answer, TruncatedAnswerError)


def test_log_of_vllm_is_not_among_the_answers(monkeypatch: pytest.MonkeyPatch, vllm: type[LLM]):
    monkeypatch.delenv("VLLM_LOGGING_STREAM", raising=False)
    vllm_seams.check_installed()
    assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stderr"
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stdout")
    vllm_seams.check_installed()
    assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stdout"


def test_adapter_is_applied_without_merging(tiny: Callable[[str], Path], vllm: type[LLM], tmp_path: Path):
    folder = adapter(tiny(FAMILY), tmp_path / "adapter", r=9)
    lm = load_vlm(tiny(FAMILY), adapter=folder, engine="vllm", cache=False)
    (made,) = vllm.made
    assert (made.model, made.options["enable_lora"], made.options["max_lora_rank"]) == (str(tiny(FAMILY)), True, 16)
    asked = request("Kevin in Paris", schema_for("Kevin in Paris", lm.engine.profile))
    text = text_of(lm.engine.complete(asked))
    assert made.calls[0][2] == vllm_stand_in.LoRARequest("adapter", 1, str(folder))
    assert text != text_of(load_vlm(tiny(FAMILY), engine="vllm", cache=False).engine.complete(asked))


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"use_dora": True}, "without merging"),
        ({"rank_pattern": {"q_proj": 8}}, "without merging"),
        ({"target_modules": "all-linear"}, "trains the vision tower"),
        ({"r": 600}, "rank of the adapter is too high"),
    ],
)
def test_adapters_that_vllm_would_apply_wrongly_are_refused(
    tiny: Callable[[str], Path], vllm: type[LLM], tmp_path: Path, settings: dict, fact: str
):
    folder = adapter(tiny(FAMILY), tmp_path / "adapter", **settings)
    with pytest.raises(ModelError, match=fact):
        load_vlm(tiny(FAMILY), adapter=folder, engine="vllm")
    assert not vllm.made


def test_bundles_load_with_either_engine(tiny: Callable[[str], Path], vllm: type[LLM], tmp_path: Path):
    folder = adapter(tiny(FAMILY), tmp_path / "adapter")
    ours = GMNER(load_vlm(tiny(FAMILY), adapter=folder, attn_implementation="eager", max_batch=3, cache=False))
    ours.save(tmp_path / "ours")
    program = gmner.load(tmp_path / "ours", engine="vllm", max_model_len=2000)
    assert program.model.engine.max_batch == 256  # that of the other engine is not for vLLM
    assert vllm.made[-1].options["max_model_len"] == 2000
    program.save(tmp_path / "theirs")
    again = gmner.load(tmp_path / "theirs")
    assert isinstance(again.model.engine, VLMEngine)
    assert again.model.engine.fingerprint == program.model.engine.fingerprint == ours.model.engine.fingerprint
    assert again.model.engine.max_batch == 16


def test_engine_is_shared_by_copies_and_restored_once(lm: dspy.LM, vllm: type[LLM]):
    assert copy.deepcopy(lm).engine is lm.engine
    assert pickle.loads(pickle.dumps(lm.engine)) is lm.engine
    state = lm.engine.dump_state()
    lm.engine.close()
    restored = type(lm.engine).load_state(state)
    assert (restored is lm.engine, len(vllm.made)) == (False, 2)
    with pytest.raises(ModelError, match="closed"):
        lm.engine.complete(request("Paris"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device_map": "auto"}, "does not accept device_map"),
        ({"backend": "xgrammar"}, "does not accept backend"),
        ({"trust_remote_code": True}, "does not accept trust_remote_code"),
        ({"profile": "probe"}, "does not accept profile='probe'"),
        ({"dtype": "float64"}, "does not accept this dtype"),
    ],
)
def test_options_of_the_other_engine_are_refused(
    tiny: Callable[[str], Path], vllm: type[LLM], options: dict, message: str
):
    with pytest.raises(ModelError, match=message):
        load_vlm(tiny(FAMILY), engine="vllm", **options)
    assert not vllm.made


def test_vllm_must_be_installed_and_have_a_device(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(ModelError, match=r"requires vLLM.*pip install \"gmner\[vllm\]\""):
        load_vlm(tiny(FAMILY), engine="vllm")
    vllm_stand_in.install(monkeypatch, device=False)
    with pytest.raises(ModelError, match=r"finds no device.*CPU build"):
        load_vlm(tiny(FAMILY), engine="vllm")
    with pytest.raises(ModelError, match="Unknown engine"):
        load_vlm(tiny(FAMILY), engine="sglang")


def test_unknown_family_is_refused_before_vllm_loads_it(tiny: Callable[[str], Path], vllm: type[LLM], tmp_path: Path):
    folder = tmp_path / "unknown"
    shutil.copytree(tiny(FAMILY), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llava"}))
    with pytest.raises(ModelError, match="family of the model is unknown"):
        load_vlm(folder, engine="vllm")
    assert not vllm.made


def test_its_model_cannot_be_compiled_or_merged(lm: dspy.LM, tmp_path: Path):
    program = GMNER(lm)
    with pytest.raises(InputError, match=r"runs in vLLM.*default engine.*gmner\.load\(folder, engine='vllm'\)"):
        program.compile(trainset=[], optimizer=MCR())
    with pytest.raises(ModelError, match="gmner merge"):
        program.save_merged(tmp_path / "merged")


def test_commands_run_a_model_with_vllm(vllm: type[LLM], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"id": "1", "text": "Kevin in Paris"}\n')
    assert main(["extract", str(posts), "-o", str(tmp_path / "pred.jsonl"), "--engine", "vllm"]) == 0
    assert json.loads((tmp_path / "pred.jsonl").read_text())["id"] == "1"
    assert len(vllm.made) == 1
    assert main(["answer", "Kevin", "--engine", "vllm", "--server", "http://localhost:1/v1"]) == 2
    assert "--engine cannot be used with --server" in capsys.readouterr().err
