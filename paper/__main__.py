r"""`python -m gmner.paper TABLE`: computes one table of the MCR paper.

    python -m gmner.paper main --small                                   # on the world, in minutes
    python -m gmner.paper main --gmner twitter-gmner --mner-mi MNER-MI \
        --grec "grefs(unc).json" --instances instances.json \
        --model Qwen/Qwen2.5-VL-7B-Instruct --preset qwen2.5-vl-7b --seeds 0 1 2
    python -m gmner.paper main --small --dry-run                         # what would be trained

All tables of one work folder share their trained programs and answers. A stopped command resumes. On several GPUs:
`torchrun --nproc-per-node 4 -m gmner.paper TABLE ...`.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gmner.data.files.atomic import whole_text
from gmner.data.listing import counted
from gmner.optimizers.presets import PRESETS
from gmner.paper.arms import ARMS, Arm, Base
from gmner.paper.data import FINE_TEST, PaperData, Roots, read_data, small_data
from gmner.paper.runs import Runs
from gmner.paper.table import PaperTable, to_markdown, to_record
from gmner.paper.tables.registry import TABLES
from gmner.signatures.errors import GmnerError, InputError

_DATA = {
    "gmner": "folder of Twitter-GMNER", "fmnerg": "folder of Twitter-FMNERG", "mner-mi": "folder of MNER-MI",
    "grec": "file grefs(unc).json of gRefCOCO", "instances": "instances.json of COCO, for --grec",
}  # fmt: skip
_PRESET = "qwen2.5-vl-7b"


def _parser() -> ArgumentParser:
    parser = ArgumentParser("python -m gmner.paper", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=sorted(TABLES), help="the table")
    parser.add_argument("--small", action="store_true", help="posts of the world and the embedded model, in minutes")
    for name, what in _DATA.items():
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=what)
    images = "image folder (repeatable), in place of those beside the data sets"
    parser.add_argument("--images", type=Path, action="append", default=[], metavar="DIR", help=images)
    parser.add_argument("--coarse", action="store_true", help="8 types of Twitter-FMNERG in place of 51")
    parser.add_argument("--model", help="a model of gmner.load_vlm (default with --small: the embedded model)")
    settings = f"training settings (default: {_PRESET}); --small has its own"
    parser.add_argument("--preset", choices=list(PRESETS), metavar="PRESET", help=settings)
    steps = "optimizer steps of MRSI and of CVO (default: those of the preset)"
    parser.add_argument("--steps", type=int, nargs=2, metavar="N", help=steps)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of training (default: 0)")
    parser.add_argument("--work", type=Path, help="work folder (default: runs/paper, or runs/paper-small)")
    parser.add_argument("--dry-run", action="store_true", help="print the expected steps, tokens, memory and time")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Compute a table; returns the exit code."""
    given = _parser().parse_args(words)
    try:
        return _run(given, TABLES[given.table])
    except (GmnerError, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; finished work is kept, run the same command again to resume\n")
        return 130


def _run(given: Namespace, table: PaperTable) -> int:
    _check(given)
    steps = None if given.steps is None else (given.steps[0], given.steps[1])
    base = Base(given.preset or _PRESET, given.small, steps)
    data = _data(given)
    for name in table.tests:
        data.test(name)
    work = given.work or Path("runs", "paper-small" if given.small else "paper")
    if given.dry_run:
        with TemporaryDirectory(prefix="gmner-paper-") as folder, _runs(given, Path(folder), data, base) as runs:
            _print_plan(runs, table)
        return 0
    with _runs(given, work, data, base) as runs:
        rows = table.rows(runs)
        if not runs.first:
            return 0
        text = to_markdown(table, rows, runs)
        with whole_text(runs.path / f"{table.name}.json") as file:
            json.dump(to_record(table, rows, runs), file, ensure_ascii=False, indent=1)
        with whole_text(runs.path / f"{table.name}.md") as file:
            file.write(text)
        sys.stdout.write(text)
        return 0


def _check(given: Namespace) -> None:
    """Refuse options that contradict each other, before anything is read."""
    if not given.small and given.gmner is None:
        raise InputError("Twitter-GMNER is missing", accepted="--gmner FOLDER", remedy="Or try the world with --small")
    if not given.small and given.model is None:
        raise InputError("A model is missing", accepted="--model, for example Qwen/Qwen2.5-VL-7B-Instruct, or --small")
    unused = [name for name in (*_DATA, "images", "preset") if given.small and getattr(given, name.replace("-", "_"))]
    if unused:
        fact = f"--{unused[0]} cannot be used with --small, which has posts and settings of its own"
        raise InputError(fact, remedy=f"Remove --{unused[0]} or --small")
    if given.instances is not None and given.grec is None:
        raise InputError("--instances belongs to --grec, which is missing", accepted="--grec 'grefs(unc).json'")
    if given.steps is not None and min(given.steps) < 1:
        raise InputError("--steps must be at least 1", received=given.steps, accepted="two positive numbers")
    if min(given.seeds) < 0:
        raise InputError("A seed must not be negative", received=given.seeds, accepted="0, 1, 2 and so on")
    if len(set(given.seeds)) < len(given.seeds):
        raise InputError("A seed is given twice", received=given.seeds, accepted="different seeds")


def _data(given: Namespace) -> PaperData:
    if given.small:
        return small_data(fine=not given.coarse)
    roots = Roots(given.gmner, given.fmnerg, given.mner_mi, given.grec, given.instances, tuple(given.images))
    return read_data(roots, fine=not given.coarse)


def _runs(given: Namespace, work: Path, data: PaperData, base: Base) -> Runs:
    return Runs(work, data, base, model=given.model, seeds=given.seeds)


def _print_plan(runs: Runs, table: PaperTable) -> None:
    """Print what each arm would cost that is trained for a table, and all of them."""
    hours, write = 0.0, sys.stdout.write if runs.first else lambda _: 0
    for arm in needed(table.arms):
        planned = runs.plan(arm, fine=FINE_TEST in table.tests)
        if planned is not None:
            write(f"{arm.name}\n{planned}\n\n")
            hours += planned.seconds / 3600
    seeds = len(runs.seeds)
    write(f"all arms, {counted(seeds, 'seed', 'seeds')}: {hours * seeds:,.1f} hours, without answers\n")


def needed(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with those that they start from, each once, in the order of training."""
    found: dict[str, Arm] = {}
    for arm in arms:
        for one in (*([ARMS[arm.start]] if arm.start else []), arm):
            found.setdefault(one.name, one)
    return list(found.values())


if __name__ == "__main__":
    sys.exit(main())
