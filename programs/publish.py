"""Publishing a program: saves its weights as one checkpoint, and uploads its bundle to the Hub."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmner.data.files.atomic import whole_folder
from gmner.data.files.outputs import check_checkpoint_place, check_inputs
from gmner.data.scoring.evaluation import percent
from gmner.programs.answering import AnsweringProgram
from gmner.programs.engine.vllm_engine import VLLMEngine
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.local_engine import engine_of
from gmner.programs.manifest import read_manifest
from gmner.programs.models.families import PROFILE_FILE
from gmner.programs.models.hub import upload
from gmner.programs.models.thinking_templates import template_of
from gmner.signatures.errors import ModelError
from gmner.signatures.number_checks import is_number

if TYPE_CHECKING:
    from gmner.programs.manifest import Base, Manifest

CARD_FILE = "README.md"
TEMPLATE_FILE = "chat_template.jinja"
_BESIDE_WEIGHTS = ("*.json", "*.jinja", "*.txt", "*.model")
_TASKS = ("gmner", "mner", "eeg")
_GMNER = (
    "A program for grounded multimodal named entity recognition. Give it a post (text and image): it returns",
    "every named entity with its type and its bounding box, or marks it as not shown.",
)
_WHAT = {
    "GMNER": _GMNER,
    "StagedGMNER": _GMNER,
    "MNER": (
        "A program for multimodal named entity recognition. Give it a post (text and images): it returns every named",
        "entity with its type, without boxes.",
    ),
    "GREC": (
        "A program for generalized referring expression comprehension. Give it an expression as the text, and an",
        "image: it returns the bounding boxes of everything that the expression means, or none.",
    ),
}
"""What a program does, by the name of its class."""


def save_merged(program: AnsweringProgram, folder: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """Save the weights of a program, with its adapter merged, as a checkpoint that vLLM and transformers can load.

    Weights and configuration are those of the loaded model, in its precision; tokenizer, processor and chat template
    are copied from the base checkpoint. Instructions and demonstrations are not included: serve the checkpoint, and
    load the bundle with `gmner.load(bundle, lm=dspy.LM("openai/...", api_base=...))`. The chat template of a thinking
    model is written as it is used here, so that a server switches thinking on or off in the same way.

    Args:
        program: A program on a local model.
        folder: A folder that does not exist or is empty; it is written atomically.
        overwrite: Whether to replace another checkpoint.

    Returns:
        The folder.

    Raises:
        ModelError: The LM is served or runs in vLLM, or its weights are quantized, so that merging would lose
            precision.
        InputError: The folder has other content, or it is the checkpoint from which the weights were loaded.
    """
    check_checkpoint_place(Path(folder), overwrite=overwrite)
    engine = engine_of(program.model, VLMEngine)
    if engine_of(program.model, VLLMEngine) is not None:
        remedy = "Save the program, and use `gmner merge BUNDLE -o FOLDER`"
        raise ModelError("vLLM's weights cannot be saved", received=program.model.model, remedy=remedy)
    if engine is None:
        fact = "The weights of a served model cannot be saved"
        raise ModelError(fact, received=program.model.model, remedy="Load the model on this machine with load_vlm")
    if getattr(engine.model, "is_quantized", False):
        remedy = "Load the base model without quantization"
        raise ModelError("An adapter cannot be merged into quantized weights", remedy=remedy)
    check_inputs(Path(folder), [engine.path])
    with whole_folder(Path(folder)) as new:
        engine.model.save_pretrained(new)
        for file in (file for pattern in _BESIDE_WEIGHTS for file in engine.path.glob(pattern)):
            if file.name != "config.json" and not file.name.endswith(".index.json"):
                shutil.copyfile(file, new / file.name)
        if engine.weights.profile_text is not None:
            (new / PROFILE_FILE).write_text(engine.weights.profile_text, encoding="utf-8")
        template = template_of(engine.processor)
        if engine.weights.thinking is not None and template is not None:
            (new / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    return Path(folder)


def push_program(program: AnsweringProgram, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
    """Upload the bundle of a program to a model repository with a model card; `gmner.load(repo_id)` loads it.

    Before you make it public, check that you may: demonstrations contain posts of the trainset (text and image), and
    the weights may reproduce training data.

    Args:
        program: A program that can be saved, see `save_bundle`.
        repo_id: The repository, `user/name`.
        private: See `gmner.programs.models.hub.upload`.
        token: See `gmner.programs.models.hub.upload`.

    Returns:
        The URL of the commit.

    Raises:
        BundleError: See `save_bundle`.
    """
    with tempfile.TemporaryDirectory(prefix="gmner-bundle-") as work:
        folder = Path(work) / "bundle"
        program.save(folder)
        (folder / CARD_FILE).write_text(model_card(read_manifest(folder), repo_id), encoding="utf-8")
        return upload(folder, repo_id, "model", private=private, token=token)


def model_card(manifest: Manifest, name: str) -> str:
    """The card of a bundle as Markdown with a YAML head."""
    base = manifest.base.model if manifest.base.kind == "hub" else None
    types = "\n".join(f"- `{kind}`{f': {text}' if text else ''}" for kind, text in manifest.labels)
    type_section = [] if manifest.program == "GREC" else ["## Entity types", "", types, ""]
    head = ["library_name: gmner", "pipeline_tag: image-text-to-text", *([f"base_model: {base}"] if base else [])]
    return "\n".join(
        [
            "---", *head, "tags:", "- gmner", "- named-entity-recognition", "- visual-grounding", "---", "",
            f"# {name.partition('/')[2] or name}", "",
            *_WHAT[manifest.program], "",
            "```python", "import gmner", "", f'program = gmner.load("{name}")',
            'program(text="...", image="post.png").entities', "```", "",
            f"It runs on {_base(manifest.base)}{', with a LoRA adapter' if manifest.adapter else ''}.", "",
            *type_section, "## Scores", "", _scores(manifest.scores), "", "## Limits", "",
            "- The scores were measured on other posts. Evaluate the program on your own.",
            "- Predictions can be wrong. Do not use them to identify people or as evidence.",
            "- Demonstrations and weights are derived from training posts; their licence and privacy apply here too.",
            "",
        ]
    )  # fmt: skip


def _base(base: Base) -> str:
    revision = f" at {base.revision}" if base.revision else ""
    kinds = {
        "embedded": "the small model of the package `gmner`, which only knows its synthetic world",
        "hub": f"`{base.model}`{revision}",
        "bundled": "the model in `model/`",
        "path": "a model that is not part of this repository; pass it with `gmner.load(..., base=...)`",
        "served": "a served model; pass it with `gmner.load(..., lm=...)`",
    }
    return kinds[base.kind]


def _scores(scores: Mapping[str, Any] | None) -> str:
    """A table of the F1 scores that an optimizer measured for each stage."""
    if not scores:
        return "No scores were saved with the program."
    lines = []
    for stage, by_task in scores.items():
        figures = [_f1(by_task, task) for task in _TASKS]
        if figures != [None] * len(_TASKS):
            lines.append(f"| {stage} | {' | '.join(map(percent, figures))} |")
    if not lines:
        return "See `scores` in `manifest.json`."
    head = "| stage | GMNER F1 | MNER F1 | EEG F1 |"
    note = "Measured on the posts that were used to choose the stage, so they are likely too high:"
    return "\n".join([note, "", head, "|---|---|---|---|", *lines])


def _f1(by_task: object, task: str) -> float | None:
    """The F1 of a task among the scores of a stage; None if it was not measured."""
    scores = by_task.get(task) if isinstance(by_task, Mapping) else None
    figure = scores.get("f1") if isinstance(scores, Mapping) else None
    return figure if is_number(figure) else None
