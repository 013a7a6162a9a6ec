"""The checker: finds statements of a chain that contradict the gold annotation.

The checker does not understand language. It finds names verbatim, and assigns a type, a statement about visibility or a
box to the name that precedes it in its clause. It ignores what it cannot parse. `benchmarks/checker.py` measures its
error rate on chains that were corrupted on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import regex

from gmner.optimizers.chains.styles.facts import Facts, allowed_signs, of_picture
from gmner.signatures.mentions import EXPRESSION, GoldEntity
from gmner.signatures.segmentation import SPACED_LETTER


class Contradiction(StrEnum):
    """The kinds of contradictions.

    `MISSING_SPAN`: a gold span does not occur in the chain verbatim. `WRONG_TYPE`, `WRONG_VISIBILITY`, `WRONG_BOX`: a
    statement about a name contradicts the gold annotation. `WRONG_COUNT`: the chain gives another number of entities.
    `NO_ENTITY`: something that is not a gold span is presented as an entity. `UNSAID`: the chain does not say the type,
    the visibility or the box of a name in words that can be checked. `UNANNOTATED`: it says what the images show of a
    name although the regions of the post are not annotated, or gives a type to an expression.
    """

    MISSING_SPAN = "missing_span"
    WRONG_TYPE = "wrong_type"
    WRONG_VISIBILITY = "wrong_visibility"
    WRONG_BOX = "wrong_box"
    NO_ENTITY = "no_entity"
    WRONG_COUNT = "wrong_count"
    UNSAID = "unsaid"
    UNANNOTATED = "unannotated"


@dataclass(frozen=True, slots=True)
class Problem:
    """One contradiction.

    Attributes:
        kind: Its kind.
        message: What is wrong and what is right, addressed to the author of the chain.
    """

    kind: Contradiction
    message: str


Place: TypeAlias = tuple[tuple[float, ...], int]
"""A box as the model writes it, and the number of its image."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known about a name: its gold mentions, and its boxes, including the scene's."""

    name: str
    gold: tuple[GoldEntity, ...]
    boxes: tuple[Place, ...]
    scene_types: frozenset[str]

    @property
    def verdicts(self) -> set[bool]:
        return {entity.visible for entity in self.gold}

    @property
    def types(self) -> set[str]:
        return {entity.type for entity in self.gold}


# In the masked text, each name is replaced by one private-use character.
_FIRST_MARK = 0xE000
_MARKS = "[\ue000-\uf8ff]"
_SENTENCE = re.compile(r"(?<=[.?!])\s+")
_CLAUSE = re.compile(r"\s*;\s+")
_BOX = re.compile(r"\[\s*-?\d+(?:\.\d+)?(?:\s*,\s*-?\d+(?:\.\d+)?)*\s*\]")
_PICTURE_AFTER = re.compile(r"[\s,(]*(?:(?:of|in|on)\s+)?(?:picture|image|photo)\s*(\d{1,3})\b", re.I)
_PICTURE_BEFORE = re.compile(r"\b(?:picture|image|photo)\s*(\d{1,3})[\s,:(]*(?:at[\s:]*)?$", re.I)
_SEEN = (
    r"shown|visible|seen|there|present|depicted|pictured|appears?|found"
    r"|in (?:the|this) (?:picture|image|photo|scene)"
)
_NO = re.compile(
    rf"\b(?:not|never|cannot|nor|no)\b(?:\W+\w+){{0,3}}?\W+(?:{_SEEN})\b|n't\b(?:\W+\w+){{0,3}}?\W+(?:{_SEEN})\b"
    r"|\b(?:absent|missing|unseen|invisible)\b",
    re.I,
)
_YES = re.compile(rf"\b(?:{_SEEN})\b", re.I)
_ANSWER = re.compile(r"^\W*(yes|no)\b", re.I)
_ABOUT_IT = re.compile(
    r"^\W*(?:(?:so|thus|therefore|hence|then|but|and|yet)\b\W*)*"
    r"(?:it|they|he|she|both|(?:this|that|these|those) (?:is|are)"
    r"|(?:not )?(?:shown|visible|seen|present|absent|missing|depicted|found))\b",
    re.I,
)
_HEADING = re.compile(r"^\W*([A-Za-z][A-Za-z ,]{1,40}?)\s*:", re.I)
_PICTURE_HEADINGS = {"picture", "image", "photo"}
_SHOWN_HEADINGS = {"shown", "in both", "seen", "visible"}
_ABSENT_HEADINGS = {"only named", "not shown", "absent", "not visible"}
_UNNAMED_HEADINGS = {"only shown", "only seen", "only in the picture", "not named"}
_ENTITIES_COUNTED = re.compile(r"\bso (\d+|no) entit(?:y|ies)\b", re.I)
_BOXES_COUNTED = re.compile(r"\bso (\d+|no) box(?:es)?\b", re.I)
_NAME_LIST = re.compile(
    r"^\W*(?:(?:names|named|entities|post names|named in the post|in the post|types)\s*:|the (?:post|text) names\b"
    r"|which names\?|who or what is named\?|what types\?)",
    re.I,
)
_COPULA = re.compile(r"\b(?:is|are|as|was)\b(?:\W+(?:an?|the|of|type))*\W*$|[(\s-]+$")
_IN_LISTS = re.compile(r"\b(?:none|and|or|is|a|an|the)\b|[\W_]+", re.I)
_COMMON = frozenset("the and are has was were his her its for this that here there post name names named type".split())
_GENERIC = re.compile(r"^(?:(?:the|a|an|of|is|are|its|type|types|entity|entities|name|names|as|one|two)\b\W*)*$", re.I)


def check_chain(chain: str, facts: Facts, *, complete: bool = True) -> list[Problem]:
    """Find the contradictions between a chain and the gold annotation; an empty chain has none.

    Args:
        chain: The chain, in allowed characters (see `allowed_signs`), with boxes in the coordinate convention of
            `facts`.
        facts: The facts of the post.
        complete: Also report a constraint of a mention that the chain does not state in words that the checker can
            parse.

    Returns:
        The problems in the order of the chain, missing spans last; empty if the chain can be used.

    Source: ours. MCR (Ma et al., Findings of ACL 2026) does not say how its chains were verified.
    """
    if not chain.strip():
        return []
    return list(dict.fromkeys(_Reading(chain, facts).problems(complete=complete)))


@dataclass
class _Reading:
    """The state of parsing one chain, clause by clause."""

    chain: str
    facts: Facts
    subject: _Known | None = None
    expects_list: bool = False
    known: list[_Known] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    typed: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)
    boxed: set[str] = field(default_factory=set)
    places: set[Place] = field(default_factory=set)  # the boxes that the chain gives to an expression
    elsewhere: set[str] = field(default_factory=set)  # names with a box in an image that the chain does not name

    def __post_init__(self) -> None:
        self.known = _known(self.facts)
        self.masked, self.text = _masked(self.chain, self.known), allowed_signs(self.facts.text)
        self.words = frozenset(re.findall(r"\w+", self.text))
        alternatives = "|".join(re.escape(label) for label in sorted(self.facts.labels, key=len, reverse=True))
        pattern = rf"(?<!{SPACED_LETTER})(?:{alternatives})(?!{SPACED_LETTER})"
        if self.facts.task == "grec":  # a description may well say "a person"; in brackets, it is a type
            pattern = rf"(?<=\()(?:{alternatives})(?=\))|\b{EXPRESSION}\b"
        self.label = regex.compile(pattern)

    def problems(self, *, complete: bool) -> Iterator[Problem]:
        for sentence in _SENTENCE.split(self.masked):
            title = _title(sentence)
            for clause in _CLAUSE.split(sentence):
                yield from self._clause(clause, title)
            yield from self._complete(sentence, title)
            if title not in _PICTURE_HEADINGS | _UNNAMED_HEADINGS:
                self.named |= set(re.findall(_MARKS, sentence))
        yield from self._count()
        for index, known in enumerate(self.known):
            if known.gold and chr(_FIRST_MARK + index) not in self.named:
                yield Problem(Contradiction.MISSING_SPAN, f"{known.name!r} is not named")
            elif known.gold and complete:
                yield from self._unsaid(known)

    def _clause(self, clause: str, title: str) -> Iterator[Problem]:
        marks = list(re.finditer(_MARKS, clause))
        yield from self._types(clause, marks)
        yield from self._boxes(clause, marks)
        yield from self._verdicts(clause, marks, title)
        yield from self._names(clause)
        if marks:
            self.subject = self._of(marks[-1])

    def _count(self) -> Iterator[Problem]:
        unit, right, counted = "entities", len(self.facts.entities), _ENTITIES_COUNTED
        if self.facts.task == "grec":
            unit, right, counted = "boxes", len(self.facts.targets), _BOXES_COUNTED
        for said in counted.findall(self.masked):
            if said != str(right or "no") and said != str(right):
                yield Problem(Contradiction.WRONG_COUNT, f"there are {right} {unit}, not {said}")

    def _unsaid(self, known: _Known) -> Iterator[Problem]:
        """The constraints that the chain does not state for a gold name that it contains."""
        if known.name not in self.typed and self.facts.task != "grec":
            yield Problem(Contradiction.UNSAID, f"the type of {known.name!r} is not said: write {known.name} (TYPE)")
        if self.facts.task == "mner":
            return
        if known.name not in self.judged:
            yield Problem(Contradiction.UNSAID, f"it is not said whether {known.name!r} is shown or not shown")
        if known.verdicts == {True} and known.name not in self.boxed:
            yield Problem(Contradiction.UNSAID, f"the box of {known.name!r} is not said")
        elif self.facts.task == "grec" and (unsaid := [box for box in known.boxes if box not in self.places]):
            places = " and ".join(self._place(*box) for box in unsaid)
            yield Problem(Contradiction.UNSAID, f"the expression also means {places}")
        elif known.name in self.elsewhere:
            fact = f"the picture of the box of {known.name!r} is not said"
            yield Problem(Contradiction.UNSAID, f"{fact}: write [x1,y1,x2,y2]{of_picture(2)}")

    def _complete(self, sentence: str, title: str) -> Iterator[Problem]:
        """A list of all shown or of all absent entities must be complete."""
        if title not in _SHOWN_HEADINGS | _ABSENT_HEADINGS:
            return
        wanted = title in _SHOWN_HEADINGS
        for index, known in enumerate(self.known):
            if known.gold and chr(_FIRST_MARK + index) not in sentence:
                yield from self._verdict(known, not wanted)

    def _of(self, mark: re.Match[str]) -> _Known:
        return self.known[ord(mark[0]) - _FIRST_MARK]

    def _before(self, position: int, marks: Sequence[re.Match[str]]) -> _Known | None:
        """The name that a statement at a position is about: the last one before it, or else the last subject."""
        earlier = [mark for mark in marks if mark.start() < position]
        return self._of(earlier[-1]) if earlier else (None if marks else self.subject)

    def _types(self, clause: str, marks: Sequence[re.Match[str]]) -> Iterator[Problem]:
        for label in self.label.finditer(clause):
            if re.search(r"\b(?:not|no)(?: an?)?\W*$", clause[: label.start()], re.I):
                continue
            if re.match(r"^\W*$", clause[: label.start()]) and clause[label.end() :].lstrip().startswith(":"):
                owners: list[_Known | None] = [self._of(mark) for mark in marks]
            else:
                owners = [self._before(label.start(), marks)]
            for owner in owners:
                yield from self._type(owner, label, clause)

    def _type(self, owner: _Known | None, label: re.Match[str], clause: str) -> Iterator[Problem]:
        stranger = self._stranger(clause[: label.start()])
        if stranger:
            yield Problem(Contradiction.NO_ENTITY, f"{stranger!r} is no entity of the post")
        if stranger or owner is None:
            return
        self.typed.add(owner.name)
        if owner.gold and self.facts.task == "grec":
            yield Problem(Contradiction.UNANNOTATED, f"an expression has no type: leave out {label[0]}")
        elif not owner.gold and label[0] not in owner.scene_types:
            yield Problem(Contradiction.NO_ENTITY, f"{owner.name!r} is no entity of the post")
        elif owner.gold and label[0] not in owner.types:
            right = " or ".join(sorted(owner.types))
            yield Problem(Contradiction.WRONG_TYPE, f"{owner.name!r} is {right}, not {label[0]}")

    def _stranger(self, before: str) -> str:
        """What a type is given to that is no known name: words of the post, or a capitalised phrase."""
        if not re.search(_MARKS, before):
            words = [word for word in re.findall(r"\w{3,}", before) if word.lower() not in _COMMON]
            word = next((word for word in words if word in self.words), "")
            if word:
                return word
        phrase = re.split(rf"[,:;.|?!]|{_MARKS}|\]|\)", before)[-1]
        phrase = _COPULA.sub("", phrase.strip()).strip(" (-")
        if not re.search(r"\w", phrase) or _GENERIC.match(phrase) or self.label.fullmatch(phrase):
            return ""
        return phrase if phrase in self.text or phrase.istitle() else ""

    def _boxes(self, clause: str, marks: Sequence[re.Match[str]]) -> Iterator[Problem]:
        every = [box for known in self.known for box in known.boxes]
        step = self.facts.frame.box_format.step
        for written in _BOX.finditer(clause):
            owner = self._before(written.start(), marks)
            right = every if owner is None else owner.boxes
            numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", written[0])]
            if owner is not None:
                self.boxed.add(owner.name)
            picture = _picture_of(clause, written) if self.facts.frame.several else None
            if owner is not None and self.facts.task == "mner":
                yield Problem(
                    Contradiction.UNANNOTATED, f"where {owner.name!r} is shown is not annotated: leave it out"
                )
                continue
            said = [(box, number) for box, number in right if _near(numbers, box, step) and picture in (None, number)]
            self.places |= set(said)
            if not said:
                whose = "nothing" if owner is None else repr(owner.name)
                truth = " or ".join(self._place(box, number) for box, number in right) or "nowhere in the picture"
                claimed = written[0] + ("" if picture is None else of_picture(picture))
                yield Problem(Contradiction.WRONG_BOX, f"{whose} is at {truth}, not at {claimed}")
            elif picture is None and self.facts.frame.several and owner is not None:
                self.elsewhere.add(owner.name)

    def _place(self, box: Sequence[float], picture: int) -> str:
        return f"{list(box)}{of_picture(picture) if self.facts.frame.several else ''}"

    def _verdicts(self, clause: str, marks: Sequence[re.Match[str]], title: str) -> Iterator[Problem]:
        if clause.rstrip().endswith("?"):
            return
        for index, mark in enumerate(marks):
            owner = self._of(mark)
            stop = marks[index + 1].start() if index + 1 < len(marks) else len(clause)
            yield from self._verdict(owner, _verdict_of_heading(title, _verdict(clause[mark.end() : stop])))
            if title in _UNNAMED_HEADINGS and owner.gold:
                yield Problem(Contradiction.WRONG_VISIBILITY, f"{owner.name!r} is named in the post")
        answer = None if self.facts.task == "mner" else _ANSWER.match(clause)  # it may be about a type
        if self.subject is not None and not title and (answer or (not marks and self._about_subject(clause))):
            yield from self._verdict(self.subject, answer[1].lower() == "yes" if answer else _verdict(clause))

    def _about_subject(self, clause: str) -> bool:
        """Whether a clause without a name is about the last one; in a description, it can be about anything shown."""
        return self.facts.task == "gmner" or bool(_ABOUT_IT.match(clause))

    def _verdict(self, owner: _Known, said: bool | None) -> Iterator[Problem]:
        if said is not None:
            self.judged.add(owner.name)
        if said is not None and owner.gold and self.facts.task == "mner":
            fact = f"whether {owner.name!r} is shown is not annotated: leave it out"
            yield Problem(Contradiction.UNANNOTATED, fact)
        elif said is not None and owner.gold and said not in owner.verdicts:
            right = "not shown" if said else "shown"
            yield Problem(Contradiction.WRONG_VISIBILITY, f"{owner.name!r} is {right} in the picture")

    def _names(self, clause: str) -> Iterator[Problem]:
        """Items in a list of the post's names that are not gold names."""
        listed = _NAME_LIST.match(clause)
        rest = clause[listed.end() :] if listed else clause if self.expects_list else ""
        self.expects_list = bool(listed) and not rest.strip(" .")
        rest = self.label.sub(" ", _BOX.sub(" ", rest))
        for mark in re.finditer(_MARKS, rest):
            if not self._of(mark).gold:
                yield Problem(Contradiction.NO_ENTITY, f"{self._of(mark).name!r} is not named in the post")
        words = _IN_LISTS.sub(" ", re.sub(_MARKS, " ", rest)).strip()
        if words:
            yield Problem(Contradiction.NO_ENTITY, f"{words!r} is no entity of the post")


def _known(facts: Facts) -> list[_Known]:
    gold: dict[str, list[GoldEntity]] = {}
    for entity in facts.entities:
        gold.setdefault(allowed_signs(entity.span), []).append(entity)
    boxes: dict[str, list[Place]] = {}
    scene_types: dict[str, set[str]] = {}
    for name, entities in gold.items():
        encoded = ((tuple(facts.frame.encode(box)), box.picture) for entity in entities for box in entity.boxes)
        boxes[name] = list(dict.fromkeys(encoded))
    for thing in facts.scene or ():
        name = allowed_signs(thing.name)
        if facts.task == "grec" and name in gold:  # the targets alone say what an expression means
            continue
        boxes.setdefault(name, []).append((tuple(facts.frame.encode(thing.box)), thing.box.picture))
        scene_types.setdefault(name, set()).add(thing.type)
    return [
        _Known(name, tuple(gold.get(name, ())), tuple(places), frozenset(scene_types.get(name, ())))
        for name, places in boxes.items()
        if name  # nothing is left of a name of control characters
    ]


def _masked(chain: str, known: Sequence[_Known]) -> str:
    """The chain with every known name replaced by its mark, longer names first."""
    marks: Mapping[str, str] = {entry.name: chr(_FIRST_MARK + index) for index, entry in enumerate(known)}
    if not marks:
        return chain
    names = sorted(marks, key=len, reverse=True)
    pattern = "|".join(f"{_edge(name[0], '<!')}{re.escape(name)}{_edge(name[-1], '!')}" for name in names)
    return str(regex.sub(pattern, lambda name: marks[name[0]], chain))


def _edge(sign: str, side: str) -> str:
    """Forbids a letter beside a name, except in scripts in which words or particles follow without a space."""
    return rf"(?{side}{SPACED_LETTER})" if regex.match(SPACED_LETTER, sign) else ""


def _verdict(text: str) -> bool | None:
    """Whether a text says that the name before it is shown (True) or not (False); None if it says neither."""
    no, yes = _NO.search(text), _YES.search(text)
    if no and (not yes or no.start() <= yes.start()):
        return False
    return True if yes else None


def _title(sentence: str) -> str:
    """The heading of a sentence: the words before its first colon, in lower case; empty if a name is among them."""
    heading = _HEADING.match(sentence)
    return heading[1].strip().lower() if heading and not re.search(_MARKS, heading[0]) else ""


def _verdict_of_heading(title: str, said: bool | None) -> bool | None:
    if title in _ABSENT_HEADINGS:
        return False
    return True if title in _SHOWN_HEADINGS | _PICTURE_HEADINGS else said


def _picture_of(clause: str, box: re.Match[str]) -> int | None:
    """The number of the image that a chain gives for a box, after it or before it; None: it gives none."""
    said = _PICTURE_AFTER.match(clause, box.end()) or _PICTURE_BEFORE.search(clause, 0, box.start())
    return int(said[1]) if said else None


def _near(numbers: Sequence[float], box: Sequence[float], step: float) -> bool:
    """Whether a written box equals a known one up to a step of the coordinate convention."""
    most = step * 1.001  # decimals are not exact
    return len(numbers) == len(box) and all(abs(a - b) <= most for a, b in zip(numbers, box, strict=True))
