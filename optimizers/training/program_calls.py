"""The calls of a program that answers each post at once, for training without a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from gmner.data.post import Post
from gmner.programs.trainable import ProgramCall
from gmner.programs.trainable import post_inputs as post_inputs


def answer_calls(
    posts: Sequence[Post], signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]]
) -> list[ProgramCall]:
    """The one call a post of a program that answers at once."""
    return [ProgramCall(post, signature, demos, post_inputs(post)) for post in posts]
