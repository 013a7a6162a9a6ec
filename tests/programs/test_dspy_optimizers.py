"""DSPy's optimizers work with the metric and the programs of this library."""

import dataclasses
import json
from pathlib import Path

import dspy
import numpy as np
import pytest
from scripted import scripted_lm, words_of

from gmner.data.post import Post
from gmner.data.scoring.metric import gmner_metric
from gmner.data.table import to_examples
from gmner.optimizers.mcr import MCR
from gmner.programs.gmner import GMNER
from gmner.programs.staged import StagedGMNER
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.tasks import GroundEntities

POSTS = [Post(str(n), f"Ana met {n}", None, (GoldEntity("Ana", 0, 3, "PER"),)) for n in range(6)]
BETTER = "Name only persons."


def answers(request):
    """Finds the name, and its correct type only if the instructions mention it."""
    kind = "PER" if BETTER in str(request.system) else "ORG"
    return {"reasoning": "", "entities": [{"span": "Ana", "type": kind, "visible": False, "box": None}]}


@pytest.fixture
def program():
    return GMNER(scripted_lm(answers))


def test_evaluate_returns_the_mean_over_posts(program):
    found = dspy.Evaluate(devset=to_examples(POSTS), metric=gmner_metric, num_threads=2)(program)
    assert found.score == 0
    assert len(found.results) == 6


def test_gepa_reads_the_feedback_and_improves_the_instructions(program):
    told = []

    def reflect(request):
        told.append(words_of(request))
        return {"new_instruction": BETTER}

    gepa = dspy.GEPA(metric=gmner_metric, reflection_lm=scripted_lm(reflect, name="r"), max_metric_calls=40)
    better = gepa.compile(program, trainset=to_examples(POSTS[:3]), valset=to_examples(POSTS[3:]))
    assert better.answer.signature.instructions == BETTER
    assert program.answer.signature.instructions == GroundEntities.instructions
    assert "Wrong type: 'Ana' is PER, not ORG." in told[0]
    assert gmner_metric(to_examples(POSTS)[0], better(text=POSTS[0].text)) == 1.0


def test_mipro_keeps_the_best_instructions(program):
    fields = ("observations", "summary", "program_description", "module_description", "proposed_instruction")

    def propose(request):
        return "\n\n".join([*(f"[[ ## {name} ## ]]\n{BETTER}" for name in fields), "[[ ## completed ## ]]"])

    lm, examples = scripted_lm(propose, name="p"), to_examples(POSTS)
    mipro = dspy.MIPROv2(metric=gmner_metric, prompt_model=lm, task_model=program.model, auto=None, num_candidates=2)
    options = {"num_trials": 3, "minibatch": False, "max_bootstrapped_demos": 0, "max_labeled_demos": 0}
    better = mipro.compile(program, trainset=examples[:3], valset=examples[3:], **options)
    assert better.answer.signature.instructions == BETTER


RIGHT = {"reasoning": "", "entities": [{"span": "Ana", "type": "PER", "visible": False, "box": None}]}
FIELDS = (
    "reasoning", "natural_language_rules", "proposed_instruction", "proposed_prefix_for_output_field", "discussion",
    "module_advice", "new_instruction",
)  # fmt: skip


def answer_any_request(request):
    """Answers the program's requests, and those of optimizers in DSPy's own format."""
    if request.config.response_format is not None and "entities" in str(request.config.response_format):
        return RIGHT
    values = [f"[[ ## {name} ## ]]\n{json.dumps({'answer': BETTER}) if name == 'module_advice' else BETTER}"
              for name in FIELDS]  # fmt: skip
    return "\n\n".join([*values, "[[ ## completed ## ]]"])


def vectors(texts):
    return np.ones((len(texts), 2), dtype=np.float32)


def optimizers():
    """Every optimizer of DSPy that needs no server, with the required arguments of its compile."""
    metric, few = gmner_metric, {"max_bootstrapped_demos": 1, "max_labeled_demos": 2}
    lm = scripted_lm(answer_any_request, name="prompts")
    return {
        "LabeledFewShot": (lambda: dspy.LabeledFewShot(k=2), {}),
        "BootstrapFewShot": (lambda: dspy.BootstrapFewShot(metric=metric, **few), {}),
        "BootstrapRS": (lambda: dspy.BootstrapRS(metric=metric, num_candidate_programs=1, **few), {}),
        "KNNFewShot": (lambda: dspy.KNNFewShot(2, to_examples(POSTS), dspy.Embedder(vectors), metric=metric), {}),
        "COPRO": (lambda: dspy.COPRO(metric=metric, breadth=2, depth=1), {"eval_kwargs": {"num_threads": 1}}),
        "InferRules": (lambda: dspy.InferRules(num_candidates=1, metric=metric, **few), {}),
        "SIMBA": (lambda: dspy.SIMBA(metric=metric, bsize=3, num_candidates=2, max_steps=1, max_demos=1), {}),
        "GEPA": (lambda: dspy.GEPA(metric=metric, reflection_lm=lm, max_metric_calls=8), {}),
        "MIPROv2": (
            lambda: dspy.MIPROv2(metric=metric, prompt_model=lm, task_model=lm, auto=None, num_candidates=1, **few),
            {"num_trials": 1, "minibatch": False},
        ),
        "BetterTogether": (
            lambda: dspy.BetterTogether(metric, p=dspy.BootstrapRS(metric=metric, num_candidate_programs=1, **few)),
            {"strategy": "p"},
        ),
        "BootstrapFewShotWithOptuna": (
            lambda: dspy.teleprompt.BootstrapFewShotWithOptuna(metric=metric, num_candidate_programs=1, **few),
            {"max_demos": 1},
        ),
        "Ensemble": (lambda: dspy.Ensemble(reduce_fn=lambda outputs: outputs[0]), {}),
    }  # fmt: skip


REFUSED = {"AvatarOptimizer", "BootstrapFinetune"}
ALIASES = {"BootstrapFewShotWithRandomSearch"}


def test_every_optimizer_of_dspy_is_covered():
    exported = {
        name for name in dspy.teleprompt.__all__ if isinstance(getattr(dspy.teleprompt, name), type)
        and issubclass(getattr(dspy.teleprompt, name), dspy.teleprompt.Teleprompter)
    }  # fmt: skip
    assert exported - ALIASES == {*optimizers(), *REFUSED} - {"BootstrapRS"}


@pytest.mark.parametrize("with_valset", [False, True])
@pytest.mark.parametrize("name", list(optimizers()))
def test_optimizers_get_their_arguments_and_return_a_working_program(name, with_valset, caplog):
    make, options = optimizers()[name]
    if name in ("MIPROv2", "BootstrapFewShotWithOptuna"):
        pytest.importorskip("optuna")
    program = GMNER(scripted_lm(answer_any_request))
    lm, instructions = program.model, program.answer.signature.instructions
    valset = POSTS[4:] if with_valset else None
    better = program.compile(trainset=POSTS[:4], valset=valset, optimizer=make(), **options)
    assert better is not program
    assert better(text="Ana met Bo").entities[0].span == "Ana"
    if name != "Ensemble":
        assert [predict.lm for predict in better.predictors()] == [lm]
        assert better.batch_posts(POSTS[:2], progress=False)[0].error is None
    assert program.answer.demos == []
    assert program.answer.lm is lm
    assert program.answer.signature.instructions == instructions


def test_compiled_program_can_be_compiled_again():
    program = GMNER(scripted_lm(answer_any_request))
    for trainset in (to_examples(POSTS), POSTS, tuple(POSTS)):
        program = program.compile(trainset=trainset, optimizer=dspy.BootstrapFewShot(max_labeled_demos=2))
        assert program.answer.demos
        assert program.model.model == "local/a"
    assert program.reset_copy().answer.demos == []
    assert program.reset_copy().answer.lm is program.answer.lm


def test_staged_program_skips_demonstrations_without_its_outputs():
    def stages(request):
        form = str(request.config.response_format)
        if "mentions" in form:
            return {"mentions": [{"span": "Ana", "type": "PER"}]}
        return {"evidence": "", "visible": False}

    program = StagedGMNER(scripted_lm(stages))
    for optimizer in (dspy.LabeledFewShot(k=2), dspy.BootstrapFewShot(metric=gmner_metric, max_labeled_demos=2)):
        better = program.compile(trainset=POSTS, optimizer=optimizer)
        assert [entity.span for entity in better(text="Ana met Bo").entities] == ["Ana"]


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        (
            lambda: dspy.LabeledFewShot(),
            {"max_demos": 3},
            r"LabeledFewShot does not accept.*max_demos.*trainset, sample",
        ),
        (lambda: dspy.LabeledFewShot(), {"trainset": None}, "LabeledFewShot requires arguments.*trainset"),
        (lambda: dspy.teleprompt.BootstrapFewShotWithOptuna(None), {}, "requires arguments.*max_demos"),
        (lambda: dspy.COPRO(), {}, "COPRO requires a metric"),
        (lambda: dspy.InferRules(), {}, "InferRules requires a metric"),
        (lambda: dspy.BootstrapFinetune(), {}, r"cannot fine-tune.*gmner\.MCR"),
    ],
)
def test_invalid_optimizer_arguments_are_refused_before_the_first_call(optimizer, options, message):
    program = GMNER(scripted_lm(lambda request: pytest.fail("asked")))
    with pytest.raises(InputError, match=f"(?s){message}"):
        program.compile(**{"trainset": POSTS, "optimizer": optimizer(), **options})


def test_unused_valset_and_run_dir_are_reported(caplog, tmp_path):
    program = GMNER(scripted_lm(answer_any_request))
    program.compile(trainset=POSTS, valset=POSTS, run_dir=tmp_path, optimizer=dspy.LabeledFewShot(k=1))
    assert "LabeledFewShot does not use valset" in caplog.text
    assert "LabeledFewShot does not use run_dir" in caplog.text


SPAN = "Ana met " + " ".join(f"w{number}" for number in range(20))
UNFIT = {
    "type": Post("bad", "Ana met x", None, (GoldEntity("Ana", 0, 3, "XYZ"),)),
    "offsets": Post("bad", "Ana met x", None, (GoldEntity("Ana", 1, 4, "PER"),)),
    "long": Post("bad", SPAN, None, (GoldEntity(SPAN, 0, len(SPAN), "PER"),)),
    "bare": Post("bad", "Ana met x"),
    "picture": Post("bad", "Ana met x", Path("missing.png"), ()),
}


def optimizers_using_gold():
    """Optimizers of DSPy that use gold differently: as demonstrations, for scoring, and with a retriever."""
    everything = {**optimizers()}
    return {name: everything[name] for name in ("LabeledFewShot", "BootstrapFewShot", "BootstrapRS", "COPRO", "GEPA")}


@pytest.mark.parametrize("name", optimizers_using_gold())
@pytest.mark.parametrize("as_given", [list, to_examples])
def test_invalid_gold_is_refused_before_the_first_call(name, as_given):
    make, arguments = optimizers_using_gold()[name]
    program = GMNER(scripted_lm(answer_any_request))
    for bad in UNFIT.values():
        with pytest.raises(InputError, match=r"1 of 7 posts of the trainset.*'bad'.*leave_out_invalid=True"):
            program.compile(trainset=as_given([*POSTS, bad]), optimizer=make(), **arguments)
    assert program.model.engine.requests == []


def test_valset_that_cannot_be_scored_is_refused(caplog):
    program, make = GMNER(scripted_lm(answer_any_request)), optimizers()["BootstrapRS"][0]
    with pytest.raises(InputError, match=r"1 of 1 post of the valset.*'bad'.*not annotated"):
        program.compile(trainset=POSTS, valset=[UNFIT["bare"]], optimizer=make())
    assert program.model.engine.requests == []
    program.compile(trainset=POSTS, valset=[UNFIT["type"], *POSTS], optimizer=make())
    assert "cannot generate some gold answers" in caplog.text


def test_examples_of_a_retriever_are_checked():
    optimizer = dspy.KNNFewShot(2, to_examples([*POSTS, UNFIT["type"]]), dspy.Embedder(vectors), metric=gmner_metric)
    with pytest.raises(InputError, match=r"trainset of KNNFewShot.*'bad'"):
        GMNER(scripted_lm(answer_any_request)).compile(optimizer=optimizer)


def test_invalid_posts_are_skipped_on_request(caplog):
    program = GMNER(scripted_lm(answer_any_request))
    options = {"optimizer": dspy.LabeledFewShot(k=9), "leave_out_invalid": True}
    better = program.compile(trainset=[UNFIT["type"], *POSTS, UNFIT["bare"]], **options)
    assert {demo["text"] for demo in better.answer.demos} == {post.text for post in POSTS}
    assert "Skipped 2 posts of the trainset" in caplog.text
    with pytest.raises(InputError, match="2 of 2 posts"):
        program.compile(trainset=[UNFIT["type"], UNFIT["bare"]], **options)
    with pytest.raises(InputError, match=r"MCR\(leave_out_invalid=True\)"):
        program.compile(trainset=POSTS, optimizer=MCR(), leave_out_invalid=True)


def test_examples_without_a_post_are_checked_if_possible():
    program = GMNER(scripted_lm(answer_any_request))
    known = dspy.Example(text="Ana met x", image=None, entities=[GoldEntity("Ana", 1, 4, "PER")]).with_inputs("text")
    other = dspy.Example(text="Ana met x", image=None, entities=[]).with_inputs("text", "image")
    with pytest.raises(InputError, match=r"'trainset\[1\]'"):
        program.compile(trainset=[other, known], optimizer=dspy.LabeledFewShot(k=2))
    program.compile(trainset=[other, *to_examples(POSTS), to_examples(POSTS)[0]], optimizer=dspy.LabeledFewShot(k=2))


def test_posts_without_regions_cause_a_warning(caplog):
    bare = [dataclasses.replace(post, grounded=False) for post in POSTS]
    GMNER(scripted_lm(answer_any_request)).compile(trainset=bare, optimizer=dspy.LabeledFewShot(k=2))
    assert "6 posts of the training set without annotated regions" in caplog.text
