"""CVO, Constraint-guided Verifiable Optimization: TRL's GRPO with one verifiable reward per constraint, or with others.

Source: MCR (Ma et al., Findings of ACL 2026), section on CVO: R = l1 R_c + l2 R_s + l3 R_t + l4 R_u + l5 R_e, eight
generations per prompt, LoRA. Formulas, weights, sigma, learning rate and KL are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset
from transformers import set_seed
from trl import GRPOConfig

from gmner.optimizers.checked_rewards import checked_rewards
from gmner.optimizers.reward_set import Rewards, RewardSet, chosen_rewards
from gmner.optimizers.rewards import DEFAULT_WEIGHTS, cvo, reward_columns
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.collapse import Collapse
from gmner.optimizers.training.grpo import ConstrainedGRPOTrainer
from gmner.optimizers.training.rows import rollout_rows
from gmner.optimizers.training.settings import Every, Training, own_copy, own_options
from gmner.optimizers.training.trainable import StageBar
from gmner.optimizers.training.validation import NO_MONITORING, ValidationMonitor
from gmner.programs.adapter import PromptAdapter
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.trainable import ProgramCall
from gmner.signatures.errors import InputError
from gmner.signatures.forms import form_of
from gmner.signatures.number_checks import check_integer, check_positive

_SCALES = ("none", "group", "batch")
_ROLLOUTS = ("free", "constrained")


@dataclass(frozen=True, kw_only=True)
class CVO(Training):
    """Settings of CVO, the optimization against verifiable rewards.

    The arguments of `gmner.Training` (`rate`, `tuning`, `max_steps`, ...) are accepted as well, except `batch`, which
    is `generations * prompts`.

    Args:
        weights: Weights of the five default rewards by name. Deprecated: pass `rewards` as a mapping.
        sigma: See `gmner.rewards.grounding`. Deprecated: add `gmner.rewards.grounding(sigma=...)` to `rewards`.
        soft: See `sigma`.
        generations: Sampled answers per prompt (the paper: 8).
        prompts: Prompts per optimizer step (the paper: 8, a batch of 64 answers), at most those of D2.
        redraws: How often a step may replace prompts whose answers all earned the same, because nothing is learned from
            them (dynamic sampling, DAPO). 0: they are kept. The log counts the groups that were drawn and used.
        scale_rewards: What TRL divides advantages by: `none`, or the standard deviation of the `group` or the `batch`.
        temperature: Sampling temperature of the rollouts.
        max_completion_length: Maximum number of tokens of a rollout. A truncated rollout is not a valid answer.
        rollouts: `free`: the policy is sampled as it is, and an invalid answer earns nothing. `constrained`: sampling
            follows the schema of each post; tokens that the grammar forces count as if the model had chosen them.
        beta: Weight of the KL term. 0: no reference model.
        grpo_options: Further options of TRL's `GRPOConfig`, by their own names.
        rewards: What answers are rewarded for: a list of rewards, or a mapping from reward to weight. A reward is one
            of the five default rewards, by name (`"span"`) or from `gmner.rewards.cvo()`;
            `gmner.rewards.grounding(...)`; a function decorated with `gmner.rewards.judged`; any reward function with
            TRL's signature; or a name passed to `gmner.rewards.register`. In a list, the five default rewards have
            `gmner.rewards.DEFAULT_WEIGHTS` and others have 1; an item may be a pair (reward, weight). Labels and
            coordinate convention are those of the program.

    Raises:
        InputError: Something that is not a reward, two rewards of the same name, a weight that is not finite, fewer
            than two generations, constrained rollouts with a vLLM outside of the training process, or a setting of
            `gmner.Training` out of range.

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
    batch: int = field(init=False, repr=False, compare=False)
    redraws: int = 1
    least_steps: int = 40
    scale_rewards: Literal["none", "group", "batch"] = "none"
    temperature: float = 0.8
    max_completion_length: int = 512
    rollouts: Literal["free", "constrained"] = "constrained"
    beta: float = 0.0
    validate_every: Every = "auto"
    grpo_options: Mapping[str, Any] = field(default_factory=dict)
    rewards: Rewards = field(default_factory=cvo)
    reward_set: RewardSet = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse unusable settings."""
        object.__setattr__(self, "reward_set", chosen_rewards(self.rewards, self.weights, self.sigma, self.soft))
        object.__setattr__(self, "weights", own_copy("weights", self.weights))
        object.__setattr__(self, "grpo_options", own_options("grpo_options", self.grpo_options, GRPOConfig))
        because = "because GRPO compares the answers to a prompt"
        check_integer("generations", self.generations, least=2, why=because)
        check_integer("prompts", self.prompts)
        object.__setattr__(self, "batch", self.generations * self.prompts)
        super().__post_init__()
        check_integer("redraws", self.redraws, least=0)
        check_integer("max_completion_length", self.max_completion_length)
        check_positive("temperature", self.temperature)
        check_positive("beta", self.beta, zero=True)
        for name, accepted in {"scale_rewards": _SCALES, "rollouts": _ROLLOUTS}.items():
            if getattr(self, name) not in accepted:
                raise InputError(f"Unknown value of {name}", received=getattr(self, name), accepted=", ".join(accepted))
        options = self.grpo_options
        served = options.get("vllm_mode") == "server" or options.get("vllm_tensor_parallel_size", 1) > 1
        if self.rollouts == "constrained" and options.get("use_vllm") and served:
            raise InputError(
                "Constrained rollouts need a vLLM inside the training process",
                received={name: value for name, value in options.items() if "vllm" in name},
                accepted="vllm_mode='colocate' with vllm_tensor_parallel_size=1",
                remedy="Pass these options, or rollouts='free'",
            )

    def rows(self, calls: Sequence[ProgramCall], adapter: PromptAdapter) -> Dataset:
        """Make the training rows: prompts, what the rewards need, and the answer's schema for constrained rollouts.

        Args:
            calls: The calls to train: one per post, or each call of a staged program.
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
        """Number of optimizer steps for a number of calls."""
        return self._steps_for(calls / min(self.prompts, calls))

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
        """Train on the rows with TRL's GRPOTrainer, and write the weights to `folder`.

        Args:
            rows: See `rows`.
            engine: The engine whose weights are copied and trained.
            adapter: The program's adapter. The rewards use its labels and coordinate convention.
            folder: Where checkpoints, rollouts (`completions`, one parquet file per step, as TRL writes them) and the
                final weights go. A stopped stage resumes from its last checkpoint.
            seed: Seed of the row order and of sampling.
            progress: Show a progress bar.
            watch: Scores the stage on a validation set and stops it at the deadline.

        Returns:
            TRL's log: by step, the rewards and their spread, the lengths and the entropy.

        Raises:
            RewardError: A reward raised, or returned something other than one number or None per completion.
        """
        # TRL drops an incomplete batch: with fewer prompts than one batch it would train on none.
        settings = self if len(rows) >= self.prompts else replace(self, prompts=len(rows))
        steps = self.steps(len(rows))
        functions = checked_rewards(self.reward_set, adapter.labels, adapter.profile.box_format, folder)
        set_seed(seed)
        with training.quiet_libraries():
            model, processor = training.training_copy(
                engine.weights.source, engine.path, self.trained_weights, self.lora, small="lora"
            )
            bar = StageBar("CVO", steps, {"reward": "reward", "completions/mean_length": "tokens"}, show=progress)
            watching = watch.arguments(max(10, steps // 4))
            common = training.common_arguments(
                settings, folder, steps, rate=self._rate(model), seed=seed, watching=watching
            ) | training.router_arguments(model)
            trainer = ConstrainedGRPOTrainer(
                model=model,
                args=self._config(common),
                reward_funcs=functions,
                train_dataset=rows,
                eval_dataset=watch.rows(rows),
                processing_class=processor,
                callbacks=[bar, Collapse(folder)],
                redraws=self.redraws,
            )
            training.run(trainer, folder, watch, engine)
            if trainer.is_world_process_zero():
                training.save_weights(trainer.accelerator.unwrap_model(trainer.model), processor, engine, folder)
            return list(trainer.state.log_history)

    def _config(self, common: Mapping[str, Any]) -> GRPOConfig:
        """TRL's configuration, from the arguments that both stages share and those of GRPO."""
        ours = {
            "num_generations": self.generations, "max_completion_length": self.max_completion_length,
            "scale_rewards": self.scale_rewards, "temperature": self.temperature, "beta": self.beta,
            "reward_weights": list(self.reward_set.weights.values()), "use_vllm": False,
            "logging_steps": 1, "log_completions": True, "num_completions_to_print": 0,
            "log_multimodal": False,  # a process whose posts have no images would block the others
        }  # fmt: skip
        if self.rollouts == "constrained":
            # The correction would compare probabilities under the grammar with those of the trained policy.
            ours["vllm_importance_sampling_correction"] = False
        return GRPOConfig(**{**common, **ours, **self.grpo_options})

    def _rate(self, model: Any) -> float:
        if self.rate is not None:
            return self.rate
        if training.is_small(model):
            return 2e-4 if training.has_adapter(model) else 1e-4
        return 1e-5
