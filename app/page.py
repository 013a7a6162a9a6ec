"""`build_page`: the whole page as Gradio blocks."""

from __future__ import annotations

import gradio as gr

from gmner.app.editor import source
from gmner.app.review_tab import ReviewTab
from gmner.app.settings import AppSettings
from gmner.app.try_tab import TryTab

TITLE = "gmner"


def build_page(settings: AppSettings) -> gr.Blocks:
    """Build the page.

    Args:
        settings: What it starts with.

    Returns:
        The blocks; `gmner.app.serving` launches them with the style sheet of `head`.
    """
    # Gradio would otherwise report that a page was started.
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML('<h1 class="gm-title">gmner</h1>', apply_default_css=False)
        if settings.review is None:
            TryTab(settings)
        else:
            with gr.Tabs():
                with gr.Tab("Correct the corpus", id="review"):
                    ReviewTab(settings.review, blocks)
                with gr.Tab("Try a post", id="try"):
                    TryTab(settings)
    return blocks


def head() -> str:
    """The style sheet of the page, for its head."""
    return f"<style>\n{source('editor.css')}</style>"


def theme() -> gr.themes.Base:
    """A theme with fonts of the system: nothing is loaded from elsewhere."""
    fonts, mono = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    # Gradio's own grey of notes has a contrast of 2.6.
    notes = ("block_info_text_color", "body_text_color_subdued", "block_label_text_color", "block_title_text_color")
    light, dark = dict.fromkeys(notes, "*neutral_600"), {f"{name}_dark": "*neutral_300" for name in notes}
    return gr.themes.Default(primary_hue="blue", font=fonts, font_mono=mono).set(**light, **dark)
