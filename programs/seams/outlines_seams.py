"""Undocumented parts of Outlines; no other file of the package uses any.

Its documented functions take the name of a back end and build the back end anew for each schema, with the tokenizer of
the grammar library, which takes seconds for a large vocabulary. Here the back end is built once a model.
`tests/seams/test_outlines_seams.py` fails with the name of a seam that has moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import outlines
from llguidance import LLTokenizer
from outlines.backends import BaseBackend, LLGuidanceBackend, OutlinesCoreBackend, XGrammarBackend
from transformers import PreTrainedModel, PreTrainedTokenizerBase

BACKENDS: dict[str, Callable[[Any], BaseBackend]] = {
    "llguidance": LLGuidanceBackend,
    "outlines_core": OutlinesCoreBackend,
    "xgrammar": XGrammarBackend,
}
"""Name of a back end -> its class. Relies on the classes of `outlines.backends`. Since Outlines 1.3.3."""


def grammar_backend(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> BaseBackend:
    """Build the back end of a model, whose `get_json_schema_logits_processor` compiles schemas.

    Relies on the constructor of the classes in `BACKENDS`. Since Outlines 1.3.3.

    Raises:
        ImportError: The library of the back end is not installed; `name` of the exception is the library.
    """
    return BACKENDS[name](outlines.from_transformers(model, tokenizer))


def guidance_tokenizer(backend: BaseBackend) -> LLTokenizer | None:
    """The llguidance tokenizer of a back end; None for other libraries.

    Relies on `LLGuidanceBackend.llg_tokenizer`. The logits processors of Outlines apply one grammar to a whole batch,
    so that each row needs a matcher of its own, built on this tokenizer. Since Outlines 1.3.3.
    """
    return backend.llg_tokenizer if isinstance(backend, LLGuidanceBackend) else None
