"""Settings of MCR as plain data: listed, read from a file, and changed by name.

The names are those of the arguments of `MCR`, and within `mrsi` and `cvo` those of `MRSI` and `CVO`:

    seed: 1
    mrsi:
      styles: [picture_first, table]
      lora: {rank: 8}
    cvo:
      rate: 1.0e-5
      rewards: {span: 1, grounding: 2}
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.signatures.errors import DataError, GmnerError, InputError

_STAGES = {"mrsi": MRSI, "cvo": CVO}
_DEPRECATED = frozenset({"weights", "sigma", "soft"})


_CHECKED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda given: isinstance(given, bool), "true or false"),
    "str | PathLike[str] | None": (lambda given: given is None or isinstance(given, str), "a path or null"),
}
# Annotations of fields that the optimizers do not check themselves: whether a value fits, and what is accepted.


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML's own loader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node, see `yaml.SafeLoader`."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Changes(dict[str, Any]):
    """Values for some keys of a mapping, whose other keys stay; a plain mapping replaces the whole one."""


def settings_of(optimizer: MCR) -> dict[str, Any]:
    """All settings, as data for YAML or JSON. Styles and rewards are represented by their names.

    Args:
        optimizer: The optimizer.

    Returns:
        The nested settings. `with_settings` accepts them if all styles and rewards are registered.
    """
    return {name: _plain(name, getattr(optimizer, name), optimizer) for name in _names(MCR)}


def _plain(name: str, value: Any, owner: Any) -> Any:
    if name == "styles":
        return None if value is None else list(value)
    if name == "rewards":
        return dict(owner.reward_set.weights)
    if dataclasses.is_dataclass(value):
        names = [field for field in _names(type(value)) if field not in _DEPRECATED]
        return {field: _plain(field, getattr(value, field), value) for field in names}
    if isinstance(value, Mapping):
        return {str(key): _plain("", item, value) for key, item in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def settings_text(optimizer: MCR) -> str:
    """`settings_of` as YAML, which `read_settings` reads."""
    return yaml.safe_dump(settings_of(optimizer), sort_keys=False, allow_unicode=True)


def read_settings(path: str | PathLike[str]) -> dict[str, Any]:
    """Read settings from a YAML or JSON file.

    Args:
        path: The file.

    Raises:
        InputError: The file does not exist, or is not a file.
        DataError: The file is not UTF-8, not YAML, not a mapping, or has a key twice.
    """
    if not Path(path).is_file():
        fact = "Not a file" if Path(path).exists() else "File not found"
        raise InputError(fact, received=str(path), accepted="a YAML or JSON file")
    try:
        settings = yaml.load(Path(path).read_text(encoding="utf-8-sig"), _UniqueKeys)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path} is not YAML", received=reason, accepted="a mapping, as `cvo: {rate: 1.0e-5}`"
        ) from error
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        raise DataError(f"{path} is not a mapping", received=settings, accepted="`name: value` on each line")
    return settings


def parse_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """Settings from words such as `cvo.rate=1e-5` or `mrsi.styles=[table]`; values are YAML.

    Args:
        assignments: The words; a later one overrides an earlier one.

    Raises:
        InputError: A word is not of this form.
    """
    settings = _Changes()
    for word in assignments:
        path, equals, value = word.partition("=")
        names = path.strip().split(".")
        try:
            parsed = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):  # a ValueError for a date that does not exist
            equals = ""
        if not equals or not all(names):
            accepted = "NAME=VALUE, for example cvo.rate=1e-5"
            raise InputError("A setting is not of the form NAME=VALUE", received=word, accepted=accepted)
        place = settings
        for name in names[:-1]:
            inner = place.get(name)
            place[name] = inner if isinstance(inner, _Changes) else _Changes()
            place = place[name]
        place[names[-1]] = parsed
    return settings


def with_settings(optimizer: MCR, settings: Mapping[str, Any]) -> MCR:
    """A copy of an optimizer with other settings.

    A mapping in place of `mrsi`, `cvo`, `lora` or `demonstrations` changes the settings that it names; a stage that was
    off is then on, with its defaults for the rest. Any other value replaces the former one.

    Args:
        optimizer: The optimizer; it is not changed.
        settings: Values by name, nested as in `settings_of`.

    Raises:
        InputError: An unknown name, or a value that is not accepted; the message starts with the name of the setting.

    Example:
        >>> import gmner
        >>> with_settings(gmner.MCR(), {"seed": 1, "cvo": {"rate": 1e-5}}).cvo.rate
        1e-05
    """
    changed: MCR = _changed(optimizer, settings, "")
    return changed


def _changed(value: Any, settings: Mapping[str, Any], prefix: str) -> Any:
    """A copy of a dataclass with other values of the named fields."""
    kind = type(value)
    unknown = [name for name in settings if name not in _names(kind)]
    if unknown:
        accepted = ", ".join(name for name in _names(kind) if name not in _DEPRECATED)
        raise InputError(f"Unknown setting {prefix}{unknown[0]}", accepted=accepted)
    values = {name: _new(value, name, given, f"{prefix}{name}.") for name, given in settings.items()}
    try:
        return dataclasses.replace(value, **values)
    except TypeError as error:
        raise InputError(f"Unusable value of a setting of {prefix.rstrip('.') or 'MCR'}", received=values) from error
    except GmnerError as error:
        if not prefix:
            raise
        fact = f"{prefix.rstrip('.')}: {error.fact}"
        raise InputError(fact, received=error.received, accepted=error.accepted, remedy=error.remedy) from error


def _new(owner: Any, name: str, given: Any, prefix: str) -> Any:
    """The new value of a field."""
    current = getattr(owner, name)
    if name in _STAGES and isinstance(given, Mapping):
        current = _STAGES[name]() if current is None else current
    if dataclasses.is_dataclass(current) and isinstance(given, Mapping):
        return _changed(current, given, prefix)
    if isinstance(given, _Changes):
        known = owner.reward_set.weights if name == "rewards" else current
        if not isinstance(known, Mapping):
            raise InputError(f"{prefix.rstrip('.')} has no settings of its own", received=json.dumps(given))
        return {**known, **given}
    annotation = _annotation(type(owner), name)
    accepted = next((word for kind, (fits, word) in _CHECKED.items() if annotation == kind and not fits(given)), "")
    if name == "styles" and isinstance(given, Mapping):
        accepted = "a list of names"
    if accepted:
        raise InputError(f"Unusable value of {prefix.rstrip('.')}", received=given, accepted=accepted)
    return _number(given) if re.search(r"\bfloat\b", annotation) else given


def _number(given: Any) -> Any:
    """YAML reads `1e-5` as a string, because it has no point."""
    if not isinstance(given, str):
        return given
    try:
        return float(given)
    except ValueError:
        return given


def _names(kind: Any) -> tuple[str, ...]:
    """The names of the settings of a dataclass."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.init)


def _annotation(kind: Any, name: str) -> str:
    """The annotation of a field, as it is written."""
    return next(str(field.type) for field in dataclasses.fields(kind) if field.name == name)
