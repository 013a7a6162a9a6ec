"""The vision stage: tower and connector learn what is shown at every location of the image, and where it ends.

The heads predict names and coordinates in the decoder's embedding space. The decoder then only has to learn to attend
to a location and to copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from gmner.data.post import SceneObject
from gmner.data.world.cast import known
from gmner.data.world.drawing import SIDE
from gmner.data.world.looks import COLOURS
from gmner.recipes.embedded.model import IMAGE_SIDE, PATCH, SHUFFLE, coordinate_ids
from gmner.recipes.embedded.newcomers import known_set
from gmner.recipes.embedded.pool import Pool, Scene, normalise
from gmner.recipes.embedded.tokenizer import SCALE

GRID = IMAGE_SIDE // PATCH // SHUFFLE

NAMES = tuple(dict.fromkeys(who.name for who in known()))
"""Classes of a cell: the names of the pre-training set."""

KINDS = tuple(dict.fromkeys((who.type, who.kind) for who in known()))
NEW = -100
"""Target of the name of a cell that shows a newcomer: it has no loss."""

LOOKS = (len(KINDS), len(COLOURS), len(COLOURS))
"""Number of kinds, first colours and second colours, the parts of a look."""


def cell_targets(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets of the `GRID` x `GRID` image tokens.

    Returns:
        names: (GRID * GRID,) int64, index into `NAMES`, their number for "nothing", or `NEW`. An object covers
            the cells whose centres it contains, and the nearest object wins.
        looks: (GRID * GRID, 3) int64, index of kind, first and second colour, see `LOOKS`; 0 for empty cells.
        boxes: (GRID * GRID, 4) int64, xyxy in the embedded frame 0..`SCALE`; 0 for empty cells.
    """
    owners, colours = cell_owners(scene.things), list(COLOURS)
    names = np.full(GRID * GRID, len(NAMES), dtype=np.int64)
    looks = np.zeros((GRID * GRID, len(LOOKS)), dtype=np.int64)
    boxes = np.zeros((GRID * GRID, 4), dtype=np.int64)
    for place, (thing, who) in enumerate(zip(scene.things, scene.cast, strict=True)):
        cells = owners == place
        names[cells] = NAMES.index(who.name) if who in known_set() else NEW
        looks[cells] = [KINDS.index((who.type, who.kind)), *map(colours.index, who.colours)]
        boxes[cells] = [round(v / SIDE * SCALE) for v in thing.box.as_tuple()]
    return names, looks, boxes


def cell_owners(scene: Sequence[SceneObject]) -> np.ndarray:
    """(GRID * GRID,) int64: index of the nearest object whose box contains the cell's centre, or -1."""
    centres = (np.arange(GRID) + 0.5) * SIDE / GRID
    owners = np.full((GRID, GRID), -1, dtype=np.int64)
    for place in sorted(range(len(scene)), key=lambda place: scene[place].depth):
        x1, y1, x2, y2 = scene[place].box.as_tuple()
        owners[np.ix_((y1 <= centres) & (centres <= y2), (x1 <= centres) & (centres <= x2))] = place
    return owners.reshape(-1)


def cells_of(scene: Sequence[SceneObject]) -> dict[tuple[str, str], list[int]]:
    """Indices of the image tokens that show each object, by (name, type); at least one per object."""
    owners = cell_owners(scene)
    cells: dict[tuple[str, str], list[int]] = {}
    for place, thing in enumerate(scene):
        x, y = (int((a + b) / 2 / SIDE * GRID) for a, b in ((thing.box.x1, thing.box.x2), (thing.box.y1, thing.box.y2)))
        own = np.flatnonzero(owners == place).tolist() or [y * GRID + x]
        cells.setdefault((thing.name, thing.type), []).extend(own)
    return cells


def name_rows(table: torch.Tensor, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """(names, width) float unit rows, one for each of `NAMES`: the mean of the embeddings of its tokens."""
    names = [tokenizer(f" {name}", add_special_tokens=False)["input_ids"] for name in NAMES]
    return nn.functional.normalize(torch.stack([table[ids].mean(0) for ids in names]), dim=1)


class SceneCells(Dataset[dict[str, object]]):
    """Images with their cell targets."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self._pool)

    def __getitem__(self, index: int) -> dict[str, object]:
        """One image and its cell targets."""
        names, looks, boxes = cell_targets(self._pool.scenes[index])
        return {"image": self._pool.images[index], "names": names, "looks": looks, "boxes": boxes}


def collate_cells(items: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Stack images and cell targets into a batch."""
    return {
        "pixel_values": torch.from_numpy(normalise(np.stack([i["image"] for i in items]))),
        **{key: torch.from_numpy(np.stack([i[key] for i in items])) for key in ("names", "looks", "boxes")},
    }


class CellTeacher(nn.Module):
    """Tower, connector and linear heads into the decoder's embedding space."""

    name_rows: torch.Tensor
    coordinate_rows: torch.Tensor

    def __init__(self, model: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.vision = model.model.vision_model
        self.connector = model.model.connector
        table = model.get_input_embeddings().weight.detach()
        self.register_buffer("name_rows", name_rows(table, tokenizer))
        self.register_buffer("coordinate_rows", nn.functional.normalize(table[coordinate_ids(tokenizer)], dim=1))
        width = table.shape[1]
        self.norm = nn.LayerNorm(width)
        self.to_name = nn.Linear(width, width)
        self.to_nothing = nn.Linear(width, 1)
        self.to_look = nn.ModuleList(nn.Linear(width, number) for number in LOOKS)
        self.to_box = nn.ModuleList(nn.Linear(width, width) for _ in range(4))

    def forward(
        self, pixel_values: torch.Tensor, names: torch.Tensor, looks: torch.Tensor, boxes: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Loss over the cells.

        Args:
            pixel_values: (B, 1, 3, side, side) float.
            names: (B, cells) int64, see `cell_targets`.
            looks: (B, cells, 3) int64.
            boxes: (B, cells, 4) int64 in 0..`SCALE`.

        Returns:
            `loss`, and `correct` (share of the cells of known entities that are named right) and `offset` (mean
            error in frame units).
        """
        hidden = self.norm(self.connector(self.vision(pixel_values=pixel_values[:, 0]).last_hidden_state))
        scores = torch.cat([self.to_name(hidden) @ self.name_rows.T, self.to_nothing(hidden)], -1).float()
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), names.flatten(), label_smoothing=0.02)
        things = names < len(self.name_rows)
        for part, head in enumerate(self.to_look):
            loss = loss + 0.3 * nn.functional.cross_entropy(head(hidden[things]).float(), looks[..., part][things])
        offset = scores.new_zeros(())
        for axis, head in enumerate(self.to_box):
            logits = (head(hidden[things]) @ self.coordinate_rows.T).float()
            loss = loss + 0.25 * soft_coordinate_loss(logits, boxes[..., axis][things])
            offset = offset + (logits.argmax(-1) - boxes[..., axis][things]).abs().float().mean() / 4
        correct = (scores.argmax(-1) == names)[things & (names != NEW)].float().mean()
        return {"loss": loss, "correct": correct.detach(), "offset": offset.detach()}


def soft_coordinate_loss(logits: torch.Tensor, target: torch.Tensor, width: float = 1.0) -> torch.Tensor:
    """Cross entropy against a narrow bell around each coordinate, which grows with the distance from the target.

    Args:
        logits: (N, SCALE + 1) float.
        target: (N,) int64.
        width: Standard deviation of the bell in frame units.
    """
    places = torch.arange(logits.shape[-1], device=logits.device)
    bell = torch.softmax(-((places[None] - target[:, None]).float() ** 2) / (2 * width**2), -1)
    return -(bell * logits.log_softmax(-1)).sum(-1).mean()
