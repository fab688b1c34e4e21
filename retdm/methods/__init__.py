"""The systems that can be trained and compared, one file for each."""

from retdm.methods.base import Diagnosis, Method, StepContext, StepOutput
from retdm.methods.clock import Clock
from retdm.methods.micro_batches import MicroBatches
from retdm.methods.registry import METHODS, build_method

__all__ = [
    "METHODS",
    "Clock",
    "Diagnosis",
    "Method",
    "MicroBatches",
    "StepContext",
    "StepOutput",
    "build_method",
]
