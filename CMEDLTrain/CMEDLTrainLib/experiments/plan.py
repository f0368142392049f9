"""What an experiment is: a small JSON file, and the cells (fold x row x seed) that it asks for.

    {"title": "...", "about": "...",
     "cohort": {"kind": "phantom", ...},            see ``cohorts``; "folds" may be the name of a file beside
     "preset": "tiny", "settings": {"network.arguments.width": 8},
     "rows": {"ct-only": {}, "cmedl": {}, "hint-low": {"method": "cmedl", "settings": {"distillation.hints": "low"}}},
     "reference": "cmedl", "seeds": [0, 1, 2], "tolerance_mm": 2.0, "contiguous": true, "note": "narrow networks",
     "measures": ["synthesis"], "regions": "../sts-regions.json", "only_folds": [1]}

A row is a line of the results: a method, by default the one that it is named after, with settings of its own; it is
compared with the experiment's reference, or with the row that it names as its own ``"reference"``. Settings are those
of ``cmedl-train run --set``, the experiment's may be the name of a file beside with such; ``$CMEDL_DATA`` at the
beginning of one is the folder of the data. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import named, read, read_object

from ..settings.configuration import METHODS, PRESETS, Configuration, with_settings

REPOSITORY = Path(__file__).resolve().parents[3]
FILE = "experiment.json"
VARIABLE = "CMEDL_DATA"
DATA = f"${VARIABLE}"
"""What stands in settings and results for the folder of the data, which is another one on each machine."""
SYNTHESIS = "synthesis"
"""The measure that an experiment may ask for beside those of the segmentation: how good translated images are."""
LOOKS_FILE, SYNTHESIS_FILE = "looks.json", "synthesis.json"
"""Of a scored run: what its test patients look like, and how good its translated images are."""


@dataclass(frozen=True)
class ExperimentRun:
    """One training run of an experiment: its fold (from 1), its row and its seed."""

    fold: int
    row: str
    seed: int

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"fold{self.fold}-{self.row}-seed{self.seed}"


@dataclass(frozen=True)
class ExperimentRow:
    """A line of the results.

    Attributes:
        method: the row's name where the file has none.
        settings: what it is run with beyond the experiment's settings.
        reference: the row that it is compared with; the experiment's where the file has none.
    """

    method: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    reference: str = ""


@dataclass(frozen=True, kw_only=True)
class ExperimentEntries:
    """What the file of an experiment says, with what it names beside itself in its place.

    Attributes:
        title, about, note: for the reader; the note stands with every row (such as "narrow networks").
        cohort: how the cohort is made.
        preset, settings: of all runs.
        rows: by name.
        reference: the row that the others are compared with, unless they name another one.
        seeds: of the runs.
        tolerance_mm: of the surface DSC.
        contiguous: whether the volumes have all their slices; without, there are no surfaces to measure.
        measures: what is measured beside the segmentation: nothing, or :data:`SYNTHESIS`.
        regions: the cases by the part of the body that they show.
        only_folds: those that are run (from 1), where a question does not need all of them; empty for all.
    """

    title: str
    cohort: dict[str, Any]
    rows: dict[str, ExperimentRow]
    reference: str
    about: str = ""
    note: str = ""
    preset: str = "fast"
    settings: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    tolerance_mm: float = 2.0
    contiguous: bool = True
    measures: tuple[str, ...] = ()
    regions: dict[str, list[str]] = field(default_factory=dict)
    only_folds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Experiment(ExperimentEntries):
    """An experiment; the file lies in ``folder``, and the results go there."""

    folder: Path

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.folder.name

    @property
    def region_of(self) -> dict[str, str]:
        """The part of the body by case, as far as the file tells it."""
        return {case: region for region, cases in self.regions.items() for case in cases}

    @property
    def folds(self) -> int:
        """How many folds there are; a cohort without folds is one."""
        return len(self.cohort.get("folds", ())) or 1

    @property
    def cells(self) -> tuple[ExperimentRun, ...]:
        """All cells; the rows of one fold and seed follow each other, so that unfinished results compare."""
        folds = self.only_folds or range(1, self.folds + 1)
        return tuple(ExperimentRun(fold, row, seed) for seed in self.seeds for fold in folds for row in self.rows)

    @property
    def cohort_id(self) -> str:
        """Stands for the cohort as it is described: another description is another cohort."""
        return _digest(self.cohort)

    def run_name(self, cell: ExperimentRun) -> str:
        """The name of a cell's run folder: the same in every experiment that asks for the same training."""
        asked = _digest([self.cohort, self.preset, self.settings_of(cell.row)])
        return f"fold{cell.fold}-{self.rows[cell.row].method}-seed{cell.seed}-{asked}"

    def settings_of(self, row: str) -> dict[str, Any]:
        """The settings that a row is run with, as the file has them."""
        return {**self.settings, **self.rows[row].settings}

    def configuration(self, cell: ExperimentRun, cohort: Path, device: str) -> Configuration:
        """The settings of a cell's run.

        Raises:
            InputError: a setting that there is not, or data that is not there.
        """
        method, table = self.rows[cell.row].method, str(cohort.resolve())
        base = replace(PRESETS[self.preset], method=method, seed=cell.seed, cohort=table, device=device)
        settings = self.settings_of(cell.row).items()
        return with_settings(base, [f"{key}={json.dumps(expanded(value))}" for key, value in settings])

    def files_of(self, cell: ExperimentRun) -> tuple[str, ...]:
        """The settings of a cell's run that name a file of the data folder, which lies elsewhere on each machine."""
        settings = self.settings_of(cell.row)
        return tuple(name for name in ("features", "initial") if str(settings.get(name, "")).startswith(DATA))


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]


def read_experiment(name: str) -> Experiment:
    """The experiment of a name, of a folder with an ``experiment.json``, or of such a file.

    Raises:
        InputError: it is not there, or the file does not describe one.
    """
    path, tree = experiment_file(name)
    for group, key in ((tree, "settings"), (tree.get("cohort"), "folds"), (tree, "regions")):
        if isinstance(group, dict) and isinstance(group.get(key), str):
            beside = path.parent / group[key]
            try:
                group[key] = json.loads(beside.read_text("utf-8"))  # an object or a list
            except (OSError, ValueError) as error:
                raise InputError(f"The file {beside} cannot be read ({error}); restore it.") from error
    with named(f"In the experiment {path}, the entry"):
        stated = read(ExperimentEntries, tree)
    rows = {
        name: ExperimentRow(row.method or name, row.settings, row.reference or stated.reference)
        for name, row in stated.rows.items()
    }
    experiment = Experiment(**{**vars(stated), "rows": rows}, folder=path.parent)
    _check(experiment, path)
    return experiment


def experiment_file(name: str) -> tuple[Path, dict[str, Any]]:
    """The file of an experiment, by its name, its folder or itself, and what it holds.

    Raises:
        InputError: it is not there, or is no JSON object.
    """
    known = REPOSITORY / "Testing" / "experiments"
    path = next((path for path in (Path(name), Path(name) / FILE, known / name / FILE) if path.is_file()), None)
    if path is None:
        names = ", ".join(sorted(path.parent.name for path in known.glob(f"*/{FILE}")))
        raise InputError(f"There is no experiment '{name}'; give a file, or one of: {names or 'none'}.")
    path = path.resolve()
    return path, read_object(path, "give a JSON object; see Testing/experiments for examples")


def _check(experiment: Experiment, path: Path) -> None:
    unknown = [row.method for row in experiment.rows.values() if row.method not in METHODS]
    if unknown:
        raise InputError(f"The experiment {path} has the method '{unknown[0]}'; there are: {', '.join(METHODS)}.")
    for reference in (experiment.reference, *(row.reference for row in experiment.rows.values())):
        if reference not in experiment.rows:
            raise InputError(f"The experiment {path} compares with '{reference}', which is none of its rows.")
    if not set(experiment.measures) <= {SYNTHESIS}:
        raise InputError(f"The experiment {path} measures '{experiment.measures[0]}'; there is: {SYNTHESIS}.")
    absent = set(experiment.only_folds) - set(range(1, experiment.folds + 1))
    if absent:
        raise InputError(f"The experiment {path} asks for fold {min(absent)}; there are folds 1 to {experiment.folds}.")
    preset = experiment.preset
    if preset not in PRESETS:
        raise InputError(f"The experiment {path} has the preset '{preset}'; there are: {', '.join(PRESETS)}.")


def data_folder() -> Path:
    """The folder of the data: ``$CMEDL_DATA``, or ``shared/data`` beside the checkout.

    Raises:
        InputError: it is not there.
    """
    folder = Path(os.environ.get(VARIABLE) or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        raise InputError(f"The data folder {folder} is not there; name it with the environment variable {VARIABLE}.")
    return folder.resolve()


def expanded(value: Any) -> Any:
    """An entry of an experiment's file with this machine's folder in place of :data:`DATA`."""
    if isinstance(value, str) and value.startswith(DATA):
        return str(data_folder() / value.removeprefix(DATA).lstrip("/"))
    return value
