"""Branching trees that fill the lungs: arteries with their bronchi, and veins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .shapes import Cone, Floats, Grid, Point, cover

MURRAY = 1 / 2.7
"""A branch's radius grows with its number of twigs to this power (Murray's law)."""


def grow_tree(root: Point, targets: NDArray[np.float64], twig: float, generator: np.random.Generator) -> list[Cone]:
    """A tree from ``root`` to every target (n, 3; z, y, x mm), by halving the cloud of targets again and again.

    Args:
        root: where the trunk starts.
        targets: where the twigs end.
        twig: radius (mm) of the last branches.
        generator: source of the branches' bends.

    Returns:
        The branches, trunk first, each curved one as two cones.
    """
    cones: list[Cone] = []
    pending = [(np.asarray(root, dtype=float), targets)]
    while pending:
        start, cloud = pending.pop()
        radius = twig * len(cloud) ** MURRAY
        if len(cloud) == 1:
            cones.append(_cone(start, cloud[0], radius, 0.6 * radius))
            continue
        toward = cloud.mean(axis=0) - start
        length = float(np.linalg.norm(toward))
        share = generator.uniform(0.28, 0.5) if len(cloud) > 3 else 0.55
        node = start + toward * share + generator.normal(0, 0.05 * length, 3)
        if radius > 2.2 * twig:
            bend = (start + node) / 2 + generator.normal(0, 0.07 * share * length + 0.2, 3)
            cones.append(_cone(start, bend, radius, 0.96 * radius))
            cones.append(_cone(bend, node, 0.96 * radius, 0.9 * radius))
        else:
            cones.append(_cone(start, node, radius, 0.88 * radius))
        apart = cloud - cloud.mean(axis=0)
        axis = np.linalg.eigh(apart.T @ apart)[1][:, 2]
        along = apart @ axis
        split = np.quantile(along, generator.uniform(0.28, 0.72)) if len(cloud) > 2 else along.mean()
        first = along < split
        if first.all() or not first.any():
            first = np.arange(len(cloud)) < len(cloud) // 2
        pending += [(node, cloud[first]), (node, cloud[~first])]
    return cones


def beside(cones: list[Cone], offset: Point, part: float, least: float) -> list[Cone]:
    """Airways that accompany arteries: the same branches, moved by a share of their width, no finer than ``least``."""
    moved = []
    for cone in cones:
        if part * cone.end_radius < least:
            continue
        a = 1.9 * cone.start_radius
        b = 1.9 * cone.end_radius
        moved.append(
            Cone(
                tuple(c + a * o for c, o in zip(cone.start, offset, strict=True)),
                tuple(c + b * o for c, o in zip(cone.end, offset, strict=True)),
                part * cone.start_radius,
                part * cone.end_radius,
            )
        )
    return moved


def paint_branches(shares: Floats, grid: Grid, cones: list[Cone], value: float) -> None:
    """Blend branches into a field of shares; one finer than a voxel keeps the area of its cross-section."""
    spacing = np.array(grid.spacing)
    for cone in cones:
        direction = np.subtract(cone.end, cone.start)
        direction = direction / max(float(np.linalg.norm(direction)), 1e-6)
        # The voxel's reach across the branch: its spread in the plane the branch is normal to.
        blur = float(np.sqrt(((spacing**2) * (1 - direction**2)).sum() / 2))
        radius = 0.5 * (cone.start_radius + cone.end_radius)
        wide = float(np.hypot(radius, 0.36 * blur))
        shown = Cone(
            cone.start,
            cone.end,
            wide * cone.start_radius / radius,
            wide * cone.end_radius / radius,
        )
        window = grid.window(*shown.bounds(0.5 * blur))
        if window is None:
            continue
        share = cover(shown.distance(*grid.open(window)), max(blur, 0.3))
        share *= np.float32((radius / wide) ** 2)
        view = shares[window]
        view += (np.float32(value) - view) * share


def _cone(start: NDArray[np.float64], end: NDArray[np.float64], first: float, last: float) -> Cone:
    a, b = (tuple(float(v) for v in p) for p in (start, end))
    return Cone(a, b, float(first), float(last))
