"""Writes the table of model families in `docs/models.md`: `python docs/families.py` after a family has changed."""

from __future__ import annotations

import sys
from pathlib import Path

from gmner.programs.models.families import FAMILIES, ModelFamily

PAGE = Path(__file__).with_name("models.md")
BEGIN, END = "<!-- families -->\n", "<!-- end of families -->\n"
_STATES = {"published": "published", "unconfirmed": "not confirmed by its makers", "none": "none published; ours"}


def table() -> str:
    """The table in Markdown, one row a family."""
    head = "| family | `model_type` | boxes | convention | source | tried |\n|---|---|---|---|---|---|\n"
    return head + "".join(map(_row, sorted(FAMILIES.values(), key=lambda family: family.shown_as)))


def _row(family: ModelFamily) -> str:
    types = ", ".join(f"`{name}`" for name in (family.name, *family.model_types))
    if family.refused:
        return f"| {family.shown_as} | {types} | refused | {family.refused} | | |\n"
    boxes = family.convention_text
    without = f"No SFT and no GRPO. {family.no_training}" if family.no_training else ""
    without = without or (f"No GRPO. {family.no_grpo}" if family.no_grpo else "")
    tried = ". ".join(filter(None, (_tests(family), family.untried, without)))
    return f"| {family.shown_as} | {types} | {boxes} | {_STATES[family.convention]} | {family.source} | {tried} |\n"


def _tests(family: ModelFamily) -> str:
    """What the tests do with a tiny random checkpoint of the family; empty: there is none."""
    tests = str(PAGE.parent.parent / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    from family_checkpoints import CHECKPOINTS
    from tiny import FAMILIES as EVERYDAY

    tier = "tests" if family.name in EVERYDAY else "nightly tests" if family.name in CHECKPOINTS else ""
    parts = "answers, boxes, SFT and GRPO"
    if family.no_training or family.no_grpo:
        parts = "answers and boxes" if family.no_training else "answers, boxes and SFT"
    return f"A random checkpoint in the {tier}: {parts}" if tier else ""


def page(text: str) -> str:
    """The page with the current table."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
