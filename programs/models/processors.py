"""`load_processor`: the processor of a checkpoint, loaded with the class of its family."""

from __future__ import annotations

from pathlib import Path

from transformers import ProcessorMixin

from gmner.programs.models.families import family_of


def load_processor(folder: str | Path, model_type: str) -> ProcessorMixin:
    """Load the processor of a checkpoint, with images only for families whose own processor requires videos.

    Does not depend on whether the packages for videos are installed.

    Args:
        folder: The checkpoint's folder.
        model_type: The configuration's `model_type`.
    """
    return family_of(model_type).processor_class().from_pretrained(folder, trust_remote_code=False)
