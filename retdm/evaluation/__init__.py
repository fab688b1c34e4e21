"""Metrics, their definitions, and the published tables."""

from retdm.evaluation.compare_content import EndedRun, compare_content
from retdm.evaluation.comparison import summarize
from retdm.evaluation.fitted import fit_thresholds
from retdm.evaluation.inputs import ScoresError
from retdm.evaluation.metrics import evaluate
from retdm.evaluation.per_label import label_frequency_map
from retdm.evaluation.published import published_table
from retdm.evaluation.strict_json import strict_json
from retdm.evaluation.table import metric_table

__all__ = [
    "EndedRun",
    "ScoresError",
    "compare_content",
    "evaluate",
    "fit_thresholds",
    "label_frequency_map",
    "metric_table",
    "published_table",
    "strict_json",
    "summarize",
]
