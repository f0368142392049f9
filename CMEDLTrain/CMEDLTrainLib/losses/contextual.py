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

from .precision import wide

ORDERS = ("targets", "generated")
CHUNK_ELEMENTS = 1 << 22
"""Elements of one matrix of pairs that are worked on at a time (16 MB in float32); three such are alive at once."""
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
        ValueError: number of images or channels differ, or there is no such order.
    """
    if order not in ORDERS:
        raise ValueError(f"no order '{order}' of the contextual loss; there are: {', '.join(ORDERS)}")
    if generated.shape[:2] != target.shape[:2]:
        shapes = f"{tuple(generated.shape)} and {tuple(target.shape)}"
        raise ValueError(f"features of generated and target images do not match: {shapes}")
    with torch.autocast(generated.device.type, enabled=False):
        ours, theirs = (wide(features).flatten(2).transpose(1, 2) for features in (generated, target))
        centre = theirs.mean(dim=1, keepdim=True)
        ours, theirs = (F.normalize(features - centre, dim=2, eps=SMALLEST_NORM) for features in (ours, theirs))
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
    return torch.stack([contextual_loss(one, other, order=order) for one, other in pairs]).sum()


class _Similarity(torch.autograd.Function):
    """CX of each image from directions of length 1: (n, p, c) generated, (n, q, c) targets -> (n,)."""

    @staticmethod
    def forward(ctx: Any, ours: Tensor, theirs: Tensor, bandwidth: float, eps: float, order: str, rows: int) -> Tensor:
        images, count, _ = ours.shape
        nearest = ours.new_empty(images, count, dtype=torch.long)
        scale = ours.new_empty(images, count)  # 1 / (h (min_k d_ik + eps))
        similar = ours.new_empty(images, count)  # order "generated": max_j CX_ij of each i
        best = ours.new_zeros(images, theirs.shape[1])  # order "targets": max_i CX_ij of each j, and its i
        winner = torch.zeros_like(best, dtype=torch.long)
        for part in _parts(count, rows):
            distance = _distances(ours[:, part], theirs)
            least, nearest[:, part] = distance.min(dim=2)
            scale[:, part] = 1 / (bandwidth * (least + eps))
            # The 1 / h of the numerator cancels in the softmax.
            similarity = distance.mul_(-scale[:, part, None]).softmax(dim=2)
            if order == "generated":
                similar[:, part] = similarity.gather(2, nearest[:, part, None])[..., 0]
                continue
            value, index = similarity.max(dim=1)
            winner = torch.where(value > best, index + part.start, winner)
            best = torch.maximum(value, best)
        found = similar if order == "generated" else best
        ctx.save_for_backward(ours, theirs, nearest, scale, found, winner)
        ctx.bandwidth, ctx.order, ctx.rows = bandwidth, order, rows
        return found.mean(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(gradient.device.type, enabled=False):
            return *_gradients(ctx, gradient), None, None, None, None


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradients for the directions, each where it is needed, from the rows computed again.

    For row i let z_ij = -s_i d_ij with s_i = 1 / (h (min_k d_ik + eps)), so that CX_i = softmax(z_i), and let G_ij be
    the gradient of CX_ij: one value for each winner, else 0. Then, with n the nearest target of i,

        dL/dz_ij = CX_ij (G_ij - sum_k G_ik CX_ik)
        dL/dd_ij = -s_i dL/dz_ij + [j = n] h s_i^2 sum_k dL/dz_ik d_ik
        dL/dcos_ij = -dL/dd_ij / 2
    """
    ours, theirs, nearest, scale, found, winner = ctx.saved_tensors
    share = (gradient / found.shape[1])[:, None]
    gains = share * found  # G CX of the winners
    lost = gains
    if ctx.order == "targets":
        lost = torch.zeros_like(scale).scatter_add_(1, winner, gains)
    for_ours = torch.empty_like(ours) if ctx.needs_input_grad[0] else None
    for_theirs = torch.zeros_like(theirs) if ctx.needs_input_grad[1] else None
    for part in _parts(ours.shape[1], ctx.rows):
        distance = _distances(ours[:, part], theirs)
        slope = (distance * -scale[:, part, None]).softmax(dim=2)
        slope.mul_(-lost[:, part, None])
        if ctx.order == "generated":
            slope.scatter_add_(2, nearest[:, part, None], gains[:, part, None])
        else:
            # The winners of this part alone, at their rows; the others add nothing to its first row.
            inside = (winner >= part.start) & (winner < part.stop)
            row = torch.where(inside, winner - part.start, 0)
            slope.scatter_add_(1, row[:, None], torch.where(inside, gains, 0)[:, None])
        s = scale[:, part, None]
        through_least = distance.mul_(slope).sum(dim=2, keepdim=True).mul_(-0.5 * ctx.bandwidth * s * s)
        slope.mul_(0.5 * s).scatter_add_(2, nearest[:, part, None], through_least)
        if for_ours is not None:
            for_ours[:, part] = torch.bmm(slope, theirs)
        if for_theirs is not None:
            for_theirs.baddbmm_(slope.transpose(1, 2), ours[:, part])
    return for_ours, for_theirs


def _distances(ours: Tensor, theirs: Tensor) -> Tensor:
    """(1 - cos) / 2 of all pairs, (n, rows, q)."""
    # Rounding takes a cosine beyond 1; a negative distance could cancel eps.
    return torch.bmm(ours, theirs.transpose(1, 2)).mul_(-0.5).add_(0.5).clamp_(min=0)


def _parts(count: int, rows: int) -> Iterator[slice]:
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))
