"""The published chat templates of the families with a tiny checkpoint, rebuilt: what a template does, and not its text.

| family | begins with | roles, and the end of a turn | system | image | generation prompt | thinking |
|---|---|---|---|---|---|---|
| qwen2_vl, qwen2_5_vl | | `<|im_start|>role\\n` ... `<|im_end|>\\n` | a default one | `<|vision_start|><|image_pad|><|vision_end|>` | `<|im_start|>assistant\\n` | |
| qwen3_vl, qwen3_vl_moe | | the same | none by default | the same | the same | `-Thinking`: `<think>\\n` |
| qwen3_5, qwen3_5_moe | | the same | none by default, only first | the same | the same, `<think>\\n` | `enable_thinking`: empty block |
| glm4v, glm4v_moe, glm46v | `[gMASK]<sop>\\n` | `<|role|>\\n`, no end | none by default | `<|begin_of_image|><|image|><|end_of_image|>` | `<|assistant|>\\n` | off: `/nothink` behind the user's text and `<think></think>` |
| gemma3 | `<bos>` | `<start_of_turn>role\\n` ... `<end_of_turn>\\n`, `model` | before the text of the first user turn | `<start_of_image>` | `<start_of_turn>model\\n` | |
| gemma4 | `<bos>` | `<|turn>role\\n` ... `<turn|>\\n`, `model`; texts are stripped | as a turn, none by default | `<|image|>` | `<|turn>model\\n` | `enable_thinking`: `<|think|>` in the system turn; `<|channel>thought\\n` ... `<channel|>` |
| minicpmv4_6, minicpmv4_7 | | as qwen3_5 | none by default | `<|image_pad|>` (our guess: only the processor was read) | as qwen3_5, no block | off: empty block |
| gemma4_unified | `<bos>` | as gemma4 | as gemma4 | as gemma4 | as gemma4 | as gemma4 |
| mistral3 | `<s>` | user `[INST]` ... `[/INST]`, the answer follows and ends with `</s>`; others are refused | `[SYSTEM_PROMPT]` ... `[/SYSTEM_PROMPT]`, a default one | `[IMG]` | none: `[/INST]` | |
| llama4 | `<|begin_of_text|>` | `<|header_start|>role<|header_end|>\\n\\n` ... `<|eot|>` | as a turn, none by default, stripped | `<|image|>` | `<|header_start|>assistant<|header_end|>\\n\\n` | |
| lfm2_vl | `<|startoftext|>` | as qwen3_vl | as a turn, none by default | `<image>` | as qwen3_vl | |
| qwen2_5_omni_thinker | | as qwen2_5_vl | a default one | `<|vision_bos|><|IMAGE|><|vision_eos|>` | as qwen2_5_vl | |
| qwen3_omni_moe_thinker | | as qwen3_vl | none by default | `<|vision_start|><|image_pad|><|vision_end|>` | as qwen3_vl | `-Thinking` thinks (not rebuilt: its template could not be read) |
| llava_onevision | | `<|im_start|>role ` ... `<|im_end|>` | as a turn | `<image>`, first; texts follow a line feed | `<|im_start|>assistant\\n` | |

The template of Llama 4 is the one in transformers itself.
"""  # noqa: E501

from __future__ import annotations

PARTS = "{% for c in m.content %}{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}"
QWEN_IMAGE = "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
QWEN3_5 = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    + PARTS.replace("IMAGE", QWEN_IMAGE)
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% else %}"
    "{{ '<think>\n' }}{% endif %}{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    + PARTS.replace("IMAGE", QWEN_IMAGE)
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GLM = (
    "{{ '[gMASK]<sop>\n' }}{% for m in messages %}{{ '<|' + m.role + '|>\n' }}"
    + PARTS.replace("IMAGE", "{{ '<|begin_of_image|><|image|><|end_of_image|>' }}")
    + "{% if m.role == 'user' and enable_thinking is defined and not enable_thinking %}{{ '/nothink' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>\n' }}{% endif %}{% endif %}"
)
GEMMA3 = (
    "{{ '<bos>' }}{% if messages[0].role == 'system' %}{% set first = messages[0].content[0].text + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (first if loop.first else '') }}"
    + PARTS.replace("IMAGE", "{{ '<start_of_image>' }}").replace("c.text", "c.text | trim")
    + "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA4 = (
    "{% set thinks = enable_thinking is defined and enable_thinking %}{{ '<bos>' }}"
    "{% if thinks and messages[0].role != 'system' %}{{ '<|turn>system\\n<|think|>\\n<turn|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
    "{% if thinks and loop.first and m.role == 'system' %}{{ '<|think|>\\n' }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image|>' }}{% else %}{{ c.text | trim }}{% endif %}"
    "{% endfor %}{{ '<turn|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}"
)
MINICPM = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    + PARTS.replace("IMAGE", "{{ '<|image_pad|>' }}")
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
LLAVA = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' }}{% for c in m.content if c.type == 'image' %}"
    "{{ '<image>' }}{% endfor %}{% for c in m.content if c.type == 'text' %}{{ '\n' + c.text }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content[0].text %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = 'You are Mistral Small 3.' %}{% set turns = messages %}"
    "{% endif %}{{ '[SYSTEM_PROMPT]' + system + '[/SYSTEM_PROMPT]' }}{% for m in turns %}{% if m.role == 'user' %}"
    "{{ '[INST]' }}"
    + PARTS.replace("IMAGE", "{{ '[IMG]' }}")
    + "{{ '[/INST]' }}{% elif m.role == 'assistant' %}{{ m.content[0].text + eos_token }}{% else %}"
    "{{ raise_exception('Only user, system and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
LFM2 = "{{ bos_token }}" + QWEN3.replace(QWEN_IMAGE, "{{ '<image>' }}")
QWEN2_5_OMNI = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' }}"
    + PARTS.replace("IMAGE", "{{ '<|vision_bos|><|IMAGE|><|vision_eos|>' }}")
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
