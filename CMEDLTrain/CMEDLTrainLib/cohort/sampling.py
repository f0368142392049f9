"""Which patches make up step k: a function of the seed and k alone, so that a resumed run goes on as it was."""

from __future__ import annotations

import numpy as np

from .store import Store


class Sampler:
    """Batches of patch indices of one split, epoch after epoch.

    ``uniform``: each epoch is a permutation of the patches. ``patient``: patches are drawn with a weight of one over
    the square root of their patient's patches, so that one large tumour does not outweigh many small ones; an epoch is
    as many draws as there are patches.
    """

    def __init__(self, store: Store, split: str, role: str, batch: int, kind: str, seed: int) -> None:
        """Raises ValueError when the split has no patch."""
        self._indices = store.select(split, role)
        if len(self._indices) == 0:
            raise ValueError(f"no {role} patches in the split {split}")
        patients, _ = store.patches.patients(self._indices)
        weights = np.bincount(patients)[patients] ** -0.5
        self._weights = weights / weights.sum() if kind == "patient" else None
        self._batch, self._seed = batch, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self.steps_per_epoch = max(1, len(self._indices) // batch)

    def __call__(self, step: int) -> np.ndarray:
        """Indices of step ``step``, counted from 0; fewer than a batch only where the split holds fewer."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            random = np.random.default_rng([self._seed, epoch])
            count = len(self._indices)
            drawn = random.permutation(count) if self._weights is None else random.choice(count, count, p=self._weights)
            self._epoch, self._order = epoch, self._indices[drawn]
        return self._order[position * self._batch : (position + 1) * self._batch]
