"""`Registry`: named values that come with the package, and those that other code adds to them."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from gmner.signatures.errors import InputError

_T = TypeVar("_T")
_NAME = re.compile(r"\w[\w.-]*")


class Registry(Mapping[str, _T], Generic[_T]):
    """Values by name: the built-in ones, then those that were added, in the order in which they were added.

    Only `add` and `remove` change it; both may be called from several threads. Built-in values cannot be replaced or
    removed.

    Args:
        kind: What the values are, for error messages, for example `reader`.
        built_in: The built-in values.
        reserved: Names that no value may have.
    """

    def __init__(self, kind: str, built_in: Mapping[str, _T], reserved: Collection[str] = ()) -> None:
        self._kind, self._built_in, self._reserved = kind, dict(built_in), frozenset(reserved)
        self._added: dict[str, _T] = {}
        self._lock = Lock()

    def __getitem__(self, name: str) -> _T:
        return self._built_in[name] if name in self._built_in else self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._built_in, *self._added])

    def __len__(self) -> int:
        return len(self._built_in) + len(self._added)

    def __repr__(self) -> str:
        return f"Registry({self._kind!r}, {', '.join(self)})"

    def find(self, name: str, also: Collection[str] = ()) -> _T:
        """The value with this name.

        Args:
            name: The name.
            also: Names that the caller accepts in addition, for the error message.

        Raises:
            InputError: There is none.
        """
        if not isinstance(name, str) or name not in self:
            raise InputError(f"Unknown {self._kind}", received=name, accepted=", ".join((*also, *self)))
        return self[name]

    def add(self, name: str, value: _T) -> None:
        """Add a value.

        Adding the same definition again replaces the old value, as when a notebook cell is executed again.

        Raises:
            InputError: The name is not a word of letters, digits, `.`, `_` and `-`, is reserved, or belongs to another
                value.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            fact = f"The name of a {self._kind} is invalid"
            raise InputError(fact, received=name, accepted="letters, digits, `.`, `_` and `-`")
        with self._lock:
            taken = name in self._reserved or (name in self and _definition(self[name]) != _definition(value))
            if taken:
                remedy = "Choose another name, or remove the registered one with unregister()"
                own = name in self._added
                raise InputError(
                    f"Another {self._kind} is registered under this name",
                    received=name,
                    remedy=remedy if own else "Choose another name",
                )
            if name not in self._built_in:
                self._added[name] = value

    def remove(self, name: str) -> None:
        """Remove a value that was added.

        Raises:
            InputError: No value with this name was added.
        """
        with self._lock:
            if name not in self._added:
                fact = f"No {self._kind} was registered under this name"
                raise InputError(fact, received=name, accepted=", ".join(self._added) or "nothing was registered")
            del self._added[name]


def check_type(value: object, kind: type, article: str = "a") -> None:
    """Check the class of a value that is to be registered.

    Raises:
        InputError: It is not an instance of `kind`.
    """
    if not isinstance(value, kind):
        raise InputError(f"Only {article} {kind.__name__} can be registered", received=value, accepted=kind.__name__)


def _definition(value: Any) -> object:
    """What makes two values the same definition: where a function is defined, and the fields of a dataclass."""
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), tuple((field.name, _definition(getattr(value, field.name))) for field in fields(value))
    if isinstance(value, functools.partial):
        return _definition(value.func), value.args, tuple(value.keywords.items())
    if callable(value):
        owner = value if hasattr(value, "__qualname__") else type(value)
        line = value.__code__.co_firstlineno if owner.__qualname__.endswith("<lambda>") else None
        return owner.__module__, owner.__qualname__, line
    return type(value) if type(value).__eq__ is object.__eq__ else value
