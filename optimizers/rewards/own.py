"""User-defined rewards: `judged` creates one from a function of a judgement, `register` gives it a name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from gmner.optimizers.rewards.batch import judgements
from gmner.optimizers.rewards.formulas import FORMULAS
from gmner.optimizers.rewards.judgement import DEFAULT_FORMAT, Judgement
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError, RewardError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.registry import Registry

RewardFunction: TypeAlias = Callable[..., Any]
"""A reward function as TRL's `GRPOTrainer` calls it: `f(completions, **columns)`, one float or None per completion."""

_R = TypeVar("_R", bound=RewardFunction)
COLUMNS = (
    "prompts", "completions", "completion_ids", "post", "post_text", "gold", "size", "resized", "labels", "box_format",
    "trainer_state", "log_extra", "log_metric",
)  # fmt: skip
"""The arguments that CVO always passes to a reward. Optional ones: `images`, `schema`, `call` (staged programs; empty
for a post of a related task), `more_sizes` (posts with several images) and `task` (if there are related tasks)."""

_MORE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_ONE = ([inspect.Parameter.POSITIONAL_ONLY], [inspect.Parameter.POSITIONAL_OR_KEYWORD])
_FORM = "a function `def name(completions, **columns)` that returns one float or None per completion"
_TAKEN = ("step", "prompt", "completion", "post", "call", "advantage")  # other columns of a table of rollouts
REGISTERED: Registry[RewardFunction] = Registry("reward", {}, reserved=FORMULAS)
"""The rewards that `register` added, by name."""


@dataclass(frozen=True, slots=True)
class JudgedReward:
    """A reward function for TRL that calls a function of one judgement; created by `judged`.

    Args:
        function: Returns the reward of one valid answer, or None if it does not apply.
        labels: The entity types of an answer; `CVO` replaces the default with those of the program.
        box_format: The coordinate convention of boxes; `CVO` replaces the default with that of the program.
    """

    function: Callable[[Judgement], float | None]
    labels: LabelSet = COARSE
    box_format: BoxFormat = DEFAULT_FORMAT

    @property
    def __name__(self) -> str:
        """The name of the function, under which TRL logs the reward."""
        return reward_name(self.function)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Score a batch; see `gmner.rewards.Reward`.

        Raises:
            RewardError: The function raised an exception, which is the cause of this one.
        """
        own = {**columns, "labels": self.labels, "box_format": self.box_format}
        return [self._scored(row, judgement) for row, judgement in enumerate(judgements(completions, **own))]

    def score(self, judgement: Judgement | None) -> float | None:
        """The reward of one judged answer; 0 for a judgement of None, which stands for an invalid answer."""
        return 0.0 if judgement is None else self.function(judgement)

    def _scored(self, row: int, judgement: Judgement | None) -> float | None:
        try:
            return self.score(judgement)
        except Exception as error:
            raise RewardError(f"The reward {self.__name__!r} raised {described(error)}", row=row) from error


def judged(function: Callable[[Judgement], float | None]) -> JudgedReward:
    """Create a reward function from a function of one judged answer; usable as a decorator.

    Invalid answers get 0 and are not passed to the function.

    Args:
        function: Takes the `Judgement` of a valid answer and returns a float, or None if the reward does not apply.

    Raises:
        InputError: `function` is not a named function of one argument.

    Example:
        >>> @judged
        ... def all_found(judgement):
        ...     return float(all(finding.found for finding in judgement.findings))
        >>> all_found.__name__
        'all_found'
    """
    accepted = "a function `def name(judgement)` that returns a float or None"
    reward_name(function, accepted)
    parameters = _parameters(function)
    wanted = [p.kind for p in parameters or () if p.default is p.empty]
    if is_async(function) or (parameters is not None and wanted not in _ONE):
        raise InputError("judged() cannot call this function", received=function, accepted=accepted)
    return JudgedReward(function)


def register(reward: _R) -> _R:
    """Register a reward under its `__name__`, which `CVO(rewards=[...])` then accepts; usable as a decorator.

    Registering the same definition again replaces the earlier reward, as when a notebook cell is executed again.

    Args:
        reward: A reward function with TRL's signature, or the result of `judged`.

    Returns:
        The reward itself.

    Raises:
        InputError: `reward` is not a reward function, or another reward has this name.
    """
    check_reward(reward)
    REGISTERED.add(reward_name(reward), reward)
    return reward


def unregister(name: str) -> None:
    """Remove a reward that `register` added.

    Raises:
        InputError: No reward with this name was registered.
    """
    REGISTERED.remove(name)


def reward_name(reward: Any, accepted: str = _FORM) -> str:
    """The name of a reward: its `__name__`, or the name of its class; TRL logs it as `rewards/<name>/mean`.

    Raises:
        InputError: The reward is not callable, is a class or a lambda, or has the name of a column of the rollouts.
    """
    while isinstance(reward, functools.partial):
        reward = reward.func
    if not callable(reward) or isinstance(reward, type):
        fact = "A class is not a reward; pass an instance" if isinstance(reward, type) else "A reward must be callable"
        raise InputError(fact, received=reward, accepted=accepted)
    name = str(getattr(reward, "__name__", type(reward).__name__))
    if not name.isidentifier():
        raise InputError("A reward needs a name", received=name, accepted=accepted, remedy="Define it with def")
    if name in _TAKEN:
        raise InputError(
            "A reward has the name of a column of the rollouts", received=name,
            accepted=f"any name except {', '.join(_TAKEN)}", remedy="Rename the function",
        )  # fmt: skip
    return name


def check_reward(reward: Any) -> None:
    """Check that TRL can call a reward.

    Raises:
        InputError: The name is invalid (see `reward_name`), or the parameters are not those of a reward function.
    """
    name = reward_name(reward)
    if hasattr(reward, "forward") and hasattr(reward, "state_dict"):
        raise InputError("A reward model cannot be a reward of CVO", received=type(reward), accepted=_FORM)
    parameters = _parameters(reward)
    if parameters is None:
        return
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    wanted = {p.name for p in parameters if p.default is p.empty and p.kind not in _MORE}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters) or not wanted <= by_name:
        raise InputError(
            f"CVO cannot call the reward {name!r}", received=f"{name}({', '.join(map(str, parameters))})",
            accepted=_FORM,
            remedy="Add **columns, or decorate a function of one judged answer with gmner.rewards.judged",
        )  # fmt: skip
    if not wanted <= set(COLUMNS):
        raise InputError(
            f"The reward {name!r} has parameters that CVO does not pass", received=sorted(wanted - set(COLUMNS)),
            accepted=", ".join(COLUMNS), remedy="Give the parameters a default",
        )  # fmt: skip


def is_async(function: Any) -> bool:
    """Whether TRL regards the function as a coroutine function."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def place(reward: Any) -> str:
    """Where a reward is defined: `module.qualname` of the function, or of the class of an object."""
    while isinstance(reward, (functools.partial, JudgedReward)):
        reward = reward.func if isinstance(reward, functools.partial) else reward.function
    owner = reward if hasattr(reward, "__qualname__") else type(reward)
    return f"{owner.__module__}.{owner.__qualname__}"


def described(error: BaseException) -> str:
    """The type and the message of an exception, in one line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _parameters(function: Any) -> list[inspect.Parameter] | None:
    """The parameters of a callable; None if Python cannot determine them, as for some built-in functions."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
