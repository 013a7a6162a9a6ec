"""Private and undocumented parts of TRL, and of the Trainer of transformers that it extends; no other file uses any.

A private method of TRL calls a public one of the classes here, which calls TRL's: a subclass changes the public one.
Each seam says what it relies on, why the public way is not enough, and since which version it holds.
`tests/seams/test_trl_seams.py` fails with the name of a seam that has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather
from trl import GRPOTrainer, SFTTrainer
from trl.trainer import grpo_trainer
from trl.trainer import utils as trainer_utils

Row = dict[str, Any]

GENERATED = (
    "prompt_ids", "completion_ids", "tool_mask", "completions", "logprobs", "extra_fields", "images", "tool_images",
)  # fmt: skip
"""What `GRPOTrainer._generate` returns, in this order. Since TRL 1.16."""


class OpenGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer with public names for its private steps.

    Besides the methods below it relies on attributes that TRL does not document: `chat_template`,
    `chat_template_kwargs`, `eos_token_ids`, `log_completions`, `max_completion_length`, `reward_weights`,
    `temperature`, `use_transformers_continuous_batching` and `vllm_generation`.
    """

    def score(self, rows: list[Row]) -> dict[str, Any]:
        """Sample answers to rows, and compute rewards and advantages: the batch that is trained on.

        Relies on `GRPOTrainer._generate_and_score_completions`, where the rows of a batch are first known. A
        `rollout_func` gets the prompts without the other columns, and its answers are not given to it again. Since
        TRL 1.16.
        """
        return super()._generate_and_score_completions(rows)

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        return self.score(inputs)

    def score_sampled(self, rows: list[Row], sampled: tuple[Any, ...], rewards: torch.Tensor) -> dict[str, Any]:
        """`score` with answers that were sampled before, and their rewards.

        Relies on `_generate` and `_calculate_rewards` being called once each by `_generate_and_score_completions`.
        Since TRL 1.16.

        Args:
            rows: The rows of this process.
            sampled: Their answers, see `GENERATED`.
            rewards: The rewards of each row of this process, (rows, reward functions).
        """
        everywhere = gather(rewards)
        with (
            replaced(self, "_generate", lambda prompts: sampled),
            replaced(self, "_calculate_rewards", lambda *_: everywhere),
        ):
            return OpenGRPOTrainer.score(self, rows)

    def sample(self, prompts: list[Any]) -> tuple[Any, ...]:
        """Sample an answer to each prompt; see `GENERATED`.

        Relies on `GRPOTrainer._generate`: groups are sampled again before advantages are computed, for which TRL has no
        option. Since TRL 1.16.
        """
        return tuple(self._generate(prompts))

    def rewards_of(
        self, rows: list[Row], prompts: list[Any], completions: list[Any], completion_ids: list[Any]
    ) -> tuple[torch.Tensor, dict[str, list[Any]]]:
        """Call the reward functions.

        Relies on `GRPOTrainer._calculate_rewards`, which also gathers the rewards of all processes, and on
        `_log_completion_extra`, by which reward functions add columns to the table of answers. Since TRL 1.16.

        Returns:
            The rewards of the rows of all processes, (all rows, reward functions), NaN where one does not apply; and
            the columns that the reward functions added, one value for each row of this process.
        """
        columns: dict[str, list[Any]] = {}

        def keep(name: str, values: list[Any]) -> None:
            columns.setdefault(name, []).extend(values)

        with replaced(self, "_log_completion_extra", keep):
            return self._calculate_rewards(rows, prompts, completions, completion_ids), columns

    def add_column(self, name: str, values: list[Any]) -> None:
        """Add a column to the table of answers, one value for each row of this process.

        Relies on `GRPOTrainer._log_completion_extra`, which TRL gives only to reward functions. Since TRL 1.16.
        """
        self._log_completion_extra(name, values)

    def add_figure(self, name: str, value: float) -> None:
        """Add a figure to the next log entry of training, which shows the mean.

        Relies on `GRPOTrainer._metrics`, a mapping of `train` to a list for each name. Since TRL 1.16.
        """
        self._metrics["train"][name].append(value)

    def prepare(self, batch: Any) -> Any:
        """Turn the rows of a generation batch into the inputs of a micro-batch.

        Relies on `GRPOTrainer._prepare_inputs`. Since TRL 1.16.
        """
        return super()._prepare_inputs(batch)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        return self.prepare(generation_batch)

    def prepare_in_order(self, batch: Any) -> Any:
        """`prepare` without shuffling, so that the answers to one prompt stay together.

        Relies on `_prepare_inputs` shuffling by the function `shuffle_sequence_dict` of `trl.trainer.grpo_trainer`;
        there is no option. Since TRL 1.16.
        """
        with replaced(grpo_trainer, "shuffle_sequence_dict", lambda sequences: sequences):
            return OpenGRPOTrainer.prepare(self, batch)

    def token_log_probs(self, model: Any, *args: Any, **options: Any) -> Any:
        """Log probabilities and entropies of the tokens of answers, (rows, tokens) each, as computed by `model`.

        Relies on `GRPOTrainer._get_per_token_logps_and_entropies`, and on its calling `model` with `labels` and
        `fused_lm_head=True`. It is the only place where the model can be wrapped for these computations. Since TRL
        1.16.
        """
        return super()._get_per_token_logps_and_entropies(model, *args, **options)

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **options: Any) -> Any:
        return self.token_log_probs(model, *args, **options)

    def tokenize(self, prompts: list[Any]) -> tuple[list[Any], list[Any] | None, dict[str, Any]]:
        """Encode prompts.

        Relies on `GRPOTrainer._tokenize_prompts`: equal prompts are encoded once, and vLLM needs their text, see
        https://github.com/huggingface/trl/issues/6294. Since TRL 1.16.

        Returns:
            The token ids of each prompt, its images (None: no prompt has any) and the model's other inputs.
        """
        return super()._tokenize_prompts(prompts)

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        return self.tokenize(prompts)

    def answer(self, prompt_ids: list[Any], images: Any, *args: Any, **options: Any) -> tuple[list[Any], Any]:
        """Sample an answer to each encoded prompt; images as `tokenize` returns them.

        Relies on `GRPOTrainer._generate_single_turn`: a logits processor cannot be passed through `GRPOConfig`, and
        vLLM gets one set of sampling parameters for all prompts. Since TRL 1.16.

        Returns:
            The token ids of each answer, and their log probabilities (None: not known).
        """
        return super()._generate_single_turn(prompt_ids, images, *args, **options)

    def _generate_single_turn(self, prompt_ids: list[Any], images: Any, *args: Any, **options: Any) -> Any:
        return self.answer(prompt_ids, images, *args, **options)

    def answer_with(self, model: Any, extra: Mapping[str, Any], *args: Any, **options: Any) -> tuple[list[Any], Any]:
        """`answer` with further arguments of `model.generate`, such as `logits_processor`.

        Relies on `_generate_single_turn` calling `generate` of the unwrapped model. Since TRL 1.16.
        """
        generate = model.generate
        with replaced(model, "generate", lambda *a, **k: generate(*a, **extra, **k)):
            return OpenGRPOTrainer.answer(self, *args, **options)

    def forbid_in_vllm(self, token_biases: Mapping[int, float]) -> None:
        """Give vLLM a bias for the logits of some tokens, unless `generation_kwargs` has one.

        Relies on `VLLMGeneration.generation_kwargs`. `GRPOConfig.generation_kwargs` would also reach transformers'
        `generate`, which does not know `logit_bias`. Since TRL 1.16.
        """
        sampler = self.vllm_generation
        sampler.generation_kwargs = {"logit_bias": dict(token_biases), **sampler.generation_kwargs}

    @contextmanager
    def vllm_calls(self, wrap_llm: Callable[[Any], Any] | None, check: Callable[[list[Any]], None]) -> Iterator[None]:
        """Wrap vLLM's `LLM.generate`, and check the prompts that vLLM has processed, for the length of a block.

        Relies on `VLLMGeneration.generate`, whose first result is the processed prompts, and on `VLLMGeneration.llm`,
        which only vLLM in this process has. Since TRL 1.16.

        Args:
            wrap_llm: Given `LLM.generate`, returns what is called in its place; None: it is not wrapped.
            check: Called with the token ids of each processed prompt; may raise.
        """
        sampler = self.vllm_generation
        generate = sampler.generate

        def checked(**arguments: Any) -> Any:
            outputs = generate(**arguments)
            check(outputs[0])
            return outputs

        with replaced(sampler, "generate", checked):
            if wrap_llm is None:
                yield
            else:
                with replaced(sampler.llm, "generate", wrap_llm(sampler.llm.generate)):
                    yield


class OpenSFTTrainer(SFTTrainer):
    """TRL's SFTTrainer with public names for private parts."""

    def train_sampler(self, dataset: Any = None) -> Any:
        """The order of the training rows.

        Relies on `Trainer._get_train_sampler` of transformers. The option `train_sampling_strategy` knows no order that
        keeps rows of one prompt together and changes with the epoch. Since transformers 5.23.
        """
        return super()._get_train_sampler(dataset)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.train_sampler(train_dataset)

    @property
    def fused_loss(self) -> bool:
        """Whether the loss is computed by the fused head alone: `compute_loss` calls the model once, without logits.

        Relies on the attributes `compute_loss_func`, `label_smoother` and `aux_loss_enabled`. Since TRL 1.16.
        """
        return self.compute_loss_func is None and self.label_smoother is None and not self.aux_loss_enabled


@contextmanager
def scoring_labels_only() -> Iterator[None]:
    """Have TRL's fused head compute logits on a CPU only where a token has a label, for the length of a block.

    Relies on `add_fused_lm_head` calling `_use_triton` of `trl.trainer.utils` to decide whether the other positions are
    left out. Without Triton, TRL computes all of them to keep shapes constant for devices that compile, and then masks
    them: prompts and images get logits that nothing reads. There is no option. Since TRL 1.16.
    """
    triton = trainer_utils._use_triton
    with replaced(trainer_utils, "_use_triton", lambda device: device.type == "cpu" or triton(device)):
        yield


def replace_evaluation(trainer: Any, figures: Callable[[], dict[str, float]]) -> None:
    """Have a trainer evaluate by a function of ours, with its own early stopping and choice of the best weights.

    Relies on the loop of transformers' Trainer calling `self.evaluate(...)`, and on `callback_handler.on_evaluate`,
    which a subclass that overrides the public `evaluate` has to call too; TRL's trainers would need a subclass each.
    Since transformers 5.23.

    Args:
        trainer: A trainer of TRL.
        figures: Logs and returns the figures of an evaluation; their names begin with `eval_`.
    """

    def evaluate(*_: Any, **__: Any) -> dict[str, float]:
        metrics = figures()
        trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
        return metrics

    trainer.evaluate = evaluate


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of an object or module for the length of a block."""
    own = vars(owner).get(name)  # None: the attribute is the class's
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
