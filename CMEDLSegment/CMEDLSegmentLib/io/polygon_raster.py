"""Polygons on a grid of pixels: which pixel centers they enclose, to 0.001 of a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ON_EDGE = 1e-3
"""Pixels: a center nearer than this to a polygon's edge lies on it."""


def winding_numbers(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How often a closed polygon goes round each pixel center, signed; odd is inside by the even-odd rule.

    Along each row the crossings to the left of a center are summed. Each edge holds its upper end only, so that a
    corner on a row counts once; a center on an edge falls to either side, see :func:`pixels_on_edge`.

    Args:
        polygon: (n, 2) row and column of the corners; pixel centers have whole numbers. The last joins the first.
        shape: rows and columns.

    Returns:
        (rows, columns) int32.
    """
    start, stop = polygon, np.roll(polygon, -1, axis=0)
    low, high = np.minimum(start[:, 0], stop[:, 0]), np.maximum(start[:, 0], stop[:, 0])
    first = np.clip(np.ceil(low), 0, shape[0]).astype(np.intp)
    beyond = np.clip(np.ceil(high), 0, shape[0]).astype(np.intp)
    edge, row = _steps(first, beyond)
    slope = (stop[edge, 1] - start[edge, 1]) / (stop[edge, 0] - start[edge, 0])
    column = np.ceil(start[edge, 1] + (row - start[edge, 0]) * slope)
    column = np.clip(column, 0, shape[1]).astype(np.intp)
    sign = np.where(stop[edge, 0] > start[edge, 0], 1.0, -1.0)
    places = row * (shape[1] + 1) + column
    crossed = np.bincount(places, weights=sign, minlength=shape[0] * (shape[1] + 1))
    return np.cumsum(crossed.reshape(shape[0], -1)[:, :-1], axis=1, dtype=float).astype(np.int32)


def pixels_on_edge(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixel centers (rows, columns) bool that lie on an edge of a closed polygon, to :data:`ON_EDGE`."""
    marked = np.zeros(shape, dtype=bool)
    corners = np.rint(polygon).astype(np.intp)
    hit = (np.abs(polygon - corners) <= ON_EDGE).all(axis=1) & ((corners >= 0) & (corners < shape)).all(axis=1)
    marked[tuple(corners[hit].T)] = True
    for along in (0, 1):
        # Steep edges are followed from row to row, flat ones from column to column.
        start = polygon[:, [along, 1 - along]]
        step = np.roll(start, -1, axis=0) - start
        kept = (np.abs(step[:, 0]) >= np.abs(step[:, 1])) & (step[:, 0] != 0)
        start, step = start[kept], step[kept]
        ends = np.sort(np.stack([start[:, 0], start[:, 0] + step[:, 0]]), axis=0)
        first = np.clip(np.ceil(ends[0] - ON_EDGE), 0, shape[along]).astype(np.intp)
        beyond = np.clip(np.floor(ends[1] + ON_EDGE) + 1, 0, shape[along]).astype(np.intp)
        edge, line = _steps(first, beyond)
        across = start[edge, 1] + (line - start[edge, 0]) * step[edge, 1] / step[edge, 0]
        nearest = np.rint(across).astype(np.intp)
        hit = (np.abs(across - nearest) <= ON_EDGE) & (nearest >= 0) & (nearest < shape[1 - along])
        lines, places = line[hit], nearest[hit]
        marked[(lines, places) if along == 0 else (places, lines)] = True
    return marked


def _steps(first: np.ndarray, beyond: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For ranges ``first`` to ``beyond`` (n,): each range's number, and each whole number in it."""
    counts = np.maximum(beyond - first, 0)
    edge = np.repeat(np.arange(len(first)), counts)
    place = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    return edge, first[edge] + place


def same_polygon(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    """Whether two closed polygons are one, wherever they begin, whichever way round and however dense their points."""
    if np.abs(a.min(axis=0) - b.min(axis=0)).max() > tolerance:
        return False
    if np.abs(a.max(axis=0) - b.max(axis=0)).max() > tolerance:
        return False
    return _far(a, b) <= tolerance and _far(b, a) <= tolerance


def _far(points: np.ndarray, polygon: np.ndarray) -> float:
    """Greatest distance of ``points`` (n, 2) from the edges of ``polygon`` (m, 2)."""
    step = np.roll(polygon, -1, axis=0) - polygon
    length = np.maximum((step**2).sum(axis=1), 1e-30)
    greatest = 0.0
    for some in np.array_split(points, max(1, len(points) * len(polygon) // 1_000_000)):
        offset = some[:, None] - polygon
        share = np.clip((offset * step).sum(axis=2) / length, 0.0, 1.0)
        away = offset - share[..., None] * step
        greatest = max(greatest, float(np.sqrt((away**2).sum(axis=2).min(axis=1)).max()))
    return greatest


def combine_polygons(
    polygons: Sequence[np.ndarray], turns: Sequence[np.ndarray], shape: tuple[int, int]
) -> tuple[np.ndarray, int, bool]:
    """What closed polygons of one plane mark together; a center on an edge is inside.

    A polygon within another is a hole in it, one within the hole an island, and so on. Polygons that overlap in part
    are both inside: nobody means a hole by that.

    Args:
        polygons: each (n, 2).
        turns: the :func:`winding_numbers` of each.
        shape: rows and columns.

    Returns:
        The mask (rows, columns) bool, how many polygons lie within others, and whether any overlap in part.
    """
    order = sorted(range(len(polygons)), key=lambda k: -np.count_nonzero(turns[k] % 2))
    insides = [turns[k] % 2 == 1 for k in order]
    marked = np.zeros(shape, dtype=bool)
    nested, overlapping = 0, False
    for place, (k, inside) in enumerate(zip(order, insides, strict=True)):
        size, depth = np.count_nonzero(inside), 0
        for other in insides[:place]:
            common = np.count_nonzero(inside & other)
            depth += bool(size) and common == size
            overlapping |= bool(0 < common < size)
        nested += depth > 0
        if depth % 2:
            marked &= ~inside | pixels_on_edge(polygons[k], shape)
        else:
            marked |= inside | pixels_on_edge(polygons[k], shape)
    return marked, nested, overlapping


def fill_exclusive(polygons: Sequence[np.ndarray], turns: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """What closed polygons of one plane mark by exclusive disjunction (CLOSEDPLANAR_XOR, PS3.3 C.8.8.6).

    Args, returns: as :func:`combine_polygons`, the mask alone.
    """
    marked = np.zeros(shape, dtype=bool)
    for turn in turns:
        marked ^= turn % 2 == 1
    for polygon in polygons:
        marked |= pixels_on_edge(polygon, shape)
    return marked
