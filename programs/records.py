"""Keeps images and models out of DSPy's history and trace, where they would fill the memory.

DSPy's history holds the messages of the last ten thousand calls. Its process-wide trace holds the inputs, the answer
and the predictor (and so the LM) of as many calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def forget_pictures(messages: Sequence[dict[str, Any]]) -> None:
    """Remove the images from messages that were sent, because DSPy's history keeps the messages.

    Args:
        messages: Messages in OpenAI's format, changed in place.
    """
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image_url":
                part["image_url"] = {"url": "an image, which is not kept"}
