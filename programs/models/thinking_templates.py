"""Switches thinking on or off in the chat template of a processor.

The template is changed, and not the encoded prompt, so that inference, fine-tuning, rollouts and merged checkpoints all
have the same prompts.
"""

from __future__ import annotations

import json
import re
from typing import Any

from transformers import ProcessorMixin

from gmner.programs.models.families import Thinking, thinking_in
from gmner.programs.models.families.thinking import KNOWN
from gmner.signatures.errors import ModelError

_BEGIN, _END = "{# gmner: thinking begins #}", "{# gmner: thinking ends #}"
_OURS = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
_SYSTEM, _USER, _ANSWER = "You are a helpful assistant.", "Hello", '{"a":1}'


def switch_thinking(processor: ProcessorMixin, on: bool, family: Thinking | None = None) -> Thinking | None:
    """Change the chat template of a processor, so that each prompt ends inside or behind a block of thinking.

    - Off: the template's own switch is used where it has one. A block that the prompt still opens is closed at once. If
      the template neither opens nor closes a block, the prompt gets an empty one.
    - On: the prompt ends with the opened block; it is opened here if the template leaves it to the model.

    Templates that do not mention thinking are not changed when it is off.

    Args:
        processor: The processor; its template and that of its tokenizer are changed. A template that was changed by
            this function before is restored first.
        on: Whether the model thinks before it answers.
        family: The markers of the model's family.

    Returns:
        The markers of the model; None: it does not think.

    Raises:
        ModelError: Thinking is switched on for a model without markers for it, or its template always closes the block.
    """
    template = template_of(processor)
    if template is None:
        return None
    plain = _OURS.sub("", template)
    markers = thinking_in(plain, family)
    if markers is None and on:
        markers = _in_vocabulary(processor.tokenizer, family)
    if markers is None:
        if on:
            accepted = f"a chat template or a tokenizer with {', '.join(known.opening.strip() for known in KNOWN)}"
            remedy = "Load it with thinking=False; it still writes the reasoning of its answers"
            raise ModelError("The model does not think before it answers", accepted=accepted, remedy=remedy)
        return None
    before, after = _additions(processor, plain, markers, on=on)
    changed = before + plain + after
    if changed != template:
        _set_template(processor, changed)
    return markers


def template_of(processor: ProcessorMixin) -> str | None:
    """The chat template of a processor, or of its tokenizer; the default one of several; None: there is none."""
    template = processor.chat_template or processor.tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def answer_lead(processor: ProcessorMixin, markers: Thinking | None) -> str:
    """What a completion of a fine-tuning row begins with, so that its text is the prompt of inference and the answer.

    Many templates remove the thoughts of assistant turns, or write an empty block before the last one. A row consists
    of the rendered prompt and of the rendered chat with the answer, and the second must begin with the first.

    Args:
        processor: A processor with thinking switched off.
        markers: The markers of the model; None: it does not think.

    Raises:
        ModelError: The template renders no completion like that.
    """
    template = template_of(processor)
    if markers is None or template is None:
        return ""
    prompt = _rendered(processor, template, generate=True)
    block = prompt[prompt.rfind(markers.opening.strip()) :] if markers.opening.strip() in prompt else ""
    for lead in ("", block, markers.closer):
        whole = _rendered(processor, template, generate=False, answer=lead + _ANSWER)
        if whole.startswith(prompt + _ANSWER):
            return lead
    fact = "The chat template does not render an answer behind its prompt, so the model cannot be fine-tuned"
    raise ModelError(fact, received=prompt[-100:], remedy="Use a checkpoint without thinking")


def _additions(processor: ProcessorMixin, template: str, markers: Thinking, *, on: bool) -> tuple[str, str]:
    """What to add before and after a template."""
    switched = markers.switch is not None and markers.switch in template
    before = _ours(f"{{% set {markers.switch} = {'true' if on else 'false'} %}}") if switched else ""
    prompt = _rendered(processor, before + template, generate=True)
    turns = _rendered(processor, before + template, generate=False)
    ending = prompt[len(turns) :] if prompt.startswith(turns) else prompt
    begin, end = ending.rfind(markers.opening.strip()), ending.rfind(markers.closing)
    opened, closed = begin > end, end >= 0 and begin <= end
    if on and closed:
        raise ModelError("The chat template always closes its thinking", received=ending)
    if opened:
        text = "" if on else markers.closer
    elif on:
        text = markers.opener
    else:
        text = "" if closed or switched else markers.empty
    after = _ours(f"{{% if add_generation_prompt %}}{{{{ {json.dumps(text)} }}}}{{% endif %}}") if text else ""
    if _rendered(processor, before + template + after, generate=True) != prompt + text:
        raise ModelError("Thinking cannot be switched in the chat template", received=ending)
    return before, after


def _ours(text: str) -> str:
    return f"{_BEGIN}{text}{_END}"


def _rendered(processor: ProcessorMixin, template: str, *, generate: bool, answer: str | None = None) -> str:
    """A short chat as text, with the generation prompt or with an answer."""
    said = [("system", _SYSTEM), ("user", _USER), *([] if answer is None else [("assistant", answer)])]
    chat = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]
    rendered: Any = processor.apply_chat_template(
        chat, chat_template=template, add_generation_prompt=generate, tokenize=False
    )
    return rendered


def _in_vocabulary(tokenizer: Any, family: Thinking | None) -> Thinking | None:
    """The markers that are tokens of a tokenizer; those of a family that always thinks need not be tokens."""
    if family is not None and family.default:
        return family
    tokens = {token.content for token in tokenizer.added_tokens_decoder.values()}
    tried = KNOWN if family is None else (family, *KNOWN)
    return next((one for one in tried if {one.opening.strip(), one.closing} <= tokens), None)


def _set_template(processor: ProcessorMixin, text: str) -> None:
    """Replace the chat template of a processor and of its tokenizer, where they have one."""
    for owner in (processor, processor.tokenizer):
        known = owner.chat_template
        if isinstance(known, dict):
            owner.chat_template = {**known, "default": text}
        elif known:
            owner.chat_template = text
