"""Scans found under a folder, and names that cases can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from CMEDLSegmentLib.io.cohort_table import LONGEST_CASE, names_a_file
from CMEDLSegmentLib.io.scan_search import case_name, find_scans, name_of

DICOM = b"\0" * 128 + b"DICM"


def test_volumes_and_series_are_found_and_nothing_else(tmp_path: Path) -> None:
    for name, data in {
        "a.nii.gz": b"",
        "b.NRRD": b"",
        "b.seg.nrrd": b"",
        "notes.txt": b"what was done",
        ".hidden.nii": b"",
        "series/1": DICOM,
        "series/2": DICOM,
        "series/deeper/c.mha": b"",
        "texts/readme": b"none",
        ".cache/x.nii": b"",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = find_scans(tmp_path)
    assert {scan.relative_to(tmp_path).as_posix() for scan in found} == {
        "a.nii.gz",
        "b.NRRD",
        "series",
        "series/deeper/c.mha",
    }
    names = [name_of(scan, tmp_path) for scan in found]
    assert sorted(names) == ["a", "b", "series", "series/deeper/c"]
    assert find_scans(tmp_path / "texts") == []
    assert name_of(tmp_path, tmp_path) == tmp_path.name


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_scans(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "...", "con", "a/b\\c:d*e", "x" * 500, "Dr. <b>\n", "CT", "lpt1.nii", "肺 ü"])
def test_every_text_gives_names_that_are_fit_and_different(text: str) -> None:
    taken: list[str] = []
    for _ in range(12):
        taken.append(case_name(text, taken))
        assert taken[-1].strip()
        assert names_a_file(taken[-1])
    assert len({name.casefold() for name in taken}) == len(taken)
    assert max(map(len, taken)) <= LONGEST_CASE
