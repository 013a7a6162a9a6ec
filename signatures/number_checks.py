"""Checks of numbers among the settings of a class or function."""

from __future__ import annotations

import math
from typing import TypeGuard

from gmner.signatures.errors import InputError


def check_integer(name: str, value: object, *, least: int = 1, optional: bool = False, why: str = "") -> None:
    """Check an integer setting; True and False are not integers.

    Args:
        name: The name of the setting.
        value: Its value.
        least: The lowest accepted value.
        optional: Whether None is accepted as well.
        why: Reason for the lower bound, for the message: a clause that begins with "because".

    Raises:
        InputError: The value is not an integer, or it is too low.
    """
    if value is None and optional:
        return
    accepted = f"{least} or more{', or None' if optional else ''}"
    if not is_integer(value):
        raise InputError(f"{name} must be an integer", received=value, accepted=accepted)
    if value < least:
        bound = "must not be negative" if least == 0 else f"must be at least {least}"
        raise InputError(f"{name} {bound}{f', {why}' if why else ''}", received=value, accepted=accepted)


def check_share(name: str, value: object, *, zero: bool) -> None:
    """Check a share.

    Args:
        name: The name of the setting.
        value: Its value.
        zero: Whether 0 is accepted and 1 is not; otherwise it is the other way round.

    Raises:
        InputError: The value is not a number, or out of range.
    """
    if not is_number(value) or not (0 <= value < 1 if zero else 0 < value <= 1):
        bounds = "at least 0 and below 1" if zero else "above 0 and at most 1"
        raise InputError(f"{name} must be {bounds}", received=value)


def check_positive(name: str, value: object, *, zero: bool = False, optional: bool = False) -> None:
    """Check that a setting is a finite number above 0.

    Args:
        name: The name of the setting.
        value: Its value.
        zero: Whether 0 is accepted as well.
        optional: Whether None is accepted as well.

    Raises:
        InputError: The value is not a finite number, or too low.
    """
    if value is None and optional:
        return
    if not is_number(value) or value < 0 or not (value or zero):
        none = " or None" if optional else ""
        bound = "must not be negative" if zero else f"must be positive{none}"
        fact = f"{name} {f'must be a number{none}' if isinstance(value, str) else bound}"
        raise InputError(fact, received=value, accepted=f"a number {'of at least 0' if zero else 'above 0'}{none}")


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is an integer other than True and False."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number other than True and False."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
