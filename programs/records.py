"""What DSPy records of calls: the words, and neither pictures nor models.

DSPy keeps the messages of the last ten thousand calls as its history, and in its process-wide trace inputs, answer and
predictor, and by that the LM, of as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def forget_pictures(messages: Sequence[dict[str, Any]]) -> None:
    """Take the pictures out of messages that were answered, which DSPy's history goes on to hold.

    Args:
        messages: Messages in the OpenAI form, changed in place.
    """
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image_url":
                part["image_url"] = {"url": "an image, which is not kept"}
