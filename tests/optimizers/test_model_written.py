"""Model-written styles: requests, checks, retries with the reason, and replacement by the template."""

import random
import threading
from dataclasses import replace

import dspy
import pytest
from PIL import Image
from scripted import ScriptedEngine, scripted_lm, words_of

from gmner.data.post import Post
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.chains.styles import TEMPLATES, Facts
from gmner.optimizers.chains.styles.model_written import LLMStyle, MLLMStyle
from gmner.optimizers.chains.writing import ChainWriting, write_chains
from gmner.optimizers.mrsi import MRSI
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.errors import InputError, TruncatedAnswerError
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame

FRAME = Frame(BoxFormat("normalized", 1000), (256, 256))
POST = Post(
    "1",
    "Ada in Oslo",
    Image.new("RGB", (256, 256), "red"),
    (GoldEntity("Ada", 0, 3, "PER", (Box(0, 0, 128, 256),)), GoldEntity("Oslo", 7, 11, "LOC")),
)
FACTS = Facts.of(POST, FRAME)
GOOD = "Ada (PER) is a person and is shown at [0,0,500,1000]. Oslo (LOC) is not shown."
BAD = GOOD.replace("is not shown", "is shown at [1,2,3,4]")


def chat(chain):
    return f"[[ ## chain ## ]]\n{chain}\n\n[[ ## completed ## ]]"


def lm_saying(*chains):
    """An LM that returns these chains in turn and then repeats the last one."""
    said, lock = list(chains), threading.Lock()

    def answer(request):
        with lock:
            return chat(said.pop(0) if len(said) > 1 else said[0])

    return scripted_lm(answer)


def requests(lm):
    engine = lm.engine
    assert isinstance(engine, ScriptedEngine)
    return engine.requests


def test_correct_chain_is_used_directly():
    lm = lm_saying(GOOD)
    found = LLMStyle(lm)(FACTS, random.Random(0))
    assert (found.text, found.author, found.problem) == (GOOD, "llm", "")
    (request,) = requests(lm)
    assert "Ada in Oslo" in words_of(request)
    assert "Names: Ada, Oslo." in words_of(request)  # the template's chain
    assert not any(part.type == "image" for part in request.messages[-1].parts)


def test_vision_model_gets_the_image():
    lm = lm_saying(GOOD)
    assert MLLMStyle(lm)(FACTS, random.Random(0)).author == "mllm"
    assert any(part.type == "image" for part in requests(lm)[0].messages[-1].parts)
    assert MLLMStyle(lm)(replace(FACTS, image=None), random.Random(0)).author == "mllm"


def test_rejected_chain_is_requested_again_with_the_reason():
    lm = lm_saying(BAD, GOOD)
    assert LLMStyle(lm)(FACTS, random.Random(0)).text == GOOD
    first, second = map(words_of, requests(lm))
    assert "'Oslo' is not shown in the picture" in second
    assert "'Oslo' is not shown in the picture" not in first


@pytest.mark.parametrize(("said", "kind"), [(BAD, "wrong_box"), ("", "empty"), ("Nice post!", "missing_span")])
def test_chain_rejected_twice_is_replaced_by_its_template(said, kind):
    lm = lm_saying(said)
    found = LLMStyle(lm, template=TEMPLATES["table"])(FACTS, random.Random(0))
    assert found.text.startswith("Ada | PER | shown")
    assert found.author == "template"
    assert kind in found.problem
    assert len(requests(lm)) == 2


def test_malformed_reply_counts_as_rejected():
    lm = scripted_lm(lambda request: "no fields at all")
    found = LLMStyle(lm, attempts=1)(FACTS, random.Random(0))
    assert (found.author, found.problem.split(":")[0]) == ("template", "form")


def test_truncated_reply_counts_as_rejected():
    def endless(request):
        raise TruncatedAnswerError("The answer did not end within 512 tokens")

    found = LLMStyle(scripted_lm(endless))(FACTS, random.Random(0))
    assert (found.author, found.problem.split(":")[0]) == ("template", "form")


def test_quotes_of_a_model_are_kept():
    said = GOOD.replace("a person", 'a "person"')
    assert LLMStyle(lm_saying(said))(FACTS, random.Random(0)).text == said


def test_chains_keep_their_author_and_problem():
    posts = [replace(POST, id=str(n)) for n in range(6)]
    styles = {"llm": LLMStyle(lm_saying(GOOD)), "bad": LLMStyle(lm_saying(BAD)), "table": TEMPLATES["table"]}
    chains = write_chains(posts, {p.id: FRAME for p in posts}, ChainWriting(styles, 3), random.Random(0))
    assert len(chains) == 18
    found = {(c.style, c.author, c.problem.split(":")[0]) for c in chains}
    assert found == {("llm", "llm", ""), ("bad", "template", "wrong_box"), ("table", "template", "")}


def test_threads_give_equal_chains_and_a_resumed_pass_requests_the_rest(tmp_path):
    posts = [replace(POST, id=str(n)) for n in range(12)]
    frames = {p.id: FRAME for p in posts}
    lm = lm_saying(GOOD)
    styles = {"llm": LLMStyle(lm), "table": TEMPLATES["table"]}
    whole = write_chains(posts, frames, ChainWriting(styles, 2, threads=1), random.Random(3))
    assert write_chains(posts, frames, ChainWriting(styles, 2, threads=8), random.Random(3)) == whole
    asked = len(requests(lm))
    with ChainLog(tmp_path / "log") as log:
        for chain in whole[:10]:
            log.append(chain)
    with ChainLog(tmp_path / "log") as log:
        assert write_chains(posts, frames, ChainWriting(styles, 2), random.Random(3), log=log) == whole
    left = sum(chain.author == "llm" for chain in whole[10:])
    assert len(requests(lm)) == asked + left


def test_user_defined_style_is_checked():
    def lies(facts, rng):
        return "Ada is ORG, not in the picture. Oslo."

    (chain,) = write_chains([POST], {"1": FRAME}, ChainWriting({"lies": lies}), random.Random(0))
    assert chain.reasoning.startswith("Ada | PER | shown")
    assert "wrong_type" in chain.problem
    writing = ChainWriting({"stepwise": TEMPLATES["stepwise"]}, limit=30)
    (short,) = write_chains([POST], {"1": FRAME}, writing, random.Random(0))
    assert (short.reasoning, short.problem.split(":")[0]) == ("", "too_long")


def test_styles_without_an_lm_use_the_teacher():
    own, teacher = lm_saying(GOOD), scripted_lm(chat(GOOD), name="teacher")
    mrsi = MRSI(styles={"a": LLMStyle(own), "b": MLLMStyle(), "c": TEMPLATES["table"]})
    taught = mrsi.taught_by(teacher)
    assert (taught.styles["a"].lm, taught.styles["b"].lm, mrsi.styles["b"].lm) == (own, teacher, None)
    assert taught.authors == "local/a, local/teacher"
    with pytest.raises(InputError, match="MLLMStyle has no LM"):
        mrsi.taught_by(None)
    with pytest.raises(InputError, match="No style uses the teacher"):
        MRSI().taught_by(teacher)
    with pytest.raises(InputError, match="attempts must be at least 1"):
        LLMStyle(own, attempts=0)


def test_teacher_failure_is_raised():
    def down(request):
        raise ConnectionError("the server is gone")

    with pytest.raises(dspy.LMUnexpectedError):
        LLMStyle(scripted_lm(down))(FACTS, random.Random(0))
