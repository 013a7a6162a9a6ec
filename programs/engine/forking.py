"""`Pausable`: workers that pause during a fork, so that the child does not inherit a lock that is never released."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOG = logging.getLogger(__name__)
_PATIENCE = 60.0
# Seconds that a fork waits for the current step. The longest step is the prefill of a long prompt.

_living: weakref.WeakSet[Pausable] = weakref.WeakSet()


class Pausable:
    """A worker whose current step a fork waits for. Its thread does not exist in the child process."""

    def __init__(self) -> None:
        self._renew()
        _living.add(self)

    def _renew(self) -> None:
        self._pause, self._gate, self._paused = threading.RLock(), threading.Event(), False
        self._gate.set()

    @contextmanager
    def pausable(self) -> Iterator[None]:
        """Wrap everything that takes locks of libraries, for example of torch."""
        # Without the gate, a busy worker would take the lock again before the forking thread gets it.
        self._gate.wait()
        with self._pause:
            yield

    def forked(self, paused: bool) -> None:
        """Reset the state in a child process.

        Args:
            paused: Whether the worker was paused during the fork.
        """
        raise NotImplementedError

    def before_fork(self) -> None:
        """Pause the worker; gives up after `_PATIENCE` seconds."""
        self._gate.clear()
        self._paused = self._pause.acquire(timeout=_PATIENCE)

    def after_fork_in_parent(self) -> None:
        """Resume the worker."""
        if self._paused:
            self._pause.release()
        self._gate.set()

    def after_fork_in_child(self) -> None:
        """Replace the locks, which the parent's threads may hold, and reset the state."""
        paused = self._paused
        self._renew()
        self.forked(paused)


def _each(step: Callable[[Pausable], None]) -> None:
    for worker in list(_living):
        try:
            step(worker)
        except Exception:
            # Raised from here, an exception would only be printed, and the remaining workers would stay paused.
            _LOG.exception("A worker could not be paused for a fork, or resumed after it")


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=lambda: _each(Pausable.before_fork),
        after_in_parent=lambda: _each(Pausable.after_fork_in_parent),
        after_in_child=lambda: _each(Pausable.after_fork_in_child),
    )
