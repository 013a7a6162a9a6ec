"""Chat templates of thinking models, rebuilt for the tests, and tiny checkpoints with them.

What the published templates do with thinking (the rest is the usual chat in `<|im_start|>role`):

| name | models | generation prompt | switch | the last assistant turn |
|---|---|---|---|---|
| `opens` | Qwen3-VL-Thinking | ends with `<think>\\n` | none | gets an empty block before its content |
| `switch` | Qwen3.5, from 4B | ends with `<think>\\n` | `enable_thinking`: an empty block | gets an empty block |
| `switch_off` | Qwen3.5, below 4B | ends with an empty block | `enable_thinking` set to true: `<think>\\n` | gets one |
| `model_opens` | GLM-4.5V, MiniCPM-V 4.5 | is without a block | `enable_thinking`: an empty block | as it is |
| `bare` | Kimi-VL-Thinking | is without a block | none | text after `◁/think▷` |
| `brackets` | Magistral, Ministral 3 Reasoning | is without a block | none | as it is |
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tokenizers import AddedToken
from transformers import AutoTokenizer

_TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}LEAD{% for c in m.content %}{% if c.type == 'image' %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ TEXT }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}BLOCK{% endif %}"
)
_EMPTY = "{{ '<think>\n\n</think>\n\n' }}"
_LAST = "{% if loop.last and m.role == 'assistant' %}" + _EMPTY + "{% endif %}"
_AFTER = "(c.text.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else c.text)"


def _template(block: str, *, last: str = _LAST, text: str = _AFTER) -> str:
    return _TURNS.replace("LEAD", last).replace("TEXT", text).replace("BLOCK", block)


_MARKERS = {"bare": ("◁think▷", "◁/think▷"), "brackets": ("[THINK]", "[/THINK]")}
OPENED = "{{ '<think>\n' }}"
_ELSE_OPENED = "{% else %}" + OPENED + "{% endif %}"
_ELSE_EMPTY = "{% else %}" + _EMPTY + "{% endif %}"
TEMPLATES = {
    "opens": _template(OPENED),
    "switch": _template(
        "{% if enable_thinking is defined and enable_thinking is false %}"
        + _EMPTY
        + "{% else %}"
        + OPENED
        + "{% endif %}"
    ),
    "switch_off": _template(
        "{% if enable_thinking is defined and enable_thinking is true %}"
        + OPENED
        + "{% else %}"
        + _EMPTY
        + "{% endif %}"
    ),
    "model_opens": _template(
        "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>\n' }}{% endif %}",
        last="",
        text="c.text",
    ),
    "bare": _template(
        "", last="", text="(c.text.split('◁/think▷')[-1] if m.role == 'assistant' and not loop.last else c.text)"
    ),
    "brackets": _template(
        "", last="", text="('[THINK]' + c.thinking + '[/THINK]' if c.type == 'thinking' else c.text)"
    ),
}
"""Name -> template; see the table above."""


def thinking_checkpoint(base: Path, name: str, folder: Path, *, tokens: bool = True) -> Path:
    """A copy of a tiny Qwen checkpoint with the chat template of a thinking model.

    Args:
        base: The folder of the checkpoint.
        name: A name in `TEMPLATES`.
        folder: The folder to write.
        tokens: Whether the markers are tokens; False: they are written in several, as in Qwen2.5's vocabulary.
    """
    shutil.copytree(base, folder)
    if tokens:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        markers = _MARKERS.get(name, ("<think>", "</think>"))
        tokenizer.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in markers])
        tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATES[name], encoding="utf-8")
    return folder
