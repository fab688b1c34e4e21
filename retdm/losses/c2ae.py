r"""The terms of a canonical-correlated autoencoder (Yeh et al., AAAI 2017, arXiv 1707.00418).

$$\min \; \Phi(F_x, F_e) + \alpha \, \Gamma(F_e, F_d), \qquad
  \Phi = \lVert F_x(X) - F_e(Y) \rVert_F^2
  \;\text{ s.t. }\; F_x(X)^T F_x(X) = F_e(Y)^T F_e(Y) = I$$

The first two functions are $\Phi$ and its constraint, the third is $\Gamma$.

Shapes: batch = images, latent = width of the common space, labels = columns of the label space.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def latent_distance(
    images: Float[Tensor, "batch latent"], label_sets: Float[Tensor, "batch latent"]
) -> Float[Tensor, " batch"]:
    r"""Squared distance between an image and its own label set in the common space.

    $$\frac{1}{K} \lVert F_x(x) - F_e(y) \rVert^2$$

    The mean over the K latent dimensions where the paper sums, so that a learning rate suits 5
    labels and 80. Summed over the batch instead of averaged, as there, it is the same for
    latents divided by the root of the batch size; see `orthogonality`.

    Args:
        images: $F_x(x)$.
        label_sets: $F_e(y)$.

    Returns:
        One value per image, 0 or more.

    Example:
        >>> import torch
        >>> latent_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])).tolist()
        [2.5]
    """
    return (images - label_sets).square().mean(1)


def orthogonality(
    latents: Float[Tensor, "batch latent"],
    valid: Bool[Tensor, " batch"],
    *,
    mean_square: float,
) -> Float[Tensor, ""]:
    r"""How far the latent dimensions are from being uncorrelated and of one given size.

    $$\frac{c}{K} \left\lVert \frac{1}{n c} Z^T Z - I \right\rVert_F^2$$

    The penalty form of the constraint. It couples the n valid rows: this is the one term of the
    project that is no sum over images. The paper, and its authors' CORR_error.m, ask for
    $Z^T Z = I$, a sum over the batch, so that their latents shrink as batches grow. Here the
    mean square of a latent is to be c whatever the batch, apart from sampling noise of order
    1 / n. That is their constraint on $Z / \sqrt{n c}$; the factor c scales the penalty like
    `latent_distance`, which keeps their weights of the two. With n < K rows it cannot be 0.

    Args:
        latents: Of the global batch; padding may be anything finite.
        valid: Which rows count.
        mean_square: The size c, above 0.

    Returns:
        0 or more; c for latents that are all zero, or with no valid row.

    Example:
        >>> import torch
        >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [9.0, 9.0]])
        >>> valid = torch.tensor([True, True, False])
        >>> orthogonality(z, valid, mean_square=1.0).item()
        0.0
        >>> orthogonality(z, valid, mean_square=0.5).item()  # 0.5 * (2 - 1)^2
        0.5
    """
    rows = latents.masked_fill(~valid[:, None], 0)
    count = valid.sum().clamp(min=1).to(rows.dtype)
    moment = rows.T @ rows / (count * mean_square)
    identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return mean_square * (moment - identity).square().sum() / rows.shape[1]


def pairwise_exponential(
    probabilities: Float[Tensor, "batch labels"],
    targets: Bool[Tensor, "batch labels"],
    *,
    sharpness: float,
) -> Float[Tensor, " batch"]:
    r"""Exponential penalty on how far each label an image has is above each one it lacks.

    $$\frac{1}{s \, |y^1| |y^0|} \sum_{p \in y^1} \sum_{q \in y^0} e^{-s (o_p - o_q)}$$

    s = 1 is the paper's equation. Its authors' BR_error.m has s = 5 in the exponent and a
    gradient without that factor, which is the 1/s here. The double sum is a product of two
    sums, so the cost is linear in the number of labels.

    Args:
        probabilities: Outputs o in [0, 1]; that bounds the exponent.
        targets: Which labels the image has.
        sharpness: The factor s; above some 80 float32 overflows.

    Returns:
        One value per image, from $e^{-s}/s$ to $e^{s}/s$; 0 for an image with no label or with
        all of them, which has nothing to rank.

    Example:
        >>> import torch
        >>> o = torch.tensor([[1.0, 0.0, 0.5], [0.3, 0.4, 0.5]])
        >>> y = torch.tensor([[True, False, False], [True, True, True]])
        >>> pairwise_exponential(o, y, sharpness=1.0).tolist()  # (e^-1 + e^-0.5) / 2, and 0
        [0.48720505833625793, 0.0]
    """
    present = targets.to(probabilities.dtype)
    absent = 1 - present
    # Around 0.5 neither factor exceeds e^(s/2).
    shifted = sharpness * (probabilities - 0.5)
    above = ((-shifted).exp() * present).sum(1) / present.sum(1).clamp(min=1)
    below = (shifted.exp() * absent).sum(1) / absent.sum(1).clamp(min=1)
    return above * below / sharpness
