"""MRSI, Multi-style Reasoning Schema Injection: chains in many styles, as demonstrations and as training rows.

Source: MCR (Ma et al., Findings of ACL 2026), section on MRSI. The paper gives the constraints, two chains per sample,
LoRA and 2 epochs (Qwen2.5-VL-7B); wording, learning rate and split are ours.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import dspy
from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig

from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.chains.demonstration_settings import Demonstrations
from gmner.optimizers.chains.styles import TEMPLATES, Style, styles_by_name
from gmner.optimizers.chains.styles.model_written import LLMStyle
from gmner.optimizers.chains.writing import ChainWriting, write_chains
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.settings import Training, own_options
from gmner.optimizers.training.sft import SharingSFTTrainer
from gmner.optimizers.training.trainable import StageBar
from gmner.optimizers.training.validation import NO_MONITORING, ValidationMonitor
from gmner.programs.adapter import PromptAdapter
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.trainable import Trainable, post_inputs
from gmner.signatures.errors import InputError
from gmner.signatures.number_checks import check_integer
from gmner.signatures.wire import Frame

ALONE = "answer alone"
"""Style name of a training row that has the answer but no chain."""


@dataclass(frozen=True, kw_only=True)
class MRSI(Training):
    """Settings of MRSI: how reasoning chains are written, and how a model learns them ("injection" in the paper).

    The arguments of `gmner.Training` (`batch`, `rate`, `tuning`, ...) are accepted as well.

    Args:
        styles: Styles by name, or a list of names of registered styles, see `gmner.styles`. None: `picture_first` if
            weights are trained, because the embedded model scored highest with it on the world; all of
            `gmner.optimizers.chains.styles.TEMPLATES` for demonstrations.
        per_post: Chains per post, each in a different style, and at most as many as there are styles (the paper: 2).
        answers: Also train on each post's answer without a chain, as often as on its chains together. CVO can then
            choose between both kinds of answers. Ignored for a staged program, which answers in several calls.
        chains_from: A `ReasoningSet` to use instead of writing chains: the `chains` folder of an earlier run, or the
            name of a data set on the Hub. Its split is used as well. This way an expensive teacher is called only once.
        threads: Number of chains that models write at the same time.
        demonstrations: Settings of the worked examples in the prompt, see `gmner.Demonstrations`.
        sft_options: Further options of TRL's `SFTConfig`, by their own names.

    Raises:
        InputError: No style, fewer than one chain per post, or a setting of `gmner.Training` out of range.
    """

    styles: Mapping[str, Style] | Sequence[str] | None = None
    per_post: int = 2
    answers: bool = False
    chains_from: str | PathLike[str] | None = None
    threads: int = 8
    demonstrations: Demonstrations = field(default_factory=Demonstrations)
    epochs: float = 2.0
    least_steps: int = 160
    sft_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse unusable settings."""
        object.__setattr__(self, "styles", None if self.styles is None else styles_by_name(self.styles))
        object.__setattr__(self, "sft_options", own_options("sft_options", self.sft_options, SFTConfig))
        super().__post_init__()
        check_integer("per_post", self.per_post)
        check_integer("threads", self.threads)
        if not self.style_set:
            raise InputError("MRSI needs at least one style", received=self.styles)
        if not isinstance(self.demonstrations, Demonstrations):
            raise _not_demonstrations(self.demonstrations)

    @classmethod
    def _tunings(cls) -> tuple[str, ...]:
        return (*super()._tunings(), "none")

    @property
    def style_set(self) -> Mapping[str, Style]:
        """The styles by name; all templates if `styles` is None."""
        return TEMPLATES if self.styles is None else styles_by_name(self.styles)

    @property
    def chains_per_post(self) -> int:
        """The number of chains that each post gets: `per_post`, or the number of styles if there are fewer."""
        return min(self.per_post, len(self.style_set))

    def chosen(self, *, trained: bool) -> MRSI:
        """The same settings with a default for `styles` filled in.

        Args:
            trained: Whether the weights of the LM can be trained.
        """
        if self.styles is not None:
            return self
        names = ("picture_first",) if trained and self.trains else tuple(TEMPLATES)
        return replace(self, styles={name: TEMPLATES[name] for name in names})

    def taught_by(self, teacher: dspy.BaseLM | None) -> MRSI:
        """The same settings with an LM for every model-written style: the style's own, or else the teacher's.

        Raises:
            InputError: A style has no LM and there is no teacher, or no style needs the teacher.
        """
        if teacher is not None and not any(isinstance(s, LLMStyle) and s.lm is None for s in self.style_set.values()):
            raise InputError(
                "No style uses the teacher",
                received=sorted(self.style_set),
                accepted="an LLMStyle or MLLMStyle without an LM of its own among the styles",
            )
        taught = {n: s.taught_by(teacher) if isinstance(s, LLMStyle) else s for n, s in self.style_set.items()}
        return replace(self, styles=taught)

    @property
    def authors(self) -> str:
        """The model strings of the LMs that write chains, joined by `, `; empty if only templates write them."""
        models = [s.lm.model for s in self.style_set.values() if isinstance(s, LLMStyle) and s.lm is not None]
        return ", ".join(dict.fromkeys(models))

    def chains(
        self,
        posts: Sequence[Post],
        adapter: PromptAdapter,
        rng: random.Random,
        *,
        log: ChainLog | None = None,
        progress: bool = False,
    ) -> list[Chain]:
        """Write chains for `posts`, with boxes in the model's coordinate convention.

        A chain is at most as long as the program's answers may be. For the arguments and the checks see
        `gmner.optimizers.chains.writing.write_chains`.
        """
        frames = {post.id: _frame(post, adapter) for post in posts}
        writing = ChainWriting(
            self.style_set, self.per_post, limit=adapter.limits.reasoning, labels=adapter.labels, threads=self.threads
        )
        return write_chains(posts, frames, writing, rng, log=log, progress=progress)

    def lessons(self, chains: Sequence[Chain], program: Trainable) -> list[Chain]:
        """What a model is trained on: the chains and, if `answers` is set, the answer alone after each of them."""
        if not self.answers or not program.whole_answers:
            return list(chains)
        return [lesson for chain in chains for lesson in (chain, replace(chain, style=ALONE, reasoning=""))]

    def steps(self, rows: int) -> int:
        """Number of optimizer steps for a number of training rows."""
        return self._steps_for(rows / self.batch)

    def inject(
        self,
        rows: Dataset,
        engine: VLMEngine,
        folder: Path,
        *,
        seed: int,
        progress: bool,
        watch: ValidationMonitor = NO_MONITORING,
    ) -> list[dict[str, Any]]:
        """Train on the rows with TRL's SFTTrainer and completion-only loss, and write the weights to `folder`.

        Args:
            rows: See `gmner.optimizers.training.rows.tuning_rows`.
            engine: The engine whose weights are copied and trained.
            folder: Where checkpoints and the final weights go. A stopped stage resumes from its last checkpoint.
            seed: Seed of the row order and of new weights.
            progress: Show a progress bar.
            watch: Scores the stage on a validation set and stops it at the deadline.

        Returns:
            TRL's log.
        """
        steps = self.steps(len(rows))
        set_seed(seed)
        with training.quiet_libraries():
            model, processor = training.training_copy(
                engine.weights.source, engine.path, self.trained_weights, self.lora
            )
            common = training.common_arguments(
                self, folder, steps, rate=self._rate(model), seed=seed, watching=watch.arguments(max(25, steps // 4))
            )
            config = SFTConfig(**{**common, **training.router_arguments(model), "max_length": None, **self.sft_options})
            bar = StageBar("MRSI", steps, {"loss": "loss", "mean_token_accuracy": "accuracy"}, show=progress)
            trainer = SharingSFTTrainer(
                model=model, args=config, train_dataset=rows, eval_dataset=watch.rows(rows),
                processing_class=processor, callbacks=[bar],
            )  # fmt: skip
            training.run(trainer, folder, watch, engine)
            if trainer.is_world_process_zero():
                training.save_weights(trainer.accelerator.unwrap_model(trainer.model), processor, engine, folder)
            return list(trainer.state.log_history)

    def _rate(self, model: Any) -> float:
        if self.rate is not None:
            return self.rate
        return 1e-4 if training.has_adapter(model) else 2e-4


def _not_demonstrations(received: object) -> InputError:
    """The error for any other value, such as the number that `demonstrations` used to be."""
    count = received if isinstance(received, int) else "..."
    return InputError(
        "demonstrations must be a gmner.Demonstrations",
        received=received,
        accepted="gmner.Demonstrations(count=..., served_count=..., max_metric_calls=..., ...)",
        remedy=f"Write MRSI(demonstrations=gmner.Demonstrations(count={count}))",
    )


def _frame(post: Post, adapter: PromptAdapter) -> Frame:
    return adapter.request(post_inputs(post)).frame
