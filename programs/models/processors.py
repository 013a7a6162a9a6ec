"""`load_processor`: the processor of a checkpoint, loaded with the class of its family."""

from __future__ import annotations

from pathlib import Path

from transformers import ProcessorMixin

from gmner.programs.models.families import Thinking, family_of
from gmner.programs.models.thinking_templates import switch_thinking


def load_processor(folder: str | Path, model_type: str, *, thinking: bool = False) -> ProcessorMixin:
    """Load the processor of a checkpoint, with images only for families whose own processor requires videos.

    Does not depend on whether the packages for videos are installed.

    Args:
        folder: The checkpoint's folder.
        model_type: The configuration's `model_type`.
        thinking: Whether the model thinks before it answers, see `switch_thinking`.

    Raises:
        ModelError: The model cannot think.
    """
    return thinking_processor(folder, model_type, thinking=thinking)[0]


def thinking_processor(
    folder: str | Path, model_type: str, *, thinking: bool
) -> tuple[ProcessorMixin, Thinking | None]:
    """`load_processor` with the markers of the model's thinking; None: it does not think."""
    family = family_of(model_type)
    processor = family.processor_class().from_pretrained(folder, trust_remote_code=False)
    return processor, switch_thinking(processor, thinking, family.thinking)
