"""Branching trees that fill the lungs: arteries with their bronchi, and veins.

Branches are rows of an array (n, 8): start (z, y, x), end (z, y, x) and the radius at either, all in mm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .shapes import Floats, Grid, Point

Branches = NDArray[np.float64]

MURRAY = 1 / 2.7
"""A branch's radius grows with its number of twigs to this power (Murray's law)."""
CHUNK = 1 << 19
"""Voxels of branches' boxes painted at a time: some tens of MB."""
FAINT = 0.03
"""Share of a voxel below which a fine branch is left out."""


def grow_tree(root: Point, targets: NDArray[np.float64], twig: float, generator: np.random.Generator) -> Branches:
    """A tree from ``root`` to every target (n, 3; z, y, x mm), by halving the cloud of targets again and again.

    Args:
        root: where the trunk starts.
        targets: where the twigs end.
        twig: radius (mm) of the last branches.
        generator: source of the branches' bends.
    """
    branches: list[Branches] = []
    cloud = targets
    starts = np.array([0])
    origins = np.array([root], dtype=float)
    while len(cloud):
        counts = np.diff(np.append(starts, len(cloud)))
        radius = twig * counts**MURRAY
        lone = counts == 1
        if lone.any():
            ends = cloud[starts[lone]]
            branches.append(np.column_stack([origins[lone], ends, radius[lone], 0.6 * radius[lone]]))
            kept = np.repeat(~lone, counts)
            cloud, origins, radius, counts = cloud[kept], origins[~lone], radius[~lone], counts[~lone]
            starts = np.cumsum(counts) - counts
            if not len(cloud):
                break
        centroids = np.add.reduceat(cloud, starts) / counts[:, None]
        toward = centroids - origins
        length = np.linalg.norm(toward, axis=1, keepdims=True)
        share = generator.uniform(0.28, 0.5, length.shape)
        nodes = origins + toward * share + 0.05 * length * generator.standard_normal(toward.shape)
        bends = (origins + nodes) / 2 + (0.07 * share * length + 0.2) * generator.standard_normal(toward.shape)
        branches.append(np.column_stack([origins, bends, radius, 0.95 * radius]))
        branches.append(np.column_stack([bends, nodes, 0.95 * radius, 0.9 * radius]))
        # Halve every group across its longest axis, not quite in the middle.
        group = np.repeat(np.arange(len(counts)), counts)
        apart = cloud - centroids[group]
        spread = np.add.reduceat(apart[:, :, None] * apart[:, None, :], starts)
        axis = np.linalg.eigh(spread)[1][:, :, 2]
        along = (apart * axis[group]).sum(axis=1)
        cloud = cloud[np.lexsort((along, group))]
        cut = np.clip(np.rint(counts * generator.uniform(0.28, 0.72, len(counts))).astype(int), 1, counts - 1)
        starts = np.column_stack([starts, starts + cut]).ravel()
        origins = np.repeat(nodes, 2, axis=0)
    return np.concatenate(branches)


def beside(branches: Branches, offset: Point, part: float, least: float) -> Branches:
    """Airways that accompany arteries: the same branches, moved aside, ``part`` as wide, none finer than ``least``."""
    moved = branches[part * branches[:, 7] >= least].copy()
    moved[:, :3] += 1.9 * moved[:, 6:7] * offset
    moved[:, 3:6] += 1.9 * moved[:, 7:8] * offset
    moved[:, 6:] *= part
    return moved


def paint_branches(shares: Floats, grid: Grid, branches: Branches, value: float, ground: float = 0.0) -> None:
    """Paint branches into a field of shares, in place.

    A branch raises the field from ``ground`` to ``value``, or lowers it where ``value`` is below ``ground``; one finer
    than a voxel keeps the area of its cross-section.
    """
    spacing = np.array(grid.spacing)
    way = branches[:, 3:6] - branches[:, :3]
    length = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
    # The voxel's reach across the branch: its spread in the plane the branch is normal to.
    blur = np.sqrt(((1 - (way / length) ** 2) * spacing**2).sum(axis=1) / 2)
    radius = branches[:, 6:].mean(axis=1)
    wide = np.hypot(radius, 0.36 * blur)
    weight = (radius / wide) ** 2
    reach = branches[:, 6:].max(axis=1) * wide / radius + 0.5 * blur
    first = np.array([float(axis[0]) for axis in grid.axes])
    low = np.minimum(branches[:, :3], branches[:, 3:6]) - reach[:, None]
    high = np.maximum(branches[:, :3], branches[:, 3:6]) + reach[:, None]
    start = np.maximum(np.ceil((low - first) / spacing).astype(int), 0)
    stop = np.minimum(np.floor((high - first) / spacing).astype(int) + 1, grid.shape)
    sizes = np.maximum(stop - start, 0)
    volumes = sizes.prod(axis=1)
    chosen = np.flatnonzero((volumes > 0) & (weight > FAINT))
    if not len(chosen):
        return
    extra = np.column_stack([wide / radius, np.maximum(blur, 0.3), weight])
    parts = np.cumsum(volumes[chosen]) // CHUNK
    flat = shares.reshape(-1)
    for number in range(int(parts[-1]) + 1):
        own = chosen[parts == number]
        if len(own):
            _paint_chunk(flat, grid, branches[own], extra[own], start[own], sizes[own], (value, ground))


def _paint_chunk(
    flat: Floats,
    grid: Grid,
    branches: Branches,
    extra: NDArray[np.float64],
    start: NDArray[np.int64],
    sizes: NDArray[np.int64],
    tones: tuple[float, float],
) -> None:
    """Paint the boxes of some branches, all voxels of all boxes in one vector."""
    volumes = sizes.prod(axis=1)
    owner = np.repeat(np.arange(len(volumes)), volumes)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(volumes) - volumes, volumes)
    plane, inside = np.divmod(inside, (sizes[:, 1] * sizes[:, 2])[owner])
    row, column = np.divmod(inside, sizes[:, 2][owner])
    place = [part + start[:, axis][owner] for axis, part in enumerate((plane, row, column))]
    index = (place[0] * grid.shape[1] + place[1]) * grid.shape[2] + place[2]
    lines = branches.astype(np.float32)
    way = lines[:, 3:6] - lines[:, :3]
    square = np.maximum((way**2).sum(axis=1), np.float32(1e-6))
    offset = [grid.axes[axis][place[axis]] - lines[:, axis][owner] for axis in range(3)]
    along = sum(o * way[:, axis][owner] for axis, o in enumerate(offset))
    part = np.clip(along / square[owner], 0, 1)
    apart = sum(o * o for o in offset) + part * (part * square[owner] - 2 * along)
    widen, blur, weight = extra.astype(np.float32).T
    radius = ((1 - part) * lines[:, 6][owner] + part * lines[:, 7][owner]) * widen[owner]
    share = np.clip(0.5 - (np.sqrt(np.maximum(apart, 0)) - radius) / blur[owner], 0, 1) * weight[owner]
    value, ground = tones
    tone = np.float32(ground) + np.float32(value - ground) * share
    (np.maximum if value > ground else np.minimum).at(flat, index, tone)
