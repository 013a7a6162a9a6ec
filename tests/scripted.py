"""An LM without a model: records every request and answers with a function of the test."""

import asyncio
import base64
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dspy
from dspy import lm15
from PIL import Image

from gmner.programs.models.families import ModelProfile

Answer = Callable[[lm15.Request], str | Mapping[str, Any]]


class ScriptedEngine:
    """Returns the result of `answer(request)`; a mapping is written as compact JSON."""

    supports_response_schema = True
    supports_function_calling = False
    supports_reasoning = False
    supported_params = frozenset({"temperature", "max_tokens", "top_p", "top_k", "seed", "response_format"})

    def __init__(self, answer: Answer, profile: ModelProfile) -> None:
        self.answer, self.profile = answer, profile
        self.requests: list[lm15.Request] = []
        self._lock = threading.Lock()

    def complete(self, request: lm15.Request) -> lm15.Response:
        with self._lock:
            self.requests.append(request)
        found = self.answer(request)
        text = found if isinstance(found, str) else json.dumps(found, separators=(",", ":"))
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant([lm15.TextPart(text)]),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=1, output_tokens=1),
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "ScriptedEngine":
        return self


class AsyncScriptedEngine:
    """The async version of a scripted engine: the same answers, each in a thread."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        if name == "engine":
            raise AttributeError(name)
        return getattr(self.engine, name)

    async def complete(self, request: lm15.Request) -> lm15.Response:
        return await asyncio.to_thread(self.engine.complete, request)

    def __deepcopy__(self, memo: dict[int, Any]) -> "AsyncScriptedEngine":
        return self


def scripted_lm(answer: Answer | Mapping[str, Any], profile: ModelProfile = ModelProfile(), name: str = "a") -> dspy.LM:  # noqa: B008 - frozen
    """An LM that answers with a function or a constant."""
    call = answer if callable(answer) else lambda _: answer
    engine = ScriptedEngine(call, profile)
    twin = AsyncScriptedEngine(engine)
    return dspy.LM(f"local/{name}", engine=engine, async_engine=twin, temperature=0.0, max_tokens=None, cache=False)


def words_of(request: lm15.Request) -> str:
    """The text of the last message."""
    return "".join(part.text for part in request.messages[-1].parts if isinstance(part, lm15.TextPart))


def pictures_of(request: lm15.Request) -> list[Image.Image]:
    """The images of all messages, in order."""
    parts = [part for message in request.messages for part in message.parts if isinstance(part, lm15.ImagePart)]
    return [Image.open(io.BytesIO(base64.b64decode(part.data))) for part in parts]


def schema_of(request: lm15.Request) -> dict[str, Any]:
    """The JSON schema of the request."""
    form = request.config.response_format
    return form.get("json_schema", form)["schema"]


def entity(span: str, box: list[int] | None = None, type_: str = "PER") -> dict[str, Any]:
    """One entity of an end-to-end answer in the wire format."""
    return {"span": span, "type": type_, "visible": box is not None, "box": box}


def huge_png(path: Path, side: int = 30_000) -> Path:
    """A PNG whose header declares side x side pixels, followed by the start of the data that Pillow expects."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), b"IDAT": zlib.compress(bytes(side))}
    written = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))
    return path
