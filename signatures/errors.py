"""The errors of `gmner`: every one says the fact, the value received, what is accepted and the remedy."""

from __future__ import annotations

from typing import Any


class GmnerError(Exception):
    """Root of every error this library raises on purpose.

    Args:
        fact: What is wrong, as one sentence without a full stop.
        received: The offending value; long values are cut.
        accepted: What would have been accepted.
        remedy: What the caller can do about it.

    Attributes:
        kind: The snake-case name under which a corpus run records the error.
    """

    kind = "error"

    def __init__(self, fact: str, *, received: object = None, accepted: str = "", remedy: str = "") -> None:
        self.fact, self.received, self.accepted, self.remedy = fact, received, accepted, remedy
        parts = [fact]
        if received is not None:
            parts.append(f"received {_short(received)}")
        if accepted:
            parts.append(f"accepted: {accepted}")
        if remedy:
            parts.append(remedy)
        super().__init__(". ".join(part.rstrip(".") for part in parts) + ".")


def _short(value: object, limit: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class InputError(GmnerError):
    """An argument or a post that cannot be worked on (empty text, unknown split, empty trainset)."""

    kind = "bad_input"


class ImageError(GmnerError):
    """A picture that is missing, broken, too large or outside the allowed folder."""

    kind = "bad_image"


class DataError(GmnerError):
    """A data file that does not follow its format; the fact names file and line or object."""

    kind = "bad_data"


class AnswerError(GmnerError):
    """A model answer that is not the JSON object asked for."""

    kind = "bad_answer"


class TruncatedAnswerError(AnswerError):
    """The token budget ended before the answer did: never half an answer."""

    kind = "truncated_answer"


class ModelError(GmnerError):
    """A model that cannot be loaded or does not fit its use."""

    kind = "bad_model"


class EngineError(GmnerError):
    """The local engine itself failed: its worker ended, or this process was forked from the one that loaded a model."""

    kind = "engine_failed"


class ServerError(GmnerError):
    """A server that answers a request with an error, or does not answer it, after every retry."""

    kind = "server_error"


class BundleError(GmnerError):
    """A saved program that is incomplete or was changed after it was saved."""

    kind = "bad_bundle"


class RunDirectoryError(GmnerError):
    """A run directory that belongs to a run with other arguments."""

    kind = "bad_run_directory"


class RewardError(GmnerError):
    """A reward function that raises or returns something other than one number or None per completion.

    Args:
        row: Which row of the batch the error is about; None: it is about the batch.
        **kwargs: See `GmnerError`.
    """

    kind = "bad_reward"

    def __init__(self, fact: str, *, row: int | None = None, **kwargs: Any) -> None:
        super().__init__(fact, **kwargs)
        self.row = row
