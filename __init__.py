"""Grounded multimodal named entity recognition as a DSPy program.

Public names are loaded on first use, so that `import gmner` imports neither torch nor DSPy.

Example:
    >>> import gmner
    >>> program = gmner.GMNER(lm=gmner.load_vlm())  # doctest: +SKIP
    >>> program(text="Mira Voss cries at the speech", image="post.png").entities  # doctest: +SKIP
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gmner.data.html_formatters import FORMATTERS

# The one list of public names: type checkers read it, and `__getattr__` imports a name when it is first used.
if TYPE_CHECKING:
    from gmner.app.serving import launch_app as launch_app
    from gmner.data.confidence import least_sure as least_sure
    from gmner.data.export import exporters as exporters
    from gmner.data.export import importers as importers
    from gmner.data.export.coco import predictions_to_coco as predictions_to_coco
    from gmner.data.export.coco import to_coco as to_coco
    from gmner.data.export.fiftyone import to_fiftyone as to_fiftyone
    from gmner.data.export.from_coco import from_coco as from_coco
    from gmner.data.export.from_label_studio import from_label_studio as from_label_studio
    from gmner.data.export.from_voc import from_voc as from_voc
    from gmner.data.export.importers import read_corrections as read_corrections
    from gmner.data.export.label_studio import label_studio_config as label_studio_config
    from gmner.data.export.label_studio import to_label_studio as to_label_studio
    from gmner.data.export.voc import write_voc as write_voc
    from gmner.data.images.fetched_posts import fetch_posts as fetch_posts
    from gmner.data.jsonl import read_posts as read_posts
    from gmner.data.jsonl import read_predictions as read_predictions
    from gmner.data.jsonl import write_posts as write_posts
    from gmner.data.jsonl import write_predictions as write_predictions
    from gmner.data.mixing import mix_posts as mix_posts
    from gmner.data.mixing import rename_types as rename_types
    from gmner.data.oddities import Oddity as Oddity
    from gmner.data.oddities import Posts as Posts
    from gmner.data.pages.answers_page import render_html as render_html
    from gmner.data.pages.answers_page import save_html as save_html
    from gmner.data.post import Post as Post
    from gmner.data.post import SceneObject as SceneObject
    from gmner.data.prediction import Prediction as Prediction
    from gmner.data.prediction import Predictions as Predictions
    from gmner.data.readers import readers as readers
    from gmner.data.readers.answers import read_answers as read_answers
    from gmner.data.readers.ccks import read_ccks as read_ccks
    from gmner.data.readers.ccks import read_ccks_answers as read_ccks_answers
    from gmner.data.readers.choose import read_dataset as read_dataset
    from gmner.data.readers.entity_json import read_entity_json as read_entity_json
    from gmner.data.readers.entity_json import read_entity_json_answers as read_entity_json_answers
    from gmner.data.readers.grec import read_grec as read_grec
    from gmner.data.readers.labels import labels_of as labels_of
    from gmner.data.readers.mner_mi import read_mner_mi as read_mner_mi
    from gmner.data.readers.real_photos import real_photos as real_photos
    from gmner.data.readers.riveg import read_riveg as read_riveg
    from gmner.data.readers.riveg import read_riveg_answers as read_riveg_answers
    from gmner.data.readers.triples import read_triples as read_triples
    from gmner.data.readers.twitter import read_twitter_fmnerg as read_twitter_fmnerg
    from gmner.data.readers.twitter import read_twitter_gmner as read_twitter_gmner
    from gmner.data.scoring import protocols as protocols
    from gmner.data.scoring.evaluate import evaluate as evaluate
    from gmner.data.scoring.evaluation import Evaluation as Evaluation
    from gmner.data.scoring.expressions import ExpressionScores as ExpressionScores
    from gmner.data.scoring.expressions import evaluate_expressions as evaluate_expressions
    from gmner.data.scoring.gold_version import GoldDifferences as GoldDifferences
    from gmner.data.scoring.gold_version import GoldVersion as GoldVersion
    from gmner.data.scoring.gold_version import compare_gold as compare_gold
    from gmner.data.scoring.metric import gmner_metric as gmner_metric
    from gmner.data.scoring.metric import to_example as to_example
    from gmner.data.scoring.protocols import PROTOCOLS as PROTOCOLS
    from gmner.data.scoring.protocols import Protocol as Protocol
    from gmner.data.scoring.resampling import Comparison as Comparison
    from gmner.data.scoring.resampling import compare as compare
    from gmner.data.scoring.scenarios import text_scenarios as text_scenarios
    from gmner.data.table import from_dataset as from_dataset
    from gmner.data.table import to_dataset as to_dataset
    from gmner.data.table import to_examples as to_examples
    from gmner.data.world.generate import World as World
    from gmner.data.world.related import expression_posts as expression_posts
    from gmner.data.world.related import name_posts as name_posts
    from gmner.optimizers import presets as presets
    from gmner.optimizers import rewards as rewards
    from gmner.optimizers.chains import styles as styles
    from gmner.optimizers.chains.demonstration_settings import Demonstrations as Demonstrations
    from gmner.optimizers.chains.reasoning_set import ReasoningSet as ReasoningSet
    from gmner.optimizers.chains.styles.model_written import LLMStyle as LLMStyle
    from gmner.optimizers.chains.styles.model_written import MLLMStyle as MLLMStyle
    from gmner.optimizers.cvo import CVO as CVO
    from gmner.optimizers.mcr import MCR as MCR
    from gmner.optimizers.mrsi import MRSI as MRSI
    from gmner.optimizers.outcome import UnchangedProgramWarning as UnchangedProgramWarning
    from gmner.optimizers.presets import preset as preset
    from gmner.optimizers.training.settings import Training as Training
    from gmner.programs.bundle import load as load
    from gmner.programs.gmner import GMNER as GMNER
    from gmner.programs.gold_check import GoldFault as GoldFault
    from gmner.programs.gold_check import GoldReport as GoldReport
    from gmner.programs.gold_check import check_posts as check_posts
    from gmner.programs.grec import GREC as GREC
    from gmner.programs.mner import MNER as MNER
    from gmner.programs.models import families as families
    from gmner.programs.models.loading import load_vlm as load_vlm
    from gmner.programs.models.probe.probing import probe as probe
    from gmner.programs.models.probe.report import ProbeReport as ProbeReport
    from gmner.programs.staged import StagedGMNER as StagedGMNER
    from gmner.signatures.boxes import Box as Box
    from gmner.signatures.boxes import BoxFormat as BoxFormat
    from gmner.signatures.boxes import iou as iou
    from gmner.signatures.errors import AnswerError as AnswerError
    from gmner.signatures.errors import BundleError as BundleError
    from gmner.signatures.errors import DataError as DataError
    from gmner.signatures.errors import EngineError as EngineError
    from gmner.signatures.errors import GmnerError as GmnerError
    from gmner.signatures.errors import ImageError as ImageError
    from gmner.signatures.errors import InputError as InputError
    from gmner.signatures.errors import ModelError as ModelError
    from gmner.signatures.errors import RewardError as RewardError
    from gmner.signatures.errors import RunDirectoryError as RunDirectoryError
    from gmner.signatures.errors import ServerError as ServerError
    from gmner.signatures.errors import TruncatedAnswerError as TruncatedAnswerError
    from gmner.signatures.labels import COARSE as COARSE
    from gmner.signatures.labels import LabelSet as LabelSet
    from gmner.signatures.mentions import GoldEntity as GoldEntity
    from gmner.signatures.mentions import GroundedEntity as GroundedEntity
    from gmner.signatures.mentions import Mention as Mention
    from gmner.signatures.tasks import ExtractMentions as ExtractMentions
    from gmner.signatures.tasks import GroundEntities as GroundEntities
    from gmner.signatures.tasks import GroundExpression as GroundExpression
    from gmner.signatures.tasks import GroundMention as GroundMention
    from gmner.signatures.tasks import NameEntities as NameEntities
    from gmner.signatures.tasks import VerifyVisibility as VerifyVisibility

__version__ = version("gmner")


def _names() -> Iterator[tuple[str, tuple[str, str]]]:
    """Public name -> (module, name in it), as the block for type checkers above imports them."""
    source = __spec__.loader.get_source(__name__)  # type: ignore[union-attr]
    for block in ast.parse(source).body:
        if isinstance(block, ast.If):
            for line in block.body:
                if isinstance(line, ast.ImportFrom) and line.module:
                    yield from ((alias.asname or alias.name, (line.module, alias.name)) for alias in line.names)


_HOME = dict(_names())

__all__ = sorted(["__version__", *_HOME])

# Pages need a template engine. It is imported when a notebook displays the first value.
FORMATTERS.load_with(lambda: import_module("gmner.data.pages.notebook"))


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gmner' has no attribute {name!r}")
    module, attribute = _HOME[name]
    value = getattr(__import__(module, fromlist=[attribute]), attribute)  # as `from module import attribute`
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
