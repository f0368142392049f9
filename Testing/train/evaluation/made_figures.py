"""Figures of cases made by hand, for the tests of evaluations and experiments."""

from CMEDLTrainLib.evaluation.scoring import MEASURES, CaseFigures


def case_figures(case: str, missed: bool = False, curve: tuple[float, ...] = (), **values: float | None) -> CaseFigures:
    """A case with one structure, whose measures that are not named have no value."""
    labels = {"Tumor": {**dict.fromkeys(MEASURES), **values}}
    return CaseFigures(case, labels, ("Tumor",) if missed else (), 3, 2, sensitivities=curve)
