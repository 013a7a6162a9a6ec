"""Exceptions. Each message states the fact, the value received, what is accepted and the remedy."""

from __future__ import annotations

from typing import Any


class GmnerError(Exception):
    """Base class of all exceptions that this library raises on purpose.

    Args:
        fact: What is wrong, as one sentence without a full stop.
        received: The invalid value; long values are shortened.
        accepted: The accepted values.
        remedy: What the caller can do about it.

    Attributes:
        kind: The snake-case name with which a corpus run records the error.
    """

    kind = "error"

    def __init__(self, fact: str, *, received: object = None, accepted: str = "", remedy: str = "") -> None:
        self.fact, self.received, self.accepted, self.remedy = fact, received, accepted, remedy
        parts = [fact if received is None else f"{fact.rstrip('.')} (got {_short(received)})"]
        if accepted:
            parts.append(f"Accepted: {accepted}")
        if remedy:
            parts.append(remedy)
        super().__init__(". ".join(part.rstrip(".") for part in parts) + ".")


def _short(value: object, limit: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class InputError(GmnerError):
    """An invalid argument or post, for example an empty text, an unknown split or an empty training set."""

    kind = "bad_input"


class ImageError(GmnerError):
    """An image that is missing, broken, too large or outside the allowed folder."""

    kind = "bad_image"


class DataError(GmnerError):
    """A data file that does not follow its format; the message names file and line, or the object."""

    kind = "bad_data"


class AnswerError(GmnerError):
    """A model's answer that is not the required JSON object."""

    kind = "bad_answer"


class TruncatedAnswerError(AnswerError):
    """An answer that reached its token limit before it was complete."""

    kind = "truncated_answer"


class ModelError(GmnerError):
    """A model that cannot be loaded, or does not support what it is used for."""

    kind = "bad_model"


class EngineError(GmnerError):
    """A failure of the local engine: its worker ended, or the process was forked after the model was loaded."""

    kind = "engine_failed"


class ServerError(GmnerError):
    """A server that returns an error or does not respond, after all retries."""

    kind = "server_error"


class BundleError(GmnerError):
    """A saved program that is incomplete, or was modified after it was saved."""

    kind = "bad_bundle"


class RunDirectoryError(GmnerError):
    """A run directory that belongs to a run with other arguments."""

    kind = "bad_run_directory"


class RewardError(GmnerError):
    """A reward function that raises an exception, or does not return one number or None per completion.

    Args:
        row: Index of the row in the batch; None if the error concerns the whole batch.
        **kwargs: See `GmnerError`.
    """

    kind = "bad_reward"

    def __init__(self, fact: str, *, row: int | None = None, **kwargs: Any) -> None:
        super().__init__(fact, **kwargs)
        self.row = row
