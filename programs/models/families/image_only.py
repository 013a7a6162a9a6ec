"""Processors without videos, and image processors without torchvision.

The processors of several families require a video processor, and thereby torchvision, but posts have no videos.
`ProcessorMixin` infers the parts of a processor from the signature of its `__init__`, so a subclass without
`video_processor` loads images only. It keeps the name of its parent: saved checkpoints contain the name of the class,
and servers expect that of transformers.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PreTrainedConfig, ProcessorMixin


@cache
def image_only(stock: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """A subclass of a processor class of the Qwen-VL families without `video_processor`."""

    class ImageOnly(stock):
        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any
        ) -> None:
            super().__init__(image_processor, tokenizer, None, chat_template=chat_template)

    return named_as(stock, ImageOnly)


def named_as(stock: type[ProcessorMixin], subclass: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The subclass under the name of its parent."""
    subclass.__name__ = subclass.__qualname__ = stock.__name__
    return subclass


def use_without_torchvision(ours: type[BaseImageProcessor], config: type[PreTrainedConfig]) -> None:
    """Load the image processors of a family with our class if torchvision is missing.

    Args:
        ours: The class. It has the name of that of transformers, by which `AutoImageProcessor` finds it.
        config: The configuration of the family.
    """
    from transformers import AutoImageProcessor
    from transformers.utils import is_torchvision_available

    if not is_torchvision_available():
        classes = {"pil": ours, "torchvision": None}
        AutoImageProcessor.register(config, image_processor_classes=classes, exist_ok=True)
