"""Which tokens the supervised attention of pre-training makes read which."""

import json
import re
from dataclasses import replace

import pytest
from recipe_dialogues import dialogues
from transformers import PreTrainedTokenizerFast

from gmner.data.world.cast import character
from gmner.recipes.embedded import questions
from gmner.recipes.embedded.dialogues import gazes
from gmner.recipes.embedded.encoding import CONTEXT, IGNORED, encode_dialogue, surfaces
from gmner.recipes.embedded.model import coordinate_ids
from gmner.recipes.embedded.questions import Dialogue
from gmner.recipes.embedded.vision import cells_of
from gmner.signatures.labels import COARSE


def test_gaze_targets_of_names_and_coordinates(tokenizer: PreTrainedTokenizerFast):
    coordinates = set(coordinate_ids(tokenizer))
    for name, scene, dialogue in dialogues():
        if not dialogue.with_image:
            continue
        encoded = encode_dialogue(dialogue, tokenizer)
        picture = encoded.ids.index(tokenizer.convert_tokens_to_ids("<image>"))
        cells = cells_of(scene)
        looks = gazes(encoded, scene, coordinates, replace(dialogue, mistaken={}))
        wanted = []
        for at, words in encoded.named if scene else ():
            keys = surfaces()[words]
            alike = [(o.name, o.type) for key in keys for o in questions.most_alike(character(*key), scene)]
            shown = [key for key in keys if key in cells] or alike
            wanted.append((at, sorted({picture + cell for key in shown for cell in cells[key]})))
        assert [look[1:] for look in looks if look[0] == 0 and look not in encoded.matched] == wanted
        for at, words in encoded.named:
            assert tokenizer.decode(encoded.ids[picture : at + 1]).rstrip("?!.,:;'\"#").endswith(words)
        ends = [at for at, _ in [*encoded.named, *encoded.invented]]
        others = {at for at, _ in encoded.copied} | {at for at, _, _ in encoded.typed}
        others |= {at for _, at, _ in encoded.matched}
        written = [at for layer, at, _ in looks if layer == 1 and at not in others]
        assert all(encoded.labels[at + 1] in coordinates and at + 1 not in ends for at in written)
        assert [places for layer, at, places in looks if layer == 1 and at in written] == [
            [max(end for end in ends if end <= at)] for at in written
        ]
        if name == "find" and scene:
            boxes = [json.loads(assistant)["box"] for _, assistant in dialogue.turns]
            assert len(written) == 4 * sum(box is not None for box in boxes)


def copies(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> tuple[list[str], list[str]]:
    """The tokens copied from the post and, for each, the first token at the gaze target."""
    encoded = encode_dialogue(dialogue, tokenizer)
    assert all(encoded.labels[at + 1] != IGNORED and max(places) < at for at, places in encoded.copied)
    words = [tokenizer.decode([token]).strip() for token in encoded.ids]
    return [words[at + 1] for at, _ in encoded.copied], [words[places[0]] for _, places in encoded.copied]


def test_gaze_target_of_copied_tokens(tokenizer: PreTrainedTokenizerFast):
    for name, _, dialogue in dialogues():
        copied, there = copies(dialogue, tokenizer)
        if name in ("extract", "extract_text_only", "answer", "transcribe"):
            said = "".join(assistant for _, assistant in dialogue.turns)
            assert "".join(copied) == "".join(re.findall(r'"span":"([^"]*)"', said)).replace(" ", "")
        elif name not in ("compare", "discuss", "judge"):
            assert not copied
        # A name may be tokenized differently after a quotation mark.
        assert all(new[:1] in source for new, source in zip(copied, there, strict=True))


def test_gaze_targets_within_a_chain(tokenizer: PreTrainedTokenizerFast):
    chain = (
        "Picture: Ada [1,2,3,4]; Bo [5,6,7,8]. Post names: Bo (PER), Ada (PER). Ada: shown [1,2,3,4]. So 2 entities."
    )
    turn = (questions.user_message("Adam and Ada and Bo"), chain)
    copied, there = copies(Dialogue("", (turn,), copied=("Ada", "Bo")), tokenizer)
    assert "".join(copied) == "".join(there) == "BoAdaAda"
    assert copies(Dialogue("", (turn,)), tokenizer) == ([], [])


CAST = (character("Tamsin Vale", "PER"), character("Surge Motors", "ORG"))
"""One whom the list below names, and one whom it does not."""
LIST = "Picture: Karsk [1,2,3,4]; Tamsin Vale [5,6,7,8]."


def reads(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, list[int]]]:
    """For each judged name of a dialogue, its text up to there and its gaze targets in the second layer."""
    encoded = encode_dialogue(dialogue, tokenizer)
    return [(tokenizer.decode(encoded.ids[: at + 1]), to) for layer, at, to in encoded.matched if layer == 1]


@pytest.mark.parametrize("given", [True, False])
def test_judged_names_of_a_chain_attend_to_their_entries_in_the_list(tokenizer: PreTrainedTokenizerFast, given: bool):
    shown, absent = CAST
    names = (shown.aliases[0], absent.name, "Groon")
    chain = f"Post names: {', '.join(names)}. {names[0]}: shown [5,6,7,8]. {names[1]}: not shown. Groon: not shown."
    post = "Post: " + " and ".join(names)
    turn = (f"{post}\n{LIST}", chain) if given else (post, f"{LIST} {chain}")
    dialogue = Dialogue("", (turn,), with_image=False, copied=names)
    ids = encode_dialogue(dialogue, tokenizer).ids
    judged = reads(dialogue, tokenizer)
    assert [next(name for name in names if text.endswith(name)) for text, _ in judged] == [*names, *names]
    for text, (place,) in judged:
        entry = tokenizer.decode(ids[: place + 1])
        assert entry.endswith("]; Tamsin Vale") if text.endswith(names[0]) else place == 0
    assert reads(Dialogue("", ((post, chain),), with_image=False, copied=names), tokenizer) == []  # no list


@pytest.mark.parametrize("asked", [*(name for name in CAST[0].surfaces), CAST[1].name, "Groon Vix"])
def test_end_of_the_evidence_attends_to_what_was_asked_and_to_its_entry(tokenizer: PreTrainedTokenizerFast, asked: str):
    answer = '{"evidence":"The picture shows Karsk, Tamsin Vale, Nia Okoro.","visible":true}'
    encoded = encode_dialogue(Dialogue("", ((questions.user_message("Hi", asked), answer),)), tokenizer)
    (first, last, (question,)), (second, again, (entry,)) = encoded.matched
    assert (first, second, last) == (0, 1, again)
    assert tokenizer.decode(encoded.ids[last + 1]) == '","visible":true}'
    assert tokenizer.decode(encoded.ids[: question + 1]).endswith(f"Entity: {asked}")
    listed = asked in CAST[0].surfaces
    assert tokenizer.decode(encoded.ids[: entry + 1]).endswith(" Karsk, Tamsin Vale") if listed else entry == 0


def test_type_attends_to_its_span_and_to_what_the_chain_says_of_it(tokenizer: PreTrainedTokenizerFast):
    seen = 0
    for name, _, dialogue in dialogues():
        if name not in ("discuss", "transcribe"):
            continue
        encoded = encode_dialogue(dialogue, tokenizer)
        types = {at + 1 for at, _, _ in encoded.typed}
        own, said = ([look for look in encoded.matched if look[0] == layer and look[1] in types] for layer in (0, 1))
        assert [at for _, at, _ in own] == [at for _, at, _ in said] == sorted(types)
        chain = tokenizer.decode(tokenizer(dialogue.chain, add_special_tokens=False)["input_ids"])
        for (_, at, (end,)), (_, _, places) in zip(own, said, strict=True):
            text = tokenizer.decode(encoded.ids[: end + 1])
            span = next(words for words in dialogue_spans(dialogue) if text.endswith(f'"{words}'))
            assert end < at
            words = tokenizer.decode(encoded.ids[places[0] : places[-1] + 1])
            assert f"{span}{words}" in chain
            seen += "not" in words
    assert seen > 5


def dialogue_spans(dialogue: Dialogue) -> list[str]:
    """The spans of the last answer."""
    return re.findall(r'"span":"([^"]*)"', dialogue.turns[-1][1])


def test_gaze_target_of_a_type_is_after_its_mention(tokenizer: PreTrainedTokenizerFast):
    types = list(COARSE)
    for name, _, dialogue in dialogues():
        encoded = encode_dialogue(dialogue, tokenizer)
        said = "".join(assistant for _, assistant in dialogue.turns)
        spans = re.findall(r'"span":"([^"]*)"', said)
        assert len(encoded.typed) == (len(spans) if '"type"' in said else 0), name
        for span, (at, places, type_) in zip(spans, encoded.typed, strict=False):
            assert tokenizer.decode(encoded.ids[at + 1]) == types[type_]
            assert all(
                tokenizer.decode(encoded.ids[: place - CONTEXT + 1]).rstrip("?!.,:;'\"#").endswith(span)
                for place in places
            )
