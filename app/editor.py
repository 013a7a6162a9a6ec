"""The editor as a component of Gradio: `editor.js` shows a post and triggers `gm_save`, `gm_step`, `gm_discard`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import gradio as gr


def editor(elem_id: str) -> gr.HTML:
    """An empty editor; its value is that of `gmner.app.editor_data.editor_data`.

    It triggers `gm_save` (`entities`, `next`), `gm_step` (`by`) and `gm_discard`, each also with the `id` and the
    `revision` of the post that it shows.
    """
    # The template has no placeholder: the script alone reads the value, and writes it as text nodes.
    return gr.HTML(
        html_template='<div class="gm-ed" role="group" aria-label="Correct the post"></div>'
        '<p class="gm-vh" role="status"></p>',  # stays, so that screen readers notice its changes
        js_on_load=source("editor.js"),
        apply_default_css=False,
        elem_id=elem_id,
    )


def sent(event: gr.EventData) -> dict[str, Any]:
    """What the editor sent with an event; nothing in it is trusted."""
    data = event._data
    return data if isinstance(data, dict) else {}


def revision_of(data: Mapping[str, Any]) -> str:
    """The revision of the correction from which the editor started."""
    return str(data.get("revision") or "")


@cache
def source(name: str) -> str:
    """A file of this package."""
    return files("gmner.app").joinpath(name).read_text(encoding="utf-8")
