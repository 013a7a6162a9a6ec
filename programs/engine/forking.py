"""Workers that stand still while the process is forked, so that no lock of theirs is held in the child for ever."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOG = logging.getLogger(__name__)
_PATIENCE = 60.0
# Seconds that a fork waits for the step under way; the longest is the reading of a long prompt.

_living: weakref.WeakSet[Pausable] = weakref.WeakSet()


class Pausable:
    """A worker that a fork waits for; a child process does not have its thread."""

    def __init__(self) -> None:
        self._renew()
        _living.add(self)

    def _renew(self) -> None:
        self._pause, self._gate, self._paused = threading.RLock(), threading.Event(), False
        self._gate.set()

    @contextmanager
    def pausable(self) -> Iterator[None]:
        """Around everything that takes locks of libraries, torch's for instance."""
        self._gate.wait()  # a lock alone would be taken again before the thread that forks gets it
        with self._pause:
            yield

    def forked(self, paused: bool) -> None:
        """Start over in a child process.

        Args:
            paused: Whether the worker stood still when the process was forked.
        """
        raise NotImplementedError

    def before_fork(self) -> None:
        """Wait for the worker to stand still."""
        self._gate.clear()
        self._paused = self._pause.acquire(timeout=_PATIENCE)

    def after_fork_in_parent(self) -> None:
        """Let the worker go on."""
        if self._paused:
            self._pause.release()
        self._gate.set()

    def after_fork_in_child(self) -> None:
        """Renew the locks and start over."""
        paused = self._paused
        self._renew()
        self.forked(paused)


def _each(step: Callable[[Pausable], None]) -> None:
    for worker in list(_living):
        try:
            step(worker)
        except Exception:
            _LOG.exception("A worker could not follow a fork")


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=lambda: _each(Pausable.before_fork),
        after_in_parent=lambda: _each(Pausable.after_fork_in_parent),
        after_in_child=lambda: _each(Pausable.after_fork_in_child),
    )
