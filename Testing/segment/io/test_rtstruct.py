"""RT structure sets as other systems write them: right where they are right, told or refused where they are bad."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.contour_files import read_delineation
from CMEDLSegmentLib.io.delineation import Delineation
from CMEDLSegmentLib.io.dicom_writer import dataset
from CMEDLSegmentLib.io.volume import Geometry, Volume
from segment.agreement.samples import Contour, frame_of, rectangle, write_structures
from segment.io.conftest import block, grid, rotation

GRID = grid(np.eye(3))
"""24 x 20 x 12 voxels of 0.7 x 0.85 x 2.5 mm."""


def slab(z: slice = slice(4, 5), y: slice = slice(5, 12), x: slice = slice(3, 10)) -> np.ndarray:
    """The mask that :func:`box` encloses."""
    return block(z, y, x)


def box(z: float = 4, y: tuple[float, float] = (4.5, 11.5), x: tuple[float, float] = (2.5, 9.5), **options) -> Contour:
    return rectangle(x, y, z, **options)


@pytest.fixture
def read(tmp_path):
    """Writes contours of one region on GRID (or ``on``) and reads them onto GRID (or ``image``)."""

    def written_and_read(contours, segment=None, image: Volume | Geometry = GRID, on: Geometry = GRID, **options):
        write_structures(tmp_path / "rt.dcm", on, {"GTV": contours}, **options)
        return read_delineation(tmp_path / "rt.dcm", "A", image, segment)

    return written_and_read


def slices_of(delineation: Delineation) -> list[int]:
    """The slices with something on them."""
    return np.flatnonzero(delineation.mask.any(axis=(1, 2))).tolist()


def mentions(delineation: Delineation, text: str) -> bool:
    return any(text in note for note in delineation.notes)


def test_a_contour_without_any_reference_goes_by_its_coordinates_and_that_is_told(read, ct_volume):
    delineation = read([box()], image=ct_volume)
    np.testing.assert_array_equal(delineation.mask, slab())
    assert delineation.notes == ("It does not say on which images it was drawn, so it was placed by its coordinates.",)
    assert (delineation.segment, delineation.source) == ("GTV", "RTSTRUCT")


def test_on_an_image_that_is_not_dicom_the_coordinates_count_and_that_is_told(read):
    delineation = read([box()], series_uid="1.2.3", frame_uid="1.2.4")
    np.testing.assert_array_equal(delineation.mask, slab())
    assert mentions(delineation, "does not name its DICOM series")


def test_references_to_the_image_itself_are_worth_no_word(read, ct_volume):
    delineation = read([box()], image=ct_volume, series_uid=ct_volume.series_uid, frame_uid=frame_of(ct_volume))
    np.testing.assert_array_equal(delineation.mask, slab())
    assert delineation.notes == ()


def test_another_series_in_the_same_frame_of_reference_is_taken_and_told(read, ct_volume):
    delineation = read([box()], image=ct_volume, series_uid="1.2.3", frame_uid=frame_of(ct_volume))
    np.testing.assert_array_equal(delineation.mask, slab())
    assert mentions(delineation, "another series of the same frame of reference")


@pytest.mark.parametrize(
    "references", [{"series_uid": "1.2.3", "frame_uid": "1.2.4"}, {"series_uid": "1.2.3"}, {"frame_uid": "1.2.4"}]
)
def test_another_series_or_another_or_unknown_frame_of_reference_is_refused(read, ct_volume, references):
    with pytest.raises(InputError, match=r"rt\.dcm"):
        read([box()], image=ct_volume, **references)


def test_images_named_by_the_contours_alone_tell_whose_they_are(read, ct_volume):
    image = str(dcmread(ct_volume.files[4], stop_before_pixels=True).SOPInstanceUID)
    own = box()
    own.image = image
    assert read([own], image=ct_volume).notes == ()
    own.image = "1.2.3.4"
    with pytest.raises(InputError, match=r"rt\.dcm"):
        read([own], image=ct_volume)


def test_regions_of_two_frames_are_judged_each_by_its_own(tmp_path, ct_volume):
    path = write_structures(
        tmp_path / "rt.dcm", GRID, {"GTV ct": [box()]}, series_uid=ct_volume.series_uid, frame_uid=frame_of(ct_volume)
    )
    structures = dcmread(path)
    structures.ReferencedFrameOfReferenceSequence.append(dataset(FrameOfReferenceUID="1.2.4"))
    region = dataset(ROINumber=2, ROIName="GTV mr", ReferencedFrameOfReferenceUID="1.2.4")
    structures.StructureSetROISequence.append(region)
    structures.save_as(path)
    assert read_delineation(path, "A", ct_volume, "GTV ct").notes == ()
    with pytest.raises(InputError, match=r"rt\.dcm"):
        read_delineation(path, "A", ct_volume, "GTV mr")


def test_the_series_may_be_named_where_the_image_is_only_a_grid(tmp_path, ct_volume):
    path = write_structures(tmp_path / "rt.dcm", GRID, {"GTV": [box()]}, series_uid=ct_volume.series_uid)
    assert read_delineation(path, "A", GRID, series_uid=ct_volume.series_uid).notes == ()


CORNERS = [(2.5, 4.5, 4), (9.5, 4.5, 4), (9.5, 11.5, 4), (2.5, 11.5, 4)]
POINTS = [Contour([(5, 5, 4)], "POINT"), Contour([(5, 5, 4), (7, 7, 4)], "POINT"), Contour([])]
ODD = {
    "a kind left out is a closed one": ([box(kind=None)], slab(), ""),
    "pixel centers on the contour are inside": ([box(x=(3, 9), y=(5, 11))], slab(), ""),
    "a ring thinner than a pixel is no copy": (
        [box(), box(y=(5.2, 10.8), x=(3.2, 8.8))],
        slab() & ~slab(y=slice(6, 11), x=slice(4, 9)),
        "Taken as holes or islands, lying within others: 1 contour.",
    ),
    "open with near ends": ([Contour(CORNERS, "OPEN_PLANAR")], slab(), "Open, closed by joining the ends: 1 contour."),
    "open with far ends": (
        [Contour([(2.5, 4.5, 4), (9.5, 5, 4), (20, 4.5, 4)], "OPEN_NONPLANAR"), box(5)],
        slab(z=slice(5, 6)),
        "Left out as open, with ends far apart: 1 contour.",
    ),
    "points": ([*POINTS, box()], slab(), "Left out as points, which are no contours: 3 contours."),
    "points alone": (POINTS, slab() & False, "The region has no contour that encloses anything."),
    "overlapping in part": (
        [box(), box(x=(7.5, 14.5))],
        slab(x=slice(3, 15)),
        "With contours that overlap in part, taken together: 1 slice.",
    ),
    "between pixel centers": (
        [box(x=(3.2, 3.8)), box(5)],
        slab(z=slice(5, 6)),
        "Enclosing no voxel center: 1 contour.",
    ),
    "not in one plane": (
        [Contour([(2.5, 4.5, 3.2), (9.5, 4.5, 4.6), (9.5, 11.5, 4.8), (2.5, 11.5, 3.4)]), box(5), box(6)],
        slab(slice(4, 7)),
        "Not in one plane, put flat on the slice nearest to the middle: 1 contour.",
    ),
    "another number of points than stated": (
        [Contour(CORNERS, stated=7)],
        slab(),
        "Of another number of points than stated: 1 contour.",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_contours_mark_what_they_mean_and_what_was_made_of_them_is_told(read, name):
    contours, expected, note = ODD[name]
    for preface in (True, False):
        delineation = read(contours, preface=preface)
        np.testing.assert_array_equal(delineation.mask, expected)
        assert note in ("", *delineation.notes)
        assert not mentions(delineation, "copies")


def test_holes_by_keyhole_by_disjunction_and_by_nesting_are_one(read):
    expected = slab() & ~slab(y=slice(7, 10), x=slice(5, 8))
    outer = CORNERS
    inner = [(4.5, 6.5, 4), (4.5, 9.5, 4), (7.5, 9.5, 4), (7.5, 6.5, 4)]
    for hole in (inner, inner[::-1]):
        keyhole = Contour([outer[0], *([hole[0], *hole[1:], hole[0]]), *outer])
        np.testing.assert_array_equal(read([keyhole]).mask, expected)
        disjoined = [Contour(outer, "CLOSEDPLANAR_XOR"), Contour(hole, "CLOSEDPLANAR_XOR")]
        np.testing.assert_array_equal(read(disjoined).mask, expected)
        nested = read([Contour(outer), Contour(hole)])
        np.testing.assert_array_equal(nested.mask, expected)
        assert mentions(nested, "Taken as holes or islands, lying within others: 1 contour.")


def test_a_closed_contour_that_is_but_a_line_marks_the_centers_it_runs_through_and_no_other(read):
    lines = [Contour([(15, 5, 4)]), Contour([(15, 7, 4), (18, 7, 4)]), Contour([(15, 9, 4), (16, 10, 4), (17, 11, 4)])]
    beside = [Contour([(15.3, 13, 4)]), Contour([(15.3, 14, 4), (18, 14.4, 4)])]
    expected = slab()
    expected[4, [5, 7, 7, 7, 7, 9, 10, 11], [15, 15, 16, 17, 18, 15, 16, 17]] = True
    delineation = read([*lines, *beside, box()])
    np.testing.assert_array_equal(delineation.mask, expected)
    assert mentions(delineation, "Enclosing no voxel center: 2 contours.")
    alone = read(lines)
    np.testing.assert_array_equal(alone.mask, expected & ~slab())
    assert mentions(alone, "no contour that encloses anything")


def test_a_contour_that_crosses_itself_has_both_its_lobes_and_is_told(read):
    bow_tie = Contour([(2.4, 3.5, 4), (9.6, 3.5, 4), (2.4, 12.5, 4), (9.6, 12.5, 4)])
    delineation = read([bow_tie])
    assert delineation.mask[4, 4, 3:10].all()
    assert delineation.mask[4, 12, 3:10].all()
    assert delineation.mask[4, 8].sum() == 1  # where it crosses
    assert mentions(delineation, "Crossing themselves or going round twice, inside by the even-odd rule: 1 contour.")


def test_a_contour_written_twice_counts_once_whatever_its_rounding_and_direction(read):
    again = Contour([(9.502, 11.5, 4), (9.5, 4.501, 4), (6, 4.5, 4), (2.5, 4.5, 4), (2.5, 11.499, 4), (2.5, 11.5, 4)])
    for kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        again.kind = kind
        delineation = read([box(kind=kind), again, box(5, kind=kind)])
        np.testing.assert_array_equal(delineation.mask, slab(z=slice(4, 6)))
        assert mentions(delineation, "Left out as copies of others: 1 contour.")


def test_what_lies_outside_the_image_is_left_out_and_told(read):
    outside = [box(-1), box(12), box(x=(-9.5, -2.5)), box(y=(25.5, 28.5))]
    cut = [box(5, x=(-4.5, 9.5)), box(6, y=(4.5, 30.5))]
    delineation = read([*outside, *cut, box()])
    expected = slab() | slab(slice(5, 6), x=slice(0, 10)) | slab(slice(6, 7), y=slice(5, 20))
    np.testing.assert_array_equal(delineation.mask, expected)
    assert mentions(delineation, "Left out, outside the image: 4 contours.")
    assert mentions(delineation, "Cut at the border of the image: 2 contours.")
    assert len(delineation.notes) == 3


def test_damaged_coordinates_far_away_cost_neither_time_nor_memory(read, ct_volume):
    far = box(1e9, x=(-1e9, 1e9))
    for references in ({}, {"series_uid": "1.2.3", "frame_uid": frame_of(ct_volume)}):
        delineation = read([box(), far, box(3, x=(2.5, 1e9))], image=ct_volume, **references)
        np.testing.assert_array_equal(delineation.mask[4], slab()[4])
        assert delineation.mask[3, 5:12, 3:].all()
    oblique = grid(rotation(25))
    assert not read([box(5), box(4, x=(2.5, 1e9))], on=oblique).empty


def test_contours_that_all_lie_outside_the_image_are_refused(read):
    with pytest.raises(InputError, match=r"rt\.dcm .* 2 outside"):
        read([box(-3), box(x=(-9.5, -2.5))])


@pytest.mark.parametrize("angle", [0.0, 23.0])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_contours_hold_wherever_the_patient_lies(read, angle, flips):
    turned = grid(rotation(angle) @ np.diag(flips))
    delineation = read([box(3), box(4)], image=turned, on=turned)
    np.testing.assert_array_equal(delineation.mask, slab(slice(3, 5)))


def test_contours_across_the_rows_or_columns_of_the_image_are_filled_there(read):
    # A coronal and a sagittal contour, each in one plane of voxels.
    coronal = Contour([(2.5, 6, 3.5), (9.5, 6, 3.5), (9.5, 6, 8.5), (2.5, 6, 8.5)])
    np.testing.assert_array_equal(read([coronal]).mask, slab(slice(4, 9), slice(6, 7), slice(3, 10)))
    sagittal = Contour([(6, 4.5, 3.5), (6, 11.5, 3.5), (6, 11.5, 8.5), (6, 4.5, 8.5)])
    np.testing.assert_array_equal(read([sagittal]).mask, slab(slice(4, 9), slice(5, 12), slice(6, 7)))


def finer(factor: float, shift: float = 0.0) -> Geometry:
    """GRID with slices ``factor`` times as near to each other, the first ``shift`` of the image's slices higher."""
    start = (*GRID.origin[:2], GRID.origin[2] + shift * GRID.spacing[2])
    spacing = (*GRID.spacing[:2], GRID.spacing[2] / factor)
    return Geometry((*GRID.size[:2], int(GRID.size[2] * factor)), spacing, start, GRID.direction)


def test_contours_of_a_finer_series_mark_each_slice_from_the_nearest(read):
    # Planes at 3.5, 4.0 ... 6.5 slices, each one wider.
    contours = [box(z, x=(2.5, 3.5 + z - 7)) for z in range(7, 14)]
    delineation = read(contours, on=finer(2, shift=0.1))
    widths = delineation.mask.sum(axis=2).max(axis=1)
    # Heights 3.6, 4.1, 4.6 ...: slice 4 takes the plane at 4.1, the second.
    assert widths.tolist() == [0, 0, 0, 0, 2, 4, 6, 0, 0, 0, 0, 0]
    assert mentions(
        delineation, "Drawn 1.25 mm apart, each image slice (2.5 mm apart) marked from the nearest: 7 planes."
    )


def test_contours_of_a_coarser_series_leave_no_slice_out(read):
    # Planes at 1.3, 4.3, 7.3 slices: each marks the three slices within 1.5.
    contours = [box(z, x=(2.5, 3.5 + z)) for z in range(3)]
    delineation = read(contours, on=finer(1 / 3, shift=1.3))
    assert delineation.mask.sum(axis=2).max(axis=1).tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0]
    assert mentions(delineation, "Drawn 7.5 mm apart")
    # What a plane has to tell is told once, though it marks three slices; one below the image marks its lowest.
    delineation = read([box(-1), box(0), box(0), box(1)], on=finer(1 / 3, shift=1.3))
    assert slices_of(delineation) == [0, 1, 2, 3, 4, 5]
    assert mentions(delineation, "Left out as copies of others: 1 contour.")
    assert mentions(delineation, "Left out, outside the image: 1 contour.")
    assert read([box(-1), box(0)], on=finer(1 / 3, shift=2.3)).mask[0].any()


def test_contours_half_way_between_slices_keep_their_volume(read):
    delineation = read([box(z) for z in range(3, 7)], on=finer(1, shift=0.5))
    assert delineation.mask.any(axis=(1, 2)).sum() == 4


def test_planes_that_fall_on_every_third_slice_fill_those_between_only_if_drawn_on_another_series(read, ct_volume):
    contours = [box(z) for z in (2, 5, 8)]
    unknown = read(contours, image=ct_volume)
    assert slices_of(unknown) == [2, 5, 8]
    assert mentions(unknown, "Without contours between others, left empty: 4 slices.")
    other = read(contours, image=ct_volume, series_uid="1.2.3", frame_uid=frame_of(ct_volume))
    assert slices_of(other) == list(range(1, 10))


def test_a_plane_left_out_by_the_rater_stays_empty(read):
    delineation = read([box(z) for z in (2, 3, 4, 6, 7)], on=finer(1, shift=0.3))
    assert slices_of(delineation) == [2, 3, 4, 6, 7]


def test_contours_of_one_plane_may_differ_in_height_by_their_rounding(read):
    # 4.3 and 4.304 slices: 0.01 mm apart.
    delineation = read([box(4.3), box(4.304, x=(14.5, 17.5)), box(5.3)])
    np.testing.assert_array_equal(delineation.mask, slab(slice(4, 6)) | slab(x=slice(15, 18)))


def test_a_plane_out_of_line_leaves_the_others_their_slices(read):
    delineation = read([box(z) for z in (2.3, 3.3, 4.3, 4.5, 5.3)])
    np.testing.assert_array_equal(delineation.mask, slab(slice(2, 6)))


def test_contours_of_the_image_itself_may_be_a_little_askew(read, ct_volume):
    askew = [Contour([(2.5, 4.5, z), (9.5, 4.5, z + 0.3), (9.5, 11.5, z + 0.3), (2.5, 11.5, z)]) for z in (3.9, 4.9)]
    delineation = read(askew, image=ct_volume, series_uid=ct_volume.series_uid)
    np.testing.assert_array_equal(delineation.mask, slab(slice(4, 6)))
    assert delineation.notes == ()


def test_a_single_plane_between_slices_marks_the_nearer(read):
    assert slices_of(read([box(4.3)])) == [4]


def test_a_contour_of_the_image_itself_off_its_slice_goes_to_the_nearer_and_is_told(read, ct_volume):
    delineation = read([box(4.3), box(5)], image=ct_volume, series_uid=ct_volume.series_uid)
    np.testing.assert_array_equal(delineation.mask, slab(slice(4, 6)))
    assert mentions(delineation, "Between two slices, put on the nearer: 1 contour.")


def test_contours_at_an_angle_to_the_slices_mark_the_same_body_and_that_is_told(read):
    # The same ball in contours of an oblique series and, by its equation, on the image.
    oblique = Geometry((60, 60, 80), (0.5, 0.5, 0.5), (0, 0, 0), tuple(rotation(25).ravel().tolist()))
    center = GRID.to_physical([[12, 10, 6]])[0]
    x, y, z = oblique.to_index([center])[0]
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    contours = []
    for k in range(int(np.ceil(z - 12)), int(np.floor(z + 12)) + 1):
        radius = np.sqrt(144 - (k - z) ** 2)
        contours.append(Contour(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle), 0 * angle + k], 1)))
    delineation = read(contours, on=oblique)
    centers = GRID.to_physical(np.argwhere(np.ones(GRID.shape))[:, ::-1])
    ball = (np.linalg.norm(centers - center, axis=1) < 6).reshape(GRID.shape)
    assert 2 * (delineation.mask & ball).sum() / (delineation.mask.sum() + ball.sum()) > 0.96
    assert mentions(delineation, "at an angle to the slices, each voxel marked from the nearest: 24 planes.")
    assert not mentions(delineation, "outside")
    assert mentions(read([*contours, box(-9)], on=oblique), "Left out, outside the image: 1 contour.")
    with pytest.raises(InputError, match=r"rt\.dcm .* 1 outside"):
        read([box(-99)], on=oblique)


def test_no_such_region_lists_those_there_are_in_any_script(tmp_path):
    regions = {"GTV 腫瘍": [box()], "Опухоль": [box(5)], "Μαύρο <b>": []}
    path = write_structures(tmp_path / "rt.dcm", GRID, regions)
    with pytest.raises(InputError, match=r"'Liver'; .* 1: 'GTV 腫瘍', 2: 'Опухоль', 3: 'Μαύρο <b>'"):
        read_delineation(path, "A", GRID, "Liver")
    np.testing.assert_array_equal(read_delineation(path, "A", GRID, "опухоль").mask, slab(slice(5, 6)))
    np.testing.assert_array_equal(read_delineation(path, "A", GRID, "2").mask, slab(slice(5, 6)))
    assert read_delineation(path, "A", GRID).segment == "GTV 腫瘍"


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller"),
        ("ISO_IR 144", "Опухоль"),
        ("ISO_IR 126", "Όγκος"),
        ("GB18030", "肿瘤"),
        (["", "ISO 2022 IR 87"], "腫瘍"),
        (["", "ISO 2022 IR 149"], "종양"),
    ],
)
def test_names_are_found_in_the_character_sets_of_dicom(tmp_path, charset, name):
    path = write_structures(tmp_path / "rt.dcm", GRID, {name: [box()], "Other": []}, charset=charset)
    assert read_delineation(path, "A", GRID, name).segment == name


@pytest.mark.parametrize("declared", [None, "ISO_IR 100"])
def test_names_in_utf_8_are_found_where_the_file_does_not_say_that_they_are(tmp_path, declared):
    path = write_structures(tmp_path / "rt.dcm", GRID, {"Tumör 腫瘍": [box()]})
    raw = path.read_bytes()
    assert raw.count(b"ISO_IR 192") == 1
    if declared is None:
        structures = dcmread(path)
        length = len(structures.SpecificCharacterSet)
        raw = raw.replace(b"CS" + length.to_bytes(2, "little") + b"ISO_IR 192", b"CS\x0a\x00          ")
    else:
        raw = raw.replace(b"ISO_IR 192", b"ISO_IR 100")
    path.write_bytes(raw)
    assert read_delineation(path, "A", GRID).segment == "Tumör 腫瘍"


def test_two_regions_of_one_name_are_no_guess_but_may_be_numbered(tmp_path):
    path = write_structures(tmp_path / "rt.dcm", GRID, [("GTV", [box()]), ("GTV", [box(5)])])
    with pytest.raises(InputError, match=r"1: 'GTV', 2: 'GTV'"):
        read_delineation(path, "A", GRID, "GTV")
    np.testing.assert_array_equal(read_delineation(path, "A", GRID, "2").mask, slab(slice(5, 6)))


@pytest.mark.parametrize("contour_items", [True, False])
def test_a_region_without_contours_is_empty_and_told(read, contour_items):
    delineation = read([], contour_items=contour_items)
    assert delineation.empty
    assert delineation.mask.shape == GRID.shape
    assert mentions(delineation, "no contour that encloses anything")


def test_a_structure_set_without_regions_is_refused(tmp_path):
    path = write_structures(tmp_path / "rt.dcm", GRID, {})
    with pytest.raises(InputError, match=r"rt\.dcm"):
        read_delineation(path, "A", GRID)


@pytest.mark.parametrize("data", [["1", "2", "3", "4"], ["1", "2", "nought"], ["nan", "1", "2"]])
def test_points_that_are_none_are_refused(tmp_path, data):
    path = write_structures(tmp_path / "rt.dcm", GRID, {"GTV": [box()]})
    structures = dcmread(path)
    text = "\\".join(data).encode()
    raw = path.read_bytes()
    with disable_value_validation():
        contour = structures.ROIContourSequence[0].ContourSequence[0]
        old = contour.get_item("ContourData").value
    path.write_bytes(raw.replace(old, text + b" " * (len(old) - len(text))))
    with pytest.raises(InputError, match=r"rt\.dcm"):
        read_delineation(path, "A", GRID)
