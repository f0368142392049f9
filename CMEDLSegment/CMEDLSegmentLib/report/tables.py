"""The figures as CSV and JSON, in full precision; what has no finite value stays ``nan`` or ``inf`` in CSV.

Each table also says by which definitions and at which tolerance its figures were measured. Slices and voxel
coordinates count from 0, along the axes of the stored image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..agreement.cohort_agreement import CohortAgreement
from ..agreement.raters import Agreement
from ..base.text import csv_table
from ..metrics.lesions import Lesion
from ..metrics.measures import MEASURES
from ..metrics.statistics import Spread

DEFINITIONS = "surface distances weighted by area per surface element; HD95 the larger directed (surface-distance)"
"""The choices that tell these measures from others of the same names; the JSON and the report define each."""

_FIRST = ("dsc", "surface_dice", "hd95_mm", "assd_mm")
_OF_SPREAD = ("mean", "std", "cv", "n", "excluded")
_SPREADS = tuple(f"{name}_{part}" for name in MEASURES for part in _OF_SPREAD)
_STATED = ("tolerance_mm", "definitions")
_MODEL_SLICE = ("dsc", "hd_mm", "added_path_length_mm", "disagreement_mm2")
_TUMOR = ("volume_cc", "first_slice", "last_slice", "centroid_z", "centroid_y", "centroid_x")
_REVIEW = ("rater", "score", "reason", "comment", "reviewer", "date")


@dataclass(frozen=True)
class Table:
    """Columns and rows; a row lacks the columns that it has no value for."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    def csv(self) -> str:
        """As CSV: every number so that reading gives it back exactly."""
        return csv_table(self.columns, self.rows)


def join_tables(tables: Sequence[tuple[str, Table]]) -> Table:
    """The tables of several cases, each with its case's name, as one with the case in a last column."""
    columns = dict.fromkeys(name for _, table in tables for name in table.columns)
    rows = tuple({**row, "case": case} for case, table in tables for row in table.rows)
    return Table((*columns, "case"), rows)


def _stated(tolerance_mm: float) -> dict[str, Any]:
    return dict(zip(_STATED, (tolerance_mm, DEFINITIONS), strict=True))


def _spreads(of: Mapping[str, Spread], prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}{name}_{part}": getattr(of[name], part) for name in MEASURES for part in _OF_SPREAD}


def pairs_table(agreement: Agreement) -> Table:
    """One row for each unordered pair of raters and model; ``a`` is the reference of directional measures."""
    further = [name for name in MEASURES if name not in _FIRST]
    columns = ("a", "b", *_FIRST, "volume_a_cc", "volume_b_cc", *further, "empty", *_STATED)
    rows = []
    for pair in agreement.pairs:
        measures = vars(pair.measures)
        rows.append({"a": pair.a, "b": pair.b, **measures, **measures["values"], "definitions": DEFINITIONS})
    return Table(columns, tuple({name: row[name] for name in columns} for row in rows))


def raters_table(agreement: Agreement) -> Table:
    """A row for everybody: mean, deviation and variation over the other raters, and against their consensus."""
    rows = []
    for row in agreement.raters:
        against = {
            f"{method}_{measure}": value
            for method, pairs in agreement.consensus.items()
            if row.name in pairs
            for measure, value in pairs[row.name].values.items()
        }
        known = {"name": row.name, "volume_cc": row.volume_cc, **_spreads(row.values), **against}
        rows.append({**known, **_stated(agreement.tolerance_mm)})
    columns = (f"{method}_{measure}" for method in agreement.consensus for measure in MEASURES)
    return Table(("name", "volume_cc", *_SPREADS, *columns, *_STATED), tuple(rows))


def people_table(cohort: CohortAgreement) -> Table:
    """A row for each person over the cohort; only the model's where the raters are not the same people."""
    stated = _stated(cohort.tolerance_mm)
    rows = tuple({"name": row.name, **_spreads(row.values), **stated} for row in cohort.rows)
    return Table(("name", *_SPREADS, *_STATED), rows)


def cases_table(cohort: CohortAgreement) -> Table:
    """A row for each case: the spread among its raters, the model over them, and whether it is in their range."""
    rows = []
    for case in cohort.cases:
        volume = {"volume_mean_cc": case.volume.mean, "volume_std_cc": case.volume.std, "volume_cv": case.volume.cv}
        model = _spreads(case.model, "candidate_") if case.model else {}
        within = {f"within_{name}": int(inside) for name, inside in case.within.items() if inside is not None}
        row = {"case": case.case, "n_raters": case.n_raters, **volume, **_spreads(case.raters, "raters_")}
        rows.append({**row, **model, **within, **_stated(cohort.tolerance_mm)})
    volumes = ("volume_mean_cc", "volume_std_cc", "volume_cv")
    figures = [f"{who}_{name}_{part}" for name in MEASURES for who in ("raters", "candidate") for part in _OF_SPREAD]
    within_columns = [f"within_{name}" for name in MEASURES]
    return Table(("case", "n_raters", *volumes, *figures, *within_columns, *_STATED), tuple(rows))


def slices_table(agreement: Agreement) -> Table:
    """A row for each slice on which anybody marks something; ``rank`` 1 is the one with the most disagreement.

    Columns that begin with ``candidate_`` compare the model with the majority of the raters on that slice.
    """
    rank = {index: place for place, index in enumerate(agreement.worst, start=1)}
    areas = {name: f"area_mm2 {name}" for name in agreement.names}
    of_model = _MODEL_SLICE if agreement.has_model else ()
    rows = [
        {
            "slice": row.index,
            "rank": rank[row.index],
            "dsc_mean": row.dsc_mean,
            "dsc_min": row.dsc_min,
            **dict(zip(("worst_a", "worst_b"), row.worst_pair or (), strict=False)),
            "voxels_any_rater": row.count_any,
            "voxels_all_raters": row.count_all,
            "disagreement_cc": row.disagreement_cc,
            "disagreement_with_candidate_cc": row.with_model_cc,
            **{areas[name]: area for name, area in row.areas_mm2.items()},
            **{f"candidate_{name}": (row.model or {}).get(name, "") for name in of_model},
        }
        for row in agreement.slices
    ]
    columns = ("slice", "rank", "dsc_mean", "dsc_min", "worst_a", "worst_b", "voxels_any_rater", "voxels_all_raters")
    further = ("disagreement_cc", "disagreement_with_candidate_cc", *areas.values())
    return Table((*columns, *further, *(f"candidate_{name}" for name in of_model)), tuple(rows))


def tumors_table(agreement: Agreement) -> Table:
    """Everybody's tumors against those of the majority of the other raters: matched, missed and extra ones."""
    rows: list[dict[str, Any]] = []
    for name, match in agreement.tumors.items():
        for pair in match.pairs:
            tumors = {**_tumor(pair.a, "reference_"), **_tumor(pair.b)}
            rows.append({"name": name, "outcome": "matched", **tumors, **pair.measures.values})
        rows += [{"name": name, "outcome": "missed", **_tumor(lesion, "reference_")} for lesion in match.missed]
        rows += [{"name": name, "outcome": "extra", **_tumor(lesion)} for lesion in match.extra]
    columns = ("name", "outcome", *(f"reference_{part}" for part in _TUMOR), *_TUMOR, *MEASURES, *_STATED)
    return Table(columns, tuple({**row, **_stated(agreement.tolerance_mm)} for row in rows))


def _tumor(tumor: Lesion, prefix: str = "") -> dict[str, Any]:
    values = (tumor.volume_cc, *tumor.slices, *tumor.centroid)
    return {f"{prefix}{part}": value for part, value in zip(_TUMOR, values, strict=True)}


def reviews_table(reviews: Iterable[Mapping[str, Any]]) -> Table:
    """A blinded review: a row for each score, with the rater's revealed name."""
    return Table(_REVIEW, tuple({name: review.get(name, "") for name in _REVIEW} for review in reviews))


def case_tables(agreement: Agreement) -> dict[str, Table]:
    """The tables of one case by file name."""
    return {
        "pairs.csv": pairs_table(agreement),
        "raters.csv": raters_table(agreement),
        "slices.csv": slices_table(agreement),
        "tumors.csv": tumors_table(agreement),
    }


def as_json(agreement: Agreement | CohortAgreement, more: Mapping[str, Any]) -> str:
    """An agreement as the text of a JSON file, with what made it and ``more``."""
    content = {"program": f"CMEDL {__version__}", "surfaces": DEFINITIONS, **more, **agreement.to_json()}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
