"""The tab on which a post is answered by one or two programs, and its answer corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from gmner.app.editor import editor, revision_of, sent
from gmner.app.editor_data import editor_data
from gmner.app.edits import corrected, drafts_of
from gmner.app.label_table import labels_of_table, table_of
from gmner.app.settings import AppSettings, choice_of_fields, names_of
from gmner.app.timed_answer import MOST_IMAGES, timed_answer, uploaded_post
from gmner.app.views import answer_view, failure, left_out, message
from gmner.data.post import Post
from gmner.programs.bundle_files import is_bundle
from gmner.programs.choice import LoadedModels, ProgramChoice
from gmner.signatures.errors import GmnerError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GroundedEntity

_IMAGES = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"]
# On a phone, the status and the answers are below the options.
_SHOW_STATUS = """() => {
  const status = document.querySelector("#gm-status");
  if (status.getBoundingClientRect().top > innerHeight - 100) status.scrollIntoView();
}"""
_FIELDS = ("model", "server", "served", "staged", "confidence", "votes")


@dataclass(frozen=True, slots=True)
class _Shown:
    """The post on the page, the types that its correction may use, and the entities of the answer."""

    post: Post
    labels: LabelSet
    answer: tuple[GroundedEntity, ...]


class TryTab:
    """Builds the components, and answers their events.

    Args:
        settings: What the page starts with.
    """

    def __init__(self, settings: AppSettings) -> None:
        self._settings, self._loaded = settings, LoadedModels()
        self._fields: dict[str, gr.components.Component] = {}
        labels = settings.choice.labels or COARSE
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                self._inputs(labels)
            with gr.Column(scale=6, min_width=300):
                self._outputs()
        self._shown = gr.State(None)
        gr.HTML('<h3 class="gm-heading">Correct the answer</h3>', apply_default_css=False)
        self._saved = gr.HTML(self._place, apply_default_css=False, elem_id="gm-try-saved")
        self._editor = editor("gm-try-editor")
        if settings.samples:  # last, so that answers and their correction are close to the post
            examples = [[_example(post)] for post in settings.samples]
            gr.Examples(examples, [self._post], label="Examples", elem_id="gm-examples")
        self._connect()

    def _inputs(self, labels: LabelSet) -> None:
        start, second = self._settings.choice, self._settings.second
        self._post = gr.MultimodalTextbox(
            label="Post: a text, and images (drop, paste or choose them)",
            placeholder="Text of the post",
            lines=3,
            file_count="multiple",
            file_types=_IMAGES,
            sources=["upload"],
            submit_btn=False,
            elem_id="gm-post",
        )
        self._go = gr.Button("Find entities", variant="primary", size="lg", elem_id="gm-go")
        with gr.Accordion("Options", open=False, elem_classes="gm-tap"):
            self._program_fields("", start)
        with gr.Accordion("Entity types (a bundle has its own)", open=False, elem_classes="gm-tap"):
            self._table = gr.Dataframe(
                table_of(labels),
                headers=["type", "description"],
                type="array",
                column_count=2,
                interactive=True,
                show_label=False,
                elem_id="gm-labels",
            )
        with gr.Accordion("Compare with a second program", open=second is not None, elem_classes="gm-tap"):
            self._compare = gr.Checkbox(second is not None, label="Compare", elem_id="gm-compare",
                                        visible=not self._settings.fixed or second is not None)  # fmt: skip
            self._program_fields("second ", second or start)

    def _program_fields(self, prefix: str, start: ProgramChoice) -> None:
        """The fields of a program; those that choose a model only where visitors may."""
        fields: dict[str, gr.components.Component] = {}
        if not self._settings.fixed:
            model = "model folder, Hub id or bundle; empty: the embedded model, which only knows its synthetic world"
            server = "address of an OpenAI-compatible server, such as http://localhost:8000/v1"
            fields["model"] = gr.Textbox(start.model or "", label=f"{prefix}model".capitalize(), info=model)
            fields["server"] = gr.Textbox(start.server or "", label=f"{prefix}server".capitalize(), info=server)
            served = "empty: its only model"
            fields["served"] = gr.Textbox(
                start.served or "", label=f"Name of the {prefix}model on its server", info=served
            )
        fields["staged"] = gr.Checkbox(start.staged, label="Staged", info="three calls: extract, verify, ground")
        fields["confidence"] = gr.Checkbox(start.confidence, label="Confidence", info="of each entity, 0 to 100 %")
        fields["votes"] = gr.Number(start.answers, label="Votes", info="answers to sample; 1: no vote", precision=0,
                                    minimum=1, maximum=max(25, start.answers))  # fmt: skip
        for key, field in fields.items():
            field.elem_id = f"gm-{prefix}{key}".replace(" ", "-")
            self._fields[prefix + key] = field

    def _outputs(self) -> None:
        self._status = gr.HTML(message("No answer yet."), apply_default_css=False, elem_id="gm-status")
        self._differences = gr.HTML("", apply_default_css=False, elem_id="gm-compared")
        self._answers = gr.HTML("", apply_default_css=False, elem_id="gm-answers")
        with gr.Accordion("JSON", open=False, elem_classes="gm-tap"):
            self._json = gr.Code("", language="json", show_label=False, elem_id="gm-json")

    def _place(self) -> str:
        corrections = self._settings.corrections
        if corrections is None:
            return message("Corrections on this page are not saved.")
        return message(f"Corrections are saved to {corrections.path} ({len(corrections)} so far).")

    def _connect(self) -> None:
        given: set[gr.blocks.Block] = {self._post, self._table, self._compare, *self._fields.values()}
        shown = [self._status, self._differences, self._answers, self._json, self._editor, self._shown]
        for start in (self._go.click, self._post.submit):
            start(None, js=_SHOW_STATUS, api_visibility="private")
            start(self._answer, given, shown, api_visibility="private", concurrency_limit=1)
        if self._settings.corrections is not None:
            outputs = [self._saved, self._editor]
            self._editor.gm_save(self._save, [self._shown], outputs, api_visibility="private")
            self._editor.gm_discard(self._discard, [self._shown], outputs, api_visibility="private")
        else:
            refuse = [self._saved]
            self._editor.gm_save(self._not_saved, None, refuse, api_visibility="private")

    def _answer(self, given: dict[Any, Any]) -> tuple[Any, ...]:
        """Answer the post; an error becomes a message."""
        try:
            value = given[self._post] or {}
            files = [item if isinstance(item, str) else item["path"] for item in value.get("files") or ()]
            post = uploaded_post(value.get("text") or "", files[: MOST_IMAGES + 1])
            labels = labels_of_table(given[self._table])
            choices = self._choices(given, labels)
        except GmnerError as error:
            return message(str(error), problem=True), "", "", "", gr.skip(), gr.skip()
        names = names_of(choices)
        answers = {name: timed_answer(one, post, self._loaded) for name, one in zip(names, choices, strict=True)}
        view = answer_view(post, answers)
        name = next((name for name in names if not answers[name].prediction.error), names[0])
        first = answers[name].prediction
        corrections = self._settings.corrections
        saved, revision = (None, "") if corrections is None else corrections.opened(post.id)
        status = view.status
        if saved is not None:
            status += message("This post has a saved correction, which the editor below shows.")
        elif len(names) > 1 and not first.error:
            status += message("The editor below shows this answer.", about=name)
        types = dict(labels.types)
        for entity in (*first.entities, *(saved.gold if saved else ())):  # a bundle has its own types
            types.setdefault(entity.type, "")
        shown = _Shown(post, LabelSet.of(types), first.entities)
        entities = first.entities if saved is None else saved.gold
        drafts = drafts_of(entities)
        status += left_out(len(entities) - len(drafts))
        data = editor_data(post, drafts, shown.labels, revision=revision)
        return status, view.differences, view.answers, view.json, data, shown

    def _choices(self, given: Mapping[Any, Any], labels: LabelSet) -> list[ProgramChoice]:
        """The programs that the fields name; the table of types is for those that are not bundles."""
        start = self._settings.choice
        choices = [choice_of_fields(self._values(given, ""), start)]
        if given[self._compare]:
            choices.append(choice_of_fields(self._values(given, "second "), self._settings.second or start))
        return [
            replace(choice, labels=None if choice.model is not None and is_bundle(choice.model) else labels)
            for choice in choices
        ]

    def _values(self, given: Mapping[Any, Any], prefix: str) -> dict[str, object]:
        fields = {name: self._fields.get(prefix + name) for name in _FIELDS}
        return {name: given[field] for name, field in fields.items() if field is not None}

    def _save(self, shown: _Shown | None, event: gr.EventData) -> tuple[Any, Any]:
        corrections, data = self._settings.corrections, sent(event)
        if corrections is None or shown is None or data.get("id") != shown.post.id:
            return message("The page shows another post. Answer it again.", problem=True), gr.skip()
        try:
            post = corrected(shown.post, data.get("entities"), shown.labels)
            revision = corrections.save(post, revision_of(data), copy=True)  # uploads are deleted at the end
        except (GmnerError, OSError) as error:
            return failure(error), gr.skip()
        note = message(f"Saved. {len(corrections)} corrected in {corrections.path}.")
        return note, editor_data(post, drafts_of(post.gold), shown.labels, revision=revision, settled=post.id)

    def _discard(self, shown: _Shown | None, event: gr.EventData) -> tuple[Any, Any]:
        corrections, data = self._settings.corrections, sent(event)
        if corrections is None or shown is None or data.get("id") != shown.post.id:
            return message("The page shows another post. Answer it again.", problem=True), gr.skip()
        try:
            corrections.discard(shown.post.id, revision_of(data))
        except (GmnerError, OSError) as error:
            return failure(error), gr.skip()
        note = message(f"Discarded. {len(corrections)} corrected in {corrections.path}.")
        drafts = drafts_of(shown.answer)
        return note + left_out(len(shown.answer) - len(drafts)), editor_data(
            shown.post, drafts, shown.labels, settled=shown.post.id
        )

    def _not_saved(self) -> str:
        return message("Corrections on this page are not saved.", problem=True)


def _example(post: Post) -> dict[str, Any]:
    return {"text": post.text, "files": [str(image) for image in post.images]}
