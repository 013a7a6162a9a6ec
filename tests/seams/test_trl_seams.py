"""What we rely on in TRL beyond its documentation; see optimizers/training/trl_seams.py."""

import ast
import inspect
import textwrap
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seam_checks import check_parameters, seam
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback
from transformers.trainer_callback import CallbackHandler
from trl import GRPOTrainer, SFTTrainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import add_fused_lm_head, grpo_trainer

from gmner.optimizers.training import trl_seams
from gmner.optimizers.training.group_sampling import Rollouts
from gmner.optimizers.training.trl_seams import GENERATED, OpenGRPOTrainer, OpenSFTTrainer

FILE = "optimizers/training/trl_seams.py"

METHODS: list[tuple[type, str, tuple[str, ...]]] = [
    (GRPOTrainer, "_generate_and_score_completions", ("inputs",)),
    (GRPOTrainer, "_generate", ("prompts",)),
    (GRPOTrainer, "_calculate_rewards", ("inputs", "prompts", "completions", "completion_ids_list")),
    (GRPOTrainer, "_log_completion_extra", ("column", "values")),
    (GRPOTrainer, "_prepare_inputs", ("generation_batch",)),
    (GRPOTrainer, "_get_per_token_logps_and_entropies", ("model", "input_ids", "attention_mask", "logits_to_keep")),
    (GRPOTrainer, "_tokenize_prompts", ("prompts",)),
    (GRPOTrainer, "_generate_single_turn", ("prompt_ids", "images", "multimodal_fields", "num_generations")),
    (SFTTrainer, "_get_train_sampler", ("train_dataset",)),
    (VLLMGeneration, "generate", ("prompts", "images", "num_generations")),
    (CallbackHandler, "on_evaluate", ("args", "state", "control", "metrics")),
]  # fmt: skip

HOOKS = {
    "_generate_and_score_completions": "score",
    "_prepare_inputs": "prepare",
    "_get_per_token_logps_and_entropies": "token_log_probs",
    "_tokenize_prompts": "tokenize",
    "_generate_single_turn": "answer",
}
"""Private method of GRPOTrainer -> our public one."""


@cache
def source(function: Any) -> str:
    return textwrap.dedent(inspect.getsource(function))


def called(function: Any) -> list[str]:
    """What a function calls, as it is written there."""
    return [ast.unparse(node.func) for node in ast.walk(ast.parse(source(function))) if isinstance(node, ast.Call)]


@pytest.mark.parametrize(("owner", "name", "parameters"), METHODS, ids=[f"{o.__name__}.{n}" for o, n, _ in METHODS])
def test_method_takes_these_parameters(owner: type, name: str, parameters: tuple[str, ...]):
    with seam(f"trl:{owner.__name__}.{name}", FILE):
        check_parameters(getattr(owner, name), *parameters)


@pytest.mark.parametrize(("private", "public"), HOOKS.items(), ids=list(HOOKS))
def test_private_method_calls_the_public_one_and_that_trls(monkeypatch: pytest.MonkeyPatch, private: str, public: str):
    args = ("ids", "images") if public == "answer" else ("rows",)
    monkeypatch.setattr(GRPOTrainer, private, lambda self, *given: ("TRL", *given))
    trainer = object.__new__(OpenGRPOTrainer)
    assert getattr(trainer, private)(*args) == ("TRL", *args)
    monkeypatch.setattr(OpenGRPOTrainer, public, lambda self, *given: ("ours", *given))
    assert getattr(trainer, private)(*args) == ("ours", *args)


@pytest.mark.parametrize("owner", [OpenGRPOTrainer, OpenSFTTrainer])
def test_our_public_names_are_not_trls(owner: type):
    ours = {name for name in vars(owner) if not name.startswith("_")}
    with seam(f"trl:names of {owner.__base__.__name__}", FILE):
        taken = {name for name in ours if hasattr(owner.__base__, name) or f"self.{name} =" in source(owner.__base__)}
        assert not taken, f"TRL has {sorted(taken)} too"


def test_order_in_which_answers_are_scored():
    with seam("trl:GRPOTrainer._generate_and_score_completions", FILE):
        calls = called(GRPOTrainer._generate_and_score_completions)
        assert [calls.count(f"self.{name}") for name in ("_generate", "_calculate_rewards")] == [1, 1]
        assert f"return {', '.join(GENERATED)}\n" in source(GRPOTrainer._generate)
        assert Rollouts._fields[: len(GENERATED)] == GENERATED
        assert {"self._tokenize_prompts", "self._generate_single_turn"} <= set(called(GRPOTrainer._generate))


def test_answers_are_shuffled_by_a_function_of_the_module():
    with seam("trl:shuffle_sequence_dict", FILE):
        assert callable(grpo_trainer.shuffle_sequence_dict)
        assert called(GRPOTrainer._prepare_inputs).count("shuffle_sequence_dict") == 1


def test_model_that_generates_and_computes():
    with seam("trl:calls of the model", FILE):
        assert "unwrapped_model.generate" in called(GRPOTrainer._generate_single_turn)
        assert "self.vllm_generation.generate" in called(GRPOTrainer._generate_single_turn)
        assert "labels=labels, fused_lm_head=True" in source(GRPOTrainer._get_per_token_logps_and_entropies)
        assert "fused_lm_head=True" in source(SFTTrainer.compute_loss)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *((GRPOTrainer, name) for name in (
            "_metrics", "chat_template", "chat_template_kwargs", "eos_token_ids", "log_completions",
            "max_completion_length", "reward_weights", "temperature", "use_transformers_continuous_batching",
            "use_vllm", "vllm_generation", "vllm_mode",
        )),
        (SFTTrainer, "aux_loss_enabled"),
        (Trainer, "compute_loss_func"), (Trainer, "label_smoother"), (Trainer, "callback_handler"),
        (VLLMGeneration, "llm"), (VLLMGeneration, "generation_kwargs"),
    ],
)  # fmt: skip
def test_attribute(owner: type, name: str):
    with seam(f"trl:{owner.__name__}.{name}", FILE):
        bases = [base for base in owner.__mro__ if base.__module__.startswith(("trl", "transformers"))]
        assert any(f"self.{name} =" in source(base) or f"self.{name}:" in source(base) for base in bases)


def test_table_of_answers():
    with seam("trl:the table of answers", "optimizers/training/grpo.py and rollouts.py"):
        text = " ".join(source(GRPOTrainer.log).split())
        assert 'self.args.output_dir, "completions", f"completions_{self.state.global_step:05d}.parquet"' in text


def test_outputs_of_the_fused_head():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=20, max_position_embeddings=32, **sizes))
    ids, labels = torch.randint(20, (2, 5)), torch.tensor([[-100, 3, 4, -100, 5], [1, -100, -100, 2, 3]])
    with seam("trl:add_fused_lm_head with shift_labels", "optimizers/training/shared_prompts.py"), torch.no_grad():
        expected = model(ids).logits.log_softmax(-1)
        add_fused_lm_head(model, outputs=("log_probs", "entropy"))
        found = model(input_ids=ids, shift_labels=labels, fused_lm_head=True)
        scored = labels != -100
        picked = expected.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        torch.testing.assert_close(found.log_probs[scored], picked[scored])
        torch.testing.assert_close(found.entropy[scored], -(expected.exp() * expected).sum(-1)[scored])


class Seen(TrainerCallback):
    def __init__(self) -> None:
        self.metrics: list[Any] = []

    def on_evaluate(self, *_: Any, metrics: Any = None, **__: Any) -> None:
        self.metrics.append(metrics)


def test_evaluation_by_our_figures():
    with seam("trl:Trainer.evaluate and callback_handler", FILE):
        assert "self.evaluate" in called(Trainer._evaluate)
        seen = Seen()
        handler = CallbackHandler([seen], None, None, None, None)
        trainer = SimpleNamespace(args=None, state=None, control=SimpleNamespace(), callback_handler=handler)
        trl_seams.replace_evaluation(trainer, lambda: {"eval_x": 1.0})
        assert trainer.evaluate(ignore_keys=None) == {"eval_x": 1.0}
        assert seen.metrics == [{"eval_x": 1.0}]


def test_replaced_attributes_come_back():
    owner = SimpleNamespace(own=1)
    with trl_seams.replaced(owner, "own", 2):
        assert owner.own == 2
    assert vars(owner) == {"own": 1}
    plain = Seen()
    with trl_seams.replaced(plain, "on_evaluate", 3):
        assert plain.on_evaluate == 3
    assert "on_evaluate" not in vars(plain)


def fused_head(labels: torch.Tensor) -> tuple[list[int], Any, torch.Tensor]:
    """Rows that TRL's fused head projects, its output, and the gradient of the embeddings."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=48, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model, projected = LlamaForCausalLM(config), list[int]()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    apply = trl_seams.trainer_utils._ChunkedLogProbFunction.apply
    with pytest.MonkeyPatch.context() as patch:
        counting = SimpleNamespace(apply=lambda hidden, *rest: projected.append(len(hidden)) or apply(hidden, *rest))
        patch.setattr(trl_seams.trainer_utils, "_ChunkedLogProbFunction", counting)
        out = model(input_ids=torch.arange(2 * 9).reshape(2, 9), labels=labels, fused_lm_head=True)
    out.loss.backward()
    return projected, out, model.get_input_embeddings().weight.grad


@pytest.mark.parametrize("scored", [[(0, 6), (1, 8)], []])
def test_only_labelled_positions_are_projected_on_a_cpu(scored: list[tuple[int, int]]):
    labels = torch.full((2, 9), -100)
    for row, begin in scored:
        labels[row, begin:] = 3
    everywhere, theirs, their_gradient = fused_head(labels)
    with seam("trl:_use_triton in add_fused_lm_head", FILE), trl_seams.scoring_labels_only():
        projected, ours, gradient = fused_head(labels)
        assert projected == [sum(9 - begin for _, begin in scored)]
    assert everywhere == [16]  # without the block; if TRL leaves them out too, the block is not needed any more
    torch.testing.assert_close(ours.loss, theirs.loss)
    torch.testing.assert_close(ours.log_probs, theirs.log_probs)
    torch.testing.assert_close(ours.entropy, theirs.entropy)
    torch.testing.assert_close(gradient, their_gradient)
