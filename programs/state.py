"""A program's state as data: instructions and demonstrations as JSON, the pictures of demonstrations as PNG files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dspy
from PIL import Image

from gmner.programs.prompt_images import load_picture
from gmner.signatures.boxes import Box
from gmner.signatures.errors import BundleError, InputError
from gmner.signatures.forms import as_box, as_data, as_entity
from gmner.signatures.mentions import Mention

Keep = Callable[[bytes], str]
"""Keeps the bytes of a PNG file and gives the name under which it is kept."""


def dump_program(program: dspy.Module, keep: Keep) -> dict[str, Any]:
    """The state of a program's predictors in DSPy's form, without LM, traces and pictures.

    Args:
        program: The program.
        keep: Called with the PNG of every demonstration's picture; its answer stands in the state.

    Raises:
        ImageError: The picture of a demonstration cannot be read.
        BundleError: A demonstration holds a value that is neither JSON data nor one of this library's.
    """
    return {name: _dump_predict(name, predict, keep) for name, predict in program.named_predictors()}


def restore_program(program: dspy.Module, state: Mapping[str, Any], find: Callable[[str], Path]) -> None:
    """Put a state into a program's predictors, whose LMs stay.

    Args:
        program: A program of the class that was saved.
        state: See `dump_program`.
        find: From the name of a picture to its file.

    Raises:
        BundleError: The state is not one of this class of programs.
    """
    predictors = dict(program.named_predictors())
    if not isinstance(state, Mapping) or set(state) != set(predictors):
        received = sorted(state) if isinstance(state, Mapping) else state
        raise BundleError("A state has other predictors", received=received, accepted=", ".join(predictors))
    read = {name: _read(name, predict, state[name], find) for name, predict in predictors.items()}
    for name, predict in predictors.items():
        lm = predict.lm
        predict.load_state({**read[name], "traces": [], "train": [], "lm": None})
        predict.lm = lm


def _read(name: str, predict: dspy.Predict, state: Any, find: Callable[[str], Path]) -> dict[str, Any]:
    """Demonstrations and signature of a predictor's state; nothing else of it is used."""
    try:
        signature, fields = state["signature"], state["signature"]["fields"]
        texts = [signature["instructions"], *(field[key] for field in fields for key in ("prefix", "description"))]
        if not all(isinstance(text, str) for text in texts) or len(fields) != len(predict.signature.fields):
            raise TypeError("instructions, prefixes and descriptions of every field are texts")
        demos = [_placed(demo, find) for demo in state["demos"]]
        predict.signature.load_state(signature)
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        raise BundleError(f"The state of the predictor {name!r} cannot be read", remedy=repr(error)) from error
    return {"signature": signature, "demos": demos}


def state_digest(program: dspy.Module) -> str:
    """Twelve hexadecimal digits of the sha256 over a program's state, pictures included."""
    state = dump_program(program, lambda png: hashlib.sha256(png).hexdigest())
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:12]


def _dump_predict(name: str, predict: dspy.Predict, keep: Keep) -> dict[str, Any]:
    # An optimizer may leave the whole example of a data set as a demonstration; only the fields are ever read.
    demos = [
        {key: _plain(f"{name}, {key}", key, demo[key], keep) for key in predict.signature.fields if key in demo}
        for demo in predict.demos
    ]
    return {"traces": [], "train": [], "demos": demos, "signature": predict.signature.dump_state(), "lm": None}


def _plain(place: str, key: str, value: Any, keep: Keep) -> Any:
    """One value of a demonstration as JSON data."""
    if key == "image" or isinstance(value, (Image.Image, dspy.Image)):
        picture = load_picture(value)
        return None if picture is None else keep(_png(picture))
    if isinstance(value, Mention):
        return as_data(as_entity(value))
    if isinstance(value, Box):
        return list(value.as_tuple())
    if isinstance(value, (list, tuple)):
        return [_plain(place, "", item, keep) for item in value]
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError(f"A demonstration cannot be saved ({place})", received=value, remedy=str(error)) from error


def _placed(demo: Mapping[str, Any], find: Callable[[str], Path]) -> dict[str, Any]:
    name = demo.get("image")
    _check_values(demo)
    return {**demo} if name is None else {**demo, "image": str(find(name))}


def _check_values(demo: Mapping[str, Any]) -> None:
    """Refuse a demonstration that no prompt can be made of.

    Raises:
        TypeError, InputError: A value is of another type than the field.
    """
    texts = [demo["text"], *(demo[key] for key in ("reasoning", "evidence") if demo.get(key) is not None)]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("text, reasoning and evidence of a demonstration are strings")
    lists = [demo[key] for key in ("entities", "mentions") if key in demo]
    if not all(isinstance(values, list) for values in lists):
        raise TypeError("entities and mentions of a demonstration are lists")
    named = [] if demo.get("mention") is None else [demo["mention"]]
    for entity in map(as_entity, [*named, *(value for values in lists for value in values)]):
        if not isinstance(entity.span, str) or not isinstance(entity.type, str):
            raise TypeError("span and type of an entity are strings")
        if type(entity.start) is not int or type(entity.end) is not int:
            raise TypeError("start and end of an entity are whole numbers")
    as_box(demo.get("box"))


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
