"""The counting functions of the protocols in `gmner.data.scoring.protocols`; each counts one post."""

from __future__ import annotations

import collections
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
    """Remove gold mentions that directly follow a kept one, as a reader does that skips one token after each mention.

    Tokens are joined by one space, so such a mention starts one character after the end of the kept one.

    Source: `_parse_rawtxt` of MQSPN's input reader, which also produced the gold of SAKE.
    """
    kept: list[GoldEntity] = []
    for entity in sorted(gold, key=lambda entity: entity.key):
        if not kept or entity.start > kept[-1].end + 1:
            kept.append(entity)
    return kept


def count_offsets(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule) -> PostCounts:
    """Count one post with (start, end) offsets as the span key; `paper`.

    For each task, predictions are matched one to one with gold mentions, with the largest number of matches. A repeated
    prediction is therefore correct once and wrong once. The order does not matter.

    Source: Yu et al., ACL 2023, section 5: a prediction is correct if span, type and region are. The region of an
    entity that is not shown is correct if it is None; any other is correct if its IoU with a gold box is above 0.5.
    """
    return _one_to_one(gold, predicted, _place, _one_region, region)


def count_strings(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule) -> PostCounts:
    """Count one post with the words of the span as the key; `riveg`.

    Each gold row is matched by at most one prediction. This function uses the largest one-to-one matching, RiVEG the
    first row that matches. In Twitter-GMNER, the counts are the same, because mentions with the same words have the
    same boxes.

    Source: RiVEG (Li et al., Findings of ACL 2024), `statistic/statistic.py`: words and type as one string, "not
    shown" as a separate flag, IoU >= 0.5 with any gold box.
    """
    return _one_to_one(gold, predicted, _words, _one_region, region)


def count_strings_any_box(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """Count one post by words, with several predicted boxes allowed; `e2e-gmner`.

    Uses the largest one-to-one matching. A region is correct if any predicted box has an IoU of at least 0.5 with any
    gold box. An unreadable box is wrong for every mention, see `gmner.data.readers.placing.UNREADABLE`.

    Source: E2E-GMNER, `evaluation/metrics.py` and `region_correct` of `evaluation/geometry.py`.
    """
    return _one_to_one(gold, predicted, _words, lambda p: (p.box, *p.more_boxes), region)


def count_last_by_offsets(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """Count one post as dictionaries keyed by offsets, where a later mention replaces an earlier one; `h-index`.

    Source: H-Index (Yu et al., ACL 2023), `model/metrics.py`: `all_pairs` and `all_ts` are dictionaries keyed by the
    indices of the span. Only the counting is reproduced, not the region proposals. H-Index does not count EEG; here it
    is span and region. For words that are not in the text, see `place_key`.
    """
    last_gold, last_predicted = {place_key(e): e for e in gold}, {place_key(e): e for e in predicted}
    return count_offsets(list(last_gold.values()), list(last_predicted.values()), region)


def count_offset_sets(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """Count one post as sets of (start, end, type, region) rows, with one row per gold box; `mqspn`.

    Source: MQSPN (Tang et al., AAAI 2025), `src/evaluator.py`: `_convert_gt` and `_score`; a region is correct if its
    IoU is at least 0.5 (`_parse_regions`). For words that are not in the text, see `place_key`.
    """
    return {task: _set_counts(*_offset_rows(gold, predicted, region, task)) for task in TASKS}


def count_offset_sets_script(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """`count_offset_sets` with the additional "not shown" rows of the script, see `with_free_none`; `mqspn-script`."""
    rows = {task: _offset_rows(gold, predicted, region, task) for task in TASKS}
    return {task: _set_counts(g, p if task == "mner" else with_free_none(g, p)) for task, (g, p) in rows.items()}


def count_word_sets(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule) -> PostCounts:
    """Count one post as sets of (words, type, region) rows, with one row per gold box; `sake`.

    A predicted box is mapped to the first gold row with the same words whose box it matches. Of two shown mentions with
    the same words, only one can therefore be matched.

    Source: SAKE (Tang et al.), `convert_for_bbox` and `_score` of the `EntityEvaluator` in its released evaluation.
    """
    return {task: _set_counts(*_word_rows(gold, predicted, region, task)) for task in TASKS}


def count_word_sets_script(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """`count_word_sets` with the additional rules of the released script; `sake-script`.

    For GMNER and EEG, posts without gold or without predictions are ignored, and a "not shown" row is added for each
    wrong region, see `with_free_none`.
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
    """`count_strings` as in the released script, where gold rows can be matched repeatedly; `riveg-script`.

    Every prediction that matches any gold row is correct. A correct prediction that is repeated is correct twice, and
    recall can exceed 100 %.

    Source: RiVEG, `statistic/statistic.py`: any row sets `rightflag`. The script does not count MNER; here it follows
    the same rule.
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
            correct[task] = _count_matched(groups, predicted, key, region)
    return {task: TaskCounts(correct[task], len(predicted), len(gold)) for task in TASKS}


def _count_matched(
    groups: Mapping[Hashable, Sequence[GoldEntity]],
    predicted: Sequence[GroundedEntity],
    key: Callable[[Mention], Hashable],
    region: RegionRule,
) -> int:
    """Number of predictions whose region is correct for any gold mention with the same key."""
    regions = {name: GoldRegions(list(dict.fromkeys(g.boxes for g in mentions))) for name, mentions in groups.items()}
    boxes = collections.Counter((key(p), p.box) for p in predicted if key(p) in regions)
    return sum(count for (name, box), count in boxes.items() if regions[name].right((box,), region).any())


def place_key(mention: Mention) -> Hashable:
    """The key of a mention in protocols that compare offsets: its offsets, together with its words if it has none.

    All words that are not in the text have the offsets (-1, -1). Different words are different predictions, each of
    which is wrong. The same words are one prediction, as are repeated offsets.

    Source: our extension of MQSPN and H-Index. Both predict token indices, so no prediction is outside of the text
    (`_convert_pred_entities` in MQSPN's `src/evaluator.py`; `all_pairs` in H-Index's `model/metrics.py`), and different
    predictions have different indices.
    """
    return mention.key if mention.start >= 0 else (*mention.key, mention.span)


# A row of the set protocols: (span key, type or "", region). The region is None if the task ignores it, 0 for "not
# shown", a positive number for a gold box, and -1 for a box that matches no gold box.
Row = tuple[Hashable, str, int | None]


def with_free_none(gold: Sequence[Row], predicted: Sequence[Row]) -> list[Row]:
    """Add a "not shown" row for each predicted row that differs from a gold row only in its region.

    If the gold row is "not shown", a prediction with a box is therefore counted as both correct and wrong.

    Source: `collect` in MQSPN's `src/util.py`, which SAKE's evaluation also calls.
    """
    rows, mentions = set(gold), {row[:2] for row in gold}
    added: list[Row] = [(*row[:2], 0) for row in predicted if row not in rows and row[:2] in mentions]
    return [*predicted, *added]


def _offset_rows(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule, task: str
) -> tuple[list[Row], list[Row]]:
    rows: list[Row] = []
    boxes: dict[Hashable, GoldEntity] = {}
    for entity in gold:
        boxes.setdefault(place_key(entity), entity)
        numbers = range(1, len(entity.boxes) + 1) if entity.boxes else (0,)
        rows += [_row(task, place_key(entity), entity.type, number) for number in numbers]
    regions = {key: GoldRegions([(box,) for box in entity.boxes]) for key, entity in boxes.items()}
    matched = {
        (key, box): _nearest(box, regions.get(key), region) for key, box in {(place_key(p), p.box) for p in predicted}
    }
    return rows, [_row(task, place_key(p), p.type, matched[place_key(p), p.box]) for p in predicted]


def _nearest(box: Box | None, gold: GoldRegions | None, region: RegionRule) -> int:
    """The number of the gold box that a predicted box matches: 0 if the box is None, -1 if it matches none."""
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
    regions = {words: GoldRegions([(box,) for box in word_boxes]) for words, word_boxes in boxes.items()}
    matched: dict[tuple[str, Box | None], int] = {}
    for words, box in {(p.span, p.box) for p in predicted}:
        right = regions[words].right((box,), region) if words in regions and box is not None else None
        matched[words, box] = 0 if box is None else -1
        if right is not None and right.any():
            matched[words, box] = numbers[words][int(right.argmax())]
    return rows, [_row(task, p.span, p.type, matched[p.span, p.box]) for p in predicted]


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
    """Count the largest one-to-one matching of each task, among mentions with the same key."""
    correct = dict.fromkeys(TASKS, 0)
    answers = _grouped(predicted, key)
    for name, entities in _grouped(gold, key).items():
        same_key = answers.get(name, ())
        if same_key:
            correct["eeg"] += _pairs(entities, same_key, regions, rule)
            typed = _grouped(same_key, _type)
            for kind, same_type in _grouped(entities, _type).items():
                correct["mner"] += min(len(same_type), len(typed.get(kind, ())))
                correct["gmner"] += _pairs(same_type, typed.get(kind, ()), regions, rule)
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
