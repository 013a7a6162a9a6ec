"""CVO, Constraint-guided Verifiable Optimization: TRL's GRPO with one verifiable reward a constraint, or others.

Source: MCR (Ma et al., Findings of ACL 2026), section on CVO: R = l1 R_c + l2 R_s + l3 R_t + l4 R_u + l5 R_e, eight
generations a prompt, LoRA. Formulas, weights, sigma, learning rate and KL are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset
from transformers import set_seed
from trl import GRPOConfig

from gmner.optimizers.checked_rewards import checked_rewards
from gmner.optimizers.reward_set import Rewards, RewardSet, chosen_rewards
from gmner.optimizers.rewards import DEFAULT_WEIGHTS, cvo, reward_columns
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.grpo import ConstrainedGRPOTrainer
from gmner.optimizers.training.rows import rollout_rows
from gmner.optimizers.training.trainable import Lora, StageBar, Tuning, check_steps
from gmner.optimizers.training.validation import NO_MONITORING, Every, ValidationMonitor, check_watching
from gmner.programs.adapter import PromptAdapter
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.trainable import ProgramCall
from gmner.signatures.errors import InputError
from gmner.signatures.forms import form_of


@dataclass(frozen=True)
class CVO:
    """How the weights are optimized against the verifiable rewards.

    Args:
        weights: Weights of the five default rewards by name. Deprecated: give `rewards` as a mapping.
        sigma: See `gmner.rewards.grounding`. Deprecated: put `gmner.rewards.grounding(sigma=...)` among `rewards`.
        soft: See `sigma`.
        generations: Answers a prompt (the paper: 8).
        prompts: Prompts an optimizer step (the paper: 8, a batch of 64 answers); at most those of D2.
        redraws: Most times a step replaces prompts whose answers all earned the same, from which nothing is learned, by
            others (dynamic sampling, DAPO); 0: they stay. The log counts groups that were drawn and used.
        micro_batch: Most answers that a GPU holds at once while it learns, the others of a step after them; None: all.
        epochs: Passes over D2 (the paper: 2).
        least_steps: Fewest optimizer steps, however few the posts are; no bound where `max_steps` is given.
        max_steps: Number of optimizer steps; None: as many as the epochs need, and `least_steps` at least.
        rate: Peak learning rate; None: below 100 M parameters 5e-4 with LoRA and 1e-4 for full tuning, else 1e-5.
        scale_rewards: By what TRL divides advantages: `none`, `group` or `batch` (their standard deviation).
        temperature: Temperature of the rollouts.
        max_completion_length: Most tokens of a rollout; a cut one is no valid answer.
        rollouts: `free`: the policy as it is, an invalid answer earns nothing. `constrained`: the schema of each post
            is enforced while sampling; tokens that the grammar forced then count as if the model had chosen them.
        beta: Weight of the KL term; 0: no reference model.
        tuning: What is trained; see `training_copy`. `auto`: LoRA, on all of a model below 100 M parameters and on the
            language model of a larger one.
        lora: Settings of a new adapter.
        validate_every: Steps between scorings on the compile's valset. The stage then ends with the weights that scored
            best (GMNER F1), and ends early when `patience` scorings in a row were no better. `auto`: an eighth of the
            steps, at least ten, where the valset has 50 posts or more. None: it is not scored.
        patience: See `validate_every`.
        grpo_options: Further options of TRL's `GRPOConfig`, under their own names.
        rewards: What answers are paid for: a list of rewards, or a mapping reward -> weight. A reward is one of the
            five by name (`"span"`) or from `gmner.rewards.cvo()`, `gmner.rewards.grounding(...)`, a function decorated
            with `gmner.rewards.judged`, any reward function of TRL's signature, or a name given to
            `gmner.rewards.register`. In a list, the five have `gmner.rewards.DEFAULT_WEIGHTS`, others 1, and an item
            may be a pair (reward, weight). The labels and the box format are those of the program.

    Raises:
        InputError: Something that is not a reward, two rewards of one name, a weight that is not finite, fewer than two
            generations, or constrained rollouts of a vLLM that is not in the training process.

    Example:
        >>> import gmner
        >>> @gmner.rewards.judged
        ... def all_found(judgement):
        ...     return float(all(finding.found for finding in judgement.findings))
        >>> print(CVO(rewards={**gmner.rewards.DEFAULT_WEIGHTS, all_found: 0.5}).reward_set)
        count 0.2, span 1, type 0.5, grounding 1, entailment 2, all_found 0.5
    """

    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    sigma: float = 0.5
    soft: bool = True
    generations: int = 8
    prompts: int = 4
    redraws: int = 1
    micro_batch: int | None = None
    epochs: float = 1.0
    least_steps: int = 40
    max_steps: int | None = None
    rate: float | None = None
    scale_rewards: Literal["none", "group", "batch"] = "none"
    temperature: float = 0.8
    max_completion_length: int = 512
    rollouts: Literal["free", "constrained"] = "constrained"
    beta: float = 0.0
    tuning: Tuning = "auto"
    lora: Lora = Lora()  # noqa: RUF009 - frozen
    validate_every: Every = "auto"
    patience: int = 3
    grpo_options: Mapping[str, Any] = field(default_factory=dict)
    rewards: Rewards = field(default_factory=cvo)
    reward_set: RewardSet = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse unusable settings."""
        object.__setattr__(self, "reward_set", chosen_rewards(self.rewards, self.weights, self.sigma, self.soft))
        if self.generations < 2:
            raise InputError("GRPO compares answers to one prompt", received=self.generations, accepted="2 or more")
        check_steps(self.least_steps, self.max_steps)
        if self.redraws < 0:
            raise InputError("redraws must not be negative", received=self.redraws, accepted="0 or more")
        check_watching(self.validate_every, self.patience)
        options = self.grpo_options
        served = options.get("vllm_mode") == "server" or options.get("vllm_tensor_parallel_size", 1) > 1
        if self.rollouts == "constrained" and options.get("use_vllm") and served:
            raise InputError(
                "vLLM cannot be given each post's schema",
                received={name: value for name, value in options.items() if "vllm" in name},
                accepted="vllm_mode='colocate' with vllm_tensor_parallel_size=1",
                remedy="or rollouts='free'",
            )

    def rows(self, calls: Sequence[ProgramCall], adapter: PromptAdapter) -> Dataset:
        """Prompts with what the rewards need; with constrained rollouts also the schema of each call's answer.

        Args:
            calls: What is asked: each post, or each call of a staged program.
            adapter: The adapter that will be used at inference.
        """
        columns = []
        for call in calls:
            request = adapter.request(call.inputs)
            extra = {"post": call.post.id, **reward_columns(call.post, request.frame)}
            if call.rest is not None:
                extra["call"] = call.rest
            if self.rollouts == "constrained":
                extra["schema"] = json.dumps(form_of(list(call.signature.output_fields)).schema(request))
            columns.append(extra)
        return rollout_rows(calls, adapter, columns)

    def steps(self, calls: int) -> int:
        """Optimizer steps over so many calls."""
        return self.max_steps or max(1, self.least_steps, round(self.epochs * calls / min(self.prompts, calls)))

    def optimize(
        self,
        rows: Dataset,
        engine: VLMEngine,
        adapter: PromptAdapter,
        folder: Path,
        *,
        seed: int,
        progress: bool,
        watch: ValidationMonitor = NO_MONITORING,
    ) -> list[dict[str, Any]]:
        """Run TRL's GRPOTrainer; the weights go into `folder`.

        Args:
            rows: See `rows`.
            engine: The engine whose weights are copied and trained.
            adapter: The program's adapter; its labels and box format are those of the rewards.
            folder: Where checkpoints, rollouts (`completions`, a parquet file a step, as TRL keeps them) and the
                finished weights go; a stopped stage goes on from its last checkpoint.
            seed: Seed of order and sampling.
            progress: Show a progress bar.
            watch: What scores and ends it, see `MCR`.

        Returns:
            TRL's log: rewards, their spread, lengths, entropy by step.

        Raises:
            RewardError: A reward raised, or returned something other than one number or None per completion.
        """
        # TRL leaves out a batch that is not full: of fewer prompts than one batch it would train on none.
        prompts, steps = min(self.prompts, len(rows)), self.steps(len(rows))
        functions = checked_rewards(self.reward_set, adapter.labels, adapter.profile.box_format, folder)
        set_seed(seed)
        with training.quiet_libraries():
            model, processor = training.training_copy(
                engine.weights.source, engine.path, self.tuning, self.lora, small="lora"
            )
            bar = StageBar("CVO", steps, {"reward": "reward", "completions/mean_length": "tokens"}, show=progress)
            weights = list(self.reward_set.weights.values())
            trainer = ConstrainedGRPOTrainer(
                model=model,
                args=self._config(model, folder, steps, prompts, seed, weights, watch),
                reward_funcs=functions,
                train_dataset=rows,
                eval_dataset=watch.rows(rows),
                processing_class=processor,
                callbacks=[bar],
                redraws=self.redraws,
            )
            training.run(trainer, folder, watch, engine)
            if trainer.is_world_process_zero():
                training.save_weights(trainer.accelerator.unwrap_model(trainer.model), processor, engine, folder)
            return list(trainer.state.log_history)

    def _config(
        self,
        model: Any,
        folder: Path,
        steps: int,
        prompts: int,
        seed: int,
        weights: list[float],
        watch: ValidationMonitor,
    ) -> GRPOConfig:
        rate, answers = self._usual_rate(model) if self.rate is None else self.rate, self.generations * prompts
        watching = watch.arguments(max(10, steps // 4))
        common = training.common_arguments(folder, steps, answers, self.micro_batch, rate, seed, watching)
        ours = {
            "num_generations": self.generations, "max_completion_length": self.max_completion_length,
            "scale_rewards": self.scale_rewards, "temperature": self.temperature, "beta": self.beta,
            "reward_weights": weights, "use_vllm": False,
            "logging_steps": 1, "log_completions": True, "num_completions_to_print": 0,
            "log_multimodal": False,  # processes would wait for the pictures of one whose posts have none
        }  # fmt: skip
        if self.rollouts == "constrained":
            # It would compare the probabilities under the grammar with those of the policy that is trained.
            ours["vllm_importance_sampling_correction"] = False
        return GRPOConfig(**{**common, **ours, **self.grpo_options})

    @staticmethod
    def _usual_rate(model: Any) -> float:
        if training.is_small(model):
            return 5e-4 if training.has_adapter(model) else 1e-4
        return 1e-5
