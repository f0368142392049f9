"""The lines between front end and worker."""

from __future__ import annotations

import json

import pytest

from CMEDLSegmentLib.inference.options import Click, SegmentationOptions
from CMEDLSegmentLib.process.protocol import Alive, Broken, Done, Hello, Progressed, Segment, Taken, decode, encode

MESSAGES = [
    Segment("/tmp/é", {"shape": [1, 2, 3], "modality": None}, SegmentationOptions("a\nb", threshold=0.1), True),
    Segment(
        "folder",
        {},
        SegmentationOptions(
            clicks=(Click((-52.5, 30.0, 1 / 3)), Click((0.0, 1e-3, -99999.0), "cut")), click_model="a.safetensors"
        ),
        False,
    ),
    Hello(12),
    Alive(0.25),
    Taken(),
    Progressed("Looking for the lungs", 0),
    Done({"tumor_volume_cc": 1.5}),
    Broken("A sentence.", "", "InputError", fault=False),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_one_line_and_comes_back(message: object) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["message"] == type(message).__name__
    assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"hello\n",
        b"17\n",
        b'["Hello"]\n',
        b"\xff\xfe\n",
        b'{"message": "Hello", "pid": 12}',
        b'{"message": "Goodbye"}\n',
        b'{"message": ["Hello"], "pid": 12}\n',
        b'{"message": "Hello"}\n',
        b'{"message": "Hello", "pid": "12"}\n',
        b'{"message": "Hello", "pid": 12, "more": 1}\n',
        b'{"message": "Segment", "folder": "", "volume": {}, "probability": true, "options": {"clicks": [[1]]}}\n',
        b"[" * 60_000 + b"\n",
    ],
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(line)
