"""What a run's networks make of a few validation slices, as pictures in its folder, while it trains.

A row is a slice: the student's image with the student's outline in red and the expert's in yellow; where the method has
a translation, the pseudo-teacher image (pMRI) with the teacher's outline in blue and the expert's, and that image
translated back. Everything is as at test time, with the averaged student. Needs torch and numpy alone.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED, RATER_COLORS, Color
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.models.model_card import PROMPT

from ..cohort.store import Store
from ..losses.segmentation import probabilities
from ..methods import Batch, Method
from ..runs.run_folder import Run
from .prompts import central_prompts

TEACHER_BLUE = RATER_COLORS[1]
ROWS = 3
"""Slices shown, each of another patient where there are as many."""
KEPT = 30
"""Pictures that a run keeps: the first, which shows where it began, and the newest."""
SIDE = 256
"""Pixels along a slice in the picture, at least: smaller patches are enlarged by a whole factor."""


def write(run: Run, method: Method, networks: Mapping[str, nn.Module], store: Store, step: int) -> None:
    """Write the picture of ``step`` into the run and report it as the event ``preview``.

    The event names the ``file`` below the run's folder, its ``columns``, and the case and slice of its ``rows``.

    Args:
        run: whose folder takes it; older pictures than it keeps are deleted.
        method: says what the networks are.
        networks: all of the method's by name, the student's perhaps averaged; left in evaluation mode.
        store: the slices.
        step: training steps done.

    Raises:
        InputError: the picture cannot be written.
    """
    rows = slices(store)
    images, masks = store.read(rows)
    columns = panels(method, networks, images, masks)
    folder = run.folder / "previews"
    path = folder / f"step-{step:07d}.png"
    write_png(path, np.concatenate([np.concatenate(list(column), axis=0) for column in columns.values()], axis=1))
    for old in sorted(folder.glob("step-*.png"))[1 : 1 - KEPT]:
        old.unlink(missing_ok=True)
    shown = [{"case": patch.case, "slice": patch.slice} for patch in (store.patches[index] for index in rows)]
    run.report("preview", step=step, file=path.relative_to(run.folder).as_posix(), columns=list(columns), rows=shown)


def slices(store: Store) -> list[int]:
    """The validation slices that are shown: of the first patients, each one's slice with most of the structure."""
    best: dict[str, int] = {}
    for index in store.select("validation").tolist():
        patch = store.patches[index]
        if patch.pixels > store.patches[best.setdefault(patch.patient, index)].pixels:
            best[patch.patient] = index
    with_structure = sorted(best.values(), key=lambda index: store.patches[index].pixels == 0)
    return sorted(with_structure[:ROWS])


@torch.no_grad()
def panels(
    method: Method, networks: Mapping[str, nn.Module], images: np.ndarray, masks: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of a picture by name, each (n, side, side, 3) uint8.

    Args:
        method: what the networks are.
        networks: by name; put into evaluation mode.
        images: (n, field, field) in [-1, 1], of the student.
        masks: (n, field, field), the expert's labels.
    """
    for network in networks.values():
        network.eval()
    device = next(weight.device for network in networks.values() for weight in network.parameters())
    batch = Batch(
        torch.from_numpy(images)[:, None].to(device),
        torch.from_numpy(masks),
        central_prompts(masks).to(device) if PROMPT in method.student[-1].inputs else None,
    )
    student = batch.images
    expert = (masks, EXPERT_YELLOW)
    marked = _labels(method.segment(networks, batch.read()))
    columns = {"student": _column(student, expert, (marked, MODEL_RED))}
    if method.translation is not None:
        pseudo = method.translation.translate(student, networks)
        taught = [(_labels(networks[method.teacher](batch.read(pseudo))[0]), TEACHER_BLUE)] if method.teacher else []
        columns["pseudo_teacher"] = _column(pseudo, expert, *taught)
        columns["back_student"] = _column(method.translation.back(student, pseudo, networks))
    return columns


def _labels(logits: Tensor) -> np.ndarray:
    """Label values (n, h, w), 0 where no label is likelier than a half."""
    likely = probabilities(logits.float())
    value, label = likely.max(dim=1)
    return torch.where(value > 0.5, label + 1, 0).cpu().numpy()


def _column(images: Tensor, *outlines: tuple[np.ndarray, Color]) -> np.ndarray:
    """Images (n, 1, h, w) with outlines of label maps (n, h, w) as colors (n, side, side, 3); the last on top."""
    gray = ((images[:, 0].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    factor = -(-SIDE // gray.shape[-1])
    column = np.repeat(_enlarged(gray, factor)[..., None], 3, axis=-1)
    for labels, color in outlines:
        column[_outline(_enlarged(labels, factor))] = color
    return column


def _enlarged(maps: np.ndarray, factor: int) -> np.ndarray:
    return maps.repeat(factor, axis=-2).repeat(factor, axis=-1)


def _outline(labels: np.ndarray) -> np.ndarray:
    """The marked pixels (n, h, w) that have a neighbor of another label above, below, left or right."""
    around = np.pad(labels, ((0, 0), (1, 1), (1, 1)), mode="edge")
    neighbors = (around[:, :-2, 1:-1], around[:, 2:, 1:-1], around[:, 1:-1, :-2], around[:, 1:-1, 2:])
    return (labels > 0) & np.any([labels != other for other in neighbors], axis=0)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (height, width, 3) uint8 as a PNG file (ISO/IEC 15948): 8 bit RGB, each row unfiltered.

    Raises:
        InputError: the file cannot be written.
    """
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)], axis=1)
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    with atomic_path(path) as beside, beside.open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")):
            stream.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
