"""Fingerprints of checkpoints, which keep cached answers of different weights apart."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from gmner.signatures.errors import ModelError

WHOLE_BELOW = 64 * 2**20
"""Files up to this many bytes are hashed completely; larger ones by their size and `SAMPLES` pieces."""
SAMPLES, SAMPLE_BYTES = 256, 64 * 2**10

_DESCRIBING = {
    "adapter_config.json", "chat_template.jinja", "chat_template.json", "config.json", "generation_config.json",
    "gmner.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip
_LENGTH = 12


def fingerprint(*folders: Path) -> str:
    """Hash the folders of a checkpoint and, if there is one, of its adapter.

    Covers the safetensors files and the files that affect their use (configuration, tokenizer, chat template,
    processor). Of a file above 64 MiB, only the size and evenly spaced pieces of 16 MiB in total are read. This detects
    training, which changes every tensor, but not necessarily a single changed byte in a large file.

    Returns:
        The first twelve hexadecimal digits of the SHA-256.

    Raises:
        ModelError: The configuration of an adapter is not a JSON object.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if file.suffix == ".safetensors" or file.name in _DESCRIBING:
                digest.update(f"{file.name}\0".encode())
                digest.update(_digest(file))
    return digest.hexdigest()[:_LENGTH]


def _digest(file: Path) -> bytes:
    size = file.stat().st_size
    if file.name == "adapter_config.json":  # it also holds the path of the base, which differs between machines
        return hashlib.sha256(json.dumps(_without_base(file), sort_keys=True).encode()).digest()
    with file.open("rb") as stream:
        if size <= WHOLE_BELOW:
            return hashlib.file_digest(stream, "sha256").digest()
        digest = hashlib.sha256(str(size).encode())
        for index in range(SAMPLES):
            stream.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.digest()


def _without_base(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError("adapter_config.json is not valid JSON", received=str(file), remedy=str(error)) from error
    if not isinstance(config, dict):
        raise ModelError("adapter_config.json is not a JSON object", received=str(file))
    config.pop("base_model_name_or_path", None)
    return config
