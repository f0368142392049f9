"""Figures of cases made by hand, for the tests of evaluations and experiments."""

from dataclasses import replace

from CMEDLTrainLib.evaluation.evaluation_file import Evaluation
from CMEDLTrainLib.evaluation.roc import Roc
from CMEDLTrainLib.evaluation.scoring import MEASURES, CaseFigures, PatientFigures


def case_figures(case: str, missed: bool = False, curve: tuple[float, ...] = (), **values: float | None) -> CaseFigures:
    """A case with one structure, whose measures that are not named have no value."""
    labels = {"Tumor": {**dict.fromkeys(MEASURES), **values}}
    return CaseFigures(case, labels, ("Tumor",) if missed else (), 3, 2, sensitivities=curve)


def evaluation(*cases: CaseFigures, **changes) -> Evaluation:
    """An evaluation of these cases, each of a patient of its own."""
    whole = Evaluation(
        student="s",
        weights_sha256="0",
        threshold=0.5,
        tolerance_mm=2.0,
        device="cpu",
        runtime="torch fp32",
        batch=1,
        milliseconds_per_slice=3.0,
        labels=("Tumor",),
        cases=cases,
        patients=tuple(PatientFigures.of([case]) for case in cases),
        roc={"": Roc(0.75, ((0.0, 0.0), (0.5, 1.0), (1.0, 1.0)))},
    )
    return replace(whole, **changes)
