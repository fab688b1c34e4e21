"""The systems that can be trained and compared, one file for each."""

from retdm.methods.base import Diagnosis, Method, StepContext, StepOutput
from retdm.methods.registry import METHODS, build_method

__all__ = ["METHODS", "Diagnosis", "Method", "StepContext", "StepOutput", "build_method"]
