"""Uploads and downloads with the client of huggingface_hub, in a separate process, against a local server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import TOKEN, hub
from tiny import build_tiny

pytestmark = pytest.mark.e2e

USER = """
import sys

import datasets
import torch
from huggingface_hub import HfApi
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText

import gmner
from gmner.data.post import Post
from gmner.optimizers.chains.reasoning_set import ReasoningSet
from gmner.optimizers.training.trainable import training_copy
from gmner.optimizers.training.trainable import Lora
from gmner.signatures.errors import BundleError, InputError, ModelError
from gmner.signatures.schema import Limits

base, work = sys.argv[1:]
torch.manual_seed(0)
model = AutoModelForImageTextToText.from_pretrained(base)
model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
model.save_pretrained(f"{work}/lora")
api = HfApi()
for name, folder in {"ana/base": base, "ana/lora": f"{work}/lora"}.items():
    api.create_repo(name, private=False)
    api.upload_folder(repo_id=name, folder_path=folder)

# A base and an adapter of the hub, and a bundle on them that goes there and comes back
program = gmner.GMNER(
    gmner.load_vlm("ana/base", adapter="ana/lora", cache=False), limits=Limits(reasoning=20, entities=2)
)
posts = [Post("1", "Kevin Durant in Paris"), Post("2", "red team")]
said = [(e.key, e.type, e.box) for answer in program.batch_posts(posts, progress=False) for e in answer.entities]
print(program.push_to_hub("ana/tuned"))
again = gmner.load("ana/tuned")
assert again.model.engine.adapter_path is not None
assert said == [(e.key, e.type, e.box) for a in again.batch_posts(posts, progress=False) for e in a.entities]
source = program.model.engine.weights.source
tuned, _ = training_copy(source, program.model.engine.path, "lora", Lora())
assert any("lora" in name and p.requires_grad for name, p in tuned.named_parameters())

# What is not there, or no adapter
for wrong, error in (
    (lambda: gmner.load("ana/nothing"), BundleError),
    (lambda: gmner.load_vlm("ana/nothing"), ModelError),
    (lambda: gmner.load_vlm("ana/base", adapter="ana/base"), ModelError),
    (lambda: gmner.load_vlm("ana/base", adapter="ana/nothing"), ModelError),
    (lambda: ReasoningSet.load("ana/nothing"), InputError),
):
    try:
        wrong()
        raise SystemExit(f"no {error.__name__}")
    except error as found:
        print(found)

# Chains as a data set
world = gmner.World().posts("train", 6)
optimizer = gmner.MCR(mrsi=gmner.MRSI(tuning="none"), cvo=None, progress=False)
gmner.GMNER(gmner.load_vlm(cache=False)).compile(trainset=world, optimizer=optimizer, run_dir=f"{work}/run")
chains = ReasoningSet.load(f"{work}/run/chains")
print(chains.push_to_hub("ana/chains", world))
table = datasets.load_dataset("ana/chains", split="train")
assert len(table) == len(chains.chains) == 12  # two per post
assert ReasoningSet.load("ana/chains").chains == chains.chains
"""


@pytest.mark.enable_socket
def test_models_bundles_and_chains_round_trip_through_the_hub(tmp_path: Path) -> None:
    build_tiny("qwen2_5_vl", tmp_path / "base")
    with hub() as there:
        offline = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"), "0")
        environment = {"HF_ENDPOINT": there.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        command = [sys.executable, "-c", USER, str(tmp_path / "base"), str(tmp_path)]
        done = subprocess.run(
            command, env={**os.environ, **offline, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        bundle, chains = there["models", "ana/tuned"], there["datasets", "ana/chains"]
    assert bundle.private
    assert chains.private
    assert f"{there.address}/ana/tuned/commit/{bundle.commits[-1]}" in done.stdout
    assert {"README.md", "manifest.json", "adapter/adapter_model.safetensors"} <= set(bundle.files)
    assert not any(name.endswith("/model.safetensors") for name in bundle.files)  # the base model is not moved
    manifest = bundle.files["manifest.json"].decode()
    assert '"ana/base"' in manifest
    assert there["models", "ana/base"].commits[-1] in manifest
    assert "not found, neither as a local folder nor on the Hub" in done.stdout
    assert "The adapter folder has no adapter_config.json" in done.stdout
