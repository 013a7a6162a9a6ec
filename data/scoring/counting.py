"""How a post is counted: one small function a protocol, see `gmner.data.scoring.protocols`."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from gmner.data.scoring.matching import GoldRegions, Region, count_right
from gmner.data.scoring.pairing import TASKS, TaskCounts
from gmner.data.scoring.region_rule import RegionRule
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity, GroundedEntity, Mention

PostCounts = Mapping[str, TaskCounts]
Counter = Callable[[Sequence[GoldEntity], Sequence[GroundedEntity], RegionRule], PostCounts]


def without_adjacent(gold: Sequence[GoldEntity]) -> list[GoldEntity]:
    """The gold mentions that a reader keeps which goes on one token too late after each mention.

    Tokens are joined by one space, so a mention that starts one character behind the end of a kept one is lost.

    Source: `_parse_rawtxt` of MQSPN's input reader, whose files SAKE's gold was also made with.
    """
    kept: list[GoldEntity] = []
    for entity in sorted(gold, key=lambda entity: entity.key):
        if not kept or entity.start > kept[-1].end + 1:
            kept.append(entity)
    return kept


def count_offsets(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule) -> PostCounts:
    """Count one post with (start, end) offsets as the span key; `paper`.

    For every task predictions are matched one to one with gold mentions, as many as can be, so a prediction written
    twice is right once and wrong once. Order does not matter.

    Source: Yu et al., ACL 2023, section 5: a prediction is right if span, type and region are; a region is right if it
    is None for an entity that is not shown, else if its IoU with one of the gold boxes is above 0.5.
    """
    return _one_to_one(gold, predicted, _place, _one_region, region)


def count_strings(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule) -> PostCounts:
    """Count one post with the span's words as the key; `riveg`.

    A gold row is used up by the prediction that meets it. The largest one-to-one matching takes the place of the first
    row that fits: in Twitter-GMNER mentions with the same words share their boxes, so the counts are the same.

    Source: RiVEG (Li et al., Findings of ACL 2024), `statistic/statistic.py`: words and type as one string, "not
    shown" a flag of its own, IoU >= 0.5 with any gold box.
    """
    return _one_to_one(gold, predicted, _words, _one_region, region)


def count_strings_any_box(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """Count one post by words, with several predicted boxes allowed; `e2e-gmner`.

    The largest one-to-one matching; a region is right if any predicted box reaches 0.5 with any gold box. A box that
    could not be read is wrong for every mention, see `gmner.data.readers.triples.UNREADABLE`.

    Source: E2E-GMNER, `evaluation/metrics.py` and `region_correct` of `evaluation/geometry.py`.
    """
    return _one_to_one(gold, predicted, _words, lambda p: (p.box, *p.more_boxes), region)


def count_last_by_offsets(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """Count one post as dictionaries keyed by offsets: of two mentions at one place the later one counts; `h-index`.

    Source: H-Index (Yu et al., ACL 2023), `model/metrics.py`: `all_pairs` and `all_ts` are dictionaries keyed by the
    span's indices. Its region proposals are not ours; only its counting is replayed. EEG is not counted there, and
    counts here as span and region. For words that are not in the text see `place_key`.
    """
    last_gold, last_predicted = {place_key(e): e for e in gold}, {place_key(e): e for e in predicted}
    return count_offsets(list(last_gold.values()), list(last_predicted.values()), region)


def count_offset_sets(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """Count one post as sets of (start, end, type, region) rows, each gold box a row of its own; `mqspn`.

    Source: MQSPN (Tang et al., AAAI 2025), `src/evaluator.py`: `_convert_gt` and `_score`; a region counts from an IoU
    of 0.5 (`_parse_regions`). For words that are not in the text see `place_key`.
    """
    return {task: _set_counts(*_offset_rows(gold, predicted, region, task)) for task in TASKS}


def count_offset_sets_script(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """`count_offset_sets` with the free "not shown" of the released script; see `with_free_none`; `mqspn-script`."""
    rows = {task: _offset_rows(gold, predicted, region, task) for task in TASKS}
    return {task: _set_counts(g, p if task == "mner" else with_free_none(g, p)) for task, (g, p) in rows.items()}


def count_word_sets(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule) -> PostCounts:
    """Count one post as sets of (words, type, region) rows, each gold box a row of its own; `sake`.

    A predicted box stands for the first gold row of the same words that it reaches, so of two shown mentions with the
    same words only one can be met.

    Source: SAKE (Tang et al.), the `EntityEvaluator` of its released evaluation: `convert_for_bbox` and `_score`.
    """
    return {task: _set_counts(*_word_rows(gold, predicted, region, task)) for task in TASKS}


def count_word_sets_script(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """`count_word_sets` as the released script counts; `sake-script`.

    Two things more: where a region counts, a post without gold or without a prediction is left out; and a "not shown"
    is added to wrong regions, see `with_free_none`.
    """
    counts = {}
    for task in TASKS:
        rows, answers = _word_rows(gold, predicted, region, task)
        if task != "mner":
            rows, answers = (rows, with_free_none(rows, answers)) if rows and answers else ([], [])
        counts[task] = _set_counts(rows, answers)
    return counts


def count_strings_script(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """`count_strings` as the released script counts: no gold row is used up; `riveg-script`.

    Every prediction that meets some gold row is right, so a right prediction written twice is right twice, and recall
    can exceed 100 %.

    Source: RiVEG, `statistic/statistic.py`: `rightflag` is set by any row. MNER is not counted there, and counts here
    likewise.
    """
    keys: dict[str, Callable[[Mention], Hashable]] = {
        "gmner": lambda entity: (entity.span, entity.type),
        "mner": lambda entity: (entity.span, entity.type),
        "eeg": _words,
    }
    correct = {}
    for task, key in keys.items():
        groups = _grouped(gold, key)
        if task == "mner":
            correct[task] = sum(key(p) in groups for p in predicted)
        else:
            correct[task] = _answers_met(groups, predicted, key, region)
    return {task: TaskCounts(correct[task], len(predicted), len(gold)) for task in TASKS}


def _answers_met(
    groups: Mapping[Hashable, Sequence[GoldEntity]],
    predicted: Sequence[GroundedEntity],
    key: Callable[[Mention], Hashable],
    region: RegionRule,
) -> int:
    """How many predictions have a region that is right for some gold mention of their key."""
    regions = {name: GoldRegions(list(dict.fromkeys(g.boxes for g in found))) for name, found in groups.items()}
    wanted = Counts((key(p), p.box) for p in predicted if key(p) in regions)
    return sum(count for (name, box), count in wanted.items() if regions[name].right((box,), region).any())


def place_key(mention: Mention) -> Hashable:
    """What names a mention in the protocols that count by place: its offsets, or its words where it has none.

    Words that are not in the text all have the offsets (-1, -1). Different ones are different predictions, each wrong
    by itself; the same ones named again are one prediction, as a place named again is.

    Source: the rule of MQSPN and H-Index, not their scripts' letter. Both systems predict token indices, so that no
    prediction there lies outside of the text (`_convert_pred_entities` of MQSPN's `src/evaluator.py`; `all_pairs` of
    H-Index's `model/metrics.py`); different predictions have different indices, and count as different ones.
    """
    return mention.key if mention.start >= 0 else (*mention.key, mention.span)


# A row of the set protocols: (span key, type or "", region), with region None where it does not count,
# 0 for "not shown", a positive number for a gold box and -1 for a box that meets none.
Row = tuple[Hashable, str, int | None]


def with_free_none(gold: Sequence[Row], predicted: Sequence[Row]) -> list[Row]:
    """The predicted rows, and a "not shown" beside each one that differs from a gold row in its region alone.

    Where the gold row is "not shown", a prediction that boxed it thus becomes right as well as wrong.

    Source: `collect` of MQSPN's `src/util.py`, which SAKE's evaluation also calls.
    """
    rows, known = set(gold), {(key, kind) for key, kind, _ in gold}
    free: list[Row] = [(r[0], r[1], 0) for r in predicted if r not in rows and (r[0], r[1]) in known]
    return [*predicted, *free]


def _offset_rows(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule, task: str
) -> tuple[list[Row], list[Row]]:
    rows: list[Row] = []
    boxes: dict[Hashable, GoldEntity] = {}
    for entity in gold:
        boxes.setdefault(place_key(entity), entity)
        numbers = range(1, len(entity.boxes) + 1) if entity.boxes else (0,)
        rows += [_row(task, place_key(entity), entity.type, number) for number in numbers]
    numbered = {key: GoldRegions([(box,) for box in entity.boxes]) for key, entity in boxes.items()}
    met = {
        (key, box): _nearest(box, numbered.get(key), region) for key, box in {(place_key(p), p.box) for p in predicted}
    }
    return rows, [_row(task, place_key(p), p.type, met[place_key(p), p.box]) for p in predicted]


def _nearest(box: Box | None, gold: GoldRegions | None, region: RegionRule) -> int:
    """The number of the gold box that a prediction lies on: 0 without a box, -1 where it lies on none."""
    if box is None:
        return 0
    if gold is None or not gold.right((box,), region).any():
        return -1
    return 1 + int(gold.best_ious(box).argmax())


def _word_rows(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule, task: str
) -> tuple[list[Row], list[Row]]:
    rows: list[Row] = []
    boxes: dict[str, list[Box]] = {}
    numbers: dict[str, list[int]] = {}
    for entity in gold:
        for box in entity.boxes or (None,):
            number = 0 if box is None else len(rows) + 1
            rows.append(_row(task, entity.span, entity.type, number))
            if box is not None:
                boxes.setdefault(entity.span, []).append(box)
                numbers.setdefault(entity.span, []).append(number)
    regions = {words: GoldRegions([(box,) for box in found]) for words, found in boxes.items()}
    met: dict[tuple[str, Box | None], int] = {}
    for words, box in {(p.span, p.box) for p in predicted}:
        right = regions[words].right((box,), region) if words in regions and box is not None else None
        met[words, box] = 0 if box is None else -1
        if right is not None and right.any():
            met[words, box] = numbers[words][int(right.argmax())]
    return rows, [_row(task, p.span, p.type, met[p.span, p.box]) for p in predicted]


def _row(task: str, key: Hashable, kind: str, region: int) -> Row:
    return (key, "" if task == "eeg" else kind, None if task == "mner" else region)


def _set_counts(gold: Iterable[Row], predicted: Iterable[Row]) -> TaskCounts:
    rows, answers = set(gold), set(predicted)
    return TaskCounts(len(rows & answers), len(answers), len(rows))


def _one_to_one(
    gold: Sequence[GoldEntity],
    predicted: Sequence[GroundedEntity],
    key: Callable[[Mention], Hashable],
    regions: Callable[[GroundedEntity], Region],
    rule: RegionRule,
) -> PostCounts:
    """Counts of the largest one-to-one matching of each task, among mentions with the same key."""
    correct = dict.fromkeys(TASKS, 0)
    answers = _grouped(predicted, key)
    for name, entities in _grouped(gold, key).items():
        same_key = answers.get(name, ())
        if same_key:
            correct["eeg"] += _pairs(entities, same_key, regions, rule)
            typed = _grouped(same_key, _type)
            for kind, same in _grouped(entities, _type).items():
                correct["mner"] += min(len(same), len(typed.get(kind, ())))
                correct["gmner"] += _pairs(same, typed.get(kind, ()), regions, rule)
    return {task: TaskCounts(correct[task], len(predicted), len(gold)) for task in TASKS}


def _pairs(
    gold: Sequence[GoldEntity],
    predicted: Sequence[GroundedEntity],
    regions: Callable[[GroundedEntity], Region],
    rule: RegionRule,
) -> int:
    if len(gold) == len(predicted) == 1:
        return int(any(rule.right(box, gold[0].boxes) for box in regions(predicted[0])))
    return count_right([g.boxes for g in gold], [regions(p) for p in predicted], rule)


_M = TypeVar("_M", bound=Mention)


def _grouped(mentions: Iterable[_M], key: Callable[[Mention], Hashable]) -> dict[Hashable, list[_M]]:
    groups: dict[Hashable, list[_M]] = {}
    for mention in mentions:
        groups.setdefault(key(mention), []).append(mention)
    return groups


def _place(mention: Mention) -> Hashable:
    return mention.key


def _words(mention: Mention) -> Hashable:
    return mention.span


def _type(mention: Mention) -> Hashable:
    return mention.type


def _one_region(predicted: GroundedEntity) -> Region:
    return (predicted.box,)
