"""Which patches make up step k: a function of the seed and k alone, so that a resumed run goes on as it was."""

from __future__ import annotations

import numpy as np

from .store import Store


class Sampler:
    """Batches of patch indices of one split, epoch after epoch.

    ``uniform``: each epoch is a permutation of the patches. ``patient``: patches are drawn with a weight of one over
    the square root of their patient's patches, so that one large tumor does not outweigh many small ones; an epoch is
    as many draws as there are patches.

    Several processes that train together have one sampler each, which draw the same step for all of them and give each
    its part. Where a split holds fewer patches than all of them take in a step, it is gone round more than once.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        role: str,
        batch: int,
        kind: str,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        with_structure: bool = False,
    ) -> None:
        """Sample patches of one split and role.

        Args:
            batch: of each process.
            with_structure: leave out patches without the structure.

        Raises:
            ValueError: the split has no such patch.
        """
        self._indices = store.select(split, role)
        if with_structure:
            self._indices = self._indices[store.patches.records["pixels"][self._indices] > 0]
        if len(self._indices) == 0:
            raise ValueError(f"no {role} patches{' with the structure' * with_structure} in the split {split}")
        patients = store.patient_numbers(self._indices)
        weights = np.bincount(patients)[patients] ** -0.5
        self._weights = weights / weights.sum() if kind == "patient" else None
        self._batch, self._seed, self._rank, self._processes = batch, seed, rank, processes
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self.steps_per_epoch = max(1, len(self._indices) // (batch * processes))

    def __call__(self, step: int) -> np.ndarray:
        """Indices of step ``step``, counted from 0; fewer than a batch only where one process's split holds fewer."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            random = np.random.default_rng([self._seed, epoch])
            count = len(self._indices)
            even = self._weights is None
            drawn: np.ndarray = random.permutation(count) if even else random.choice(count, count, p=self._weights)
            if self._processes > 1:
                drawn = np.resize(drawn, max(count, self._batch * self._processes))
            self._epoch, self._order = epoch, self._indices[drawn]
        start = (position * self._processes + self._rank) * self._batch
        return self._order[start : start + self._batch]
