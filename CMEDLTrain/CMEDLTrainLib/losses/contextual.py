"""The contextual loss (equations 3 and 4; Mechrez et al. 2018), streamed so that its memory stays small.

It compares two images as sets of features without regard to place, each feature of one with each of the other. For
images of 256 x 256 pixels that is 4096 x 4096 pairs, of which a plain computation keeps half a dozen matrices until
its backward pass. Here a few hundred rows are worked on at a time, only what the winners are is kept, and the
backward pass computes the rows again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..computing.precision import to_float32

ORDERS = ("targets", "generated")
"""What the maximum is taken for, see :func:`contextual_loss`; the method refuses others."""
CHUNK_ELEMENTS = 1 << 21
"""Elements of one matrix of pairs that are worked on at a time (8 MB in float32): small beside the features, and within
the cache of a large GPU."""
SMALLEST_NORM = 1e-4
"""A feature nearer than this to the mean of the targets has no direction: its cosine, and its gradient, fade to 0."""


def contextual_loss(
    generated: Tensor,
    target: Tensor,
    bandwidth: float = 0.5,
    eps: float = 1e-5,
    order: str = "targets",
    chunk: int | None = None,
) -> Tensor:
    """Equations 3 and 4: -log of the contextual similarity of two images' features, the mean over the images.

    With g_i the generated features and m_j the target's, both less the mean of the m_j of their image:
    d_ij = (1 - cos(g_i, m_j)) / 2, d'_ij = d_ij / (min_k d_ik + eps), CX_ij = softmax over j of (1 - d'_ij) / h.

    Equation 3 takes, for each generated feature, the maximum over the targets. The default reading is that of the
    contextual loss's authors, who take for each target feature the maximum over the generated ones: a generated image
    has to show everything that the target shows. Both then take the mean. All positions take part: with 2048 of
    4096 points the loss is three times as large.

    Gradients go to whichever of the two requires them. Of several equal winners one receives the gradient.

    Args:
        generated: (n, c, h, w) features of the generated images.
        target: (n, c, h', w') features of the images that they should resemble, one each.
        bandwidth: h.
        eps: keeps d' finite where a generated feature equals one of the target.
        order: ``targets`` (for each target, the maximum over the generated) or ``generated`` (equation 3 as written).
        chunk: generated features of each image that are worked on at a time; by default what bounds the memory.

    Returns:
        A scalar in float32 (float64 for float64 features).

    Raises:
        ValueError: number of images or channels differ.
    """
    if generated.shape[:2] != target.shape[:2]:
        shapes = f"{tuple(generated.shape)} and {tuple(target.shape)}"
        raise ValueError(f"features of generated and target images do not match: {shapes}")
    with torch.autocast(generated.device.type, enabled=False):
        ours, theirs = (to_float32(features).flatten(2).transpose(1, 2) for features in (generated, target))
        center = theirs.mean(dim=1, keepdim=True)
        ours, theirs = (F.normalize(features - center, dim=2, eps=SMALLEST_NORM) for features in (ours, theirs))
        rows = chunk or max(1, CHUNK_ELEMENTS // (theirs.shape[0] * theirs.shape[1]))
        return -_Similarity.apply(ours, theirs, bandwidth, eps, order, rows).log().mean()


def contextual_loss_of_images(
    features: Callable[[Tensor], Sequence[Tensor]], generated: Tensor, target: Tensor, order: str = "targets"
) -> Tensor:
    """The contextual loss of generated images (n, 1, h, w) against real ones, summed over the layers of ``features``.

    The paper names three layers and no weights; the contextual loss's authors weight theirs alike and add them. The
    real images are a target: they receive no gradient.
    """
    with torch.no_grad():
        targets = features(target)
    pairs = zip(features(generated), targets, strict=True)
    return torch.stack([contextual_loss(layer, of_target, order=order) for layer, of_target in pairs]).sum()


class _Similarity(torch.autograd.Function):
    """CX of each image from directions of length 1: (n, p, c) generated, (n, q, c) targets -> (n,)."""

    @staticmethod
    def forward(ctx: Any, ours: Tensor, theirs: Tensor, bandwidth: float, eps: float, order: str, rows: int) -> Tensor:
        images, count, _ = ours.shape
        closest, sharpness, similar = ours.new_empty(3, images, count)
        nearest = torch.empty_like(closest, dtype=torch.long)
        best = ours.new_zeros(images, theirs.shape[1])
        winner = torch.zeros_like(best, dtype=torch.long)
        for part in _parts(count, rows):
            cosine = torch.bmm(ours[:, part], theirs.transpose(1, 2))
            closest[:, part], nearest[:, part] = cosine.max(dim=2)
            # Rounding takes a cosine beyond 1; a negative distance could cancel eps.
            least = ((1 - closest[:, part]) / 2).clamp_(min=0)
            sharpness[:, part] = 0.5 / (bandwidth * (least + eps))
            similarity = _exponents(cosine, closest, sharpness, part).softmax(dim=2)
            if order == "generated":
                similar[:, part] = similarity.gather(2, nearest[:, part, None])[..., 0]
                continue
            value, index = similarity.max(dim=1)
            winner = torch.where(value > best, index + part.start, winner)
            best = torch.maximum(value, best)
        winning = similar if order == "generated" else best
        ctx.save_for_backward(ours, theirs, closest, nearest, sharpness, winning, winner)
        ctx.bandwidth, ctx.order, ctx.rows = bandwidth, order, rows
        return winning.mean(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(gradient.device.type, enabled=False):
            return *_gradients(ctx, gradient), None, None, None, None


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradients for the directions, each where it is needed, from the rows computed again.

    For row i let n be its nearest target, s_i = 1 / (2 h (d_in + eps)) and z_ij = s_i (cos_ij - cos_in), so that
    CX_i = softmax(z_i), and let G_ij be the gradient of CX_ij: one value for each winner, else 0. Then

        dL/dz_ij = CX_ij (G_ij - sum_k G_ik CX_ik)
        dL/dcos_ij = s_i (dL/dz_ij + [j = n] h sum_k dL/dz_ik z_ik)

    where the last term comes through s_i, and is so short because the dL/dz_ij of a row add up to 0.
    """
    ours, theirs, closest, nearest, sharpness, winning, winner = ctx.saved_tensors
    gains = (gradient / winning.shape[1])[:, None] * winning  # G CX of the winners
    lost = gains
    if ctx.order == "targets":
        lost = torch.zeros_like(sharpness).scatter_add_(1, winner, gains)
    for_ours = torch.empty_like(ours) if ctx.needs_input_grad[0] else None
    for_theirs = torch.zeros_like(theirs) if ctx.needs_input_grad[1] else None
    for part in _parts(ours.shape[1], ctx.rows):
        cosine = torch.bmm(ours[:, part], theirs.transpose(1, 2))
        exponent = _exponents(cosine, closest, sharpness, part)
        slope = exponent.softmax(dim=2).mul_(-lost[:, part, None])
        if ctx.order == "generated":
            slope.scatter_add_(2, nearest[:, part, None], gains[:, part, None])
        else:
            # The winners of this part alone, at their rows; the others add nothing to its first row.
            inside = (winner >= part.start) & (winner < part.stop)
            row = torch.where(inside, winner - part.start, 0)
            slope.scatter_add_(1, row[:, None], torch.where(inside, gains, 0)[:, None])
        through_least = exponent.mul_(slope).sum(dim=2, keepdim=True).mul_(ctx.bandwidth)
        slope.scatter_add_(2, nearest[:, part, None], through_least)
        if for_ours is not None:
            for_ours[:, part] = torch.bmm(slope, theirs)
        if for_theirs is not None:
            for_theirs.baddbmm_(slope.transpose(1, 2), ours[:, part] * sharpness[:, part, None])
    if for_ours is not None:
        for_ours.mul_(sharpness[..., None])
    return for_ours, for_theirs


def _exponents(cosine: Tensor, closest: Tensor, sharpness: Tensor, part: slice) -> Tensor:
    """The exponents of CX less each row's largest, in place of ``cosine``: what is common to a row cancels."""
    return cosine.sub_(closest[:, part, None]).mul_(sharpness[:, part, None])


def _parts(count: int, rows: int) -> Iterator[slice]:
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))
