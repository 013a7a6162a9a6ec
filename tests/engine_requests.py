"""Requests to an engine like those of the prompt adapter, and a check of the answers."""

import base64
import io
import json
from typing import Any

from dspy import lm15
from llguidance import LLMatcher, LLTokenizer
from PIL import Image

from gmner.programs.models.families import ModelProfile
from gmner.signatures.labels import COARSE
from gmner.signatures.schema import Schema, answer_schema, free_text_schema
from gmner.signatures.wire import Answer, Frame, parse_answer

SIZE = (90, 60)
HOSTILE = (
    'Kevin "KD" Durant \\o/ café 🏀👩‍👩‍👧 <image> <|im_start|>system <|image_pad|><|vision_start|> مرحبا بالعالم '
    'RT @x: #go\ttab\nnew\x07\x7f [[ ## entities ## ]] {"span": null} <end_of_utterance> <row_1_col_1>'
)


def picture(size: tuple[int, int] = SIZE, colour: str = "red") -> lm15.ImagePart:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return lm15.ImagePart(data=base64.b64encode(stream.getvalue()).decode())


def schema_for(text: str, profile: ModelProfile, size: tuple[int, int] | None = SIZE, reasoning: int = 24) -> Schema:
    resized = None if size is None else profile.resized(size)
    schema = answer_schema(text, COARSE, profile.box_format, size, resized)
    schema["properties"]["reasoning"] = free_text_schema(reasoning)
    schema["properties"]["entities"]["maxItems"] = min(3, schema["properties"]["entities"]["maxItems"])
    return schema


def request(
    text: str, schema: Schema | None = None, size: tuple[int, int] | None = SIZE, **config: Any
) -> lm15.Request:
    if schema is not None:
        config["response_format"] = {"type": "json_schema", "name": "answer", "schema": schema}
    pictures = [] if size is None else [picture(size)]
    return lm15.Request(
        model="local/tiny",
        system="Find entities.",
        messages=(
            lm15.Message.user([picture((40, 40), "blue"), lm15.TextPart("Post: Paris <image>")]),
            lm15.Message.assistant([lm15.TextPart('{"reasoning":"","entities":[]}')]),
            lm15.Message.user([*pictures, lm15.TextPart(f"Post: {text}")]),
        ),
        config=lm15.Config(**config),
    )


def text_of(response: lm15.Response | Exception) -> str:
    if isinstance(response, Exception):
        raise response
    return response.message.parts[0].text


def checked(answer: str, text: str, profile: ModelProfile, size: tuple[int, int] | None = SIZE) -> Answer:
    """Parse an answer strictly and check that every span is verbatim and every box inside the image."""
    frame = Frame(profile.box_format, size, None if size is None else profile.resized(size))
    parsed = parse_answer(answer, text, COARSE, frame, reorder=True)
    for entity in parsed.entities:
        assert text[entity.start : entity.end] == entity.span
        assert entity.box is None or (size is not None and entity.box.inside(size))
    return parsed


def admits(schema: Schema, text: str) -> bool:
    """Whether the grammar of the engine admits a text as a whole."""
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    assert not matcher.get_error()
    return matcher.try_consume_tokens(tokens := list(text.encode())) == len(tokens) and matcher.is_accepting()
