"""`RewardSet`: the rewards of a CVO with their weights, from the forms that a user may give."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, TypeAlias

from gmner.optimizers.rewards import DEFAULT_WEIGHTS, JudgedReward, Reward, cvo
from gmner.optimizers.rewards.own import (
    RewardFunction,
    check_reward,
    place,
    registered,
    registered_names,
    reward_name,
)
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.labels import LabelSet

Rewards: TypeAlias = (
    Sequence[str | RewardFunction | tuple[str | RewardFunction, float]] | Mapping[str | RewardFunction, float]
)
"""What `CVO(rewards=...)` takes."""

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
        """Rewards from a list or a mapping; each is a name, a `Reward`, or any reward function of TRL's signature.

        Args:
            rewards: Without weights, each of the five has its `DEFAULT_WEIGHTS`, another reward 1.

        Raises:
            InputError: Another form, no reward, an unknown name, something that is not a reward function, two rewards
                of one name, or a weight that is not a finite number.
        """
        pairs = [_pair(entry, weight) for entry, weight in _entries(rewards)]
        names = [reward_name(reward) for reward, _ in pairs]
        double = [name for name, count in Counter(names).items() if count > 1]
        if double:
            raise InputError(
                "Two rewards have the same name", received=double, accepted="one reward per name",
                remedy="Rename the function, or leave out one of them",
            )  # fmt: skip
        if not pairs:
            raise InputError("CVO needs at least one reward", received=rewards, accepted=_FORMS)
        return cls(
            {name: reward for name, (reward, _) in zip(names, pairs, strict=True)},
            {name: weight for name, (_, weight) in zip(names, pairs, strict=True)},
            # Now, as an object that counts its calls is another one afterwards.
            {
                name: reward_record(reward)
                for name, (reward, _) in zip(names, pairs, strict=True)
                if not isinstance(reward, Reward)
            },
        )

    def bound(self, labels: LabelSet, box_format: BoxFormat) -> RewardSet:
        """The same rewards with the labels and the box format of a program.

        Raises:
            InputError: A reward was made with other labels, or with another box format, than those of the program.
        """
        return replace(
            self, functions={name: _bound(reward, labels, box_format) for name, reward in self.functions.items()}
        )

    def to_record(self) -> dict[str, Any]:
        """The weights, and `sigma` and `soft` of the grounding reward where it is among them, as JSON data."""
        grounding = self.functions.get("grounding")
        settings = {"sigma": grounding.sigma, "soft": grounding.soft} if isinstance(grounding, Reward) else {}
        return {"weights": dict(self.weights), **settings}

    def __str__(self) -> str:
        """The rewards with their weights, in one line."""
        return told_weights(self.weights)


def chosen_rewards(rewards: Rewards, weights: Mapping[str, float], sigma: float, soft: bool) -> RewardSet:
    """The rewards of a CVO, whose arguments `weights`, `sigma` and `soft` are from before it took any rewards.

    Raises:
        InputError: See `RewardSet.of`; weights of others than the five, or one of the three beside other rewards.
    """
    if set(weights) != set(DEFAULT_WEIGHTS):
        raise InputError(
            "CVO has other rewards", received=list(weights), accepted=", ".join(DEFAULT_WEIGHTS),
            remedy="Choose rewards with CVO(rewards=...)",
        )  # fmt: skip
    old = {"weights": dict(weights), "sigma": sigma, "soft": soft}
    changed = [name for name, value in _OLD.items() if old[name] != value]
    if not changed:
        return RewardSet.of(rewards)
    if rewards != cvo():
        raise InputError(
            f"CVO takes {', '.join(changed)} with the default rewards only", received=old[changed[0]],
            accepted="rewards={reward: weight}, gmner.rewards.grounding(sigma=, soft=)",
        )  # fmt: skip
    warnings.warn(
        f"CVO({', '.join(f'{name}=...' for name in changed)}) is deprecated: give weights with "
        "CVO(rewards={reward: weight}), sigma and soft with gmner.rewards.grounding(sigma=..., soft=...)",
        DeprecationWarning,
        stacklevel=4,
    )
    return RewardSet.of({Reward(name, sigma=sigma, soft=soft): weights[name] for name in DEFAULT_WEIGHTS})


def told_weights(weights: Mapping[str, float]) -> str:
    """Names and weights of rewards for people: `count 0.2, span 1`."""
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())


def reward_record(reward: RewardFunction) -> dict[str, Any]:
    """What tells a user's reward from another one, as JSON data.

    Args:
        reward: A reward function, a partial, a callable object, or what `judged` returns.

    Returns:
        `from`: where it is defined. `source`: a digest of its source, None where Python has no source. `settings`: the
        numbers, strings and tuples of its partial, object, closure and module that it reads. Lists and other things
        that may change while it runs, and the functions that it calls, are not looked at.
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
        record["source"] = None  # such as a function typed at Python's prompt
    settings |= _values(reward)
    return {**record, "settings": {name: value for name, value in sorted(settings.items()) if _is_plain(value)}}


def _values(reward: RewardFunction) -> dict[str, Any]:
    """The values that a function reads from outside, or the attributes of an object."""
    if not hasattr(reward, "__code__"):
        return dict(getattr(reward, "__dict__", {}))
    function: Any = inspect.unwrap(reward)
    if inspect.ismethod(function):
        return dict(getattr(function.__self__, "__dict__", {}))
    try:
        found = inspect.getclosurevars(function)
    except ValueError:  # a closure that is not filled yet
        return {}
    return {**found.globals, **found.nonlocals}


def _is_plain(value: Any) -> bool:
    """Whether a value cannot change and is JSON data."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))


def _entries(rewards: Rewards) -> Iterable[tuple[Any, Any]]:
    if isinstance(rewards, Mapping):
        return list(rewards.items())
    if isinstance(rewards, str) or not isinstance(rewards, Iterable):
        raise InputError("These are not rewards", received=rewards, accepted=_FORMS, remedy="Write rewards=[...]")
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
    found: Callable[..., Any] | None = Reward(name) if name in DEFAULT_WEIGHTS else registered(name)
    if found is None:
        raise InputError(
            "No reward has this name", received=name, accepted=", ".join(registered_names()),
            remedy="Register it with gmner.rewards.register, or pass the function itself",
        )  # fmt: skip
    return found


def _bound(reward: RewardFunction, labels: LabelSet, box_format: BoxFormat) -> RewardFunction:
    if not isinstance(reward, (Reward, JudgedReward)):
        return reward
    usual = JudgedReward.__dataclass_fields__
    for name, own, programs in (
        ("labels", reward.labels.names, labels.names), ("box_format", reward.box_format, box_format),
    ):  # fmt: skip
        default = usual[name].default
        if own not in (programs, default.names if isinstance(default, LabelSet) else default):
            raise InputError(
                f"The reward {reward.__name__!r} has another {name} than the program", received=own,
                accepted=f"{programs}, or no {name}: CVO sets it",
            )  # fmt: skip
    return replace(reward, labels=labels, box_format=box_format)
