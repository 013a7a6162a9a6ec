"""`ProgramChoice`: which program answers, as a command or a page names it, and `choose`, which builds it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import dspy

from gmner.programs import bundle as bundles
from gmner.programs import served as servers
from gmner.programs.gmner import GMNER
from gmner.programs.grec import GREC
from gmner.programs.mner import MNER
from gmner.programs.models import loading
from gmner.programs.models.families import ModelProfile
from gmner.programs.program import GroundingProgram
from gmner.programs.related_tasks import RelatedTasks
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet

_RETRIES = 3
_GMNER, _GREC = "gmner", "grec"
TASKS: Mapping[str, type[GroundingProgram]] = {_GMNER: GMNER, "mner": MNER, _GREC: GREC}
"""What a program can be asked for: entities with boxes, names alone, the boxes of an expression."""


def _option(name: str) -> str:
    return f"`{name}`"


@dataclass(frozen=True, slots=True)
class ProgramChoice:
    """A program: a model or a bundle on this machine, or a model on a server, and how it answers.

    Attributes:
        model: A model (folder or Hub id) or a bundle; None: the embedded model. With `server`, a bundle or None.
        server: Address of an OpenAI-compatible server; None: this machine.
        served: Name of the model on the server; None: its only model.
        profile: A JSON file that says how the model writes boxes; None: that of its folder or family.
        labels: Entity types; None: those of the bundle, or the default.
        staged: Whether to use `StagedGMNER` in place of `GMNER`.
        confidence: See `GroundingProgram`.
        answers: See `GroundingProgram`.
        limit_pictures: See `GroundingProgram`.
        thinking: See `gmner.load_vlm`; None: off, as a bundle was saved, or as a server is set up.
        thinking_tokens: See `gmner.load_vlm`; only on this machine.
        engine: See `gmner.load_vlm`; None: its default. Only on this machine.
        task: A name in `TASKS`; a bundle of another task answers with its weights, without its demonstrations. None:
            that of the bundle, or entities with boxes.
    """

    model: str | None = None
    server: str | None = None
    served: str | None = None
    profile: str | None = None
    labels: LabelSet | None = None
    staged: bool = False
    confidence: bool = False
    answers: int = 1
    limit_pictures: int | None = None
    task: str | None = None
    thinking: bool | None = None
    thinking_tokens: int | None = None
    engine: str | None = None

    @property
    def name(self) -> str:
        """A name for people: that of the model or the bundle, of the model on the server, or `embedded model`."""
        where = self.served or self.server
        return " at ".join(part for part in (self.model, where) if part) or "embedded model"


class LoadedModels:
    """The models and bundles that were loaded last, so that other labels or options do not load the weights again.

    Args:
        size: The largest number of models to keep.
    """

    def __init__(self, size: int = 2) -> None:
        self._size, self._lock = size, Lock()
        self._loaded: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """The value of `load` for this key; it is called if the value is not kept. One call at a time."""
        with self._lock:
            if key not in self._loaded:
                while len(self._loaded) >= self._size:
                    self._loaded.popitem(last=False)  # before loading, so that the memory is free
                self._loaded[key] = load()
            self._loaded.move_to_end(key)
            return self._loaded[key]


def choose(
    choice: ProgramChoice, *, loaded: LoadedModels | None = None, option: Callable[[str], str] = _option
) -> GroundingProgram:
    """Build a program.

    Args:
        choice: The program.
        loaded: Keeps loaded models for further calls; None: every call loads its model.
        option: How error messages name an attribute of `ProgramChoice`: a command writes `--staged`.

    Raises:
        InputError: See `check_choice`.
        GmnerError: See `gmner.load_vlm`, `gmner.load` and `gmner.programs.served.served_lm`.
    """
    check_choice(choice, option=option)
    loaded = LoadedModels() if loaded is None else loaded
    if choice.model is not None and bundles.is_bundle(choice.model):
        program = _bundle(choice, choice.model, loaded)
    else:
        lm, profile = _model(choice, loaded)
        kind = StagedGMNER if choice.staged else GMNER
        program = kind(lm, profile=profile, labels=choice.labels or COARSE)
    if choice.task is not None:
        kind = TASKS[choice.task]
        same = isinstance(program, RelatedTasks if kind is GMNER else kind)  # StagedGMNER has the task of GMNER
        program = program if same else program.with_task(kind)
    program.confidence, program.answers = choice.confidence, choice.answers
    program.limit_pictures = choice.limit_pictures
    program.check_answering()
    return program


def _model(choice: ProgramChoice, loaded: LoadedModels) -> tuple[dspy.BaseLM, ModelProfile | None]:
    server = choice.server
    options = _options(choice)
    key = ("model", choice.model, _changed(choice.model), server, choice.served, choice.profile, *options.items())
    if server is None:
        return loaded.get(key, lambda: (loading.load_vlm(choice.model, profile=choice.profile, **options), None))
    served, options = choice.served, {"num_retries": _RETRIES, **options}
    return loaded.get(key, lambda: servers.served_lm(server, served, profile=choice.profile, **options))


def _changed(model: str | None) -> int:
    """When a file of a folder was last changed, so that a newer model in it is loaded; 0 for other models."""
    try:
        return 0 if model is None else max((file.stat().st_mtime_ns for file in Path(model).iterdir()), default=0)
    except (OSError, ValueError):
        return 0


def _options(choice: ProgramChoice) -> dict[str, Any]:
    """The options of the engine and of thinking that are set."""
    options = {"thinking": choice.thinking, "thinking_tokens": choice.thinking_tokens, "engine": choice.engine}
    return {name: value for name, value in options.items() if value is not None}


def _bundle(choice: ProgramChoice, bundle: str, loaded: LoadedModels) -> GroundingProgram:
    server, served, options = choice.server, choice.served, _options(choice)
    key = ("bundle", bundle, _changed(bundle), server, served, *options.items())
    if server is None:
        program = loaded.get(key, lambda: bundles.load(bundle, **options))
    else:
        options = {"num_retries": _RETRIES, **options}
        program = loaded.get(key, lambda: bundles.load(bundle, lm=servers.served_model(server, served, **options)[0]))
    copy: GroundingProgram = program.deepcopy()  # shares the weights; the options of this call are its own
    return copy


def check_choice(choice: ProgramChoice, *, option: Callable[[str], str] = _option) -> None:
    """Check, without loading a model, that the attributes of a choice do not exclude each other.

    Args:
        choice: The program.
        option: See `choose`.

    Raises:
        InputError: `staged`, `labels` or `profile` with a bundle, which stores its own program, label set and profile;
            `served` without `server`; `engine` with `server`; `server` with a model that is not a bundle; an unknown
            task; `staged` with another task than GMNER; or `confidence` or several `answers` for referring expressions.
    """
    _check_place(choice, option)
    if choice.task is not None and choice.task not in TASKS:
        raise InputError("The task is unknown", received=choice.task, accepted=", ".join(TASKS))
    if choice.task == _GREC and (choice.confidence or choice.answers > 1):
        name = option("confidence" if choice.confidence else "answers")
        raise InputError(f"{name} cannot be used for referring expressions", remedy=f"Remove {name}")
    if choice.staged and choice.task not in (None, _GMNER):
        fact, remedy = f"{option('staged')} is a program for GMNER", f"Remove {option('staged')}"
        raise InputError(fact, received=choice.task, remedy=remedy)
    if choice.model is None:
        return
    if not bundles.is_bundle(choice.model):
        if choice.server is not None:
            remedy = f"Remove {option('model')}; to choose a model of the server, pass its name with {option('served')}"
            fact = f"With {option('server')}, {option('model')} must be a bundle"
            raise InputError(fact, received=choice.model, remedy=remedy)
        return
    given = {"staged": choice.staged, "labels": choice.labels is not None, "profile": choice.profile is not None}
    for (name, used), own in zip(given.items(), ("program", "label set", "profile"), strict=True):
        if used:
            fact = f"{option(name)} cannot be used with a bundle, which stores its own {own}"
            raise InputError(fact, received=choice.model, remedy=f"Remove {option(name)}")


def _check_place(choice: ProgramChoice, option: Callable[[str], str]) -> None:
    """Check the attributes that belong to a server, or to this machine."""
    if choice.served is not None and choice.server is None:
        remedy = f"Add {option('server')}"
        raise InputError(f"{option('served')} requires {option('server')}", received=choice.served, remedy=remedy)
    if choice.engine is not None and choice.server is not None:
        fact, remedy = f"{option('engine')} cannot be used with {option('server')}", f"Remove {option('engine')}"
        raise InputError(fact, received=choice.engine, remedy=remedy)
