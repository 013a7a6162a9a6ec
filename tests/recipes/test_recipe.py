"""Recipe and shipped weights agree: the first steps reproduce the record, and the weights have its final loss."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Idefics3ForConditionalGeneration, TrainerCallback, set_seed

import gmner.programs.models
from gmner.recipes.embedded import __main__ as command
from gmner.recipes.embedded.dialogues import Dialogues, PadDialogues
from gmner.recipes.embedded.language import AnswerTeacher
from gmner.recipes.embedded.model import build_model
from gmner.recipes.embedded.pool import add_features, build_pool, draw_known, draw_newcomers
from gmner.recipes.embedded.questions import REASONING
from gmner.recipes.embedded.tokenizer import train_tokenizer

pytestmark = pytest.mark.e2e

SHIPPED = Path(gmner.programs.models.__file__).parent / "embedded"
RECORD = json.loads((SHIPPED / command.CURVE).read_text(encoding="utf-8"))


class StopEarly(TrainerCallback):
    """Ends a stage at its first log."""

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step >= command.LOGGING_STEPS


def test_record_belongs_to_the_current_recipe():
    assert {name: stage["steps"] for name, stage in RECORD["stages"].items()} == command.STEPS


@pytest.mark.nightly
def test_first_steps_reproduce_the_recorded_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trainer = command._LossTrainer
    monkeypatch.setattr(command, "_LossTrainer", lambda **given: trainer(**given, callbacks=[StopEarly()]))
    set_seed(0)
    tokenizer = train_tokenizer()
    shipped = AutoTokenizer.from_pretrained(SHIPPED)
    assert tokenizer.get_vocab() == shipped.get_vocab()
    text = RECORD["stages"]["text"]
    args = Namespace(work=tmp_path, batch=RECORD["batch"], scenes=RECORD["scenes"], text_steps=text["steps"])
    command.Recipe(args).text(build_model(tokenizer), tokenizer, tmp_path)
    history = json.loads((tmp_path / command.CURVE).read_text(encoding="utf-8"))["log_history"]
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    step = command.LOGGING_STEPS
    assert losses[step] == pytest.approx(text["losses"][str(step)], rel=0.01)


@pytest.mark.nightly
def test_shipped_weights_have_the_final_recorded_loss(tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    model = Idefics3ForConditionalGeneration.from_pretrained(SHIPPED, dtype=torch.float32, attn_implementation="eager")
    known = add_features(build_pool(tmp_path, "scenes", 32, draw_known), model, tmp_path / "known.npy")
    new = add_features(build_pool(tmp_path, "newcomers", 32, draw_newcomers), model, tmp_path / "new.npy")
    batch, rounds = 16, 2 * len(REASONING)
    data = Dialogues(replace(known, newcomers=new), tokenizer, REASONING, rounds, batch, seed=99)
    teacher, pad = AnswerTeacher(model, tokenizer).eval(), PadDialogues(tokenizer.pad_token_id)
    with torch.no_grad():
        parts = [teacher(**pad([data[r * batch + i] for i in range(batch)])) for r in range(rounds)]
    ends = RECORD["stages"]["reasoning"]["ends"]
    for name in ("word_loss", "gaze_loss", "coordinate_loss"):
        found = np.mean([float(part[name]) for part in parts if name in part])
        # Few gaze targets are missed but dominate this loss, so 32 scenes do not determine its third digit.
        assert found == pytest.approx(ends[name], rel=0.3, abs=0.03), name
