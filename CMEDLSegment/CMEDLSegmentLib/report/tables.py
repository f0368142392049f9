"""The figures as CSV and JSON, in full precision; what has no finite value stays ``nan`` or ``inf`` in CSV.

Each table also says by which definitions and at which tolerance its figures were measured. Slices and voxel
coordinates count from 0, along the axes of the stored image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..agreement.cohort_agreement import CohortAgreement
from ..agreement.raters import Agreement, RaterRow
from ..base.text import csv_table
from ..metrics.lesions import Lesion
from ..metrics.measures import MEASURES, PairMeasures

DEFINITIONS = "surface distances weighted by area per surface element; HD95 the larger directed (surface-distance)"
"""The choices that tell these measures from others of the same names; the JSON and the report define each."""

_FIRST = ("dsc", "surface_dice", "hd95_mm", "assd_mm")
_FURTHER = tuple(name for name in MEASURES if name not in _FIRST)
_OF_SPREAD = ("mean", "std", "cv", "n", "excluded")
_MODEL_SLICE = ("dsc", "hd_mm", "added_path_length_mm", "disagreement_mm2")
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


def pairs_table(agreement: Agreement) -> Table:
    """One row for each unordered pair of raters and model; ``a`` is the reference of directional measures."""
    columns = ("a", "b", *_FIRST, "volume_a_cc", "volume_b_cc", *_FURTHER, "empty", "tolerance_mm", "definitions")
    rows = tuple({"a": pair.a, "b": pair.b, **_measured(pair.measures)} for pair in agreement.pairs)
    return Table(columns, rows)


def _measured(measures: PairMeasures) -> dict[str, Any]:
    return {
        **measures.values,
        "volume_a_cc": measures.volume_a_cc,
        "volume_b_cc": measures.volume_b_cc,
        "empty": measures.empty,
        "tolerance_mm": measures.tolerance_mm,
        "definitions": DEFINITIONS,
    }


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
        rows.append({**_rater(row, agreement.tolerance_mm), "volume_cc": row.volume_cc, **against})
    columns = (f"{method}_{measure}" for method in agreement.consensus for measure in MEASURES)
    return Table(("name", "volume_cc", *_spread_columns(), *columns, "tolerance_mm", "definitions"), tuple(rows))


def people_table(cohort: CohortAgreement) -> Table:
    """A row for each person over the cohort; only the model's where the raters are not the same people."""
    rows = tuple(_rater(row, cohort.tolerance_mm) for row in cohort.rows)
    return Table(("name", *_spread_columns(), "tolerance_mm", "definitions"), rows)


def _rater(row: RaterRow, tolerance_mm: float) -> dict[str, Any]:
    return {
        "name": row.name,
        **{f"{name}_{part}": getattr(row.values[name], part) for name in MEASURES for part in _OF_SPREAD},
        "tolerance_mm": tolerance_mm,
        "definitions": DEFINITIONS,
    }


def _spread_columns() -> Iterator[str]:
    return (f"{name}_{part}" for name in MEASURES for part in _OF_SPREAD)


def cases_table(cohort: CohortAgreement) -> Table:
    """A row for each case: the spread among its raters, the model over them, and whether it is in their range."""
    rows = []
    for case in cohort.cases:
        row: dict[str, Any] = {"case": case.case, "n_raters": case.n_raters}
        row |= {f"volume_{part}_cc": getattr(case.volume, part) for part in ("mean", "std")}
        row["volume_cv"] = case.volume.cv
        for name in MEASURES:
            for who, spreads in (("raters", case.raters), ("candidate", case.model)):
                row |= {f"{who}_{name}_{part}": getattr(spreads[name], part) for part in _OF_SPREAD} if spreads else {}
            inside = case.within.get(name)
            row |= {} if inside is None else {f"within_{name}": int(inside)}
        rows.append({**row, "tolerance_mm": cohort.tolerance_mm, "definitions": DEFINITIONS})
    figures = [f"{who}_{name}_{part}" for name in MEASURES for who in ("raters", "candidate") for part in _OF_SPREAD]
    within = [f"within_{name}" for name in MEASURES]
    volumes = ("volume_mean_cc", "volume_std_cc", "volume_cv")
    columns = ("case", "n_raters", *volumes, *figures, *within, "tolerance_mm", "definitions")
    return Table(columns, tuple(rows))


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
    counts = ("voxels_any_rater", "voxels_all_raters", "disagreement_cc", "disagreement_with_candidate_cc")
    model = (f"candidate_{name}" for name in of_model)
    columns = ("slice", "rank", "dsc_mean", "dsc_min", "worst_a", "worst_b", *counts, *areas.values(), *model)
    return Table(columns, tuple(rows))


def tumors_table(agreement: Agreement) -> Table:
    """Everybody's tumors against those of the majority of the other raters: matched, missed and extra ones."""
    rows: list[dict[str, Any]] = []
    for name, match in agreement.tumors.items():
        stated = {"name": name, "tolerance_mm": agreement.tolerance_mm, "definitions": DEFINITIONS}
        for pair in match.pairs:
            tumors = {**_tumor(pair.a, "reference_"), **_tumor(pair.b)}
            rows.append({**stated, "outcome": "matched", **tumors, **pair.measures.values})
        rows += [{**stated, "outcome": "missed", **_tumor(lesion, "reference_")} for lesion in match.missed]
        rows += [{**stated, "outcome": "extra", **_tumor(lesion)} for lesion in match.extra]
    parts = ("volume_cc", "first_slice", "last_slice", "centroid_z", "centroid_y", "centroid_x")
    columns = ("name", "outcome", *(f"reference_{part}" for part in parts), *parts, *MEASURES)
    return Table((*columns, "tolerance_mm", "definitions"), tuple(rows))


def _tumor(tumor: Lesion, prefix: str = "") -> dict[str, Any]:
    centroid = zip(("centroid_z", "centroid_y", "centroid_x"), tumor.centroid, strict=True)
    parts = {
        "volume_cc": tumor.volume_cc,
        "first_slice": tumor.slices[0],
        "last_slice": tumor.slices[1],
        **dict(centroid),
    }
    return {f"{prefix}{part}": value for part, value in parts.items()}


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
