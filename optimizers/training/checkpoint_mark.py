"""`MarkWhole`: lists the files of a checkpoint in it, so that an incomplete one is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from gmner.data.files.atomic import whole_text
from gmner.optimizers.training.checkpoints import MARK, files_of


class MarkWhole(TrainerCallback):
    """Writes the list of a checkpoint's files into the checkpoint when all of them are saved.

    Args:
        profile: The model's `gmner.json`, which is copied into each checkpoint. Without it, a checkpoint that is loaded
            on its own would have the coordinate convention of its family. May be missing.
        content: What to write in place of the content of this file, if the model was loaded with another profile.
    """

    def __init__(self, profile: Path, content: str | None = None) -> None:
        self._profile, self._content = profile, content

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint of this step."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            if self._content is not None:
                (folder / self._profile.name).write_text(self._content, encoding="utf-8")
            elif self._profile.is_file():
                shutil.copyfile(self._profile, folder / self._profile.name)
            sizes = {name: file.stat().st_size for name, file in files_of(folder)}
            with whole_text(folder / MARK) as mark:
                json.dump(sizes, mark)
