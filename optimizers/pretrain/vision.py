"""Vision first: the tower and the connector learn, at every place of the picture, what is there and where it ends.

The heads speak the decoder's own language (its token embeddings for names and coordinates), so that what the decoder
has to learn afterwards is to look up a place and copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from gmner.data.post import SceneObject
from gmner.data.world.cast import characters
from gmner.data.world.draw import SIDE
from gmner.optimizers.pretrain.model import IMAGE_SIDE, PATCH, SHUFFLE, coordinate_ids
from gmner.optimizers.pretrain.pool import Pool, normalise
from gmner.optimizers.pretrain.tokenizer import SCALE

GRID = IMAGE_SIDE // PATCH // SHUFFLE


def cell_targets(scene: Sequence[SceneObject]) -> tuple[np.ndarray, np.ndarray]:
    """What each of the `GRID` x `GRID` image tokens shows.

    Returns:
        names: (GRID * GRID,) int64, index into `characters()`, or their number for "nothing"; the thing drawn last
            wins, and a thing covers a cell whose centre it contains.
        boxes: (GRID * GRID, 4) int64, xyxy in the embedded frame 0..`SCALE`; 0 where nothing is.
    """
    index = {c.name: i for i, c in enumerate(characters())}
    names = np.full((GRID, GRID), len(index), dtype=np.int64)
    boxes = np.zeros((GRID, GRID, 4), dtype=np.int64)
    step = SIDE / GRID
    for thing in scene:
        x1, y1, x2, y2 = thing.box.as_tuple()
        columns = [i for i in range(GRID) if x1 <= (i + 0.5) * step <= x2]
        rows = [i for i in range(GRID) if y1 <= (i + 0.5) * step <= y2]
        wire = [round(v / SIDE * SCALE) for v in (x1, y1, x2, y2)]
        for row in rows:
            for column in columns:
                names[row, column] = index[thing.name]
                boxes[row, column] = wire
    return names.reshape(-1), boxes.reshape(-1, 4)


def cells_of(scene: Sequence[SceneObject]) -> dict[str, list[int]]:
    """Indices of the image tokens that show each thing, by name; never empty for a thing of the scene."""
    things = characters()
    cells: dict[str, list[int]] = {}
    for cell, index in enumerate(cell_targets(scene)[0].tolist()):
        if index < len(things):
            cells.setdefault(things[index].name, []).append(cell)
    step = SIDE / GRID
    for thing in scene:
        if thing.name not in cells:
            x, y = (thing.box.x1 + thing.box.x2) / 2, (thing.box.y1 + thing.box.y2) / 2
            cells[thing.name] = [int(y // step) * GRID + int(x // step)]
    return cells


class SceneCells(Dataset[dict[str, object]]):
    """Pictures with their cell targets."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self._pool)

    def __getitem__(self, index: int) -> dict[str, object]:
        """One picture and what its cells show."""
        names, boxes = cell_targets(self._pool.scenes[index])
        return {"image": self._pool.images[index], "names": names, "boxes": boxes}


def collate_cells(items: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Stack pictures and cell targets into a batch."""
    return {
        "pixel_values": torch.from_numpy(normalise(np.stack([i["image"] for i in items]))),
        "names": torch.from_numpy(np.stack([i["names"] for i in items])),
        "boxes": torch.from_numpy(np.stack([i["boxes"] for i in items])),
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
        names = [tokenizer(f" {c.name}", add_special_tokens=False)["input_ids"] for c in characters()]
        self.register_buffer(
            "name_rows", nn.functional.normalize(torch.stack([table[n].mean(0) for n in names]), dim=1)
        )
        self.register_buffer("coordinate_rows", nn.functional.normalize(table[coordinate_ids(tokenizer)], dim=1))
        width = table.shape[1]
        self.norm = nn.LayerNorm(width)
        self.to_name = nn.Linear(width, width)
        self.to_nothing = nn.Linear(width, 1)
        self.to_box = nn.ModuleList(nn.Linear(width, width) for _ in range(4))

    def forward(self, pixel_values: torch.Tensor, names: torch.Tensor, boxes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss over the cells.

        Args:
            pixel_values: (B, 1, 3, side, side) float.
            names: (B, cells) int64, see `cell_targets`.
            boxes: (B, cells, 4) int64 in 0..`SCALE`.

        Returns:
            `loss`, and `correct` (share of object cells named right) and `offset` (mean error in frame units).
        """
        hidden = self.norm(self.connector(self.vision(pixel_values=pixel_values[:, 0]).last_hidden_state))
        scores = torch.cat([self.to_name(hidden) @ self.name_rows.T, self.to_nothing(hidden)], -1).float()
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), names.flatten(), label_smoothing=0.02)
        things = names < len(self.name_rows)
        offset = scores.new_zeros(())
        for axis, head in enumerate(self.to_box):
            logits = (head(hidden[things]) @ self.coordinate_rows.T).float()
            loss = loss + 0.25 * soft_coordinate_loss(logits, boxes[..., axis][things])
            offset = offset + (logits.argmax(-1) - boxes[..., axis][things]).abs().float().mean() / 4
        correct = (scores.argmax(-1) == names)[things].float().mean()
        return {"loss": loss, "correct": correct.detach(), "offset": offset.detach()}


def soft_coordinate_loss(logits: torch.Tensor, target: torch.Tensor, width: float = 1.0) -> torch.Tensor:
    """Cross entropy against a narrow bell around each coordinate: a near miss costs less than a far one.

    Args:
        logits: (N, SCALE + 1) float.
        target: (N,) int64.
        width: Standard deviation of the bell in frame units.
    """
    places = torch.arange(logits.shape[-1], device=logits.device)
    bell = torch.softmax(-((places[None] - target[:, None]).float() ** 2) / (2 * width**2), -1)
    return -(bell * logits.log_softmax(-1)).sum(-1).mean()
