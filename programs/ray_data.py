"""Prediction on many machines: a program as a step of a Ray Data pipeline. Needs `pip install ray[data]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from PIL import Image

from gmner.data.images.opening import open_lazily
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.programs.corpus import answer_posts
from gmner.signatures.errors import GmnerError, InputError

if TYPE_CHECKING:
    from gmner.programs.program import GroundingProgram

_MORE = "more_images"
COLUMNS = ("id", "text", "image")


def answer_dataset(
    program: GroundingProgram, dataset: Any, *, workers: int = 1, batch: int = 64, **options: Any
) -> Any:
    """Predict the entities of the rows of a Ray Dataset on a cluster; each worker has its own copy of the model.

    A worker loads the model once, from its Hub id or from a folder that every machine can read. The order of the rows
    is not preserved; `id` identifies them. Errors are recorded per row, as by `answer_post`, also for a null text, a
    null id (`id` is then empty) and an image that is not a path. An integer id becomes a string.

    Args:
        program: The program; the weights of a local model are not sent, only where to load them from.
        dataset: A `ray.data.Dataset` with the columns `id` (str), `text` (str) and `image` (a path that the workers
            can read, the bytes of a file, or null). The column `more_images`, a list of such values, is optional.
        workers: Number of workers, each with a model; reading and writing need further CPUs.
        batch: Number of rows that a worker gets at once.
        **options: Passed to `ray.data.Dataset.map_batches`, for example `num_gpus=1`, `num_cpus`, `memory`.

    Returns:
        A lazy `ray.data.Dataset` with the columns of a prediction, see `Prediction.to_record`: `id`, `text`,
        `reasoning`, `entities`, `error`, `thinking` (empty if the model does not think). `write_json` writes lines
        that `read_predictions` reads.

    Raises:
        InputError: A column is missing.

    Example:
        >>> rows = ray.data.read_json("posts.jsonl")  # doctest: +SKIP
        >>> answer_dataset(program, rows, workers=8, num_gpus=1).write_json("answers/")  # doctest: +SKIP
    """
    missing = [name for name in COLUMNS if name not in dataset.columns()]
    if missing:
        raise InputError("A column of the dataset is missing", received=dataset.columns(), accepted=", ".join(COLUMNS))
    from ray.data import ActorPoolStrategy

    pool = ActorPoolStrategy(size=workers)
    settings = {"fn_constructor_args": (program,), "compute": pool, "batch_format": "pyarrow"}
    return dataset.map_batches(_Worker, batch_size=batch, **settings, **options)


class _Worker:
    """Holds the program in a process of Ray."""

    def __init__(self, program: GroundingProgram) -> None:
        self._program = program

    def __call__(self, table: Any) -> Any:
        """Convert a pyarrow table of posts to one of predictions."""
        import pyarrow  # a dependency of Ray Data

        predictions: dict[int, Prediction] = {}
        posts: dict[int, Post] = {}
        for index, row in enumerate(table.to_pylist()):
            try:
                posts[index] = _post(row)
            except GmnerError as error:
                predictions[index] = Prediction.failed(_string(row.get("id")), _string(row.get("text")), error)
        answers = answer_posts(self._program, list(posts.values()), progress=False)
        predictions |= dict(zip(posts, answers, strict=True))
        # The schema must not depend on the batch, so it follows the columns of the dataset.
        several = _MORE in table.column_names
        optional = {"confidence": pyarrow.float64()}
        optional |= {"picture": pyarrow.int64()} if several else {}
        if not self._program.names_entities:
            optional["more_boxes"] = pyarrow.list_(pyarrow.list_(pyarrow.float64()))
            optional |= {"more_pictures": pyarrow.list_(pyarrow.int64())} if several else {}
        records = [_record(predictions[index], optional) for index in range(table.num_rows)]
        return pyarrow.Table.from_pylist(records, schema=_schema(pyarrow, optional))


def _post(row: dict[str, Any]) -> Post:
    """A row as a post.

    Raises:
        InputError: A cell has another type.
        ImageError: The bytes are not an image.
    """
    post_id, text, _ = (row.get(name) for name in COLUMNS)
    if not isinstance(post_id, (str, int)) or isinstance(post_id, bool):
        raise InputError("The id of a row is missing", received=post_id, accepted="a string or an integer")
    if not isinstance(text, str):
        raise InputError("The text of a row is not a string", received=text)
    further = row.get(_MORE)
    if not isinstance(further, (list, NoneType)):
        accepted = "a list of paths or bytes, or null"
        raise InputError(f"{_MORE} of a row is not a list", received=further, accepted=accepted)
    image, *more = (_image(cell) for cell in (row.get("image"), *(further or ())))
    return Post(str(post_id), text, image, more_images=tuple(image for image in more if image is not None))


def _image(cell: Any) -> Path | Image.Image | None:
    if isinstance(cell, bytes):
        return open_lazily(cell)
    if not isinstance(cell, (str, NoneType)):
        raise InputError("The image of a row has another type", received=cell, accepted="a path, bytes, or null")
    return None if cell is None else Path(cell)


def _string(cell: Any) -> str:
    return "" if cell is None else cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def _record(prediction: Prediction, optional: Iterable[str]) -> dict[str, Any]:
    """A prediction with the same keys in every row, those of `optional` in every entity."""
    record = prediction.to_record()
    # Arrow stores UTF-8, which cannot encode a lone surrogate; a server may return one.
    for name in ("reasoning", "thinking"):
        record[name] = getattr(prediction, name).encode("utf-8", "replace").decode("utf-8")
    missing: dict[str, list[Any] | None] = {name: [] if name == "more_boxes" else None for name in optional}
    return {**record, "entities": [{**missing, **entity} for entity in record["entities"]]}


def _schema(pyarrow: Any, optional: Mapping[str, Any]) -> Any:
    """The schema of a table of predictions; inferred from a batch without boxes or errors, it would differ."""
    string, whole = pyarrow.string(), pyarrow.int64()
    entity = pyarrow.struct(
        {
            "span": string, "start": whole, "end": whole, "type": string, "visible": pyarrow.bool_(),
            "box": pyarrow.list_(pyarrow.float64()), **optional,
        }
    )  # fmt: skip
    error = pyarrow.struct({"kind": string, "message": string})
    texts = dict.fromkeys(("id", "text", "reasoning"), string)
    return pyarrow.schema({**texts, "entities": pyarrow.list_(entity), "error": error, "thinking": string})
