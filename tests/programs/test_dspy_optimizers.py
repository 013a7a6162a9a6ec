"""DSPy's own optimizers take the metric as it is."""

import dspy
import pytest
from scripted import scripted_lm, words_of

from gmner.data.metric import gmner_metric
from gmner.data.post import Post
from gmner.data.table import to_examples
from gmner.programs.gmner import GMNER
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.tasks import GroundEntities

POSTS = [Post(str(n), f"Ana met {n}", None, (GoldEntity("Ana", 0, 3, "PER"),)) for n in range(6)]
BETTER = "Name only persons."


def answers(request):
    """Finds the name, with the right type only once the instructions say so."""
    kind = "PER" if BETTER in str(request.system) else "ORG"
    return {"reasoning": "", "entities": [{"span": "Ana", "type": kind, "visible": False, "box": None}]}


@pytest.fixture
def program():
    return GMNER(scripted_lm(answers))


def test_evaluate_gives_the_mean_of_the_posts(program):
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


def test_mipro_proposes_and_keeps_the_best(program):
    fields = ("observations", "summary", "program_description", "module_description", "proposed_instruction")

    def propose(request):
        return "\n\n".join([*(f"[[ ## {name} ## ]]\n{BETTER}" for name in fields), "[[ ## completed ## ]]"])

    lm, examples = scripted_lm(propose, name="p"), to_examples(POSTS)
    mipro = dspy.MIPROv2(metric=gmner_metric, prompt_model=lm, task_model=program.model, auto=None, num_candidates=2)
    options = {"num_trials": 3, "minibatch": False, "max_bootstrapped_demos": 0, "max_labeled_demos": 0}
    better = mipro.compile(program, trainset=examples[:3], valset=examples[3:], **options)
    assert better.answer.signature.instructions == BETTER
