"""Contour panels: which slices they show, what stands above them, and whose colors are drawn where."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED
from CMEDLSegmentLib.inference.resampling import ModelField
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.normalization import CT_WINDOW
from CMEDLSegmentLib.report.contour_drawing import whole_view
from CMEDLTrainLib.evaluation.case_view import CaseView
from CMEDLTrainLib.figures import contour_panels

SIZE = 32


def case_view(expert: np.ndarray, predicted: np.ndarray, labels=(TUMOR,), direction=(1.0, 1.0, 1.0)) -> CaseView:
    """A case of ``expert.shape`` voxels of 2 mm, its field the whole slice."""
    geometry = Geometry(expert.shape[::-1], (2.0, 2.0, 3.0), direction=tuple(np.diag(direction).ravel()))
    volume = Volume(np.full(expert.shape, -700, np.int16), geometry)
    field = ModelField(expert.shape[1:], (2.0, 2.0), ((SIZE - 1) / 2, (SIZE - 1) / 2), SIZE, 2.0)
    probability = SimpleNamespace(slices=np.arange(len(expert)), field=field)
    result = SimpleNamespace(label=predicted, probability=probability)
    return CaseView("case", volume, expert, result, SimpleNamespace(normalization=CT_WINDOW, labels=labels))


def squares(*sides: int, value: int = 1) -> np.ndarray:
    """A slice for each side, with a square of that side at the same corner."""
    label = np.zeros((len(sides), SIZE, SIZE), np.uint8)
    for z, side in enumerate(sides):
        label[z, 8 : 8 + side, 8 : 8 + side] = value
    return label


def test_the_worst_the_median_and_the_best_are_chosen():
    assert contour_panels.telling_slices(np.array([0.9, 0.1, 0.5, 0.7])) == [("worst", 1), ("median", 2), ("best", 0)]
    assert contour_panels.telling_slices(np.array([0.9, 0.1])) == [("worst", 1), ("best", 0)]
    assert contour_panels.telling_slices(np.array([0.3])) == [("only", 0)]


def test_the_dsc_of_a_slice_is_the_one_counted_by_hand():
    case = case_view(squares(4, 4, 0), squares(4, 2, 0))
    scores = case.scores(case.predicted, np.arange(3))
    assert scores[:2] == pytest.approx([1.0, 2 * 4 / (16 + 4)])
    assert np.isnan(scores[2])


def test_the_dsc_of_several_labels_is_the_mean_of_those_that_are_there():
    expert, predicted = squares(4), squares(4)
    expert[0, 20:24, 20:24] = 2  # the student misses it
    case = case_view(expert, predicted, labels=[SimpleNamespace(value=value) for value in (1, 2, 3)])
    assert case.scores(case.predicted, np.array([0])) == pytest.approx([0.5])
    assert len(case.contour_masks(case.expert[0])) == 2


def test_a_single_label_takes_whatever_value_the_expert_used():
    case = case_view(squares(4, value=7), squares(4))
    assert case.scores(case.predicted, np.array([0])) == pytest.approx([1.0])


def test_slices_count_from_below_however_the_volume_is_stored():
    upside_down = case_view(squares(4, 4, 0), squares(4, 2, 0), direction=(1.0, 1.0, -1.0))
    assert upside_down.structure_slices().tolist() == [1, 2]
    assert upside_down.scores(upside_down.predicted[1:], np.array([1, 2])) == pytest.approx([0.4, 1.0])


def colored(picture: Image.Image, color) -> np.ndarray:
    """Where a picture has (nearly) that color."""
    return np.abs(np.asarray(picture, int) - color).max(axis=2) < 40


def test_a_panel_shows_the_student_s_contour_inside_the_expert_s():
    case = case_view(squares(16), squares(8))
    drawn = contour_panels.contours(case, 0, case.predicted[0], MODEL_RED)
    panel = contour_panels.draw_panel(case.image(0), drawn, "", whole_view((SIZE, SIZE), case.spacing), case.spacing)
    scale, top = contour_panels.SIDE / SIZE, contour_panels.CAPTION
    for color, side in ((MODEL_RED, 8), (EXPERT_YELLOW, 16)):
        # Where they share an edge the student's covers the expert's: the far edges tell.
        rows, columns = np.nonzero(colored(panel, color))
        assert rows.max() == pytest.approx(top + (8 + side) * scale, abs=3)
        assert columns.max() == pytest.approx((8 + side) * scale, abs=3)


def test_panels_of_a_case_have_one_scale_and_show_what_either_marked():
    expert, predicted = squares(4, 4), squares(4, 0)
    predicted[0, 26:30, 26:30] = 1  # a false one far away
    case = case_view(expert, predicted)
    first, second = contour_panels.squares_around(case, [0, 1])
    assert first.width_mm == second.width_mm
    assert first.width_mm >= 2 * (30 - 8)
    assert second.center == (9.5, 9.5)


def test_pictures_below_each_other_keep_every_row(tmp_path):
    paths = []
    for number, color in enumerate(((200, 0, 0), (0, 200, 0))):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (40 + 10 * number, 30), color).save(paths[-1])
    whole = np.asarray(contour_panels.draw_overview([("worst", paths[0]), ("best", paths[1])]))
    assert whole.shape == (2 * (30 + contour_panels.CAPTION), 50, 3)
    assert (whole[contour_panels.CAPTION : contour_panels.CAPTION + 30, :40] == (200, 0, 0)).all()
    assert (whole[-30:] == (0, 200, 0)).all()


def test_a_long_title_is_cut_to_its_room():
    assert contour_panels.shortened("short", 200) == "short"
    cut = contour_panels.shortened("a case with a very long name indeed", 120)
    assert cut.endswith("…")
    assert len(cut) < 20
