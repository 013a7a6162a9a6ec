"""The styles of reasoning, one line each; `register` adds a style from outside the package."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from gmner.optimizers.chains.styles import (
    elimination,
    entity_by_entity,
    no_reasoning,
    picture_first,
    questions,
    stepwise,
    table,
    text_first,
)
from gmner.optimizers.chains.styles.facts import Style
from gmner.signatures.errors import InputError
from gmner.signatures.registry import Registry

_S = TypeVar("_S", bound=Style)
_FORM = "a function `def name(facts, rng)` that returns a chain"

TEMPLATES: Mapping[str, Style] = MappingProxyType(
    {
        "stepwise": stepwise.render,
        "entity_by_entity": entity_by_entity.render,
        "questions": questions.render,
        "text_first": text_first.render,
        "picture_first": picture_first.render,
        "elimination": elimination.render,
        "table": table.render,
    }
)
"""The template styles by name."""

STYLES: Registry[Style] = Registry("style", {**TEMPLATES, "plain": no_reasoning.plain})
"""All styles by name: the templates, `plain` (no reasoning), and those that were registered."""


def register(style: _S, name: str | None = None) -> _S:
    """Give a style a name that `MRSI(styles=[...])` accepts; usable as a decorator.

    Args:
        style: The style.
        name: Its name; None: the name of the function.

    Returns:
        The style itself.

    Raises:
        InputError: Not a function of facts and a random generator, a name that is not a word, or another style has this
            name.

    Example:
        >>> def names_only(facts, rng):
        ...     return " ".join(entity.span for entity in facts.entities)
        >>> register(names_only) is STYLES["names_only"]
        True
        >>> unregister("names_only")
    """
    if not callable(style) or isinstance(style, type) or not _takes_facts(style):
        raise InputError("A style must be a function of facts and a random generator", received=style, accepted=_FORM)
    STYLES.add(getattr(style, "__name__", "") if name is None else name, style)
    return style


def unregister(name: str) -> None:
    """Remove a style that `register` added.

    Raises:
        InputError: No style with this name was registered.
    """
    STYLES.remove(name)


def styles_by_name(styles: Mapping[str, Style] | Iterable[str]) -> dict[str, Style]:
    """Resolve the names of styles.

    Args:
        styles: Names of registered styles, or styles by name, which are returned as they are.

    Raises:
        InputError: No style has one of the names, or not a list of names.
    """
    if isinstance(styles, Mapping):
        return dict(styles)
    if isinstance(styles, str) or not isinstance(styles, Iterable):
        accepted = "a list of names, or a mapping from name to style"
        raise InputError("The styles are not a list", received=styles, accepted=accepted)
    return {name: STYLES.find(name) for name in styles}


def _takes_facts(style: Style) -> bool:
    try:
        inspect.signature(style).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # Python does not know the arguments, as of some built-in functions
        return True
    return True
