"""The tables by name, in the order of the paper."""

from __future__ import annotations

from collections.abc import Mapping

from gmner.paper.table import PaperTable
from gmner.paper.tables.ablation import ABLATION
from gmner.paper.tables.attention import ATTENTION
from gmner.paper.tables.cost import COST
from gmner.paper.tables.fine import FINE
from gmner.paper.tables.main import MAIN
from gmner.paper.tables.modality_bias import BIAS
from gmner.paper.tables.one_sided import ONE_SIDED
from gmner.paper.tables.related import RELATED
from gmner.paper.tables.sensitivity import SENSITIVITY

TABLES: Mapping[str, PaperTable] = {
    table.name: table for table in (MAIN, RELATED, ABLATION, BIAS, ATTENTION, COST, SENSITIVITY, FINE, ONE_SIDED)
}
