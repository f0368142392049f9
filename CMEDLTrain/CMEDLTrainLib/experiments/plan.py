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
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError

from ..settings.configuration import METHODS, PRESETS, Configuration, with_settings

REPOSITORY = Path(__file__).resolve().parents[3]
FILE = "experiment.json"
VARIABLE = "CMEDL_DATA"
DATA = f"${VARIABLE}"
"""What stands in settings and results for the folder of the data, which is another one on each machine."""
DEFAULTS: dict[str, Any] = {
    "about": "",
    "note": "",
    "preset": "fast",
    "settings": {},
    "seeds": [0],
    "tolerance_mm": 2.0,
    "contiguous": True,
    "measures": [],
    "regions": "",
    "only_folds": [],
}
SYNTHESIS = "synthesis"
"""The measure that an experiment may ask for beside those of the segmentation: how good translated images are."""
NEEDED = ("title", "cohort", "rows", "reference")
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
    """A line of the results: a method, what it is run with beyond the experiment's settings, and the row it is compared
    with."""

    method: str
    settings: Mapping[str, Any]
    reference: str


@dataclass(frozen=True)
class Experiment:
    """An experiment as its file says.

    Attributes:
        name: its folder's name.
        folder: where the file lies and the results go.
        title, about, note: for the reader; the note stands with every row (such as "narrow networks").
        cohort: how the cohort is made.
        preset, settings: of all runs.
        rows: by name.
        reference: the row that the others are compared with, unless they name another one.
        seeds: of the runs.
        tolerance_mm: of the surface Dice.
        contiguous: whether the volumes have all their slices; without, there are no surfaces to measure.
        measures: what is measured beside the segmentation: nothing, or :data:`SYNTHESIS`.
        regions: the part of the body by case, where the file names another that tells it: ``{region: [case, ...]}``.
        only_folds: those that are run (from 1), where a question does not need all of them; empty for all.
    """

    name: str
    folder: Path
    title: str
    about: str
    note: str
    cohort: Mapping[str, Any]
    preset: str
    settings: Mapping[str, Any]
    rows: Mapping[str, ExperimentRow]
    reference: str
    seeds: tuple[int, ...]
    tolerance_mm: float
    contiguous: bool
    measures: tuple[str, ...]
    regions: Mapping[str, str]
    only_folds: tuple[int, ...]

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
        row = self.rows[cell.row]
        asked = _digest([self.cohort, self.preset, {**self.settings, **row.settings}])
        return f"fold{cell.fold}-{row.method}-seed{cell.seed}-{asked}"

    def configuration(self, cell: ExperimentRun, cohort: Path, device: str) -> Configuration:
        """The settings of a cell's run.

        Raises:
            InputError: a setting that there is not, or data that is not there.
        """
        row = self.rows[cell.row]
        base = replace(
            PRESETS[self.preset], method=row.method, seed=cell.seed, cohort=str(cohort.resolve()), device=device
        )
        settings = {**self.settings, **row.settings}
        return with_settings(base, [f"{key}={json.dumps(expanded(value))}" for key, value in settings.items()])

    def files_of(self, cell: ExperimentRun) -> tuple[str, ...]:
        """The settings of a cell's run that name a file of the data folder, which lies elsewhere on each machine."""
        settings = {**self.settings, **self.rows[cell.row].settings}
        return tuple(name for name in ("features", "initial") if str(settings.get(name, "")).startswith(DATA))


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]


def read_experiment(name: str) -> Experiment:
    """The experiment of a name, of a folder with an ``experiment.json``, or of such a file.

    Raises:
        InputError: it is not there, or the file does not describe one.
    """
    path, tree = experiment_file(name)
    unknown = sorted(set(tree) - set(NEEDED) - set(DEFAULTS))
    missing = [key for key in NEEDED if key not in tree]
    if unknown or missing:
        what = f"an unknown entry '{unknown[0]}'" if unknown else f"no entry '{missing[0]}'"
        raise InputError(f"The experiment {path} has {what}; it has {', '.join((*NEEDED, *DEFAULTS))}.")
    tree = {**DEFAULTS, **tree}
    try:
        tree["cohort"] = {**tree["cohort"]}
        for group, key in ((tree, "settings"), (tree["cohort"], "folds")):
            if isinstance(group.get(key), str):
                group[key] = read_beside(path.parent / group[key])
        rows = {
            key: ExperimentRow(row.get("method", key), row.get("settings", {}), row.get("reference", tree["reference"]))
            for key, row in tree["rows"].items()
        }
        tree |= {"rows": rows, "seeds": tuple(map(int, tree["seeds"])), "tolerance_mm": float(tree["tolerance_mm"])}
        regions = read_beside(path.parent / tree["regions"]) if tree["regions"] else {}
        tree |= {"measures": tuple(tree["measures"]), "only_folds": tuple(map(int, tree["only_folds"]))}
        tree |= {"regions": {case: region for region, cases in regions.items() for case in cases}}
        experiment = Experiment(name=path.parent.name, folder=path.parent, **tree)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"The experiment {path} has an entry of the wrong type ({error}); correct it.") from error
    _check(experiment, path)
    return experiment


def experiment_file(name: str) -> tuple[Path, dict[str, Any]]:
    """The file of an experiment, by its name, its folder or itself, and what it holds.

    Raises:
        InputError: it is not there, or is no JSON object.
    """
    path = _file(name)
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The experiment {path} cannot be read ({error}); give a JSON file.") from error
    if not isinstance(tree, dict):
        raise InputError(f"The experiment {path} is not a JSON object; see Testing/experiments for examples.")
    return path, tree


def read_beside(path: Path) -> Any:
    """Another JSON file of an experiment: an entry that several share, or its results.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The file {path} cannot be read ({error}); restore it.") from error


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
    if experiment.preset not in PRESETS:
        raise InputError(
            f"The experiment {path} has the preset '{experiment.preset}'; there are: {', '.join(PRESETS)}."
        )


def _file(name: str) -> Path:
    known = REPOSITORY / "Testing" / "experiments"
    for path in (Path(name), Path(name) / FILE, known / name / FILE):
        if path.is_file():
            return path.resolve()
    there = sorted(path.parent.name for path in known.glob(f"*/{FILE}"))
    raise InputError(f"There is no experiment '{name}'; give a file, or one of: {', '.join(there) or 'none'}.")


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
