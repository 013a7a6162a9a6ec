"""Giving a program away: its weights as one checkpoint, and its bundle as a repository of the hub."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmner.data.files.atomic import whole_folder
from gmner.data.files.outputs import check_checkpoint_place, check_inputs
from gmner.programs.answering import AnsweringProgram
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.local_engine import engine_of
from gmner.programs.manifest import read_manifest
from gmner.programs.models.hub import upload
from gmner.signatures.errors import ModelError

if TYPE_CHECKING:
    from gmner.programs.manifest import Base, Manifest

CARD_FILE = "README.md"
_BESIDE_WEIGHTS = ("*.json", "*.jinja", "*.txt", "*.model")
_TASKS = ("gmner", "mner", "eeg")


def save_merged(program: AnsweringProgram, folder: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """Write the weights of a program, adapter merged, as a checkpoint that vLLM and transformers load.

    Weights and configuration are those of the loaded model, in its precision; tokenizer, processor and chat template
    are copied from the base checkpoint as they are. Instructions and demonstrations are not part of it: serve it, and
    load the bundle with `gmner.load(bundle, lm=dspy.LM("openai/...", api_base=...))`.

    Args:
        program: A program on a local model.
        folder: A folder that does not exist yet, or is empty; it appears whole or not at all.
        overwrite: Whether another checkpoint there is replaced.

    Returns:
        The folder.

    Raises:
        ModelError: The LM has no weights here, or they are quantized, where merging loses.
        InputError: Something exists there, or it is the checkpoint that the weights are loaded from.
    """
    check_checkpoint_place(Path(folder), overwrite=overwrite)
    engine = engine_of(program.model, VLMEngine)
    if engine is None:
        raise ModelError("The weights of a served model are not here", received=program.model.model)
    if getattr(engine.model, "is_quantized", False):
        raise ModelError("An adapter on quantized weights is not merged", remedy="load the base without quantization")
    check_inputs(Path(folder), [engine.path])
    with whole_folder(Path(folder)) as new:
        engine.model.save_pretrained(new)
        for file in (file for pattern in _BESIDE_WEIGHTS for file in engine.path.glob(pattern)):
            if file.name != "config.json" and not file.name.endswith(".index.json"):
                shutil.copyfile(file, new / file.name)
    return Path(folder)


def push_program(program: AnsweringProgram, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
    """Upload a program's bundle with a model card; `gmner.load(repo_id)` reads it.

    Look before you make it public: demonstrations hold posts of the trainset, text and picture, and weights may repeat
    what they were trained on.

    Args:
        program: A program that can be saved, see `save_bundle`.
        repo_id: `user/name`; made if it is not there.
        private: Whether a new repository is private.
        token: Of the hub; None: the one that is logged in.

    Returns:
        The address of the commit.

    Raises:
        BundleError: See `save_bundle`.
        huggingface_hub.errors.HfHubHTTPError: The hub refuses.
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
    head = ["library_name: gmner", "pipeline_tag: image-text-to-text", *([f"base_model: {base}"] if base else [])]
    return "\n".join(
        [
            "---", *head, "tags:", "- gmner", "- named-entity-recognition", "- visual-grounding", "---", "",
            f"# {name.partition('/')[2] or name}", "",
            "A program for grounded multimodal named entity recognition: a post goes in, text and picture; every named",
            'entity comes out with its type and its box, or with "not shown".', "",
            "```python", "import gmner", "", f'program = gmner.load("{name}")',
            'program(text="...", image="post.png").entities', "```", "",
            f"It runs on {_base(manifest.base)}{', with a LoRA adapter' if manifest.adapter else ''}.", "",
            "## Entity types", "", types, "", "## Scores", "", _scores(manifest.scores), "", "## Limits", "",
            "- What was measured on other posts says little about yours: measure there.",
            "- An answer is a guess about one post. It is no identification of a person, and no evidence.",
            "- Demonstrations and weights come from training posts, whose licence and privacy bind this repository.",
            "",
        ]
    )  # fmt: skip


def _base(base: Base) -> str:
    revision = f" at {base.revision}" if base.revision else ""
    kinds = {
        "embedded": "the small model of the package `gmner`, which knows only its synthetic world",
        "hub": f"`{base.model}`{revision}",
        "bundled": "the model in `model/`",
        "path": "a model that is not part of this repository: `gmner.load(..., base=...)`",
        "served": "a served model that it is told: `gmner.load(..., lm=...)`",
    }
    return kinds[base.kind]


def _scores(scores: Mapping[str, Any] | None) -> str:
    """A table of the F1 that an optimizer measured by stage."""
    lines = []
    for stage, found in (scores or {}).items():
        figures = [found[task]["f1"] for task in _TASKS if isinstance(found, Mapping) and task in found]
        if len(figures) == len(_TASKS):
            lines.append(f"| {stage} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    if not lines:
        return "None were kept with the program."
    head = "| stage | GMNER F1 | MNER F1 | EEG F1 |"
    note = "On the posts by which the stage was chosen, so rather too high than too low:"
    return "\n".join([note, "", head, "|---|---|---|---|", *lines])
