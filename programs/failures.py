"""Errors during a corpus run: decides whether an error belongs to one post or ends the run."""

from __future__ import annotations

import logging

import dspy
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMError,
    LMProviderError,
    LMUnexpectedError,
)

from gmner.programs.answering import AnsweringProgram
from gmner.programs.engine.batching import ended_within
from gmner.programs.error_causes import broken_off, chain_of, error_line, own_error
from gmner.programs.local_engine import is_served
from gmner.signatures.errors import AnswerError, DataError, GmnerError, ImageError, InputError, ServerError

_LOG = logging.getLogger(__name__)
_OF_A_POST = (InputError, ImageError, DataError, AnswerError)
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
_OF_EVERYTHING = (LMAuthError, LMBillingError)
_PROBE = "Ana met Ben in Paris."


def failure_of_post(program: AnsweringProgram, error: Exception) -> GmnerError | None:
    """Return the error to record for the post that raised `error`, or None if the run cannot continue.

    A `GmnerError` about the text, the image or the answer belongs to the post, and so do a reply that cannot be parsed
    and a prompt that is too long. An invalid API key ends the run. For any other error the program is called once more
    with a short text and no image; if this call fails too, the run ends.

    Args:
        program: The program that was called.
        error: What the call raised.
    """
    known = own_error(error)
    if isinstance(known, _OF_A_POST):
        return known
    if isinstance(error, _OF_EVERYTHING):
        return None
    if _unreadable(program, error):
        size = broken_off(error)
        fact = "The reply of the server cannot be parsed"
        fact += "" if size is None else f": it breaks off after {size} characters, as when a connection is lost"
        return AnswerError(fact, received=error_line(error))
    if not isinstance(error, ContextWindowExceededError) and not _works(program):
        return None
    if known is not None:
        return known
    if isinstance(error, LMError) and not isinstance(error, LMUnexpectedError):
        status = "" if error.status is None else f" (status {error.status})"
        return ServerError(f"The server returned no answer for this post{status}", received=error_line(error))
    _LOG.warning("Unexpected error, recorded for its post: %s", error_line(error), exc_info=_LOG.isEnabledFor(10))
    return GmnerError("An unexpected error occurred while this post was processed", received=error_line(error))


def _unreadable(program: AnsweringProgram, error: Exception) -> bool:
    """Whether a server replied with success, but not in OpenAI's format."""
    if not is_served(program.model):
        return False
    if not isinstance(error, LMError) or type(error) not in (LMProviderError, LMUnexpectedError):
        return False
    return error.status in (None, 200) and any(isinstance(link, _MALFORMED) for link in chain_of(error.__cause__))


def _works(program: AnsweringProgram) -> bool:
    """Whether the program can answer a short post without an image."""
    if ended_within(0):  # an error of another post has ended the run
        return False
    try:
        with dspy.context(trace=None, disable_history=True):
            program(text=_PROBE)
    except Exception as error:
        return isinstance(own_error(error), _OF_A_POST)
    return True
