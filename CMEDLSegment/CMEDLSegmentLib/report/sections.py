"""The sections of a case's report, each a function from the agreement to HTML, "" where it has nothing to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..agreement.raters import Agreement
from ..io.delineation import MODEL, RatedCase
from ..metrics.measures import MEASURES
from ..metrics.statistics import MAIN, Spread
from .charts import box_plot, heat_map, line_sample, range_chart, slice_strip, volume_chart, votes_bar
from .html import embed_png, escape_name, escape_text, figure, paragraph, section, table
from .slice_images import SlicePlane
from .style import LineStyle, format_value

CONSENSUS = {"majority": "Majority", "staple": "STAPLE"}
_OF_CONSENSUS = ("dsc", "surface_dice", "hd95_mm", "sensitivity", "precision", "relative_volume_difference")


def measure_title(measure: str, tolerance_mm: float) -> str:
    """A measure's title with its unit, the surface Dice with its tolerance."""
    found = MEASURES[measure]
    if measure == "surface_dice":
        return f"{found.title} at {tolerance_mm:g} mm"
    return f"{found.title} ({found.unit})" if found.unit else found.title


def rater_kind(who: str) -> str:
    """The kind of a table's row."""
    return "candidate" if who == MODEL else ""


def spread_cell(found: Spread, unit: str) -> str:
    """Mean and deviation, under it the coefficient of variation and what was left out."""
    deviation = "" if np.isnan(found.std) else f" ± {format_value(found.std, unit)}"
    lesser = "" if np.isnan(found.cv) else f"CV {format_value(found.cv, '')}"
    left_out = f"{found.excluded} of {found.excluded + found.n} left out" if found.excluded else ""
    small = f"<small>{', '.join(filter(None, (lesser, left_out)))}</small>" if lesser or left_out else ""
    return f"{format_value(found.mean, unit)}{deviation}{small}"


def answer_section(agreement: Agreement, looks: Mapping[str, LineStyle]) -> str:
    """Whether the model is within the raters' range, and how far the raters agree."""
    found = agreement.range
    if found is None:
        return f'<p class="answer">{escape_text(_raters_in_words(agreement))}</p>\n'
    rows = [
        (
            "",
            [
                escape_text(measure_title(measure, agreement.tolerance_mm)),
                format_value(row.model, MEASURES[measure].unit),
                format_value(row.raters_mean, MEASURES[measure].unit),
                " to ".join(format_value(end, MEASURES[measure].unit) for end in sorted((row.worst, row.best))),
                format_value(row.difference, MEASURES[measure].unit, signed=True),
                " to ".join(format_value(end, MEASURES[measure].unit, signed=True) for end in row.interval),
                {True: "within", False: "<b>outside</b>", None: "no answer"}[row.within],
            ],
        )
        for measure, row in found.rows.items()
        if measure in MAIN
    ]
    header = ("Mean to the raters", "Model", "Raters", "Raters' range", "Difference", "95 % interval", "Model is")
    chart = range_chart(found, [measure for measure in MAIN if measure in found.rows], looks)
    told = (
        "Discs: each rater's mean to the other raters; band: their range; diamond: the model's mean to the raters "
        f"(in the CSV tables the model is called {MODEL})."
    )
    return (
        f'<p class="answer">{escape_text(found.sentence)}</p>\n{paragraph(_raters_in_words(agreement))}'
        + figure(chart + _key(agreement, looks), told)
        + table(header, rows)
        + paragraph(
            "Within means: the model is no farther from the raters than the rater who is farthest from the others. "
            + found.method,
            "lesser",
        )
    )


def _raters_in_words(agreement: Agreement) -> str:
    if len(agreement.rater_names) < 2:
        return "One rater only: there is no agreement among raters to tell of."
    found = agreement.spread["dsc"]
    if np.isnan(found.mean):
        return "No two raters marked anything: there is no agreement to tell of."
    values = agreement.rater_pairs("dsc")
    values = values[np.isfinite(values)]
    return (
        f"The {len(agreement.rater_names)} raters' pairwise Dice is {format_value(found.mean, '')} on average "
        f"({format_value(values.min(), '')} to {format_value(values.max(), '')}). All of them marked "
        f"{format_value(agreement.full_cc, 'cc')} cc, any of them {format_value(agreement.any_cc, 'cc')} cc."
    )


def figure_tiles(agreement: Agreement) -> str:
    """The few figures that are looked for first."""
    several = len(agreement.rater_names) > 1
    dsc, hd95 = agreement.spread["dsc"], agreement.spread["hd95_mm"]
    volumes = [row.volume_cc for row in agreement.raters if row.name != MODEL]
    found = []
    if several:
        found.append((format_value(dsc.mean, ""), "mean Dice of the raters' pairs"))
        found.append(
            (f"{format_value(hd95.mean, 'mm', digits=1)} mm", f"mean HD95 of the raters' pairs{_left_out(hd95)}")
        )
        ends = " to ".join(format_value(end, "cc", digits=1) for end in (min(volumes), max(volumes)))
        found.append((f"{ends} cc", f"the raters' volumes, CV {format_value(agreement.volume.cv, '')}"))
        share = agreement.full_cc / agreement.any_cc if agreement.any_cc else float("nan")
        found.append(("–" if np.isnan(share) else f"{share:.0%}", "of what any rater marked was marked by all"))  # noqa: RUF001
    if agreement.has_model:
        model = agreement.raters[-1]
        found.append((f"{format_value(model.volume_cc, 'cc', digits=1)} cc", "the model's volume"))
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b>{escape_text(value)}</b><span>{escape_text(told)}</span></div>'
            for value, told in found
        )
        + "</div>\n"
    )


def _left_out(found: Spread) -> str:
    return f", {found.excluded} infinite or none left out" if found.excluded else ""


def notes_section(sentences: Sequence[str]) -> str:
    """What a reader has to know of the input."""
    if not sentences:
        return ""
    items = "".join(f"<li>{escape_text(sentence)}</li>" for sentence in sentences)
    return f'<div class="notes"><h3>Notes</h3><ul>{items}</ul></div>\n'


def people_section(case: RatedCase, looks: Mapping[str, LineStyle]) -> str:
    """Who took part, with the line that stands for them, and what they gave."""
    rows = [
        (
            rater_kind(one.name),
            [
                f'<span class="key"><span>{line_sample(looks[one.name])}{escape_name(one.name, 400)}</span></span>',
                "model" if one.name == MODEL else "rater",
                escape_text(one.source or "-"),
            ],
        )
        for one in case.all
    ]
    return section("Who is compared", table(("Name", "Is", "Came as"), rows, left=3))


def raters_section(agreement: Agreement, looks: Mapping[str, LineStyle]) -> str:
    """Table IV of the paper, everybody's values as boxes, and the volumes."""
    header = ("", *(measure_title(measure, agreement.tolerance_mm) for measure in MAIN), "Volume (cc)")
    rows = [
        (
            rater_kind(row.name),
            [
                escape_name(row.name),
                *(spread_cell(row.values[measure], MEASURES[measure].unit) for measure in MAIN),
                format_value(row.volume_cc, "cc"),
            ],
        )
        for row in agreement.raters
    ]
    if len(agreement.rater_names) > 1:
        spreads = [spread_cell(agreement.spread[measure], MEASURES[measure].unit) for measure in MAIN]
        rows.append(("sum", ["all pairs of raters", *spreads, spread_cell(agreement.volume, "cc")]))
    boxes = [
        figure(
            box_plot(agreement.names, [agreement.values(who, measure) for who in agreement.names], measure, looks),
            heading=measure_title(measure, agreement.tolerance_mm),
        )
        for measure in MAIN
    ]
    volumes = {row.name: row.volume_cc for row in agreement.raters}
    caption = "Mean over the other raters ± standard deviation; CV: coefficient of variation, deviation over mean."
    told = "Each mark is one pair; boxes from quartile to quartile with the median, whiskers after Tukey."
    return section(
        "Each rater against the others",
        table(header, rows, caption=caption),
        f'<div class="two">{"".join(boxes)}</div>',
        paragraph(told, "lesser"),
        figure(volume_chart(volumes, looks), "Dashed: the raters' mean.", "Volume (cc)"),
    )


def matrices_section(agreement: Agreement) -> str:
    """Everybody against everybody for the main measures."""
    maps = [
        figure(
            heat_map(agreement.names, agreement.matrix(measure), measure),
            heading=measure_title(measure, agreement.tolerance_mm),
        )
        for measure in MAIN
    ]
    return section(
        "Everybody against everybody",
        f'<div class="two">{"".join(maps)}</div>',
        paragraph(
            "The darker, the less they agree. The other measures are at the end, all figures in pairs.csv.", "lesser"
        ),
    )


def further_matrices_section(agreement: Agreement) -> str:
    """The matrices of the other measures, small."""
    maps = [
        figure(
            heat_map(agreement.names, agreement.matrix(measure), measure, width=236.0),
            heading=measure_title(measure, agreement.tolerance_mm),
        )
        for measure in MEASURES
        if measure not in MAIN
    ]
    return section(
        "Further measures",
        f'<div class="three">{"".join(maps)}</div>',
        paragraph("Rows are the reference, columns are tested against it. The darker, the less they agree.", "lesser"),
    )


def slices_section(
    case: RatedCase, agreement: Agreement, looks: Mapping[str, LineStyle], drawn: Sequence[tuple[int, bytes]]
) -> str:
    """The agreement slice by slice, and the worst slices as pictures."""
    if not agreement.slices:
        return ""
    plane = SlicePlane.of(case)
    ranks = {z: place for place, (z, _) in enumerate(drawn, start=1)}
    strip = figure(
        slice_strip(agreement.slices, agreement.names, ranks, plane.ends),
        "Above: area that each marked, the darker the more. Middle: mean DSC of all pairs, the line is the least. "
        "Below: volume that some but not all marked. Numbered slices have a picture. Slices count from 0 to "
        f"{case.geometry.size[2] - 1}, as they are stored.",
    )
    votes = _votes(agreement)
    bar = figure(
        votes_bar(votes),
        "Volume by the number of raters who marked it; the last is full agreement. Any disagreement: "
        f"{format_value(agreement.disagreement_cc, 'cc')} cc.",
        "How many raters marked it",
    )
    rows = {row.index: row for row in agreement.slices}
    key = _key(agreement, looks)
    pictures = []
    for place, (z, png) in enumerate(drawn, start=1):
        row = rows[z]
        worst = f" ({escape_name(row.worst_pair[0])} and {escape_name(row.worst_pair[1])})" if row.worst_pair else ""
        nothing = [who for who in agreement.names if not row.areas_mm2[who]]
        missing = f"; nothing marked by {', '.join(escape_name(who) for who in nothing)}" if nothing else ""
        where = f" at {escape_text(plane.position(case, z))}" if plane.position(case, z) else ""
        heading = (
            f"<h3>{place}. Slice {z}{where}: disagreement "
            f"{row.with_model_cc:.2f} cc, mean DSC {format_value(row.dsc_mean, '')}</h3>"
        )
        least = f"Least DSC {format_value(row.dsc_min, '')}{worst}{missing}."
        pictures.append(
            f"<figure>{heading}{embed_png(png, f'Contours on slice {z}, and the slice without them')}{key}"
            f"<figcaption>{least}</figcaption></figure>\n"
        )
    return section("Slice by slice", strip, bar) + section("The slices with most disagreement", *pictures)


def _votes(agreement: Agreement) -> list[float]:
    """Volume (cc) that one, two, ... all of the raters marked."""
    n = len(agreement.rater_names)
    counts = np.bincount(agreement.map.ravel(), minlength=n + 1)[1:]
    return (counts * float(np.prod(agreement.spacing)) / 1000.0).tolist()


def _key(agreement: Agreement, looks: Mapping[str, LineStyle]) -> str:
    entries = "".join(f"<span>{line_sample(looks[who])}{escape_name(who)}</span>" for who in agreement.names)
    return f'<div class="key">{entries}</div>'


def consensus_section(agreement: Agreement) -> str:
    """Everybody against the consensus of the other raters."""
    if not any(agreement.consensus.values()):
        return ""
    header = ("", *(measure_title(measure, agreement.tolerance_mm) for measure in _OF_CONSENSUS))
    parts = []
    for method, found in agreement.consensus.items():
        rows = [
            (
                rater_kind(who),
                [
                    escape_name(who),
                    *(format_value(pair.values[m], MEASURES[m].unit, m.startswith("rel")) for m in _OF_CONSENSUS),
                ],
            )
            for who, pair in found.items()
        ]
        parts.append(table(header, rows, caption=f"{CONSENSUS[method]} of the other raters; the model: of all raters"))
    return section("Against the consensus", *parts)


def lesions_section(agreement: Agreement) -> str:
    """Tumors found, missed and extra, against the majority of the other raters; the model's one by one."""
    if not agreement.tumors:
        return ""
    rows = [
        (
            rater_kind(who),
            [
                escape_name(who),
                str(len(found.pairs)),
                _pieces(found.missed),
                _pieces(found.extra),
            ],
        )
        for who, found in agreement.tumors.items()
    ]
    caption = "Connected pieces (26 neighbors), matched one to one with those of the majority of the other raters"
    parts = [table(("", "Matched", "Missed", "Extra"), rows, caption=caption)]
    model = agreement.tumors.get(MODEL)
    if model and (len(model.pairs) + len(model.missed) + len(model.extra)) > 1:
        parts.append(_one_by_one(model, agreement.tolerance_mm))
    return section("Tumors", *parts)


def _pieces(found: Sequence[Any]) -> str:
    total = sum(one.volume_cc for one in found)
    return f"{len(found)}<small>{format_value(total, 'cc')} cc</small>" if found else "0"


def _one_by_one(found: Any, tolerance_mm: float) -> str:
    measured = ("dsc", "surface_dice", "hd95_mm")
    header = (
        "",
        "Slices",
        "Raters (cc)",
        "Model (cc)",
        *(measure_title(measure, tolerance_mm) for measure in measured),
    )
    rows = [
        (
            "",
            [
                f"{number}. matched",
                _extent(pair.a),
                format_value(pair.a.volume_cc, "cc"),
                format_value(pair.b.volume_cc, "cc"),
                *(format_value(pair.measures.values[measure], MEASURES[measure].unit) for measure in measured),
            ],
        )
        for number, pair in enumerate(found.pairs, start=1)
    ]
    nothing = [""] * len(measured)
    rows += [
        ("", ["<b>missed</b>", _extent(one), format_value(one.volume_cc, "cc"), "", *nothing]) for one in found.missed
    ]
    rows += [
        ("", ["<b>extra</b>", _extent(one), "", format_value(one.volume_cc, "cc"), *nothing]) for one in found.extra
    ]
    return table(header, rows, left=2, caption="The model's tumors against the majority of all raters")


def _extent(tumor: Any) -> str:
    return f"{tumor.slices[0]} to {tumor.slices[1]}"


def review_section(reviews: Sequence[Mapping[str, Any]]) -> str:
    """The scores of a blinded review."""
    if not reviews:
        return ""
    counts = Counter(str(one.get("score", "")) for one in reviews)
    told = "Scored with names hidden and in shuffled order. " + ", ".join(f"{n} {score}" for score, n in counts.items())
    columns = ("score", "reason", "comment", "reviewer", "date")
    rows = [
        (
            rater_kind(str(one.get("rater", ""))),
            [escape_name(str(one.get("rater", ""))), *(escape_text(one.get(c, "")) for c in columns)],
        )
        for one in reviews
    ]
    header = ("", *(column.capitalize() for column in columns))
    return section("Blinded review", paragraph(f"{told}."), table(header, rows, left=6))


def definitions_section(tolerance_mm: float) -> str:
    """What every figure means."""
    items = "".join(
        f"<dt>{escape_text(measure_title(measure, tolerance_mm))}</dt><dd>{escape_text(found.definition)}</dd>"
        for measure, found in MEASURES.items()
    )
    more = (
        "In directional measures a is the reference and b is tested against it; each rater is tested against the "
        "others. Both masks empty: no measure has a value. One empty: Dice, surface Dice and Jaccard are 0 and "
        "distances infinite. Values that do not exist or are infinite are left out of means, and how many is said. "
        "Standard deviations are those of a sample (n \N{MINUS SIGN} 1). Majority: what more than half of the raters "
        "marked; a tie is no majority. STAPLE: Warfield, Zou and Wells, IEEE TMI 2004, at a probability above 0.5. "
        "Distances and areas are in mm of the image's own voxel spacing."
    )
    return section("Definitions", f"<dl>{items}</dl>", paragraph(more))
