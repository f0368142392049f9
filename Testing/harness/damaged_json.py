"""JSON that is wrong in one way each, to try whatever reads JSON with."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

NOT_AN_OBJECT = ("", "{", "[]", "3", "null", '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": -Infinity}', "[" * 100_000)
WRONG = (None, True, -7, 0.5, 1e999, 10**400, "x", "\ud800\n", [], [[1]], {}, {"x": {"y": 1}})


def paths(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every entry of a tree."""
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from paths(tree[key], (*path, key))


def damaged(tree: dict[str, Any], most: int = 1000) -> Iterator[str]:
    """Texts that are no object, and the tree with one entry missing, unknown or replaced: ``most`` of them, seeded."""
    yield from NOT_AN_OBJECT
    cases = [(path, value) for path in paths(tree) for value in (*WRONG, KeyError)]
    for path, value in random.Random(0).sample(cases, min(most, len(cases))):
        changed = node = copy.deepcopy(tree)
        for key in path[:-1]:
            node = node[key]
        if value is not KeyError:
            node[path[-1]] = value
        elif isinstance(node, dict):
            node["not known"] = node.pop(path[-1])
        else:
            del node[path[-1]]
        yield json.dumps(changed)


def outcomes(read: Callable[[str], T], tree: dict[str, Any], refused: type[Exception], most: int = 1000) -> list[T]:
    """What ``read`` makes of the :func:`damaged` texts that it takes; any error but ``refused`` goes on."""
    found = []
    for text in damaged(tree, most):
        with contextlib.suppress(refused):
            found.append(read(text))
    return found
