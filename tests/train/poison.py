"""Losses that are not a number, at given steps and for given images."""

import contextlib

import pytest
import torch

from retdm import comm
from retdm.methods.base import StepOutput
from retdm.methods.bce import Bce
from retdm.methods.retdm import Retdm


@contextlib.contextmanager
def poison(steps, *, only_rank=None):
    """Every fifth image of the training table has no finite BCE at these steps, from 0.

    It depends on nothing but step and images, so that a run that is repeated meets it again. The
    gradient stays finite: other ranks would notice nothing by themselves.
    """

    def wrap(whole):
        def forward(self, batch, context):
            output = whole(self, batch, context)
            here = only_rank is None or comm.rank() == only_rank
            if context.step not in steps or not here:
                return output
            bad = batch.valid & (batch.indices % 5 == 0)
            add = torch.where(bad, torch.nan, 0.0).sum()
            bce = output.parts.get("bce", output.parts["total"])
            return StepOutput(output.total + add, {**output.parts, "bce": bce + add}, output.rows)

        return forward

    with pytest.MonkeyPatch.context() as patch:
        for method in (Bce, Retdm):
            patch.setattr(method, "forward", wrap(method.forward))
        yield
