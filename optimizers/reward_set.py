"""`RewardSet`: the rewards of CVO with their weights, made from the forms that `CVO(rewards=...)` accepts."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, TypeAlias

from gmner.optimizers.rewards import DEFAULT_WEIGHTS, JudgedReward, Reward, cvo
from gmner.optimizers.rewards.own import (
    REGISTERED,
    RewardFunction,
    check_reward,
    place,
    reward_name,
)
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet

Rewards: TypeAlias = (
    Sequence[str | RewardFunction | tuple[str | RewardFunction, float]] | Mapping[str | RewardFunction, float]
)
"""What `CVO(rewards=...)` accepts."""

_OLD: Mapping[str, Any] = {"weights": dict(DEFAULT_WEIGHTS), "sigma": 0.5, "soft": True}
_FORMS = "a list of rewards or of (reward, weight) pairs, or a mapping reward -> weight"


@dataclass(frozen=True)
class RewardSet:
    """Reward functions by name, with their weights, in order.

    Args:
        functions: Name -> reward function.
        weights: Name -> weight, in the same order.
        own: Name -> `reward_record` of each reward that is not one of the five.
    """

    functions: Mapping[str, RewardFunction]
    weights: Mapping[str, float]
    own: Mapping[str, Any]

    @classmethod
    def of(cls, rewards: Rewards) -> RewardSet:
        """Make a set from a list or a mapping of rewards: names, `Reward`s, or functions with TRL's reward signature.

        Args:
            rewards: The rewards. Without a weight, the five default rewards have `DEFAULT_WEIGHTS` and others have 1.

        Raises:
            InputError: Another form, no reward, an unknown name, something that is not a reward function, two rewards
                with the same name, or a weight that is not a finite number.
        """
        pairs = [_pair(entry, weight) for entry, weight in _entries(rewards)]
        names = [reward_name(reward) for reward, _ in pairs]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise InputError(
                "Two rewards have the same name", received=repeated, accepted="one reward per name",
                remedy="Rename the function, or leave out one of them",
            )  # fmt: skip
        if not pairs:
            raise InputError("CVO needs at least one reward", received=rewards, accepted=_FORMS)
        return cls(
            {name: reward for name, (reward, _) in zip(names, pairs, strict=True)},
            {name: weight for name, (_, weight) in zip(names, pairs, strict=True)},
            # Recorded before the first call, because an object that counts its calls would differ afterwards.
            {
                name: reward_record(reward)
                for name, (reward, _) in zip(names, pairs, strict=True)
                if not isinstance(reward, Reward)
            },
        )

    def bound(self, labels: LabelSet, box_format: BoxFormat) -> RewardSet:
        """The same rewards with the labels and the coordinate convention of a program.

        Raises:
            InputError: A reward was made with other labels or another coordinate convention than those of the program.
        """
        return replace(
            self, functions={name: _bound(reward, labels, box_format) for name, reward in self.functions.items()}
        )

    def to_record(self) -> dict[str, Any]:
        """The weights, and `sigma` and `soft` if the grounding reward is among them, as JSON data."""
        grounding = self.functions.get("grounding")
        settings = {"sigma": grounding.sigma, "soft": grounding.soft} if isinstance(grounding, Reward) else {}
        return {"weights": dict(self.weights), **settings}

    def __str__(self) -> str:
        """The rewards with their weights, in one line."""
        return describe_weights(self.weights)


def chosen_rewards(rewards: Rewards, weights: Mapping[str, float], sigma: float, soft: bool) -> RewardSet:
    """The rewards of CVO; its arguments `weights`, `sigma` and `soft` are older than `rewards` and deprecated.

    Raises:
        InputError: See `RewardSet.of`; weights of other rewards than the five, or a deprecated argument together with
            `rewards`.
    """
    if set(weights) != set(DEFAULT_WEIGHTS):
        raise InputError(
            "weights must name the five default rewards", received=list(weights), accepted=", ".join(DEFAULT_WEIGHTS),
            remedy="Choose other rewards with CVO(rewards=...)",
        )  # fmt: skip
    given = {"weights": dict(weights), "sigma": sigma, "soft": soft}
    changed = [name for name, default in _OLD.items() if given[name] != default]
    if not changed:
        return RewardSet.of(rewards)
    if rewards != cvo():
        raise InputError(
            f"CVO accepts {', '.join(changed)} with the default rewards only", received=given[changed[0]],
            accepted="rewards={reward: weight}, gmner.rewards.grounding(sigma=, soft=)",
        )  # fmt: skip
    warnings.warn(
        f"CVO({', '.join(f'{name}=...' for name in changed)}) is deprecated: pass weights with "
        "CVO(rewards={reward: weight}), and sigma and soft with gmner.rewards.grounding(sigma=..., soft=...)",
        DeprecationWarning,
        stacklevel=4,
    )
    return RewardSet.of({Reward(name, sigma=sigma, soft=soft): weights[name] for name in DEFAULT_WEIGHTS})


def describe_weights(weights: Mapping[str, float]) -> str:
    """Names and weights of rewards as text: `count 0.2, span 1`."""
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())


def reward_record(reward: RewardFunction) -> dict[str, Any]:
    """A record that identifies a custom reward, as JSON data.

    Args:
        reward: A reward function, a partial, a callable object, or what `judged` returns.

    Returns:
        `from`: where it is defined. `source`: a digest of its source code; None if Python has none. `settings`: the
        numbers, strings and tuples that it reads from its partial, object, closure and module. Lists and other values
        that may change while it runs, and the functions that it calls, are not recorded.
    """
    record: dict[str, Any] = {"from": place(reward)}
    settings: dict[str, Any] = {}
    while isinstance(reward, (functools.partial, JudgedReward)):
        if isinstance(reward, functools.partial):
            settings |= {str(number): value for number, value in enumerate(reward.args)} | reward.keywords
            reward = reward.func
        else:
            reward = reward.function
    try:
        source = inspect.getsource(reward if hasattr(reward, "__code__") else type(reward))
        record["source"] = hashlib.sha256(source.encode()).hexdigest()[:12]
    except (OSError, TypeError):
        record["source"] = None  # for example a function typed at Python's prompt
    settings |= _values(reward)
    return {**record, "settings": {name: value for name, value in sorted(settings.items()) if _is_constant(value)}}


def _values(reward: RewardFunction) -> dict[str, Any]:
    """The outer variables that a function reads, or the attributes of an object."""
    if not hasattr(reward, "__code__"):
        return dict(getattr(reward, "__dict__", {}))
    function: Any = inspect.unwrap(reward)
    if inspect.ismethod(function):
        return dict(getattr(function.__self__, "__dict__", {}))
    try:
        variables = inspect.getclosurevars(function)
    except ValueError:  # a closure variable without a value yet
        return {}
    return {**variables.globals, **variables.nonlocals}


def _is_constant(value: Any) -> bool:
    """Whether a value is immutable JSON data."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))


def _entries(rewards: Rewards) -> Iterable[tuple[Any, Any]]:
    if isinstance(rewards, Mapping):
        return list(rewards.items())
    if isinstance(rewards, str) or not isinstance(rewards, Iterable):
        raise InputError(
            "rewards must be a list or a mapping", received=rewards, accepted=_FORMS, remedy="Write rewards=[...]"
        )
    return [entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, None) for entry in rewards]


def _pair(entry: Any, weight: Any) -> tuple[RewardFunction, float]:
    reward = _named(entry) if isinstance(entry, str) else entry
    check_reward(reward)
    if weight is None:
        return reward, DEFAULT_WEIGHTS[reward.name] if isinstance(reward, Reward) else 1.0
    if isinstance(weight, bool) or not isinstance(weight, Real) or not math.isfinite(weight):
        raise InputError(
            f"The weight of the reward {reward_name(reward)!r} is not a finite number", received=weight,
            accepted="a number such as 0.3",
        )  # fmt: skip
    return reward, float(weight)


def _named(name: str) -> RewardFunction:
    if name in DEFAULT_WEIGHTS:
        return Reward(name)
    if name not in REGISTERED:
        raise InputError(
            "Unknown reward", received=name, accepted=", ".join((*DEFAULT_WEIGHTS, *REGISTERED)),
            remedy="Register it with gmner.rewards.register, or pass the function itself",
        )  # fmt: skip
    return REGISTERED[name]


def _bound(reward: RewardFunction, labels: LabelSet, box_format: BoxFormat) -> RewardFunction:
    if not isinstance(reward, (Reward, JudgedReward)):
        return reward
    fields = JudgedReward.__dataclass_fields__
    for name, own, expected in (
        ("labels", reward.labels.names, labels.names), ("box_format", reward.box_format, box_format),
    ):  # fmt: skip
        default = fields[name].default
        if own not in (expected, default.names if isinstance(default, LabelSet) else default):
            raise InputError(
                f"{name} of the reward {reward.__name__!r} must be the program's", received=own,
                accepted=f"{expected}, or no {name}: CVO sets it",
            )  # fmt: skip
    return replace(reward, labels=labels, box_format=box_format)
