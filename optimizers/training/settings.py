"""`Training`: the settings that MRSI and CVO share, each described and checked once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gmner.signatures.errors import InputError
from gmner.signatures.number_checks import check_integer, check_positive, check_share, is_integer

Tuning = Literal["auto", "lora", "lora-frozen-vision", "full"]
"""Which weights are trained; see `Training`."""

Every = int | Literal["auto"] | None
"""Optimizer steps between two scorings on the validation set; see `Training`."""


@dataclass(frozen=True, slots=True)
class Lora:
    """Settings of a new LoRA adapter. The paper trains with LoRA but gives no figures; these are ours.

    Args:
        rank: Rank of the update.
        alpha: Scale of the update, which is multiplied by alpha / rank.
        dropout: Dropout on the input of the update.

    Raises:
        InputError: A value out of range.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_integer("rank", self.rank)
        check_positive("alpha", self.alpha)
        check_share("dropout", self.dropout, zero=True)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a stage trains weights: the settings that `MRSI` and `CVO` share. Each stage has its own defaults.

    Args:
        batch: Samples per optimizer step, over all processes. MRSI's samples are training rows. CVO's are sampled
            answers, `generations * prompts` of them, so CVO does not accept this argument.
        micro_batch: Maximum number of samples that a GPU holds at once; the rest of its batch follows in further
            passes. None: its whole share of the batch.
        epochs: Passes over the training data (the paper: 2).
        least_steps: Minimum number of optimizer steps, however small the training set is. Ignored if `max_steps` is
            given.
        max_steps: Exact number of optimizer steps. None: as many as `epochs` takes, but at least `least_steps`.
        rate: Peak learning rate. None: MRSI takes 1e-4 with LoRA and 2e-4 without; CVO takes 2e-4 with LoRA and 1e-4
            without for a model below 100 M parameters, and 1e-5 for a larger one.
        tuning: Which weights are trained. `full`: all of them. `lora`: an adapter on every linear layer.
            `lora-frozen-vision`: an adapter on the language model only. `auto`: `lora-frozen-vision` from 100 M
            parameters on; below, MRSI takes `full` and CVO takes `lora`. `none`, for MRSI only: nothing is trained,
            and chains are used as demonstrations only.
        lora: Settings of a new adapter.
        validate_every: Optimizer steps between two scorings on the validation set. The stage then returns the weights
            with the highest score (GMNER F1) and stops early after `patience` scorings without improvement. `auto`: an
            eighth of the steps, but at least 10, if the validation set has at least 50 posts. None: no scoring.
        patience: Scorings in a row without improvement after which the stage stops.

    Raises:
        InputError: A value out of range.

    Example:
        >>> import dataclasses, gmner
        >>> dataclasses.replace(gmner.MRSI(batch=16, rate=1e-3), batch=8).batch
        8
    """

    batch: int = 16
    micro_batch: int | None = None
    epochs: float = 1.0
    least_steps: int = 0
    max_steps: int | None = None
    rate: float | None = None
    tuning: Tuning | Literal["none"] = "auto"
    lora: Lora = field(default_factory=Lora)
    validate_every: Every = None
    patience: int = 3

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_integer("batch", self.batch)
        check_integer("micro_batch", self.micro_batch, optional=True)
        check_positive("epochs", self.epochs)
        check_integer("least_steps", self.least_steps, least=0)
        check_integer("max_steps", self.max_steps, optional=True)
        check_positive("rate", self.rate, zero=True, optional=True)
        if self.tuning not in self._tunings():
            accepted = ", ".join(self._tunings())
            raise InputError(f"Unknown tuning of {type(self).__name__}", received=self.tuning, accepted=accepted)
        if not isinstance(self.lora, Lora):
            raise InputError("lora must be a Lora", received=self.lora, accepted="Lora(rank=16, alpha=32, dropout=0.0)")
        every = self.validate_every
        if every not in (None, "auto") and (not is_integer(every) or every < 1):
            raise InputError("validate_every must be at least 1, 'auto' or None", received=every)
        check_integer("patience", self.patience)

    @property
    def trains(self) -> bool:
        """Whether weights are trained at all."""
        return self.tuning != "none"

    @property
    def trained_weights(self) -> Tuning:
        """`tuning` of a stage that trains.

        Raises:
            InputError: It is `none`.
        """
        if self.tuning == "none":
            raise InputError("The stage trains no weights", received=self.tuning, accepted=", ".join(get_args(Tuning)))
        return self.tuning

    @classmethod
    def _tunings(cls) -> tuple[str, ...]:
        """The values of `tuning` that this stage accepts."""
        return get_args(Tuning)

    def _steps_for(self, batches: float) -> int:
        """Number of optimizer steps, if one pass over the training data takes this many batches."""
        return self.max_steps or max(1, self.least_steps, round(self.epochs * batches))


def own_copy(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a mapping, so that a change of the caller's mapping does not reach settings that were checked.

    Args:
        name: The name of the argument.
        options: The mapping.

    Raises:
        InputError: It is not a mapping.
    """
    if not isinstance(options, Mapping):
        raise InputError(f"{name} must be a mapping", received=options, accepted="a mapping from name to value")
    return dict(options)


def own_options(name: str, options: Mapping[str, Any], config: type) -> dict[str, Any]:
    """`own_copy` of options that a configuration class of TRL takes.

    Args:
        name: The name of the argument.
        options: The options by name.
        config: The class.

    Raises:
        InputError: It is not a mapping, or the class has no such option.
    """
    known = [field.name for field in dataclasses.fields(config) if field.init]
    for option in own_copy(name, options):
        if option not in known:
            accepted = f"the arguments of trl.{config.__name__}"
            similar = difflib.get_close_matches(str(option), known, n=1)
            remedy = f"Did you mean {similar[0]}" if similar else ""
            raise InputError(f"Unknown option in {name}", received=option, accepted=accepted, remedy=remedy)
    return own_copy(name, options)
