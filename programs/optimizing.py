"""Calls an optimizer with the arguments that it accepts, and preserves the program's LM with DSPy's optimizers."""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.teleprompt import Teleprompter

from gmner.data.pictures import first_pictures
from gmner.data.post import Post
from gmner.programs.answering import AnsweringProgram
from gmner.programs.example_check import check_examples
from gmner.programs.seams.dspy_seams import set_compiled
from gmner.signatures.errors import InputError

LOG = logging.getLogger(__name__)
_SCORING = ("COPRO", "InferRules")  # they accept metric=None and fail after their first calls
_NO_VALUES = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def compiled(
    program: AnsweringProgram, optimizer: Any, given: Mapping[str, Any], *, leave_out_invalid: bool = False
) -> Any:
    """Call `optimizer.compile(program, ...)` with the arguments that it accepts.

    Args:
        program: The program; an optimizer of DSPy gets a copy of it.
        optimizer: An optimizer of this library or of DSPy, or any object with a `compile` method.
        given: The arguments. For an optimizer of DSPy, posts are converted to examples. `valset` and `run_dir` are
            dropped if the optimizer does not accept them.
        leave_out_invalid: For an optimizer of DSPy: skip posts with invalid gold annotations, see `check_examples`.

    Raises:
        InputError: The optimizer does not accept an argument, a required argument is missing, or gold annotations are
            invalid. Checked before the optimizer starts.
    """
    for_dspy = _is_of_dspy(optimizer)
    arguments = _accepted(optimizer, given)
    if not for_dspy:
        if leave_out_invalid:
            remedy = "Pass it to the optimizer: gmner.MCR(leave_out_invalid=True)"
            fact = "leave_out_invalid of compile is only for DSPy's optimizers"
            raise InputError(fact, received=type(optimizer), remedy=remedy)
        return optimizer.compile(program, **arguments)
    _check_optimizer(program, optimizer)
    arguments = {name: _limited(value, program.limit_pictures) for name, value in arguments.items()}
    if program.names_entities:
        arguments = check_examples(arguments, optimizer, program.adapter(), leave_out_invalid=leave_out_invalid)
    else:
        _check_expressions(arguments)
    arguments = {name: _as_examples(value, program) for name, value in arguments.items()}
    student: Any = copy_with_lms(program)
    set_compiled(student, False)  # else DSPy refuses a program that was compiled before
    first = () if "student" not in _parameters(optimizer) else (student,)
    if not first:
        arguments.setdefault("programs", [student])  # dspy.Ensemble
    # Some optimizers write instructions with the configured LM even if the program has its own.
    with dspy.context(lm=dspy.settings.lm or program.model):
        result = optimizer.compile(*first, **arguments)
    _give_lms(result, program)
    return result


def copy_with_lms(program: AnsweringProgram) -> AnsweringProgram:
    """A deep copy of a program that shares the LMs of the original but not its signatures.

    A deep copy shares signatures, because they are classes, and some optimizers (`dspy.InferRules`) modify them.
    """
    copy = program.deepcopy()
    for new, old in zip(copy.predictors(), program.predictors(), strict=True):
        new.lm = old.lm
        new.signature = old.signature.with_instructions(old.signature.instructions)
    return copy


def _is_of_dspy(optimizer: Any) -> bool:
    """Whether an optimizer belongs to DSPy and so expects examples; those of this library also accept posts."""
    ours = any(cls.__module__.partition(".")[0] == "gmner" for cls in type(optimizer).__mro__)
    return isinstance(optimizer, Teleprompter) and not ours


def _parameters(optimizer: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(optimizer.compile).parameters


def _accepted(optimizer: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments to call `optimizer.compile` with."""
    name, parameters = type(optimizer).__name__, _parameters(optimizer)
    any_keyword = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [key for key, parameter in parameters.items() if key != "student" and parameter.kind not in _NO_VALUES]
    arguments = {}
    for key, value in given.items():
        if any_keyword or key in known:
            arguments[key] = value
        elif key in ("valset", "run_dir") and value is not None:
            LOG.warning("%s does not use %s: the argument is ignored", name, key)
        elif key not in ("trainset", "valset", "run_dir"):
            raise InputError(f"{name} does not accept this argument", received=key, accepted=", ".join(known))
    required = [key for key in known if parameters[key].default is inspect.Parameter.empty and key != "programs"]
    if missing := [key for key in required if arguments.get(key) is None]:
        remedy = f"Pass program.compile(..., {missing[0]}=...)"
        raise InputError(f"{name} requires arguments that are missing: {', '.join(missing)}", remedy=remedy)
    return {key: value for key, value in arguments.items() if key != "trainset" or value is not None}


def _check_optimizer(program: AnsweringProgram, optimizer: Any) -> None:
    """Refuse an optimizer that would fail after many calls."""
    name = type(optimizer).__name__
    if name in _SCORING and getattr(optimizer, "metric", None) is None:
        raise InputError(f"{name} requires a metric", remedy="Pass metric=gmner.gmner_metric to it")
    if isinstance(optimizer, dspy.BootstrapFinetune) and not _trainable_by_dspy(program.model):
        remedy = "Train its weights with gmner.MCR"
        raise InputError("DSPy cannot fine-tune the program's LM", received=program.model.model, remedy=remedy)


def _trainable_by_dspy(lm: dspy.BaseLM) -> bool:
    return bool(getattr(getattr(lm, "provider", None), "finetunable", False))


def _limited(value: Any, limit: int | None) -> Any:
    """The posts of a list with only their first images; anything else unchanged."""
    posts = isinstance(value, Sequence) and bool(value) and all(isinstance(item, Post) for item in value)
    return first_pictures(value, limit) if posts else value


def _check_expressions(arguments: Mapping[str, Any]) -> None:
    """Refuse annotated posts that are not referring expressions."""
    values = (value for value in arguments.values() if isinstance(value, Sequence) and not isinstance(value, str))
    for item in itertools.chain.from_iterable(values):
        if isinstance(item, Post) and item.task != "grec":
            accepted = "annotated referring expressions, see `gmner.read_grec`"
            raise InputError("The post is not a referring expression", received=item, accepted=accepted)


def _as_examples(value: Any, program: AnsweringProgram) -> Any:
    """Convert the posts of a list to examples; return anything else unchanged."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [program.example_of(item) if isinstance(item, Post) else item for item in value]
    return value


def _give_lms(result: Any, program: AnsweringProgram) -> None:
    """Set the program's LMs on predictors of the result that have no LM, or the same model with other settings."""
    if not isinstance(result, dspy.Module):
        return
    lms = {name: predict.lm for name, predict in program.named_predictors()}
    for name, predict in result.named_predictors():
        lm = lms.get(name)
        if lm is not None and (predict.lm is None or predict.lm.model == lm.model):
            predict.lm = lm
