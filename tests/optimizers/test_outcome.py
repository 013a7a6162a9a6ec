"""Detection of a compile whose result equals the student."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scripted import scripted_lm

from gmner.optimizers.outcome import why_unchanged
from gmner.optimizers.training import trainable as training
from gmner.programs.gmner import GMNER


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)


def with_lora(model: torch.nn.Module, value: float = 0.0) -> torch.nn.Module:
    found = get_peft_model(copy.deepcopy(model), LoraConfig(r=2, target_modules=["first"]))
    for name, weight in found.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, value)
    return found


def moved(model: torch.nn.Module) -> torch.nn.Module:
    found = copy.deepcopy(model)
    with torch.no_grad():
        found.second.bias += 0.5
    return found


HALF = Small().half()
STUDENT = Small()
ADAPTED = with_lora(STUDENT, 1.0)
CASES = {
    "a copy": (STUDENT, copy.deepcopy(STUDENT), False),
    "float16 and the same as float32": (HALF, copy.deepcopy(HALF).float(), False),
    "float16 and another float32": (HALF, moved(copy.deepcopy(HALF).float()), True),
    "a weight moved": (STUDENT, moved(STUDENT), True),
    "an adapter that is still zero": (STUDENT, with_lora(STUDENT), False),
    "an adapter in another precision that is still zero": (HALF, with_lora(copy.deepcopy(HALF).float()), False),
    "a trained adapter": (STUDENT, with_lora(STUDENT, 0.1), True),
    "an adapter that is still zero on weights that moved": (STUDENT, with_lora(moved(STUDENT)), True),
    "an adapter that was there": (ADAPTED, copy.deepcopy(ADAPTED), False),
    "an adapter that was trained further": (ADAPTED, with_lora(STUDENT, 2.0), True),
    "an adapter that was merged": (ADAPTED, moved(STUDENT), True),
}


@pytest.mark.parametrize("case", CASES)
def test_weights_are_compared_by_value(case: str, monkeypatch: pytest.MonkeyPatch):
    before, after, differ = CASES[case]
    monkeypatch.setattr(training, "trainable_engine", lambda lm: lm)
    programs: Any = {
        name: SimpleNamespace(model=SimpleNamespace(model=model), demonstrations=())
        for name, model in (("before", before), ("cvo", after))
    }
    why = why_unchanged(programs, "cvo", scored=False, stopped=False)
    assert why == ("" if differ else "no weight and no demonstration changed")


def test_demonstrations_change_the_program():
    before = GMNER(scripted_lm({"reasoning": "", "entities": []}))
    after = before.deepcopy()
    programs = {"before": before, "mrsi": after}
    assert "no demonstration changed; max_minutes" in why_unchanged(programs, "mrsi", scored=False, stopped=True)
    after.answer.demos = [{"text": "Ana", "entities": []}]
    assert not why_unchanged(programs, "mrsi", scored=False, stopped=False)


@pytest.mark.parametrize(
    ("scored", "stages", "why"), [(True, 2, "higher"), (True, 1, "no stage"), (False, 1, "no stage")]
)
def test_student_itself_is_unchanged(scored: bool, stages: int, why: str):
    student: Any = SimpleNamespace()
    programs = dict.fromkeys(("before", "mrsi")[:stages], student)
    assert why in why_unchanged(programs, "before", scored=scored, stopped=False)
