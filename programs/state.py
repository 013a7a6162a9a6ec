"""The state of a program as data: instructions and demonstrations as JSON, images of demonstrations as PNG files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dspy
from PIL import Image

from gmner.programs.prompt_images import load_picture, picture_inputs, picture_sources
from gmner.signatures.boxes import Box
from gmner.signatures.errors import BundleError, InputError
from gmner.signatures.forms import as_box, as_data, as_entity, box_data
from gmner.signatures.mentions import Mention

_MORE = "more_images"

Keep = Callable[[bytes], str]
"""Stores the bytes of a PNG file and returns the name under which they are stored."""


def dump_program(program: dspy.Module, keep: Keep) -> dict[str, Any]:
    """The state of a program's predictors in DSPy's format, without LM, traces and image data.

    Args:
        program: The program.
        keep: Called with the PNG of each image in a demonstration; the name that it returns replaces the image.

    Raises:
        ImageError: The image of a demonstration cannot be read.
        BundleError: A demonstration has a value that is neither JSON data nor of a type of this library.
    """
    return {name: _dump_predict(name, predict, keep) for name, predict in program.named_predictors()}


def restore_program(program: dspy.Module, state: Mapping[str, Any], find: Callable[[str], Path]) -> None:
    """Restore the state of a program's predictors, which keep their LMs.

    Args:
        program: A program of the class that was saved.
        state: See `dump_program`.
        find: Returns the file of the image with this name.

    Raises:
        BundleError: The state does not belong to this class of programs.
    """
    predictors = dict(program.named_predictors())
    if not isinstance(state, Mapping) or set(state) != set(predictors):
        received = sorted(state) if isinstance(state, Mapping) else state
        raise BundleError("The state has other predictors", received=received, accepted=", ".join(predictors))
    read = {name: _read(name, predict, state[name], find) for name, predict in predictors.items()}
    for name, predict in predictors.items():
        lm = predict.lm
        predict.load_state({**read[name], "traces": [], "train": [], "lm": None})
        predict.lm = lm


def _read(name: str, predict: dspy.Predict, state: Any, find: Callable[[str], Path]) -> dict[str, Any]:
    """The demonstrations and the signature in the state of a predictor; the rest is ignored."""
    try:
        signature = _with_more_images(predict, state["signature"])
        fields = signature["fields"]
        texts = [signature["instructions"], *(field[key] for field in fields for key in ("prefix", "description"))]
        if not all(isinstance(text, str) for text in texts) or len(fields) != len(predict.signature.fields):
            raise TypeError("instructions, prefixes and descriptions of fields must be strings")
        demos = [_placed(demo, find) for demo in state["demos"]]
        predict.signature.load_state(signature)
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        raise BundleError(f"The state of the predictor {name!r} cannot be read", remedy=repr(error)) from error
    return {"signature": signature, "demos": demos}


def _dump_signature(predict: dspy.Predict) -> dict[str, Any]:
    """The state of a signature, without the field `more_images`, which the states of earlier versions do not have."""
    state: dict[str, Any] = predict.signature.dump_state()
    place = list(predict.signature.fields).index(_MORE)
    return {**state, "fields": [field for number, field in enumerate(state["fields"]) if number != place]}


def _with_more_images(predict: dspy.Predict, state: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `_dump_signature`: inserts the predictor's own field."""
    place = list(predict.signature.fields).index(_MORE)
    fields = [*state["fields"]]
    return {**state, "fields": [*fields[:place], predict.signature.dump_state()["fields"][place], *fields[place:]]}


def state_digest(program: dspy.Module) -> str:
    """The first twelve hexadecimal digits of the sha256 of a program's state, including images."""
    state = dump_program(program, lambda png: hashlib.sha256(png).hexdigest())
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:12]


def _dump_predict(name: str, predict: dspy.Predict, keep: Keep) -> dict[str, Any]:
    # An optimizer may use the whole example of a data set as a demonstration; only the signature's fields are needed.
    demos = [
        {key: _as_json(f"{name}, {key}", key, demo[key], keep) for key in predict.signature.fields if key in demo}
        for demo in map(_with_inputs, predict.demos)
    ]
    return {"traces": [], "train": [], "demos": demos, "signature": _dump_signature(predict), "lm": None}


def _with_inputs(demo: Mapping[str, Any]) -> Mapping[str, Any]:
    """A demonstration with the images of an example, `images`, as inputs of a signature."""
    return {**demo, **picture_inputs(picture_sources(demo))} if "images" in demo else demo


def _as_json(place: str, key: str, value: Any, keep: Keep) -> Any:
    """A value of a demonstration as JSON data."""
    if key == _MORE:
        return [_as_json(place, "image", item, keep) for item in value or ()]
    if key == "image" or isinstance(value, (Image.Image, dspy.Image)):
        picture = load_picture(value)
        return None if picture is None else keep(_png(picture))
    if isinstance(value, Mention):
        return as_data(as_entity(value))
    if isinstance(value, Box):
        return box_data(value)
    if isinstance(value, (list, tuple)):
        return [_as_json(place, "", item, keep) for item in value]
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError(f"A demonstration cannot be saved ({place})", received=value, remedy=str(error)) from error


def _placed(demo: Mapping[str, Any], find: Callable[[str], Path]) -> dict[str, Any]:
    _check_values(demo)
    found = {**demo}
    if demo.get("image") is not None:
        found["image"] = str(find(demo["image"]))
    if demo.get(_MORE) is not None:
        found[_MORE] = [str(find(name)) for name in demo[_MORE]]
    return found


def _check_values(demo: Mapping[str, Any]) -> None:
    """Refuse a demonstration that cannot be used in a prompt.

    Raises:
        TypeError, InputError: A value does not have the type of its field.
    """
    texts = [demo["text"], *(demo[key] for key in ("reasoning", "evidence") if demo.get(key) is not None)]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("text, reasoning and evidence of a demonstration must be strings")
    lists = [demo[key] for key in ("entities", "mentions") if key in demo]
    if not all(isinstance(values, list) for values in (*lists, demo.get("boxes", []))):
        raise TypeError("entities, mentions and boxes of a demonstration must be lists")
    mentions = [] if demo.get("mention") is None else [demo["mention"]]
    for entity in map(as_entity, [*mentions, *(value for values in lists for value in values)]):
        if not isinstance(entity.span, str) or not isinstance(entity.type, str):
            raise TypeError("span and type of an entity must be strings")
        if type(entity.start) is not int or type(entity.end) is not int:
            raise TypeError("start and end of an entity must be integers")
    if any(as_box(box) is None for box in demo.get("boxes", [])):
        raise TypeError("boxes of a demonstration must not be null")
    as_box(demo.get("box"))


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
