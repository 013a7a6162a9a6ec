"""What we rely on in DSPy beyond its documentation; see programs/seams/dspy_seams.py."""

import asyncio
import dataclasses
import logging
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.utils.exceptions import AdapterParseError
from PIL import Image
from scripted import ScriptedEngine
from seam_checks import check_parameters, seam

from gmner.programs.models.families import ModelProfile
from gmner.programs.prompt_images import PostPicture
from gmner.programs.seams import dspy_seams

FILE = "programs/seams/dspy_seams.py"


class Outer(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = dspy.Predict("question -> answer")


def test_compiled_programs():
    with seam("dspy:Module._compiled", FILE):
        assert dspy.Module()._compiled is False
        program = Outer()
        module = dspy.ChainOfThought("question -> answer")
        program.inner = module
        assert "inner.predict" in dict(program.named_parameters())
        dspy_seams.set_compiled(module, True)
        assert not dict(program.named_parameters())
        with pytest.raises(AssertionError, match="uncompiled"):
            dspy.BootstrapFewShot(metric=None).compile(module, trainset=[])


def test_trace_of_a_caller():
    with seam("dspy:settings.trace in an empty context", FILE):
        assert dspy_seams.requested_trace() is None
        with dspy.context(trace=[]):
            assert dspy_seams.requested_trace() is dspy.settings.trace == []
            with dspy.context(lm=None):
                assert dspy_seams.requested_trace() is dspy.settings.trace
        assert dspy_seams.requested_trace() is None


class CutEngine(ScriptedEngine):
    def complete(self, request: lm15.Request) -> lm15.Response:
        return dataclasses.replace(super().complete(request), finish_reason="length")


def test_expected_truncation_is_not_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logging.getLogger("dspy"), "propagate", True)
    engine = CutEngine(lambda request: "cut", ModelProfile())
    lm = dspy.LM("local/cut", engine=engine, max_tokens=None, cache=False)
    with seam("dspy:warning of dspy.clients.lm about truncation", FILE):
        with dspy_seams.truncation_is_expected():
            lm("question")
        assert "truncated" not in caplog.text
        lm("question")
        assert "truncated" in caplog.text


class PlainAdapter(dspy.Adapter):
    """Reads an answer as it is, and keeps the texts that it read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def format(self, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": inputs["question"]}]

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        self.read.append(completion)
        return {"answer": completion}


def lm_of(engine: Any) -> dspy.LM:
    return dspy.LM("local/scripted", engine=engine, cache=False)


class LogprobsEngine(ScriptedEngine):
    supported_params = ScriptedEngine.supported_params | {"logprobs"}

    def complete(self, request: lm15.Request) -> lm15.Response:
        response = super().complete(request)
        return lm15.Response(**{**vars_of(response), "logprobs": (lm15.TokenLogprob("yes", -0.5),)})


def vars_of(response: lm15.Response) -> dict[str, Any]:
    return {name: getattr(response, name) for name in ("id", "model", "message", "finish_reason", "usage")}


CALL: dict[str, Any] = {"signature": dspy.Signature("question -> answer"), "demos": [], "inputs": {"question": "?"}}


def test_answers_go_through_parse_and_keep_their_log_probabilities():
    adapter = PlainAdapter()
    with seam("dspy:Adapter.__call__", "programs/adapter.py"):
        check_parameters(dspy.Adapter.__call__, "lm", "lm_kwargs", "signature", "demos", "inputs")
        check_parameters(dspy.Adapter.acall, "lm", "lm_kwargs", "signature", "demos", "inputs")
        lm = lm_of(LogprobsEngine(lambda request: "yes", ModelProfile()))
        (value,) = adapter(lm, {"logprobs": True}, **CALL)
        assert adapter.read == [value["answer"]] == ["yes"]
        assert [token["logprob"] for token in value["logprobs"]["content"]] == [-0.5]


def test_empty_answer_is_an_error_of_its_own():
    with seam("dspy:AdapterParseError for an answer without text", "programs/adapter.py"):
        lm = lm_of(ScriptedEngine(lambda request: "", ModelProfile()))
        with pytest.raises(AdapterParseError) as caught:
            PlainAdapter()(lm, {}, **CALL)
        assert isinstance(caught.value.lm_response, str)


def test_lm15_has_the_names_of_our_engine():
    with seam("dspy:lm15", "programs/engine/lm_engine.py"):
        for name in ("DataPart", "ImagePart", "Message", "Request", "Response", "TextPart", "TokenLogprob", "Usage"):
            assert isinstance(getattr(lm15, name), type), name
        assert issubclass(lm15.UnsupportedFeatureError, Exception)
        request = lm15.Request(model="m", messages=(lm15.Message.user("Hello"),), config=lm15.Config(temperature=0.5))
        assert (request.system, list(request.tools), request.messages[0].role) == (None, [], "user")
        assert (request.messages[0].parts[0].text, request.config.temperature) == ("Hello", 0.5)
        for name in ("max_tokens", "top_p", "top_k", "seed", "response_format", "stop", "logprobs"):
            assert not getattr(request.config, name), name
        image = lm15.ImagePart(data="AAAA")
        assert (image.bytes, image.url, image.path) == (b"\0\0\0", None, None)
        assert image.media_type.startswith("image/")


def test_engine_gets_requests_and_history_gets_entries():
    engine, entries = ScriptedEngine(lambda request: "yes", ModelProfile()), []

    class Noting(dspy.LM):
        def update_history(self, entry: dict[str, Any]) -> None:
            entries.append(entry)

    with seam("dspy:LM.update_history and LM(engine=...)", "programs/server_lm.py and programs/engine/lm_engine.py"):
        lm = Noting("local/scripted", engine=engine, cache=False, num_retries=2)
        assert lm("Hello") == ["yes"]
        assert isinstance(engine.requests[0], lm15.Request)
        assert {"response", "usage"} <= entries[0].keys()
        assert lm.num_retries == 2
        assert lm.engine is engine


def test_async_engine():
    class Async(ScriptedEngine):
        async def complete(self, request: lm15.Request) -> lm15.Response:
            return ScriptedEngine.complete(self, request)

    sync = ScriptedEngine(lambda request: "yes", ModelProfile())
    with seam("dspy:LM(async_engine=...)", "programs/engine/lm_engine.py"):
        both = dspy.LM("local/x", engine=sync, async_engine=Async(lambda r: "later", ModelProfile()), cache=False)
        assert asyncio.run(both.acall("Hello")) == ["later"]


def test_image_writes_its_address_when_it_is_asked():
    with seam("dspy:Image.url", "programs/prompt_images.py"):
        image = PostPicture(Image.new("RGB", (2, 1), "red"))
        assert isinstance(image, dspy.Image)
        assert "url" not in vars(image)
        assert image.url.startswith("data:image/bmp;base64,Qk")
        assert dspy.Image(image.url).url == image.url
