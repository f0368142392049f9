"""The cohort table: what is read, what is refused, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import Case, read_cohort, write_cohort

HEADER = "patient,case,role,modality,image,mask,split\n"
GOOD = "p1,a,student,CT,a.nii.gz,m.nii.gz,train\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Where a table goes, beside an image and a mask."""
    for name in ("a.nii.gz", "b.nii.gz", "m.nii.gz"):
        (tmp_path / name).touch()
    return tmp_path / "cohort.csv"


def refusal(table: Path, text: str | bytes, **options: object) -> str:
    """The sentence with which a table is refused."""
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_cohort(table, **options)
    return str(caught.value)


def test_paths_are_relative_to_the_table_wherever_the_program_runs(table, tmp_path, monkeypatch):
    monkeypatch.chdir(Path("/"))
    table.write_text(HEADER + GOOD, "utf-8")
    (case,) = read_cohort(table)
    assert case == Case("p1", "a", "CT", tmp_path / "a.nii.gz", tmp_path / "m.nii.gz", "student", "train", line=2)


def test_optional_columns_may_be_empty_and_absolute_paths_stay(table, tmp_path):
    table.write_text(HEADER + f"p1,a,,ct,{tmp_path / 'b.nii.gz'},,\n", "utf-8")
    (case,) = read_cohort(table)
    assert (case.mask, case.role, case.split, case.modality) == (None, "", "", "CT")
    assert case.image == tmp_path / "b.nii.gz"


def test_a_byte_order_mark_quotes_blank_lines_and_columns_of_ones_own_are_read(table):
    table.write_bytes(
        b"\xef\xbb\xbfcase,Patient,role,modality,image,mask,split,note\r\n\r\n"
        b'"a","Doe, J",,CT,a.nii.gz,,,"first ""try"""\r\n,,,,,,,\r\n'
    )
    (case,) = read_cohort(table)
    assert (case.patient, case.case, case.line) == ("Doe, J", "a", 3)


def test_non_ascii_names_are_read(table, tmp_path):
    (tmp_path / "bild_ü_肺.nii.gz").touch()
    table.write_text(HEADER + "p1,ü 肺,,CT,bild_ü_肺.nii.gz,,\n", encoding="utf-8")
    assert read_cohort(table)[0].case == "ü 肺"


def test_what_is_written_reads_back_and_moves_with_its_folder(table, tmp_path):
    cases = (
        Case("p,1", "a", "CT", tmp_path / "a.nii.gz", tmp_path / "m.nii.gz", "student", "train"),
        Case("p2", "b", "MR", tmp_path / "b.nii.gz"),
    )
    write_cohort(table, cases)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    read = read_cohort(moved / table.name)
    assert [case.patient for case in read] == ["p,1", "p2"]
    assert read[0].mask == moved / "m.nii.gz"
    assert (read[1].image, read[1].mask, read[1].role) == (moved / "b.nii.gz", None, "")


def test_clicks_are_kept_where_there_are_some_and_leave_other_tables_as_they_are(table, tmp_path):
    cases = [
        Case("p1", "a", "CT", tmp_path / "a.nii.gz"),
        Case("p2", "b", "CT", tmp_path / "b.nii.gz", click="-1.5,2,3; cut:4,5,6"),
    ]
    write_cohort(table, iter(cases))
    assert [case.click for case in read_cohort(table)] == ["", "-1.5,2,3; cut:4,5,6"]
    write_cohort(table, cases[:1])
    assert table.read_text("utf-8") == HEADER + "p1,a,,CT,a.nii.gz,,\n"
    table.write_text("click," + HEADER + '"1,2,3",p1,a,,CT,a.nii.gz,,\n', "utf-8")
    assert read_cohort(table)[0].click == "1,2,3"


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        read_cohort(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("", "lacks the column patient, case", id="empty file"),
        pytest.param(HEADER, "no case", id="header only"),
        pytest.param("patient,case,image\n", "lacks the column role, modality, mask, split", id="columns"),
        pytest.param(HEADER.replace(",", ";") + GOOD.replace(",", ";"), "semicolons", id="semicolons"),
        pytest.param(HEADER.replace(",", "\t"), "tabs", id="tabs"),
        pytest.param(HEADER.strip() + ",mask\n", "column mask twice", id="column twice"),
        pytest.param(HEADER.encode("utf-16"), "UTF-8", id="utf-16"),
        pytest.param(b"PK\x03\x04\xff\xfe\x00", "UTF-8", id="spreadsheet"),
        pytest.param(HEADER + "p1,a,student,CT\n", "line 2: 4 values", id="too few"),
        pytest.param(HEADER + GOOD.strip() + ",x\n", "line 2: 8 values", id="too many"),
        pytest.param(HEADER + '"p1,a,,CT,a.nii.gz,,\n', "line 2", id="open quote"),
        pytest.param(HEADER + "p1,a,pupil,CT,a.nii.gz,,\n", '"role" says "pupil"', id="role"),
        pytest.param(HEADER + "p1,a,,PET,a.nii.gz,,\n", '"modality" says "PET"', id="modality"),
        pytest.param(HEADER + "p1,a,,CT,a.nii.gz,,val\n", '"split" says "val"', id="split"),
        pytest.param(HEADER + ",a,,CT,a.nii.gz,,\n", '"patient" is empty', id="no patient"),
        pytest.param(HEADER + "p1,a,,CT,,,\n", '"image" is empty', id="no image"),
        pytest.param(HEADER + GOOD + GOOD.replace(",a,", ",A,"), "lines 2 and 3", id="case twice"),
        pytest.param(HEADER + GOOD + GOOD.replace(",a,", ",b,").replace("train", "test"), "two splits", id="leak"),
        pytest.param(HEADER + "p1,../a,,CT,a.nii.gz,,\n", "cannot name a file", id="slash"),
        pytest.param(HEADER + "p1,.a,,CT,a.nii.gz,,\n", "cannot name a file", id="hidden"),
        pytest.param(HEADER + "p1,NUL.x,,CT,a.nii.gz,,\n", "cannot name a file", id="device"),
        pytest.param(HEADER + f"p1,{'a' * 121},,CT,a.nii.gz,,\n", "cannot name a file", id="long"),
    ],
)
def test_a_bad_table_is_refused_with_a_reason(table, content, text):
    assert text in refusal(table, content)


def test_missing_files_are_counted_and_the_first_is_named_by_its_line(table):
    text = HEADER + GOOD + "p2,b,,CT,gone.nii.gz,,\np3,c,,CT,b.nii.gz,lost.nii.gz,\n"
    sentence = refusal(table, text)
    assert "2 files are missing" in sentence
    assert "line 3" in sentence
    assert "gone.nii.gz" in sentence
    assert len(read_cohort(table, check_files=False)) == 3


def test_training_can_ask_for_columns_that_a_batch_may_leave_empty(table):
    text = HEADER + "p1,a,student,CT,a.nii.gz,,train\n"
    assert '"mask" is empty' in refusal(table, text, required=("role", "mask", "split"))


def test_messages_name_neither_patient_nor_case(table):
    text = HEADER + "Jane Doe,doe-ct,student,CT,a.nii.gz,,train\nJane Doe,doe-mr,teacher,MR,a.nii.gz,,test\n"
    assert "doe" not in refusal(table, text).lower()
