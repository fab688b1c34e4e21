"""In how many directions embeddings spread."""

import torch
from jaxtyping import Float
from torch import Tensor


def effective_rank(rows: Float[Tensor, "rows embed"]) -> float:
    r"""Effective rank of the centred rows, from 1 up to min(rows - 1, embed).

    $$\exp\Big(-\sum_i p_i \log p_i\Big), \quad p_i = \sigma_i / \sum_j \sigma_j$$

    with the singular values sigma (Roy and Vetterli, EUSIPCO 2007). It is 0 where all rows are
    equal, and falls towards 1 as embeddings collapse onto a line.
    """
    values = torch.linalg.svdvals(rows - rows.mean(0))
    if not values.sum() > 0:
        return 0.0
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())
