"""The sections of a case's report, each a function from the agreement to HTML, "" where it has nothing to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..agreement.raters import Agreement
from ..base.text import format_value
from ..io.delineation import MODEL, RatedCase
from ..metrics.lesions import Lesion, LesionMatch
from ..metrics.measures import MEASURES
from ..metrics.statistics import MAIN, Spread
from .charts import box_plot, heat_map, line_sample, range_chart, slice_strip, volume_chart, votes_bar
from .html import embed_png, escape_name, escape_text, figure, paragraph, section, table
from .slice_images import SlicePlane
from .style import LineStyle

CONSENSUS = {"majority": "Majority", "staple": "STAPLE"}
_OF_CONSENSUS = ("dsc", "surface_dice", "hd95_mm", "sensitivity", "precision", "relative_volume_difference")
_OF_LESIONS = ("dsc", "surface_dice", "hd95_mm")


def titles(measures: Iterable[str], tolerance_mm: float) -> list[str]:
    """The measures' titles with their units, the surface DSC with its tolerance."""
    return [MEASURES[measure].title_at(tolerance_mm) for measure in measures]


def rater_row(name: str, cells: Iterable[str]) -> tuple[str, list[str]]:
    """A table's row for a rater or the model, whose name is the first cell."""
    return "candidate" if name == MODEL else "", [escape_name(name), *cells]


def format_ends(measure: str, ends: Iterable[float], signed: bool = False) -> str:
    """Both ends of a range or interval of a measure."""
    return " to ".join(MEASURES[measure].format(end, signed) for end in ends)


def format_cc(volume: float, digits: int = 2) -> str:
    """A volume with its unit."""
    return f"{format_value(volume, 'cc', digits=digits)} cc"


def spread_cell(spread: Spread, unit: str) -> str:
    """Mean and deviation, under it the coefficient of variation and what was left out."""
    deviation = "" if np.isnan(spread.std) else f" ± {format_value(spread.std, unit)}"
    variation = "" if np.isnan(spread.cv) else f"CV {format_value(spread.cv, '')}"
    left_out = f"{spread.excluded} of {spread.excluded + spread.n} left out" if spread.excluded else ""
    small = f"<small>{', '.join(filter(None, (variation, left_out)))}</small>" if variation or left_out else ""
    return f"{format_value(spread.mean, unit)}{deviation}{small}"


def spread_cells(spreads: Mapping[str, Spread]) -> list[str]:
    """A cell for each of the main measures."""
    return [spread_cell(spreads[measure], MEASURES[measure].unit) for measure in MAIN]


def measure_charts(
    chart: Callable[[str], str], tolerance_mm: float, measures: Iterable[str] = MAIN, columns: str = "two"
) -> str:
    """A chart of each measure under its title, ``two`` or ``three`` beside each other."""
    drawn = [figure(chart(measure), heading=MEASURES[measure].title_at(tolerance_mm)) for measure in measures]
    return f'<div class="{columns}">{"".join(drawn)}</div>'


def answer_section(agreement: Agreement, styles: Mapping[str, LineStyle]) -> str:
    """Whether the model is within the raters' range, and how far the raters agree."""
    answer = agreement.range
    if answer is None:
        return f'<p class="answer">{escape_text(_raters_in_words(agreement))}</p>\n'
    rows = []
    for row in (answer.rows[name] for name in MAIN if name in answer.rows):
        measure = MEASURES[row.measure]
        figures = [measure.format(row.model), measure.format(row.raters_mean)]
        figures.append(format_ends(row.measure, sorted((row.worst, row.best))))
        difference = measure.format(row.difference, signed=True), format_ends(row.measure, row.interval, signed=True)
        within = {True: "within", False: "<b>outside</b>", None: "no answer"}[row.within]
        rows.append(("", [escape_text(measure.title_at(agreement.tolerance_mm)), *figures, *difference, within]))
    header = ("Mean to the raters", "Model", "Raters", "Raters' range", "Difference", "95 % interval", "Model is")
    caption = (
        "Discs: each rater's mean to the other raters; band: their range; diamond: the model's mean to the raters "
        f"(in the CSV tables the model is called {MODEL})."
    )
    return (
        f'<p class="answer">{escape_text(answer.sentence)}</p>\n{paragraph(_raters_in_words(agreement))}'
        + figure(
            range_chart(answer, [name for name in MAIN if name in answer.rows], styles) + _key(agreement, styles),
            caption,
        )
        + table(header, rows)
        + paragraph(
            "Within means: the model is no farther from the raters than the rater who is farthest from the others. "
            + answer.method,
            "lesser",
        )
    )


def _raters_in_words(agreement: Agreement) -> str:
    if len(agreement.rater_names) < 2:
        return "One rater only: there is no agreement among raters to tell of."
    mean = agreement.spread["dsc"].mean
    if np.isnan(mean):
        return "No two raters marked anything: there is no agreement to tell of."
    values = agreement.rater_pairs("dsc")
    values = values[np.isfinite(values)]
    return (
        f"The {len(agreement.rater_names)} raters' pairwise DSC is {format_value(mean, '')} on average "
        f"({format_ends('dsc', (values.min(), values.max()))}). All of them marked "
        f"{format_cc(agreement.full_cc)}, any of them {format_cc(agreement.any_cc)}."
    )


def figure_tiles(agreement: Agreement) -> str:
    """The few figures that are looked for first."""
    tiles = []
    if len(agreement.rater_names) > 1:
        dsc, hd95 = agreement.spread["dsc"], agreement.spread["hd95_mm"]
        volumes = [row.volume_cc for row in agreement.raters if row.name != MODEL]
        left_out = f", {hd95.excluded} infinite or none left out" if hd95.excluded else ""
        ends = " to ".join(format_value(end, "cc", digits=1) for end in (min(volumes), max(volumes)))
        share = agreement.full_cc / agreement.any_cc if agreement.any_cc else float("nan")
        tiles = [
            (format_value(dsc.mean, ""), "mean DSC of the raters' pairs"),
            (f"{format_value(hd95.mean, 'mm', digits=1)} mm", f"mean HD95 of the raters' pairs{left_out}"),
            (f"{ends} cc", f"the raters' volumes, CV {format_value(agreement.volume.cv, '')}"),
            ("\N{EN DASH}" if np.isnan(share) else f"{share:.0%}", "of what any rater marked was marked by all"),
        ]
    if agreement.has_model:
        tiles.append((format_cc(agreement.raters[-1].volume_cc, digits=1), "the model's volume"))
    drawn = (f'<div class="tile"><b>{escape_text(b)}</b><span>{escape_text(text)}</span></div>' for b, text in tiles)
    return f'<div class="tiles">{"".join(drawn)}</div>\n'


def notes_section(sentences: Sequence[str]) -> str:
    """What a reader has to know of the input."""
    if not sentences:
        return ""
    items = "".join(f"<li>{escape_text(sentence)}</li>" for sentence in sentences)
    return f'<div class="notes"><h3>Notes</h3><ul>{items}</ul></div>\n'


def people_section(case: RatedCase, styles: Mapping[str, LineStyle]) -> str:
    """Who took part, with the line that stands for them, and what they gave."""
    rows = []
    for each in case.all:
        kind, _ = rater_row(each.name, ())
        name = f'<span class="key"><span>{line_sample(styles[each.name])}{escape_name(each.name, 400)}</span></span>'
        rows.append((kind, [name, "model" if each.name == MODEL else "rater", escape_text(each.source or "-")]))
    return section("Who is compared", table(("Name", "Is", "Came as"), rows, left=3))


def raters_section(agreement: Agreement, styles: Mapping[str, LineStyle]) -> str:
    """Table IV of the paper, everybody's values as boxes, and the volumes."""
    header = ("", *titles(MAIN, agreement.tolerance_mm), "Volume (cc)")
    rows = [
        rater_row(row.name, (*spread_cells(row.values), format_value(row.volume_cc, "cc"))) for row in agreement.raters
    ]
    if len(agreement.rater_names) > 1:
        volume = spread_cell(agreement.volume, "cc")
        rows.append(("sum", ["all pairs of raters", *spread_cells(agreement.spread), volume]))

    def boxes(measure: str) -> str:
        return box_plot(agreement.names, [agreement.values(who, measure) for who in agreement.names], measure, styles)

    volumes = {row.name: row.volume_cc for row in agreement.raters}
    caption = "Mean over the other raters ± standard deviation; CV: coefficient of variation, deviation over mean."
    of_boxes = "Each mark is one pair; boxes from quartile to quartile with the median, whiskers after Tukey."
    return section(
        "Each rater against the others",
        table(header, rows, caption=caption),
        measure_charts(boxes, agreement.tolerance_mm),
        paragraph(of_boxes, "lesser"),
        figure(volume_chart(volumes, styles), "Dashed: the raters' mean.", "Volume (cc)"),
    )


def matrices_section(agreement: Agreement) -> str:
    """Everybody against everybody for the main measures."""
    return section(
        "Everybody against everybody",
        measure_charts(lambda m: heat_map(agreement.names, agreement.matrix(m), m), agreement.tolerance_mm),
        paragraph(
            "The darker, the less they agree. The other measures are at the end, all figures in pairs.csv.", "lesser"
        ),
    )


def further_matrices_section(agreement: Agreement) -> str:
    """The matrices of the other measures, small."""
    further = [measure for measure in MEASURES if measure not in MAIN]
    return section(
        "Further measures",
        measure_charts(
            lambda m: heat_map(agreement.names, agreement.matrix(m), m, 236.0), agreement.tolerance_mm, further, "three"
        ),
        paragraph("Rows are the reference, columns are tested against it. The darker, the less they agree.", "lesser"),
    )


def slices_section(
    case: RatedCase, agreement: Agreement, styles: Mapping[str, LineStyle], pictures: Sequence[tuple[int, bytes]]
) -> str:
    """The agreement slice by slice, and the worst slices as pictures: each one's index and PNG."""
    if not agreement.slices:
        return ""
    plane = SlicePlane.of(case)
    ranks = {z: place for place, (z, _) in enumerate(pictures, start=1)}
    strip = figure(
        slice_strip(agreement.slices, agreement.names, ranks, plane.ends),
        "Above: area that each marked, the darker the more. Middle: mean DSC of all pairs, the line is the least. "
        "Below: volume that some but not all marked. Numbered slices have a picture. Slices count from 0 to "
        f"{case.geometry.size[2] - 1}, as they are stored.",
    )
    counts = np.bincount(agreement.map.ravel(), minlength=len(agreement.rater_names) + 1)[1:]
    bar = figure(
        votes_bar((counts * float(np.prod(agreement.spacing)) / 1000.0).tolist()),
        "Volume by the number of raters who marked it; the last is full agreement. Any disagreement: "
        f"{format_cc(agreement.disagreement_cc)}.",
        "How many raters marked it",
    )
    rows = {row.index: row for row in agreement.slices}
    key = _key(agreement, styles)
    drawn = []
    for place, (z, png) in enumerate(pictures, start=1):
        row = rows[z]
        worst = f" ({' and '.join(map(escape_name, row.worst_pair))})" if row.worst_pair else ""
        nothing = [escape_name(who) for who in agreement.names if not row.areas_mm2[who]]
        missing = f"; nothing marked by {', '.join(nothing)}" if nothing else ""
        position = plane.position(case, z)
        heading = (
            f"<h3>{place}. Slice {z}{f' at {escape_text(position)}' if position else ''}: disagreement "
            f"{row.with_model_cc:.2f} cc, mean DSC {format_value(row.dsc_mean, '')}</h3>"
        )
        least = f"Least DSC {format_value(row.dsc_min, '')}{worst}{missing}."
        drawn.append(
            f"<figure>{heading}{embed_png(png, f'Contours on slice {z}, and the slice without them')}{key}"
            f"<figcaption>{least}</figcaption></figure>\n"
        )
    return section("Slice by slice", strip, bar) + section("The slices with most disagreement", *drawn)


def _key(agreement: Agreement, styles: Mapping[str, LineStyle]) -> str:
    entries = "".join(f"<span>{line_sample(styles[who])}{escape_name(who)}</span>" for who in agreement.names)
    return f'<div class="key">{entries}</div>'


def consensus_section(agreement: Agreement) -> str:
    """Everybody against the consensus of the other raters."""
    if not any(agreement.consensus.values()):
        return ""
    header = ("", *titles(_OF_CONSENSUS, agreement.tolerance_mm))
    tables = []
    for method, pairs in agreement.consensus.items():
        rows = [
            rater_row(who, (MEASURES[m].format(pair.values[m], signed=m.startswith("rel")) for m in _OF_CONSENSUS))
            for who, pair in pairs.items()
        ]
        tables.append(table(header, rows, caption=f"{CONSENSUS[method]} of the other raters; the model: of all raters"))
    return section("Against the consensus", *tables)


def lesions_section(agreement: Agreement) -> str:
    """Tumors found, missed and extra, against the majority of the other raters; the model's one by one."""
    if not agreement.tumors:
        return ""
    rows = [
        rater_row(who, (str(len(match.pairs)), _count_and_volume(match.missed), _count_and_volume(match.extra)))
        for who, match in agreement.tumors.items()
    ]
    caption = "Connected pieces (26 neighbors), matched one to one with those of the majority of the other raters"
    tables = [table(("", "Matched", "Missed", "Extra"), rows, caption=caption)]
    model = agreement.tumors.get(MODEL)
    if model and (len(model.pairs) + len(model.missed) + len(model.extra)) > 1:
        tables.append(_one_by_one(model, agreement.tolerance_mm))
    return section("Tumors", *tables)


def _count_and_volume(lesions: Sequence[Lesion]) -> str:
    total = sum(lesion.volume_cc for lesion in lesions)
    return f"{len(lesions)}<small>{format_cc(total)}</small>" if lesions else "0"


def _one_by_one(match: LesionMatch, tolerance_mm: float) -> str:
    lesions: list[tuple[str, Lesion, Lesion | None, Lesion | None, Mapping[str, float]]] = [
        (f"{number}. matched", pair.a, pair.a, pair.b, pair.measures.values)
        for number, pair in enumerate(match.pairs, start=1)
    ]
    lesions += [("<b>missed</b>", lesion, lesion, None, {}) for lesion in match.missed]
    lesions += [("<b>extra</b>", lesion, None, lesion, {}) for lesion in match.extra]
    rows = []
    for outcome, known, *both, values in lesions:
        volumes = ("" if lesion is None else format_value(lesion.volume_cc, "cc") for lesion in both)
        measured = (MEASURES[name].format(values[name]) if values else "" for name in _OF_LESIONS)
        rows.append(("", [outcome, f"{known.slices[0]} to {known.slices[1]}", *volumes, *measured]))
    header = ("", "Slices", "Raters (cc)", "Model (cc)", *titles(_OF_LESIONS, tolerance_mm))
    return table(header, rows, left=2, caption="The model's tumors against the majority of all raters")


def review_section(reviews: Sequence[Mapping[str, Any]]) -> str:
    """The scores of a blinded review."""
    if not reviews:
        return ""
    counts = Counter(str(review.get("score", "")) for review in reviews)
    scores = ", ".join(f"{n} {score}" for score, n in counts.items())
    columns = ("score", "reason", "comment", "reviewer", "date")
    rows = [
        rater_row(str(review.get("rater", "")), (escape_text(review.get(column, "")) for column in columns))
        for review in reviews
    ]
    header = ("", *(column.capitalize() for column in columns))
    summary = paragraph(f"Scored with names hidden and in shuffled order. {scores}.")
    return section("Blinded review", summary, table(header, rows, left=6))


def definitions_section(tolerance_mm: float) -> str:
    """What every figure means."""
    items = "".join(
        f"<dt>{escape_text(measure.title_at(tolerance_mm))}</dt><dd>{escape_text(measure.definition)}</dd>"
        for measure in MEASURES.values()
    )
    more = (
        "In directional measures a is the reference and b is tested against it; each rater is tested against the "
        "others. Both masks empty: no measure has a value. One empty: DSC, surface DSC and Jaccard are 0 and "
        "distances infinite. Values that do not exist or are infinite are left out of means, and how many is said. "
        "Standard deviations are those of a sample (n \N{MINUS SIGN} 1). Majority: what more than half of the raters "
        "marked; a tie is no majority. STAPLE: Warfield, Zou and Wells, IEEE TMI 2004, at a probability above 0.5. "
        "Distances and areas are in mm of the image's own voxel spacing."
    )
    return section("Definitions", f"<dl>{items}</dl>", paragraph(more))
