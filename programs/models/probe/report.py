"""`ProbeReport`: what a probe found out, as text and as JSON data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from gmner.programs.models.families import ModelProfile
from gmner.programs.models.probe.conventions import Convention
from gmner.programs.models.probe.judging import Fit, Judgement

State = Literal["agrees", "contradicted", "called", "unknown"]

_GIB = 2**30
_SHOWN_FITS = 3


@dataclass(frozen=True, slots=True)
class NotShown:
    """How often a model says that an image does not show something.

    Attributes:
        absent: Number of questions about things that are not shown.
        said: In how many of them the model says so.
        shown: Number of questions about things that are shown.
        denied: In how many of them the model says that they are not.
    """

    absent: int
    said: int
    shown: int
    denied: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What a probe took.

    Attributes:
        calls: Number of calls.
        threads: Number of calls at a time.
        seconds: Time of all calls.
        tokens: Number of tokens that the model wrote; 0: not reported.
        memory: Peak memory in bytes: of the GPU, or of the process if there is none. None: the model is on a server.
        device: `GPU` or `process`; empty without `memory`.
        malformed: Number of answers without the required form.
        errors: Number of calls that failed.
        first_error: The first error; empty: none.
    """

    calls: int
    threads: int
    seconds: float
    tokens: int
    memory: int | None
    device: str
    malformed: int
    errors: int
    first_error: str

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all calls per second; None: not reported."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What `gmner.probe` found out about a model.

    Attributes:
        model: The model string of the LM.
        profile: The profile in force; None: there is none.
        state: `agrees`: the boxes of the model fit the profile. `contradicted`: they fit another convention. `called`:
            they fit a convention, and no profile is in force. `unknown`: it cannot be told.
        called: The convention that explains the boxes; None: it cannot be told.
        free: How the conventions explain the answers in free text.
        asked: How well the answers fit the convention that their prompt and schema required.
        reason: Why no convention is called; empty if one is.
        not_shown: How often the model says "not shown" when asked as programs ask.
        enforced: Whether the schema of an answer is enforced; None: the call failed.
        costs: Calls, time, tokens and memory.
        remarks: What else was noticed.
    """

    model: str
    profile: ModelProfile | None
    state: State
    called: Convention | None
    free: Judgement
    asked: Judgement
    reason: str
    not_shown: NotShown
    enforced: bool | None
    costs: Costs
    remarks: tuple[str, ...] = ()

    @property
    def fit(self) -> Fit | None:
        """How the called convention explains the answers in free text, or those to questions that required it."""
        return None if self.called is None else self.source.fit(self.called)

    @property
    def source(self) -> Judgement:
        """The answers that fit the called convention best: those in free text, or those to prompts that require it."""
        free, asked = (judgement.fit(self.called) for judgement in (self.free, self.asked))
        return self.asked if asked is not None and (free is None or asked.mean > free.mean) else self.free

    def found_profile(self) -> ModelProfile:
        """The profile to use: the one in force if it agrees, or one with the called convention.

        Raises:
            InputError: No convention is called.
        """
        from gmner.signatures.errors import InputError

        if self.state == "agrees" and self.profile is not None:
            return self.profile
        if self.called is None:
            raise InputError(
                f"The probe cannot tell the coordinate convention of the model: {self.reason}",
                received=self.model,
                remedy="Probe it on annotated posts (posts=..., --posts FILE), or pass a ModelProfile",
            )
        known = self.profile or ModelProfile()
        return replace(known, box_format=self.called.box_format, rule=self.called.rule or known.rule)

    def summary(self) -> str:
        """The report as lines of text."""
        absent = self.not_shown
        lines = [f"model: {self.model}", f"boxes: {self._boxes()}", f"profile: {self._profile()}"]
        asked = ", ".join(f"{fit.convention.title} {_value(fit)}" for fit in self.asked.fits)
        lines.append(f"asked in a convention (mean IoU): {asked}")
        lines.append(
            f'"not shown": answered for {absent.said} of {absent.absent} that are absent, and wrongly for '
            f"{absent.denied} of {absent.shown} that are shown"
        )
        schema = {True: "enforced", False: "NOT enforced", None: "not known, the call failed"}[self.enforced]
        lines += [f"schema: {schema}", f"speed: {self._speed()}", f"memory: {self._memory()}"]
        return "\n".join([*lines, *(f"note: {remark}" for remark in self.remarks)])

    def _boxes(self) -> str:
        best = self.fit
        if best is None or self.called is None:
            return f"cannot be told: {self.reason}"
        others = [fit for fit in self.source.fits if fit.convention != self.called][: _SHOWN_FITS - 1]
        rest = "".join(f"; {other.convention.title} {other.mean:.2f}" for other in others)
        return f"{self.called.title} (mean IoU {best.mean:.2f}{rest})"

    def _profile(self) -> str:
        if self.profile is None:
            return "none in force"
        verdict = {
            "agrees": "agrees",
            "contradicted": "CONTRADICTED",
            "unknown": "cannot be told",
            "called": "not compared",
        }
        return f"{Convention(self.profile.box_format).title}, {verdict[self.state]}"

    def _speed(self) -> str:
        costs = self.costs
        calls = f"{costs.calls} calls, {costs.threads} at a time, {costs.seconds:.1f} s"
        rate = costs.tokens_per_second
        return calls if rate is None else f"{rate:.0f} tokens a second ({calls})"

    def _memory(self) -> str:
        costs = self.costs
        return "on the server" if costs.memory is None else f"{costs.memory / _GIB:.2f} GiB ({costs.device}, peak)"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data; memory in bytes."""
        costs, absent = self.costs, self.not_shown
        return {
            "model": self.model,
            "state": self.state,
            "called": _data(self.called),
            "mean_iou": None if self.fit is None else round(self.fit.mean, 4),
            "reason": self.reason,
            "profile": None if self.profile is None else self.profile.box_format.as_data(),
            "free": [_record(fit) for fit in self.free.fits],
            "asked": [_record(fit) for fit in self.asked.fits],
            "not_shown": {name: getattr(absent, name) for name in NotShown.__slots__},
            "schema_enforced": self.enforced,
            "calls": costs.calls,
            "threads": costs.threads,
            "seconds": round(costs.seconds, 3),
            "tokens": costs.tokens,
            "tokens_per_second": None if costs.tokens_per_second is None else round(costs.tokens_per_second, 1),
            "memory": costs.memory,
            "memory_of": costs.device,
            "malformed": costs.malformed,
            "errors": costs.errors,
            "first_error": costs.first_error,
            "remarks": list(self.remarks),
        }


def _value(fit: Fit) -> str:
    return f"{fit.mean:.2f}" if fit.boxed == len(fit.values) else f"{fit.mean:.2f} ({fit.boxed} of {len(fit.values)})"


def _record(fit: Fit) -> dict[str, Any]:
    return {
        "convention": fit.convention.title,
        "box_format": fit.convention.box_format.as_data(),
        "mean_iou": round(fit.mean, 4),
        "chance": round(fit.chance, 4),
        "boxed": fit.boxed,
        "asked": len(fit.values),
    }


def _data(convention: Convention | None) -> dict[str, Any] | None:
    if convention is None:
        return None
    rule = convention.rule
    resize = None if rule is None else {name: getattr(rule, name) for name in ("factor", "min_pixels", "max_pixels")}
    return {"title": convention.title, **convention.box_format.as_data(), "resize": resize}
