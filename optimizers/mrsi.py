"""MRSI, Multi-style Reasoning Schema Injection: chains in many styles, as demonstrations and as training rows.

Source: MCR (Ma et al., Findings of ACL 2026), section on MRSI. The paper gives the constraints, two chains a sample,
LoRA and 2 epochs (Qwen2.5-VL-7B); wording, learning rate and the split are ours.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import dspy
from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig

from gmner.data.post import Post
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.chains.demonstration_search import DemonstrationSearch
from gmner.optimizers.chains.demonstrations import LEVELS, Demo, Level
from gmner.optimizers.chains.styles import TEMPLATES, Style, styles_by_name
from gmner.optimizers.chains.styles.model_written import LLMStyle
from gmner.optimizers.chains.writing import write_chains
from gmner.optimizers.run_directory import RunDirectory
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.sft import SharingSFTTrainer
from gmner.optimizers.training.trainable import Lora, StageBar, Tuning, check_steps
from gmner.optimizers.training.validation import NO_MONITORING, Every, ValidationMonitor, check_watching
from gmner.programs.adapter import PromptAdapter
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.trainable import Trainable
from gmner.signatures.errors import InputError
from gmner.signatures.wire import Frame

ALONE = "answer alone"
"""The style of a row without a chain."""


@dataclass(frozen=True)
class MRSI:
    """How chains are made and injected.

    Args:
        styles: Styles by name, or a list of names of registered ones, see `gmner.styles`. None: `picture_first` where
            weights are trained (on the world, a small model scored far higher with it than with all styles); all of
            `gmner.optimizers.chains.styles.TEMPLATES` for demonstrations.
        per_post: Chains a post, each in another style; the paper's data has two.
        answers: Train on each post's answer alone, too, as often as on its chains together. CVO then has both kinds of
            answers to choose between. A staged program, which answers in parts, is not.
        chains_from: Folder of a `ReasoningSet` that an earlier compile wrote (its `chains` folder), or its name on the
            hub. It is used as it is, split included, so that an expensive teacher is asked only once. None: chains are
            written.
        threads: Chains that models write at once.
        demonstrations: Worked examples in the prompt. None: none where the weights are trained (the chains are in the
            weights then), `served_demonstrations` where they are not.
        served_demonstrations: Worked examples for an LM whose weights cannot be reached.
        max_metric_calls: Most metric calls on the valset in the search for demonstrations; None, or no valset: the set
            that covers shown, absent, mixed and empty posts in different styles is taken unscored.
        demonstration_sets: Random sets that the search tries beside that one and none.
        demonstration_side: Longest side of a demonstration's picture in pixels.
        check: What a fault in a demonstration does before anything is asked: `off`, `warn` or `error`.
        epochs: Passes over the rows, chains and answers (the paper: 2).
        least_steps: Fewest optimizer steps, however few the posts are; no bound where `max_steps` is given.
        max_steps: Number of optimizer steps; None: as many as the epochs need, and `least_steps` at least.
        batch: Rows an optimizer step.
        micro_batch: Most rows that a GPU holds at once, the others of a batch after them; None: all.
        rate: Peak learning rate; None: 2e-4 for full tuning of a small model, 1e-4 with LoRA.
        tuning: What is trained: `full`, `lora`, `lora-frozen-vision` or `auto`, see `training_copy`; `none`: nothing,
            the chains become demonstrations only, as for an LM whose weights cannot be reached.
        lora: Settings of the adapter.
        validate_every: Steps between scorings on the compile's valset, see `CVO`.
        patience: See `validate_every`.
        sft_options: Further options of TRL's `SFTConfig`, under their own names.

    Raises:
        InputError: No style, fewer than one chain a post, or demonstrations that cannot be made.
    """

    styles: Mapping[str, Style] | Sequence[str] | None = None
    per_post: int = 1
    answers: bool = True
    chains_from: str | PathLike[str] | None = None
    threads: int = 8
    demonstrations: int | None = None
    served_demonstrations: int = 4
    max_metric_calls: int | None = None
    demonstration_sets: int = 8
    demonstration_side: int = 512
    check: Level = "error"
    epochs: float = 2.0
    least_steps: int = 160
    max_steps: int | None = None
    batch: int = 16
    micro_batch: int | None = None
    rate: float | None = None
    tuning: Tuning | Literal["none"] = "auto"
    lora: Lora = Lora()  # noqa: RUF009 - frozen
    validate_every: Every = None
    patience: int = 3
    sft_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse unusable settings."""
        if self.styles is not None:
            object.__setattr__(self, "styles", styles_by_name(self.styles))
        if not self.style_set or self.per_post < 1:
            raise InputError("MRSI needs a style and a chain a post", received=(list(self.style_set), self.per_post))
        check_steps(self.least_steps, self.max_steps)
        check_watching(self.validate_every, self.patience)
        _check_demonstration_settings(self)

    @property
    def style_set(self) -> Mapping[str, Style]:
        """The styles by name; where none are chosen all templates."""
        return TEMPLATES if self.styles is None else styles_by_name(self.styles)

    def chosen(self, *, trained: bool) -> MRSI:
        """These settings with their styles chosen: see `styles`.

        Args:
            trained: Whether the weights of the LM can be trained.
        """
        if self.styles is not None:
            return self
        names = ("picture_first",) if trained and self.trains else tuple(TEMPLATES)
        return replace(self, styles={name: TEMPLATES[name] for name in names})

    def taught_by(self, teacher: dspy.BaseLM | None) -> MRSI:
        """These settings with an LM in every model-written style: its own, else the teacher's.

        Raises:
            InputError: Such a style has none and there is no teacher, or a teacher has nothing to write.
        """
        if teacher is not None and not any(isinstance(s, LLMStyle) and s.lm is None for s in self.style_set.values()):
            raise InputError(
                "The teacher has nothing to write",
                received=sorted(self.style_set),
                accepted="an LLMStyle or MLLMStyle without an LM of its own among the styles",
            )
        taught = {n: s.taught_by(teacher) if isinstance(s, LLMStyle) else s for n, s in self.style_set.items()}
        return replace(self, styles=taught)

    @property
    def authors(self) -> str:
        """The model strings of the LMs that write chains, joined by `, `; empty: templates alone."""
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
        """Chains for `posts`, boxes written in the model's frame, no longer than the program's answers may be.

        Arguments and what is checked: see `gmner.optimizers.chains.writing.write_chains`.
        """
        frames = {post.id: _frame(post, adapter) for post in posts}
        return write_chains(
            posts, frames, self.style_set, self.per_post, rng, adapter.limits.reasoning,
            labels=adapter.labels, log=log, threads=self.threads, progress=progress,
        )  # fmt: skip

    def demos(
        self,
        program: Trainable,
        chains: Sequence[Chain],
        posts: Mapping[str, Post],
        count: int,
        run: RunDirectory,
        valset: Sequence[Post] | None = None,
        *,
        seed: int = 0,
        progress: bool = True,
    ) -> list[Demo]:
        """`count` demonstrations for a program, or fewer where those score as well on the valset.

        Arguments, errors and what is kept in `run`: see `DemonstrationSearch.find`.
        """
        search = DemonstrationSearch(
            count, self.demonstration_sets, self.max_metric_calls, self.demonstration_side, self.check
        )
        return search.find(program, chains, posts, valset, run, seed=seed, progress=progress)

    def lessons(self, chains: Sequence[Chain], program: Trainable) -> list[Chain]:
        """What is trained on: the chains, and for each of them its answer alone where `answers` asks for it."""
        if not self.answers or not program.whole_answers:
            return list(chains)
        return [lesson for chain in chains for lesson in (chain, replace(chain, style=ALONE, reasoning=""))]

    def steps(self, rows: int) -> int:
        """Number of optimizer steps for a number of training rows."""
        return self.max_steps or max(1, self.least_steps, round(self.epochs * rows / self.batch))

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
        """Train on the rows with TRL's SFTTrainer, completion-only loss; the weights go into `folder`.

        Args:
            rows: See `gmner.optimizers.training.rows.tuning_rows`.
            engine: The engine whose weights are copied and trained.
            folder: Where checkpoints and the finished weights go; a stopped stage goes on from its last checkpoint.
            seed: Seed of order and new weights.
            progress: Show a progress bar.
            watch: What scores and ends it, see `MCR`.

        Returns:
            TRL's log.
        """
        steps = self.steps(len(rows))
        set_seed(seed)
        with training.quiet_libraries():
            model, processor = training.training_copy(engine.weights.source, engine.path, self._tuning, self.lora)
            common = training.common_arguments(
                folder, steps, self.batch, self.micro_batch, self._rate(model), seed,
                watch.arguments(max(25, steps // 4)),
            )  # fmt: skip
            config = SFTConfig(**{**common, "max_length": None, **self.sft_options})
            bar = StageBar("MRSI", steps, {"loss": "loss", "mean_token_accuracy": "accuracy"}, show=progress)
            trainer = SharingSFTTrainer(
                model=model, args=config, train_dataset=rows, eval_dataset=watch.rows(rows),
                processing_class=processor, callbacks=[bar],
            )  # fmt: skip
            training.run(trainer, folder, watch, engine)
            if trainer.is_world_process_zero():
                training.save_weights(trainer.accelerator.unwrap_model(trainer.model), processor, engine, folder)
            return list(trainer.state.log_history)

    @property
    def trains(self) -> bool:
        """Whether weights are trained where they can be reached; otherwise chains become demonstrations only."""
        return self.tuning != "none"

    @property
    def _tuning(self) -> Tuning:
        if self.tuning == "none":
            raise InputError("MRSI trains nothing", received=self.tuning, accepted="another tuning")
        return self.tuning

    def _rate(self, model: Any) -> float:
        if self.rate is not None:
            return self.rate
        return 1e-4 if training.has_adapter(model) else 2e-4


def _frame(post: Post, adapter: PromptAdapter) -> Frame:
    return adapter.request({"text": post.text, "image": post.image}).frame


def _check_demonstration_settings(mrsi: MRSI) -> None:
    counts = {
        "demonstrations": mrsi.demonstrations or 0,
        "served_demonstrations": mrsi.served_demonstrations,
        "max_metric_calls": mrsi.max_metric_calls or 0,
        "demonstration_sets": mrsi.demonstration_sets,
        "demonstration_side": mrsi.demonstration_side - 1,
    }
    low = next((name for name, value in counts.items() if value < 0), None)
    if low is not None:
        raise InputError(f"MRSI's {low} is too small", received=getattr(mrsi, low))
    if mrsi.check not in LEVELS:
        raise InputError("Unknown level of checking", received=mrsi.check, accepted=", ".join(LEVELS))
