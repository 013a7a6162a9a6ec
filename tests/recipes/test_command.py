"""The command that trains the embedded model: every stage on a few scenes, interrupted and resumed."""

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, TrainingArguments

from gmner.data.world.generate import World
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.recipes.embedded import __main__ as command

pytestmark = pytest.mark.e2e


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain", *map(str, arguments)])
    command.main()


@pytest.mark.nightly
def test_command_trains_a_model_and_resumes(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(command, "train_tokenizer", lambda: copy.deepcopy(tokenizer))
    monkeypatch.setattr(command, "TrainingArguments", lambda **o: TrainingArguments(**{**o, "save_steps": 1}))
    small = (
        "--scenes", 8, "--batch", 2,
        "--text-steps", 2, "--vision-steps", 2, "--language-steps", 3, "--reasoning-steps", 4,
    )  # fmt: skip
    run(monkeypatch, "--work", tmp_path / "whole", "--out", tmp_path / "out", *small)
    names = ("text", "vision", "language", "reasoning")
    text, vision, language, reasoning = (load_file(tmp_path / "whole" / name / "model.safetensors") for name in names)
    tower = [name for name in text if "vision_model" in name]
    words = [name for name in text if "text_model.layers" in name]
    assert any(not torch.equal(text[name], vision[name]) for name in tower)
    assert all(torch.equal(text[name], vision[name]) for name in words)
    assert all(torch.equal(vision[name], language[name]) for name in tower)
    assert all(torch.equal(language[name], reasoning[name]) for name in tower)
    assert any(not torch.equal(vision[name], language[name]) for name in words)
    assert any(not torch.equal(language[name], reasoning[name]) for name in words)
    curve = json.loads((tmp_path / "whole" / "language" / "curve.json").read_text())
    assert curve["global_step"] == 3
    out = load_vlm(tmp_path / "out", cache=False)
    post = World().post("dev", 0)
    assert GMNER(lm=out)(text=post.text, image=post.image).entities is not None

    compute = command._LossTrainer.compute_loss

    def killed(self: Any, *given: Any, **named: Any) -> Any:
        if self.state.max_steps == 3 and self.state.global_step == 2:
            raise KeyboardInterrupt
        return compute(self, *given, **named)

    for stage in ("text", "vision"):  # made above; the command skips finished stages
        shutil.copytree(tmp_path / "whole" / stage, tmp_path / "cut" / stage)
    with monkeypatch.context() as patch:
        patch.setattr(command._LossTrainer, "compute_loss", killed)
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, "--work", tmp_path / "cut", *small)
    assert (tmp_path / "cut" / "language" / "checkpoints" / "checkpoint-2").is_dir()
    done = (tmp_path / "cut" / "text" / "model.safetensors").stat().st_mtime_ns
    run(monkeypatch, "--work", tmp_path / "cut", *small)
    assert (tmp_path / "cut" / "text" / "model.safetensors").stat().st_mtime_ns == done
    again = load_file(tmp_path / "cut" / "language" / "model.safetensors")
    assert all(torch.allclose(again[name], value, atol=1e-6) for name, value in language.items())
