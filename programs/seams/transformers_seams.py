"""Private and undocumented parts of transformers; no other file of the package uses any.

Each function names what it relies on, why the public way is not enough, and since which version it holds.
`tests/seams/test_transformers_seams.py` fails with the name of a seam that has moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicLayer, GenerationConfig, PreTrainedModel
from transformers.generation.utils import MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL
from transformers.image_processing_utils import BatchFeature
from transformers.modeling_outputs import BaseModelOutputWithPooling

from gmner.signatures.log_filters import without_messages

PREFILL_ONLY_INPUTS = frozenset(MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL)
"""Names of the inputs that only the prefill reads: pixels and the like.

Relies on `MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL`, a constant of `transformers.generation.utils`. `generate` drops
these inputs in its own loop, which our loops replace; there is no public list. Since 5.23.
"""


class OwnPreprocessing:
    """A mixin for image processors that compute the pixels of a batch themselves, in `pixels`.

    Relies on `BaseImageProcessor._preprocess`, which `preprocess` calls with arrays and complete settings. Overriding
    the public `preprocess` would repeat how it loads images and fills in settings. Since 5.23.
    """

    def pixels(self, images: list[Any], *, return_tensors: Any, **settings: Any) -> BatchFeature:
        """The inputs of a model.

        Args:
            images: Arrays, (channels, height, width).
            return_tensors: See `BatchFeature`.
            **settings: The settings of the processor.
        """
        raise NotImplementedError

    def stock_pixels(self, images: list[Any], **settings: Any) -> BatchFeature:
        """What the class after this one in the order of inheritance would compute."""
        return super()._preprocess(images, **settings)  # type: ignore[misc]

    def _preprocess(self, images: list[Any], *, return_tensors: Any = None, **settings: Any) -> BatchFeature:
        return self.pixels(images, return_tensors=return_tensors, **settings)


def prefill(model: PreTrainedModel, ids: torch.Tensor, config: GenerationConfig, model_kwargs: dict[str, Any]) -> Any:
    """Run the model on whole prompts, as `generate` does before its first token.

    Relies on `GenerationMixin._prefill`. The public `model(...)` does not know `prefill_chunk_size`, and skips what
    each family prepares for its first step. Since 5.23.

    Args:
        model: The model.
        ids: The prompts, (rows, length).
        config: The generation config that `generate` prepared.
        model_kwargs: The model's other inputs, as `generate` prepared them.

    Returns:
        The model's output, with the logits and the KV cache.
    """
    return model._prefill(ids, config, model_kwargs)


def next_outputs(model: PreTrainedModel, ids: torch.Tensor, model_kwargs: dict[str, Any]) -> Any:
    """Run the model on the last token of each row.

    Relies on the argument `next_sequence_length` of `prepare_inputs_for_generation`, which the documentation does not
    describe: without it, a model with a cache would read the whole sequence again. Since 5.23.

    Args:
        model: The model.
        ids: The sequences so far, (rows, length).
        model_kwargs: The model's other inputs, see `updated_inputs`.
    """
    inputs = model.prepare_inputs_for_generation(ids, next_sequence_length=1, **model_kwargs)
    return model(**inputs, return_dict=True)


def updated_inputs(model: PreTrainedModel, outputs: Any, model_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The model's inputs for the next token: cache, masks and positions are one token longer.

    Relies on `GenerationMixin._update_model_kwargs_for_generation`. Families override it, so that it cannot be written
    here once for all of them. Since 5.23.
    """
    return model._update_model_kwargs_for_generation(outputs, model_kwargs)


def rope_deltas(model: PreTrainedModel) -> dict[torch.nn.Module, torch.Tensor]:
    """The position offsets of the last batch, which the Qwen families store on the module itself.

    Relies on the attribute `rope_deltas` of their inner model. With several batches on one model, each batch has to
    restore its own before a step, see `restore_rope_deltas`; no input of the model takes them. Since 5.23.

    Returns:
        Module -> offsets, (rows, 1); empty for other families.
    """
    modules = ((module, getattr(module, "rope_deltas", None)) for module in model.modules())
    return {module: deltas for module, deltas in modules if deltas is not None}


def restore_rope_deltas(deltas: Mapping[torch.nn.Module, torch.Tensor]) -> None:
    """Put the position offsets of a batch back; see `rope_deltas`."""
    for module, values in deltas.items():
        module.rope_deltas = values


def mrope_positions(
    model: Any, ids: torch.Tensor, kinds: torch.Tensor, grid: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Positions of prompts with images in the Qwen families, (3, rows, length).

    Relies on `get_rope_index` of the inner model. The model computes positions itself only for sequences with a plain
    mask, which several answers to one prompt do not have. Since 5.23.

    Args:
        model: The model, without adapter.
        ids: The prompts, (rows, length).
        kinds: 1 where a token stands for an image, else 0, (rows, length).
        grid: `image_grid_thw` of the images, (images, 3).
        mask: The attention mask, (rows, length).
    """
    return model.model.get_rope_index(ids, kinds, image_grid_thw=grid, attention_mask=mask)[0]


def attention_of(config: Any) -> str:
    """The name of the attention implementation in use, for example `sdpa`.

    Relies on `PreTrainedConfig._attn_implementation`: `set_attn_implementation` sets it, and no public name reads it.
    Since 5.23.
    """
    return str(config._attn_implementation)


def with_encoded_images(
    inputs: Mapping[str, Any], features: torch.Tensor | Sequence[torch.Tensor], depths: Sequence[Any] = ()
) -> dict[str, Any]:
    """Inputs of `generate` with images that the vision tower has encoded already, in place of pixels.

    Relies on the argument `mm_encoder_outputs` of `forward` and `generate`, which reads `pooler_output` and, in
    Qwen3-VL, `deepstack_features` of its value. `inputs_embeds` would need the merging of text and images of each
    family, and its positions. Since 5.23.

    Args:
        inputs: The other inputs, without pixels.
        features: The features of the images, as `get_image_features` returns them.
        depths: The features that deeper layers of the decoder take; empty for most families.
    """
    output = BaseModelOutputWithPooling(pooler_output=features)
    if depths:
        output["deepstack_features"] = depths
    return {**inputs, "mm_encoder_outputs": {"image": output}}


def has_whole_past(cache: Any) -> bool:
    """Whether a KV cache holds every token of each row.

    Relies on `Cache.layers`: sliding-window and linear-attention layers are other classes than `DynamicLayer`, or
    subclasses of it. Since 5.23.
    """
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def cpu_bytes(cache: Any) -> int:
    """Bytes of a KV cache in the memory of this process; 0 if it lies on another device.

    Relies on `DynamicLayer.keys` and `values`, which have one shape in all layers. Since 5.23.
    """
    keys = getattr(cache.layers[0], "keys", None)
    return 2 * len(cache.layers) * keys.nbytes if keys is not None and keys.device.type == "cpu" else 0


def select_rows(cache: Any, rows: torch.Tensor) -> None:
    """Select rows of a KV cache in place; a row may be selected several times.

    Relies on `Cache.layers` and `reorder_cache` of a layer, which accepts any rows. The layers of linear attention, as
    in Qwen3.5, lack the `batch_select_indices` of the others, and that of `Cache` calls it on every layer. Since 5.23.

    Args:
        cache: The cache.
        rows: Indices of rows, (rows selected,).
    """
    for layer in cache.layers:
        select = getattr(layer, "batch_select_indices", layer.reorder_cache)
        select(rows)


def append_rows(cache: Any, other: Any) -> None:
    """Append the rows of another KV cache of the same length.

    Relies on `DynamicLayer.keys` and `values`, (rows, heads, length, size of a head). `Cache` selects and repeats rows
    by public methods, but joins no two caches. Since 5.23; the same holds for the next two functions.
    """
    for mine, theirs in zip(cache.layers, other.layers, strict=True):
        mine.keys, mine.values = torch.cat([mine.keys, theirs.keys]), torch.cat([mine.values, theirs.values])


def drop_left(cache: Any, columns: int) -> None:
    """Remove the first tokens of every row of a KV cache; `Cache.crop` removes the last ones only."""
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[..., columns:, :], layer.values[..., columns:, :]


def pad_left(cache: Any, columns: int) -> None:
    """Add tokens in front of every row of a KV cache; the attention mask has to hide them."""
    for layer in cache.layers:
        layer.keys = functional.pad(layer.keys, (0, 0, columns, 0))
        layer.values = functional.pad(layer.values, (0, 0, columns, 0))


def without_channel_warnings() -> AbstractContextManager[None]:
    """Silence a wrong warning about ambiguous channels, which images of 1 or 3 pixels in width cause in InternVL.

    Relies on the name of the logger and on the words of the warning. The processor has put the channels first itself,
    and takes no argument that says so. Since 5.23.
    """
    return without_messages("transformers.image_utils", "channel dimension is ambiguous")
