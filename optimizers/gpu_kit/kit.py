"""`Kit`: runs the checks in order and records each result immediately, so that a stopped run keeps its figures."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from gmner.data.files.atomic import whole_text
from gmner.data.post import Post
from gmner.optimizers.gpu_kit import speed, training_steps
from gmner.optimizers.gpu_kit.convention import probing
from gmner.optimizers.gpu_kit.markdown_table import as_markdown
from gmner.optimizers.gpu_kit.meter import Meter
from gmner.optimizers.gpu_kit.photographs import answering_photos, photo_posts
from gmner.optimizers.gpu_kit.settings import KitSettings, large_posts
from gmner.optimizers.presets import PRESETS
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.errors import InputError
from gmner.signatures.schema import Limits

LOG = logging.getLogger(__name__)

RECORD, TABLE = "gpu.json", "gpu.md"
CHECKS = ("load", "probe", "photos", "answers", "scoring", "sft", "resume", "grpo", "bundle")
"""The checks, in order."""
_GB = 1e9 / 2**30
_SHORT = Limits(reasoning=60, entities=2)
# A model with random weights does not end an answer before it reaches these limits.


class Kit:
    """One run of the kit.

    Args:
        model: A folder or Hub id; None: the embedded model.
        folder: Folder for `gpu.json`, `gpu.md` and, in `runs`, checkpoints and a bundle. Results of an earlier run in
            this folder are kept.
        settings: The settings of the measurements.
        command: The command line, for the record.
        random: Whether the weights are random.
        photos: A folder of photographs to answer; None: the posts of `gmner.real_photos`.

    Raises:
        InputError: `photos` does not exist or has no photograph.
    """

    def __init__(
        self,
        model: str | None,
        folder: Path,
        settings: KitSettings,
        *,
        command: str = "",
        random: bool = False,
        photos: Path | None = None,
    ) -> None:
        self.model, self.folder, self.settings, self.random = model, folder, settings, random
        self._begin = monotonic()
        self._program: GMNER | None = None
        self._own_photos: list[Post] | None = None if photos is None else photo_posts(photos)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / RECORD
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self.record: dict[str, Any] = {
            "command": command, "model": model or "embedded", "random": random, "machine": machine(),
            "checks": before.get("checks", {}), "seconds": before.get("seconds", 0.0),
        }  # fmt: skip
        self._earlier: float = self.record["seconds"]

    @property
    def minutes_left(self) -> float:
        """Minutes until no further check is started."""
        return self.settings.minutes - (monotonic() - self._begin) / 60

    @property
    def program(self) -> GMNER:
        """The program to measure, loaded on first use."""
        if self._program is None:
            lm = load_vlm(self.model, max_batch=max(self.settings.batches), cache=False)
            self._program = GMNER(lm, limits=_SHORT) if self.random else GMNER(lm)
        return self._program

    def run(self, checks: Sequence[str] = CHECKS) -> dict[str, Any]:
        """Run checks in the order of `CHECKS` and return the record; the others run even if one fails.

        Raises:
            InputError: A check is unknown.
        """
        if unknown := [name for name in checks if name not in CHECKS]:
            raise InputError("Unknown check", received=unknown, accepted=", ".join(CHECKS))
        for name in CHECKS:
            if name in checks:
                getattr(self, f"_{name}")()
        if self._program is not None:
            self._program.model.engine.close()
        return self.record

    def _load(self) -> None:
        def measure() -> dict[str, Any]:
            with Meter() as meter:
                engine = self.program.model.engine
            parameters = engine.model.num_parameters()
            return {"seconds": round(meter.seconds, 1), "parameters": parameters, "dtype": str(engine.model.dtype),
                    "device": str(engine.model.device), **meter.memory()}  # fmt: skip

        self._check("load", measure)

    def _probe(self) -> None:
        self._check("probe", lambda: probing(self.program, self.settings.probe_tokens))

    def _photos(self) -> None:
        posts = self._own_photos
        if posts is None:
            try:
                posts = photo_posts(None)
            except InputError as error:  # the packages with the photographs are not installed
                self._note("photos", {"skipped": str(error)})
                return
        self._check("photos", lambda: answering_photos(self.program, posts[: self.settings.posts], self.folder))

    def _answers(self) -> None:
        settings = self.settings
        posts = large_posts(max(settings.batches), settings.image_size)
        for rows in settings.batches:

            def measure(rows: int = rows) -> dict[str, Any]:
                prompts = speed.prompts_of(self.program, posts[:rows], settings.tokens)
                return {"sides": speed.answering(self.program.model.engine, prompts)}

            self._check(f"answers-{rows}", measure)
        if find_spec("vllm") is not None:
            prompts = speed.prompts_of(self.program, posts, settings.tokens)
            self._check(
                "answers-vllm",
                lambda: {"sides": speed.answering_with_vllm(self.program.model.engine, prompts, settings.batches)},
            )
        else:
            self._note("answers-vllm", {"skipped": "vLLM is not installed"})

    def _scoring(self) -> None:
        posts = large_posts(self.settings.posts, self.settings.image_size)
        self._check("scoring", lambda: speed.scoring(self.program, posts))

    def _sft(self) -> None:
        mrsi, _ = self.settings.stages()
        posts = large_posts(mrsi.batch * self.settings.sft_steps // mrsi.chains_per_post, self.settings.image_size)
        self._stage("sft", mrsi.micro_batch or mrsi.batch, training_steps.sft, mrsi, posts, "mrsi")

    def _resume(self) -> None:
        mrsi, _ = self.settings.stages()
        posts = large_posts(mrsi.batch * self.settings.sft_steps // mrsi.chains_per_post, self.settings.image_size)
        self._stage("resume", mrsi.micro_batch or mrsi.batch, training_steps.resume, mrsi, posts, "mrsi")

    def _grpo(self) -> None:
        _, cvo = self.settings.stages()
        posts = large_posts(cvo.prompts * self.settings.grpo_steps, self.settings.image_size)
        self._stage("grpo", cvo.micro_batch or cvo.prompts * cvo.generations, training_steps.grpo, cvo, posts, "cvo")

    def _bundle(self) -> None:
        trained = next((self.folder / "runs" / name for name in ("cvo", "mrsi") if self._trained(name)), None)
        if trained is None:
            self._note("bundle", {"skipped": "no stage has been trained"})
            return
        (post,) = large_posts(1, self.settings.image_size)
        target = self.folder / "runs" / "bundle"
        self._check("bundle", lambda: training_steps.bundle(self.program, trained, post, target))

    def _trained(self, name: str) -> bool:
        return any((self.folder / "runs" / name).glob("*model.safetensors"))

    def _stage(self, name: str, held: int, measure: Any, stage: Any, posts: Any, folder: str) -> None:
        def measure_stage() -> dict[str, Any]:
            figures = measure(stage, self.program, posts, self.folder / "runs" / folder, self.minutes_left)
            promised = PRESETS.find(self.settings.preset).stage_gb
            known = promised is not None and not self.settings.small
            return {
                **figures, "stage_gib": round(figures["peak_gib"] - figures["before_gib"], 2),
                "promised_gib": round(promised(held) * _GB, 1) if promised and known else None,
            }  # fmt: skip

        self._check(name, measure_stage)

    def _check(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Run a check if there is time left; an exception is recorded as its result."""
        if self.minutes_left <= 0:
            self._note(name, {"skipped": f"the time limit of {self.settings.minutes:g} minutes was reached"})
            return
        LOG.info("%s", name)
        try:
            result = measure()
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            LOG.exception("%s failed", name)
            result = {"error": f"{type(error).__name__}: {str(error)[:500]} ({Path(last.filename).name}:{last.lineno})"}
        self._note(name, result)

    def _note(self, name: str, result: dict[str, Any]) -> None:
        self.record["checks"][name] = result
        self.record["seconds"] = round(self._earlier + monotonic() - self._begin, 1)
        for file, text in ((RECORD, json.dumps(self.record, indent=1)), (TABLE, as_markdown(self.record))):
            with whole_text(self.folder / file) as written:
                written.write(text)


def machine() -> dict[str, Any]:
    """The device and the versions of the libraries."""
    record: dict[str, Any] = {name: version(name) for name in ("torch", "transformers", "trl", "peft", "gmner")}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        record |= {"device": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        record["gpus"] = torch.cuda.device_count()
    else:
        record["device"] = "CPU"
    return record
