"""How a post is counted: one small function a protocol, see `gmner.data.protocols`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from gmner.data.scoring import TASKS, RegionRule, TaskCounts, best_iou, largest_matching
from gmner.signatures.boxes import iou
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
    return _one_to_one(gold, predicted, _same_place, lambda g, p: region.right(p.box, g.boxes))


def count_strings(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule) -> PostCounts:
    """Count one post with the span's words as the key; `riveg`.

    A gold row is used up by the prediction that meets it. The largest one-to-one matching takes the place of the first
    row that fits: in Twitter-GMNER mentions with the same words share their boxes, so the counts are the same.

    Source: RiVEG (Li et al., Findings of ACL 2024), `statistic/statistic.py`: words and type as one string, "not
    shown" a flag of its own, IoU >= 0.5 with any gold box.
    """
    return _one_to_one(gold, predicted, _same_words, lambda g, p: region.right(p.box, g.boxes))


def count_strings_any_box(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule
) -> PostCounts:
    """Count one post by words, with several predicted boxes allowed; `e2e-gmner`.

    The largest one-to-one matching; a region is right if any predicted box reaches 0.5 with any gold box. A box that
    could not be read is wrong for every mention, see `gmner.data.triples.UNREADABLE`.

    Source: E2E-GMNER, `evaluation/metrics.py` and `region_correct` of `evaluation/geometry.py`.
    """

    def right(g: GoldEntity, p: GroundedEntity) -> bool:
        boxes = (p.box, *p.more_boxes)
        return any(region.right(box, g.boxes) for box in boxes)

    return _one_to_one(gold, predicted, _same_words, right)


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
    rules: dict[str, Callable[[GoldEntity, GroundedEntity], bool]] = {
        "gmner": lambda g, p: _same_words(g, p) and g.type == p.type and region.right(p.box, g.boxes),
        "mner": lambda g, p: _same_words(g, p) and g.type == p.type,
        "eeg": lambda g, p: _same_words(g, p) and region.right(p.box, g.boxes),
    }
    correct = {task: sum(any(right(g, p) for g in gold) for p in predicted) for task, right in rules.items()}
    return {task: TaskCounts(correct[task], len(predicted), len(gold)) for task in TASKS}


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
    known = {(key, kind) for key, kind, _ in gold}
    free: list[Row] = [(r[0], r[1], 0) for r in predicted if r not in gold and (r[0], r[1]) in known]
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
    answers = [
        _row(task, key, p.type, _nearest(p, boxes.get(key), region)) for p in predicted for key in [place_key(p)]
    ]
    return rows, answers


def _nearest(predicted: GroundedEntity, gold: GoldEntity | None, region: RegionRule) -> int:
    """The number of the gold box that a prediction lies on: 0 without a box, -1 where it lies on none."""
    if predicted.box is None:
        return 0
    if gold is None or not gold.boxes or not region.right(predicted.box, gold.boxes):
        return -1
    best = best_iou(predicted.box, gold.boxes)
    return 1 + next(index for index, box in enumerate(gold.boxes) if iou(predicted.box, box) == best)


def _word_rows(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], region: RegionRule, task: str
) -> tuple[list[Row], list[Row]]:
    rows: list[Row] = []
    places = []
    for entity in gold:
        for box in entity.boxes or (None,):
            number = 0 if box is None else len(rows) + 1
            rows.append(_row(task, entity.span, entity.type, number))
            places.append((entity.span, box, number))
    answers = []
    for p in predicted:
        met = (n for words, box, n in places if box is not None and words == p.span and region.right(p.box, [box]))
        number = 0 if p.box is None else next(met, -1)
        answers.append(_row(task, p.span, p.type, number))
    return rows, answers


def _row(task: str, key: Hashable, kind: str, region: int) -> Row:
    return (key, "" if task == "eeg" else kind, None if task == "mner" else region)


def _set_counts(gold: Iterable[Row], predicted: Iterable[Row]) -> TaskCounts:
    rows, answers = set(gold), set(predicted)
    return TaskCounts(len(rows & answers), len(answers), len(rows))


Rule = Callable[[GoldEntity, GroundedEntity], bool]


def _one_to_one(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], same_span: Rule, right_region: Rule
) -> PostCounts:
    """Counts of the largest one-to-one matching of each task."""
    edges: dict[str, list[tuple[int, int]]] = {task: [] for task in TASKS}
    for i, g in enumerate(gold):
        for j, p in enumerate(predicted):
            if not same_span(g, p):
                continue
            typed, grounded = g.type == p.type, right_region(g, p)
            for task, right in zip(TASKS, (typed and grounded, typed, grounded), strict=True):
                if right:
                    edges[task].append((i, j))
    return {task: TaskCounts(largest_matching(edges[task]), len(predicted), len(gold)) for task in TASKS}


def _same_place(gold: GoldEntity, predicted: GroundedEntity) -> bool:
    return gold.key == predicted.key


def _same_words(gold: GoldEntity, predicted: GroundedEntity) -> bool:
    return gold.span == predicted.span
