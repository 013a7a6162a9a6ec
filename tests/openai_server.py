"""A local OpenAI-compatible server whose answers come from an engine or from a function of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dspy import lm15

Body = dict[str, Any]
Reply = tuple[int, Mapping[str, str], Body | str]
"""Status, headers, body."""


def checked_request(path: str, headers: Mapping[str, str], body: Body, *, free_text: bool = False) -> None:
    """Check a request against OpenAI's format of a chat completion with images and, unless free, a JSON schema."""
    assert path == "/v1/chat/completions"
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Authorization"] == "Bearer key"
    assert isinstance(body["model"], str)
    assert not body.get("stream")
    assert body["messages"][0]["role"] in ("system", "developer")
    for message in body["messages"]:
        assert message["role"] in ("system", "developer", "user", "assistant")
        for part in _parts(message):
            assert part["type"] in ("text", "image_url")
            if part["type"] == "image_url":
                assert message["role"] == "user"
                assert part["image_url"]["url"].startswith("data:image/png;base64,")
    if free_text and "response_format" not in body:
        return
    wanted = body["response_format"]
    assert wanted["type"] == "json_schema"
    assert set(wanted["json_schema"]) >= {"name", "schema"}
    assert wanted["json_schema"]["schema"]["type"] == "object"


def _parts(message: Mapping[str, Any]) -> list[Body]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def as_request(body: Body) -> lm15.Request:
    """Convert a chat completion to a request to an engine."""

    def part(given: Body) -> Any:
        if given["type"] == "text":
            return lm15.TextPart(given["text"])
        return lm15.ImagePart(data=given["image_url"]["url"].partition(",")[2])

    system, *turns = body["messages"]
    make = {"user": lm15.Message.user, "assistant": lm15.Message.assistant}
    return lm15.Request(
        model=body["model"],
        system="".join(p["text"] for p in _parts(system)),
        messages=tuple(make[turn["role"]]([part(p) for p in _parts(turn)]) for turn in turns),
        config=lm15.Config(
            temperature=body.get("temperature"),
            seed=body.get("seed"),
            max_tokens=body.get("max_tokens"),
            response_format={"type": "json_schema", **body["response_format"]["json_schema"]},
            logprobs=0 if body.get("logprobs") else None,
        ),
    )


def completion(
    text: str | None, model: str, logprobs: list[Body] | None = None, *, thinking: str | None = None
) -> Body:
    """The body of a response; with `thinking`, that of a server with a reasoning parser."""
    message = {"role": "assistant", "content": text}
    if thinking is not None:
        message["reasoning_content"] = thinking
    choice: Body = {"index": 0, "message": message, "finish_reason": "stop"}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": model, "choices": [choice], "usage": usage}


def answered_by(engine: Any) -> Callable[[Body], Reply]:
    """Answers of an engine with the schema enforced; as with vLLM, they include the end token."""

    def answer(body: Body) -> Reply:
        response = engine.complete(as_request(body))
        *thoughts, text = (part.text for part in response.message.parts)
        said = response.logprobs
        tokens = said and [as_token(t.token, t.logprob) for t in said] + [as_token("<|im_end|>", -0.5)]
        if tokens and thoughts:  # vLLM returns the tokens of the thinking, too
            tokens = [as_token(thoughts[0], -9.0), as_token("\n</think>\n\n", -9.0), *tokens]
        return 200, {}, completion(text, body["model"], tokens, thinking=thoughts[0] if thoughts else None)

    return answer


def as_token(text: str, logprob: float) -> Body:
    """A token in OpenAI's format."""
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # 16 calls at a time can overflow the usual 5 on a busy machine


@contextmanager
def serving(
    answer: Callable[[Body], Reply], models: Mapping[str, str] | None = None, *, free_text: bool = False
) -> Iterator[tuple[str, list[Body]]]:
    """The URL of a server and the bodies of its requests; a malformed request gets status 400.

    Args:
        answer: Returns the reply to a request.
        models: The listed models: name and underlying model, as reported by vLLM.
        free_text: Whether requests without a schema are allowed.
    """
    bodies: list[Body] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = [
                {"id": name, "object": "model", "created": 0, "owned_by": "us", "root": root}
                for name, root in (models or {}).items()
            ]
            known = self.path == "/v1/models" and models is not None
            self.reply(200 if known else 404, {}, {"object": "list", "data": listed} if known else {"error": "no"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            try:
                headers = {name.title(): value for name, value in self.headers.items()}
                checked_request(self.path, headers, body, free_text=free_text)
                status, headers, reply = answer(body)
            except AssertionError as error:
                status, headers, reply = 400, {}, {"error": {"message": f"not the OpenAI form: {error}"}}
            self.reply(status, headers, reply)

        def reply(self, status: int, headers: Mapping[str, str], reply: Body | str) -> None:
            data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except BrokenPipeError:
                pass  # the client closed the connection

        def log_message(self, *_: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", bodies
    finally:
        server.shutdown()
        server.server_close()
