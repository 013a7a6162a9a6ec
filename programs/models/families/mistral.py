"""Pixtral and the multimodal Mistral models, which publish no coordinate convention."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from gmner.programs.models.families.family import ModelFamily
from gmner.programs.models.families.thinking import MISTRAL as MISTRAL_THINKING

if TYPE_CHECKING:
    from transformers import ProcessorMixin


@cache
def _processor() -> type[ProcessorMixin]:
    """A processor like that of transformers, whose module cannot be imported without torchvision."""
    from transformers import ProcessorMixin

    class PixtralProcessor(ProcessorMixin):
        """Each row of an image is a row of image tokens and a break; the last one ends with another token."""

        def __init__(  # noqa: PLR0913 - the settings in the files of a checkpoint
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            patch_size: int = 16,
            spatial_merge_size: int = 1,
            chat_template: Any = None,
            image_token: str = "[IMG]",
            image_break_token: str = "[IMG_BREAK]",
            image_end_token: str = "[IMG_END]",
            **_: Any,
        ) -> None:
            super().__init__(image_processor, tokenizer, chat_template=chat_template)
            self.patch_size, self.spatial_merge_size = patch_size, spatial_merge_size
            for name, token in (
                ("image", image_token),
                ("image_break", image_break_token),
                ("image_end", image_end_token),
            ):
                setattr(self, f"{name}_token", token)
                setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))

        @property
        def image_token_ids(self) -> list[int]:
            return [self.image_token_id, self.image_break_token_id, self.image_end_token_id]

        @property
        def model_input_names(self) -> list[str]:
            return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names, "image_sizes"]

        def _process_images(self, images: Any, **settings: Any) -> Any:
            return super()._process_images(
                images, **{**settings, "patch_size": self.patch_size * self.spatial_merge_size}
            )

        def replace_image_token(self, image_inputs: Any, image_idx: int, **_: Any) -> str:
            square = self.patch_size * self.spatial_merge_size
            rows, columns = (int(length) // square for length in image_inputs["image_sizes"][image_idx])
            row = self.image_token * columns
            return self.image_break_token.join([row] * rows) + self.image_end_token

    return PixtralProcessor


MISTRAL = ModelFamily(
    "mistral3",
    served_as=r"pixtral|(?<![a-z])mistral[-_]?small[-_]?(3[._p-]?[12](?!\d)|4(?![\db])|latest|2503|2506|2603|24b.*-250[36])"
    r"|(?<![a-z])mistral[-_]?(medium[-_]?(3(?![\db])|latest|250[58])|large[-_]?(3(?![\db])|latest|2512))"
    r"|magistral[-_]?small[-_]?(1[._p]2|2509)|ministral[-_]?3(?!b)",
    processor=_processor,
    title="Mistral Small 3.1 and later, Medium 3, Large 3, Pixtral, Ministral 3",
    convention="none",
    source="no statement was found",
    untried="Published weights have not been tried, and Pixtral and Medium 3 can only be used on a server",
    thinking=MISTRAL_THINKING,
)
