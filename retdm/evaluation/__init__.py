"""Metrics, their definitions, and the published tables."""

from retdm.evaluation.comparison import summarize
from retdm.evaluation.fitted import fit_thresholds
from retdm.evaluation.inputs import ScoresError
from retdm.evaluation.metrics import evaluate
from retdm.evaluation.per_label import PerLabel, label_frequency_map, per_label
from retdm.evaluation.published import published_table
from retdm.evaluation.strict_json import strict_json
from retdm.evaluation.table import metric_table

__all__ = [
    "PerLabel",
    "ScoresError",
    "evaluate",
    "fit_thresholds",
    "label_frequency_map",
    "metric_table",
    "per_label",
    "published_table",
    "strict_json",
    "summarize",
]
