"""The report: tables that read back exactly, a page without network or script, charts and pictures that are true."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from CMEDLSegmentLib.agreement.cohort_agreement import pool_agreements
from CMEDLSegmentLib.agreement.raters import Agreement, analyze
from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED, RATER_COLORS
from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.base.text import format_p, format_value
from CMEDLSegmentLib.io.delineation import MODEL, RatedCase
from CMEDLSegmentLib.io.volume import Geometry, axial_view
from CMEDLSegmentLib.metrics.measures import MEASURES
from CMEDLSegmentLib.metrics.statistics import MAIN
from CMEDLSegmentLib.report import case_report as report_module
from CMEDLSegmentLib.report.case_report import CASE_FILES, FIGURES, REPORT, REVIEWS, write_report
from CMEDLSegmentLib.report.charts import box_plot, case_chart, heat_map, range_chart, slice_strip, volume_chart
from CMEDLSegmentLib.report.cohort_report import cohort_page
from CMEDLSegmentLib.report.slice_images import SIDE, SlicePlane, worst_slices
from CMEDLSegmentLib.report.style import DASHES, fit_labels, line_styles, text_width
from CMEDLSegmentLib.report.svg import Scale
from CMEDLSegmentLib.report.tables import case_tables
from segment.agreement.rated import nodule, noisy_case, rated_case

PAIRS = "a,b,dsc,surface_dice,hd95_mm,assd_mm,volume_a_cc,volume_b_cc"

HOSTILE = (
    "<b>Bold</b> & \"Söhne\", 'Co'",
    "</title><script>alert(1)</script>",
    "王医生" * 100,
    "R" * 300,
    "R" * 299 + "S",
    "line\nbreak\ttab\x00nul\x1b[31m\ud800",
    'ד"ר כהן',
    "=cmd|' /C calc'!A0",
)
"""Names of raters that have broken reports."""


@pytest.fixture(scope="module")
def case() -> RatedCase:
    """Three raters and a model on an image of noise."""
    rated = noisy_case(3, seed=5, name="")
    image = np.random.default_rng(0).normal(-200, 300, rated.geometry.shape).astype(np.int16)
    return replace(rated, image=image)


@pytest.fixture(scope="module")
def agreement(case: RatedCase) -> Agreement:
    return analyze(case)


@pytest.fixture(scope="module")
def hostile() -> RatedCase:
    """A case whose raters have the names of :data:`HOSTILE`."""
    masks = noisy_case(len(HOSTILE), seed=2)
    named = tuple(replace(rater, name=name) for rater, name in zip(masks.raters, HOSTILE, strict=True))
    return replace(masks, raters=named, name="<i>", notes=("<u>note</u>",))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


class Page(HTMLParser):
    """A page as a browser takes it: its tags in order, their attributes, and its text."""

    VOID = frozenset({"meta", "br", "img"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def drawing(svg: str) -> ElementTree.Element:
    """An SVG as XML, which fails on anything not well formed; tags without their namespace."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def luminance(color: str) -> float:
    """Of #rrggbb, 0 to 1, as a gray print shows it."""
    return sum(int(color[1 + 2 * k : 3 + 2 * k], 16) / 255 * w for k, w in enumerate((0.2126, 0.7152, 0.0722)))


def test_pairs_have_one_row_for_each_unordered_pair_in_full_precision(agreement):
    text = case_tables(agreement)["pairs.csv"].csv()
    assert text.startswith(PAIRS)
    pairs = rows(text)
    assert [(row["a"], row["b"]) for row in pairs] == list(itertools.combinations(["R1", "R2", "R3", MODEL], 2))
    for row, pair in zip(pairs, agreement.pairs, strict=True):
        assert {name: float(row[name]) for name in MEASURES} == pair.measures.values
        assert float(row["volume_b_cc"]) == pair.measures.volume_b_cc
        assert float(row["tolerance_mm"]) == agreement.tolerance_mm


def test_empty_masks_stay_nan_and_inf_in_the_tables_and_null_in_the_json(tmp_path):
    empty, some = np.zeros((4, 8, 8), bool), np.zeros((4, 8, 8), bool)
    some[1:3, 2:5, 2:5] = True
    case = rated_case({"A": empty, "B": empty, "C": some})
    write_report(case, analyze(case), tmp_path)
    both, single, _ = rows((tmp_path / "pairs.csv").read_text("utf-8"))
    assert (both["empty"], both["dsc"], both["hd95_mm"]) == ("both", "nan", "nan")
    assert (single["empty"], single["dsc"], single["hd95_mm"]) == ("a", "0.0", "inf")
    figures = json.loads((tmp_path / FIGURES).read_text("utf-8"), parse_constant=lambda text: pytest.fail(text))
    assert figures["pairs"][0]["measures"]["values"]["dsc"] is None
    page = Page((tmp_path / REPORT).read_text("utf-8"))
    assert "Nothing is marked by A, B" in page.text
    assert "left out" in page.text


def test_every_output_names_its_definitions_and_the_tolerance(case, tmp_path):
    files = write_report(case, analyze(case, tolerance_mm=3.5), tmp_path)
    figures = json.loads(files[FIGURES].read_text("utf-8"))
    assert figures["tolerance_mm"] == 3.5
    page = Page(files[REPORT].read_text("utf-8")).text
    assert "Surface DSC at 3.5 mm" in page
    for name, measure in MEASURES.items():
        assert figures["definitions"][name]["definition"] == measure.definition
        assert measure.definition in page
    for name in ("pairs.csv", "raters.csv", "tumors.csv"):
        (row, *_) = rows(files[name].read_text("utf-8"))
        assert "area" in row["definitions"]
        assert float(row["tolerance_mm"]) == 3.5


def test_raters_slices_and_tumors_say_what_the_agreement_says(agreement):
    tables = {name: rows(table.csv()) for name, table in case_tables(agreement).items()}
    for row, rater in zip(tables["raters.csv"], agreement.raters, strict=True):
        assert row["name"] == rater.name
        assert float(row["dsc_mean"]) == rater.values["dsc"].mean
        assert float(row["hd95_mm_cv"]) == rater.values["hd95_mm"].cv
        assert float(row["staple_dsc"]) == agreement.consensus["staple"][rater.name].values["dsc"]
    assert [int(row["slice"]) for row in sorted(tables["slices.csv"], key=lambda r: int(r["rank"]))] == agreement.worst
    assert float(tables["slices.csv"][0]["area_mm2 R2"]) == agreement.slices[0].areas_mm2["R2"]
    for row, expected in zip(tables["slices.csv"], agreement.slices, strict=True):
        assert row["candidate_dsc"] == ("" if expected.model is None else repr(expected.model["dsc"]))
    assert any(row["candidate_dsc"] for row in tables["slices.csv"])
    for name, match in agreement.tumors.items():
        outcomes = [row["outcome"] for row in tables["tumors.csv"] if row["name"] == name]
        expected = {"matched": len(match.pairs), "missed": len(match.missed), "extra": len(match.extra)}
        assert {outcome: outcomes.count(outcome) for outcome in expected} == expected


def test_names_of_any_kind_come_back_from_the_tables_as_they_were(hostile, tmp_path):
    files = write_report(hostile, analyze(hostile), tmp_path)
    with files["raters.csv"].open(encoding="utf-8", newline="") as stream:
        names = [row["name"] for row in csv.DictReader(stream)]
    # A lone surrogate is no text, which a file of text cannot hold, and no CSV of Python 3.10 holds a null character.
    readable = [name.replace("\ud800", "?").replace("\0", "\N{REPLACEMENT CHARACTER}") for name in HOSTILE]
    assert names == [*readable, MODEL]


def test_the_page_shows_hostile_names_as_text_and_asks_for_nothing(hostile, tmp_path):
    reviews = [{"rater": HOSTILE[0], "score": "reject", "reason": "<script>", "comment": HOSTILE[1]}]
    files = write_report(hostile, analyze(hostile), tmp_path, reviews=reviews)
    source = files[REPORT].read_text(encoding="utf-8")
    page = Page(source)
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "b>", "i", "u", "link", "iframe", "object", "base", "form"})
    assert HOSTILE[0] in page.text
    assert "<u>note</u>" in page.text
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action"):
            if name in attributes:
                assert tag == "img"
                assert attributes[name].startswith("data:image/png;base64,")
    assert set(re.findall(r"https?://[^\"' <]+", source)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in source
    assert "@import" not in source
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert re.search(r"[\x00-\x08\x1b\ud800]", source) is None


def test_every_chart_is_well_formed_also_with_hostile_names(hostile):
    agreement = analyze(hostile)
    styles = line_styles(agreement.names)
    volumes = {row.name: row.volume_cc for row in agreement.raters}
    charts = [
        *(heat_map(agreement.names, agreement.matrix(measure), measure) for measure in MEASURES),
        range_chart(agreement.range, MAIN, styles),
        box_plot(agreement.names, [agreement.values(name, "dsc") for name in agreement.names], "dsc", styles),
        volume_chart(volumes, styles),
        slice_strip(agreement.slices, agreement.names, {agreement.worst[0]: 1}, None),
        case_chart(HOSTILE, [agreement.rater_pairs("dsc")] * len(HOSTILE), [np.zeros(0)] * len(HOSTILE), "dsc"),
    ]
    for chart in charts:
        drawing(chart)


@pytest.mark.parametrize("who", ["one rater", "one rater and the model", "nobody marked", "model alone marked"])
def test_a_report_is_written_whatever_is_missing(who, tmp_path):
    mask, empty = np.zeros((3, 8, 8), bool), np.zeros((3, 8, 8), bool)
    mask[1, 2:6, 2:6] = True
    case = {
        "one rater": rated_case({"A": mask}),
        "one rater and the model": rated_case({"A": mask}, mask),
        "nobody marked": rated_case({"A": empty, "B": empty}, empty),
        "model alone marked": rated_case({"A": empty, "B": empty}, mask),
    }[who]
    files = write_report(case, analyze(case), tmp_path)
    assert set(files) == set(CASE_FILES)
    page = Page(files[REPORT].read_text("utf-8"))
    for note in analyze(case).notes:
        assert note in page.text
    json.loads(files[FIGURES].read_text("utf-8"), parse_constant=lambda text: pytest.fail(text))


def test_the_answer_stands_above_everything_else(case, agreement, tmp_path):
    page = Page(write_report(case, agreement, tmp_path)[REPORT].read_text("utf-8"))
    assert 0 < page.text.index(agreement.range.sentence) < page.text.index("Who is compared")


def test_files_that_exist_are_kept_unless_replacing_is_asked_for(case, agreement, tmp_path):
    (tmp_path / "slices.csv").write_text("mine", "utf-8")
    with pytest.raises(InputError, match=r"slices\.csv"):
        write_report(case, agreement, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["slices.csv"]
    write_report(case, agreement, tmp_path, overwrite=True)
    assert (tmp_path / "slices.csv").read_text("utf-8") != "mine"


def test_all_files_appear_or_none(case, agreement, tmp_path, monkeypatch):
    stages = []

    def cancelled() -> bool:
        return "Writing result 4 of 6" in stages

    with pytest.raises(Cancelled):
        write_report(
            case, agreement, tmp_path / "a", progress=Progress(lambda s, f: stages.append(s), cancelled=cancelled)
        )
    assert "Writing result 4 of 6" in stages
    assert list((tmp_path / "a").iterdir()) == []

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(report_module, "html_report", broken)
    with pytest.raises(ZeroDivisionError):
        write_report(case, agreement, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_scores_of_a_blinded_review_go_into_the_page_the_table_and_the_json(case, agreement, tmp_path):
    review = {"rater": "R2", "score": "minor edit", "reason": "too tight", "comment": "a, b\nc", "reviewer": "X"}
    files = write_report(case, agreement, tmp_path, reviews=[{**review, "date": "2024-05-01"}])
    (row,) = rows(files[REVIEWS].read_text("utf-8"))
    assert row == {**review, "date": "2024-05-01"}
    assert json.loads(files[FIGURES].read_text("utf-8"))["reviews"][0]["score"] == "minor edit"
    assert "too tight" in Page(files[REPORT].read_text("utf-8")).text
    assert REVIEWS not in write_report(case, agreement, tmp_path / "without")


def test_the_worst_slices_come_first_with_every_contour_and_once_without(case, agreement):
    drawn = worst_slices(case, agreement, 3)
    assert [z for z, _ in drawn] == agreement.worst[:3]
    picture = np.asarray(Image.open(io.BytesIO(drawn[0][1])).convert("RGB")).astype(int)
    assert picture.shape[0] == SIDE
    left, right = picture[:, :SIDE], picture[:, -SIDE:]
    row = next(row for row in agreement.slices if row.index == agreement.worst[0])
    for name, style in line_styles(agreement.names).items():
        near = np.abs(left - np.array(style.color)).sum(axis=-1) < 90
        assert near.any() == bool(row.areas_mm2[name]), name
    # The copy without contours is gray, but for the letters, which are nearly so.
    assert (right.max(axis=-1) - right.min(axis=-1)).max() < 24


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (False, True, False)])
def test_a_slice_is_shown_the_same_way_however_it_is_stored(axes, flips):
    """The patient's right at the left, the front or the head on top: against coordinates of the patient."""
    size, spacing = (5, 6, 7), (1.0, 2.0, 3.0)
    direction = np.zeros((3, 3))
    for axis, (lps, flip) in enumerate(zip(axes, flips, strict=True)):
        direction[lps, axis] = -1.0 if flip else 1.0
    geometry = Geometry(size, spacing, (10.0, -20.0, 30.0), tuple(direction.ravel()))
    mask = np.ones(geometry.shape, bool)
    case = RatedCase("", geometry, (rated_case({"A": mask}).raters[0],))
    plane = SlicePlane.of(case)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1).reshape(-1, 3)
    places = np.zeros((3, *geometry.shape))
    places[:, grid[:, 2], grid[:, 1], grid[:, 0]] = geometry.to_physical(grid).T
    left, posterior, superior = (plane.show(place, 2) for place in places)
    normal = axes[2]  # what the stored slices are stacked along: 0 sagittal, 1 coronal, 2 axial
    across, down = {0: (posterior, -superior), 1: (left, -superior), 2: (left, posterior)}[normal]
    assert (np.diff(across, axis=1) > 0).all()
    assert (np.diff(down, axis=0) > 0).all()
    assert np.diff(across, axis=1).ravel()[0] == pytest.approx(plane.spacing[1])
    assert np.diff(down, axis=0).ravel()[0] == pytest.approx(plane.spacing[0])
    assert plane.sides == (("A", "P") if normal == 0 else ("R", "L"))
    rising = plane.ends in (("inferior", "superior"), ("anterior", "posterior"), ("right", "left"))
    assert rising == (not flips[2])
    through = (left, posterior, superior)[normal]
    letter, sign = (("R", -1), ("A", -1), ("S", 1))[normal]
    assert plane.position(case, 2).replace("\N{MINUS SIGN}", "-") == f"{letter} {sign * through[0, 0]:.1f} mm"
    assert axial_view(mask, geometry).slice_axis == 2 - normal


def test_colors_can_be_told_apart_with_every_kind_of_sight():
    """CIEDE2000 after Machado, Oliveira and Fernandes (IEEE TVCG 2009), severity 1; 10 is a plain difference."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    sights = {
        "normal": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    colors = np.array([MODEL_RED, *RATER_COLORS]) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    for sight, matrix in sights.items():
        simulated = np.clip(linear @ np.array(matrix).T, 0, 1)
        lab = rgb2lab(np.where(simulated <= 0.0031308, simulated * 12.92, 1.055 * simulated ** (1 / 2.4) - 0.055))
        for a, b in itertools.combinations(range(len(lab)), 2):
            assert deltaE_ciede2000(lab[a], lab[b]) > 13, (sight, a, b)


def test_thirty_raters_have_thirty_styles():
    styles = line_styles([f"R{k}" for k in range(len(RATER_COLORS) * len(DASHES))])
    assert len({(style.color, style.dash) for style in styles.values()}) == 30
    styles = line_styles(["A", "B", MODEL])
    assert (styles["A"].color, styles["A"].dash, styles[MODEL].color) == (EXPERT_YELLOW, (), MODEL_RED)
    assert styles[MODEL].width > styles["A"].width


def test_a_heat_map_is_darker_where_there_is_less_agreement_and_shows_the_figures():
    names = ["A", "B", "C", MODEL]
    matrix = np.array([[1, 0.9, 0.7, 0.6], [0.9, 1, math.nan, 0.5], [0.7, math.nan, 1, 0.4], [0.6, 0.5, 0.4, 1]])
    root = drawing(heat_map(names, matrix, "dsc"))
    cells = root.findall("rect")
    assert len(cells) == 16
    shades = {cell.find("title").text: luminance(cell.get("fill")) for cell in cells if cell.find("title") is not None}
    order = [shades[f"A / {who}: {value:.3f} "] for who, value in (("B", 0.9), ("C", 0.7), (MODEL, 0.6))]
    assert order == sorted(order, reverse=True)
    texts = [element.text for element in root.findall("text")]
    assert texts.count("0.70") == 2
    assert texts.count("\N{EN DASH}") == 2
    distances = drawing(heat_map(["A", "B"], np.array([[0, math.inf], [math.inf, 0]]), "hd95_mm"))
    assert [element.text for element in distances.findall("text")].count("∞") == 2


def test_the_models_diamond_lies_in_the_raters_band_exactly_if_it_is_within(case):
    for seed in range(6):
        agreement = analyze(noisy_case(3, seed))
        root = drawing(range_chart(agreement.range, MAIN, line_styles(agreement.names)))
        bands = [rect for rect in root.findall("rect") if "range" in (rect.findtext("title") or "")]
        diamonds = [polygon.get("points").split()[0].split(",") for polygon in root.findall("polygon")]
        for measure, band, (x, _) in zip(MAIN, bands, diamonds, strict=True):
            row = agreement.range.rows[measure]
            # The band is drawn around the discs, 7 units beyond their centers.
            start, stop = float(band.get("x")) + 7, float(band.get("x")) + float(band.get("width")) - 7
            high = MEASURES[measure].better == "high"
            inside = float(x) >= start - 0.02 if high else float(x) <= stop + 0.02
            assert inside == row.within, (seed, measure)


def test_boxes_have_the_quartiles_and_say_how_many_values_they_leave_out():
    values = np.array([0.5, 0.6, 0.7, 0.9, math.inf, math.nan, math.nan])
    root = drawing(box_plot(["A"], [values], "dsc", line_styles(["A"])))
    dots = sorted(float(dot.get("cx")) for dot in root.findall("circle"))
    (box,) = root.findall("rect")
    place = Scale(0.5, 0.9, dots[0], dots[-1])
    low, high = (place(value) for value in np.percentile([0.5, 0.6, 0.7, 0.9], (25, 75)))
    assert float(box.get("x")) == pytest.approx(low, abs=0.02)
    assert float(box.get("width")) == pytest.approx(high - low, abs=0.02)
    assert "1 ∞, 2 none" in [element.text for element in root.findall("text")]


def test_the_strip_has_a_place_for_every_slice_also_those_between_that_nobody_marked():
    mask = np.zeros((9, 6, 6), bool)
    mask[[1, 7], 2:4, 2:4] = True
    agreement = analyze(rated_case({"A": mask, "B": mask}))
    root = drawing(slice_strip(agreement.slices, agreement.names, {1: 1}, ("inferior", "superior")))
    lanes = [rect for rect in root.findall("rect") if (rect.findtext("title") or "").startswith("A, slice")]
    xs = [float(rect.get("x")) for rect in lanes]
    assert xs[1] - xs[0] == pytest.approx(6 * float(lanes[0].get("width")), rel=0.02)
    texts = [element.text for element in root.findall("text")]
    assert {"1", "4", "7", "← inferior", "superior →"} <= set(texts)


def test_labels_fit_and_stay_different():
    names = ["short", "R" * 300, "R" * 299 + "S", "王" * 40, ""]
    cut = fit_labels(names, 11, 80)
    assert cut[0] == "short"
    assert len(set(cut)) == len(cut)
    assert all(text_width(label, 11) <= 80 for label in cut)


def test_numbers_are_shown_as_people_read_them():
    assert format_value(-0.12345, "") == "\N{MINUS SIGN}0.123"
    assert format_value(2.0, "mm", signed=True) == "+2.00"
    assert format_value(math.inf, "mm") == "∞"
    assert format_value(math.nan, "") == "\N{EN DASH}"
    assert format_p(1e-9) == "< 0.0001"
    assert format_p(0.04321) == "0.0432"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.823, 0.91), (0, 12345), (1e-4, 3e-4), (0.99999, 1)])
def test_ticks_are_few_round_and_within(low, high):
    ticks = Scale(low, high, 0, 100).ticks(6)
    assert 2 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_a_cohort_of_strangers_has_no_row_for_a_person(tmp_path):
    cases = [analyze(noisy_case(3, seed, name=f"case {seed}")) for seed in range(5)]
    strangers = Page(cohort_page(pool_agreements(cases, False), cases, ["x"] * 5)).text
    colleagues = Page(cohort_page(pool_agreements(cases, True), cases, ["x"] * 5)).text
    assert pool_agreements(cases, False).refusal in strangers
    assert "R2" not in strangers
    assert "R2" in colleagues
    assert format_p(pool_agreements(cases, False).tests["dsc"].p) in strangers


def test_the_real_strong_disagreement_is_reported(data_root: Path, tmp_path):
    case = nodule(data_root / "lidc_raters" / "LIDC-IDRI-0497_nodule-0")
    agreement = analyze(case)
    files = write_report(case, agreement, tmp_path)
    values = [float(row["dsc"]) for row in rows(files["pairs.csv"].read_text("utf-8"))]
    assert len(values) == 6
    assert np.mean(values) == pytest.approx(0.62, abs=0.005)
    page = Page(files[REPORT].read_text("utf-8"))
    assert f"DSC is {np.mean(values):.3f} on average" in page.text
    assert f"1. Slice {agreement.worst[0]}" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 6
