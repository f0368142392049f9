"""t-SNE in a process of its own, which tells how far it is and can be ended at any moment.

``python -m CMEDLTrainLib.figures.tsne --json FOLDER ...`` reads ``features.npy`` and writes ``points.npy`` there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.cli.console import Bar, Interrupt, Parser, command_line, emit_json

FEATURES, POINTS = "features.npy", "points.npy"


class Iterations(io.TextIOBase):
    """Takes what scikit-learn prints, of which it tells ``each`` the iteration that is over."""

    def __init__(self, each: Callable[[int], None]) -> None:
        self._each = each

    def write(self, text: str) -> int:
        """Take a piece of a line."""
        if found := re.search(r"Iteration (\d+)", text):
            self._each(int(found[1]))
        return len(text)


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="cmedl-tsne", description=__doc__)
    top.add_argument("folder", type=Path)
    top.add_argument("perplexity", type=float)
    top.add_argument("iterations", type=int)
    top.add_argument("seed", type=int)
    top.add_argument("--json", action="store_true")
    top.set_defaults(command=_lay_out)
    return top


def _lay_out(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from sklearn.manifold import TSNE

    bar = Bar(sys.stderr, quiet=True, cancelled=interrupt)
    features = np.load(options.folder / FEATURES, allow_pickle=False)
    tsne = TSNE(
        perplexity=options.perplexity, max_iter=options.iterations, init="pca", random_state=options.seed, verbose=2
    )
    with contextlib.redirect_stdout(Iterations(lambda done: bar("t-SNE map", done / options.iterations))):
        points = tsne.fit_transform(features)
    np.save(options.folder / POINTS, points.astype(np.float32))
    emit_json({"kl": tsne.kl_divergence_})
    return 0


if __name__ == "__main__":
    sys.exit(command_line("cmedl-tsne", parser, None))
