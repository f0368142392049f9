"""Damaged image files, and series with a damaged slice: they are read, or refused in a sentence.

A reader never dies, hangs, or eats the memory.
Each format is read in a process of its own, which may die without harm. ``CMEDL_FUZZ`` says how many damaged files of
each format there are (default 400, some seconds).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COUNT = int(os.environ.get("CMEDL_FUZZ", "400"))
SECONDS = 20
"""For one file."""
GIGABYTES = 4

CHILD = '''
import random, resource, signal, sys
from pathlib import Path
import numpy as np
from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.io.images import read_volume, write_image
from CMEDLSegmentLib.io.volume import Geometry
from segment.io.dicom_samples import write_series

folder, ending, count, seconds, gigabytes = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30,) * 2)
array = (np.arange(8 * 9 * 10) % 100).reshape(8, 9, 10).astype(np.int16)
geometry = Geometry((10, 9, 8), (1.0, 1.5, 2.0), (3.0, 4.0, 5.0))
if ending == ".dcm":
    slices = write_series(folder / "series", array, geometry)
    data = slices[3].read_bytes()
else:
    whole = folder / f"whole{ending}"
    write_image(whole, array, geometry)
    data = whole.read_bytes()
HEAD = {".dcm": 1200, ".nii": 348}.get(ending, 400)
ODD = [b"-1", b"0", b"60000", b"1e30", b"nan", b"inf", b"4294967296", b"x" * 1100, b"", b" ", b"(", b"-0.5"]

def flips(random):
    """Some bytes of the first half changed: the header is there."""
    damaged = bytearray(data)
    for _ in range(random.choice((1, 2, 8))):
        damaged[random.randrange(min(len(damaged), HEAD))] = random.choice((0, 255, 127, 128, random.randrange(256)))
    return bytes(damaged)

def cut(random):
    return data[: random.randrange(len(data))]

def odd_value(random):
    """A value of a text header replaced; of a binary one, four bytes."""
    head, mark, rest = data.partition(b"\\n\\n" if ending == ".nrrd" else b"ElementDataFile")
    lines = head.split(b"\\n")
    if ending.startswith((".nii", ".dcm")):
        at = random.randrange(0, HEAD, 2)
        odd = (b"\\0" * 4, b"\\xff" * 4, b"\\0\\0\\xc0\\x7f", b"\\0\\0\\x80\\x7f")
        return data[:at] + random.choice(odd) + data[at + 4 :]
    row = random.randrange(1, len(lines))
    key, separator, value = lines[row].partition(b": " if ending == ".nrrd" else b" = ")
    parts = value.split(b" ")
    parts[random.randrange(len(parts))] = random.choice(ODD)
    lines[row] = key + separator + b" ".join(parts)
    return b"\\n".join(lines) + mark + rest

for number in range(count):
    random.seed(number)
    path = slices[3] if ending == ".dcm" else folder / f"{number}{ending}"
    path.write_bytes(random.choice((flips, cut, odd_value))(random))
    print(number, flush=True)
    signal.alarm(seconds)
    try:
        read_volume(folder / "series" if ending == ".dcm" else path)
    except CMEDLError as error:
        assert str(folder) in str(error), error
    signal.alarm(0)
    path.unlink()
print("whole", flush=True)
'''


@pytest.mark.skipif(sys.platform == "win32", reason="limits of memory and time are those of Unix")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".dcm"])
def test_damaged_images_are_read_or_refused(ending: str, tmp_path: Path) -> None:
    places = os.pathsep.join(str(REPOSITORY / name) for name in ("CMEDLSegment", "Testing"))
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, tmp_path, ending, COUNT, SECONDS, GIGABYTES]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, encoding="utf-8", errors="replace", env=environment, check=False
    )
    last = done.stdout.splitlines()[-1:]
    assert (done.returncode, last) == (0, ["whole"]), done.stderr[-2000:]
