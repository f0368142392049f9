"""The card of a model: what it is, what it was trained on, how well it did, what it is for.

The card travels as JSON in the metadata of the model's ``.safetensors`` file (see ``model_file.py``).
Everything here is plain Python, so a list of models is shown without loading torch. Every field is checked
when a card is made, therefore also when one is read; a wrong one is named.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import schema
from ..base.errors import ModelError
from ..base.schema import SchemaError, required, setting, wrong
from ..io.labels import Label
from .normalization import Normalization

FORMAT, OLD_FORMAT = "cmedl-model/2", "cmedl-student/1"
"""The old one spells two names otherwise; a card of it keeps it, and with it its digest and its version."""
_OLD_SPELLING = {"normalization": "normalisation", "license": "licence"}
METADATA_KEY = "cmedl-card"
DIGEST_FIELD = "card_sha256"
SEGMENTOR = "segmentor"
IMAGE, PROMPT = "image", "prompt"
"""What networks read besides each other: the image, and what a person pointed at."""
INT8_PREFIX = "int8"
LARGEST_HEADER = 64 << 20
"""Bytes; a card and the list of tensors take a few kilobytes, so more means the file is something else."""
FOUND = "patients in whom the structure was found"
"""The measure of a figure that counts: its value is a number of patients, its n all of them."""
_LATER = ("candidates", "misses", "prompt")
"""Fields that cards of before do not have: left out where they are empty, so that those keep their digest."""
ITS_FIELD = "the card's field"
"""How the errors about a field begin."""


@dataclass(frozen=True)
class NetworkSpec:
    """One network of a model.

    Attributes:
        name: how others refer to it; its tensors are called ``<name>.<parameter>``. The last one is
            ``segmentor``.
        kind: what ``networks.create_network`` makes.
        arguments: its arguments (widths, channels, classes).
        inputs: what it reads, channels concatenated: ``image`` (normalized), ``prompt`` (of a model that reads clicks),
            or networks named before it.
    """

    name: str
    kind: str = required(filled=True)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = setting((IMAGE,), filled=True)

    def __post_init__(self) -> None:
        with schema.named(ITS_FIELD, ModelError):
            schema.conform(self, "networks")
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", self.name) or self.name in (IMAGE, PROMPT, INT8_PREFIX):
                raise wrong(
                    "networks.name",
                    "lower-case letters, digits, - and _, but not 'image', 'prompt' or 'int8'",
                    self.name,
                )


@dataclass(frozen=True)
class _Source:
    """Data that a model has learned from."""

    name: str = required(filled=True)
    license: str = required(filled=True, formerly=_OLD_SPELLING["license"])
    attribution: str = required(filled=True)


@dataclass(frozen=True)
class _Figure:
    """How well a model did on cases that it has not learned from; numbers are kept as they were written."""

    measure: str = required(filled=True)
    value: int | float = required()
    n: int = required(low=1, high=10**9)
    data: str = required(filled=True)
    spread: int | float = setting(0, low=0)


@dataclass(frozen=True)
class CandidateRule:
    """Which lesion candidates are likely: the others are offered, but are not part of a result at first."""

    mean: float = required(low=0.0, high=1.0, help="At least this mean probability.")
    volume_cc: float = required(low=0.0, high=1000.0, help="At least this volume, cc.")
    chosen_on: str = required(filled=True, help="The patients that the rule was chosen on, and what it kept there.")


PROMPT_CHANNELS = ("add", "cut", "neighbor")
"""Of a prompt: clicks inside the structure, clicks outside of it, and the structure's mask on the slice before."""


@dataclass(frozen=True)
class ClickPrompt:
    """How a model that reads clicks is asked: one slice at a time, on a square around the structure.

    The card's ``field`` is the side of that square in pixels, its ``spacing_mm`` a pixel in the middle of the range.
    """

    click_pixels: float = setting(3.0, low=0.5, high=50, help="Standard deviation of the Gaussian at a click, pixels.")
    pixel_mm: tuple[float, float] = setting((0.75, 2.0), low=0.05, high=20, help="The least and the most it has seen.")
    diameter_pixels: float = setting(
        32.0, low=4, high=4096, help="The pixel is chosen so that the structure's diameter is this, within pixel_mm."
    )
    smallest_mm2: float = setting(9.0, low=0, high=1e4, help="Below this area a slice has no structure: it ends there.")
    largest_gap_mm: float = setting(8.0, low=0.1, high=100, help="Slices further apart are not told of each other.")
    channels: tuple[str, ...] = PROMPT_CHANNELS

    def __post_init__(self) -> None:
        with schema.named(ITS_FIELD, ModelError):
            schema.conform(self, "prompt")
            if self.channels != PROMPT_CHANNELS:
                raise wrong("prompt.channels", ", ".join(PROMPT_CHANNELS), self.channels)
            if self.pixel_mm[0] > self.pixel_mm[1]:
                raise wrong("prompt.pixel_mm", "a range with the lower value first", self.pixel_mm)


@dataclass(frozen=True, kw_only=True)
class Card:
    """The model card.

    Raises:
        ModelError: a field has a wrong type or value, or fields contradict each other; the message
            names the field.
    """

    name: str = required(filled=True, help="What a user types: --model NAME.")
    title: str = required(filled=True)
    summary: str = required(filled=True)
    networks: tuple[NetworkSpec, ...] = required(filled=True, help="They run in this order; the last is the segmentor.")
    labels: tuple[Label, ...] = required(filled=True)
    modality: str = required(choices=("CT", "MR"))
    normalization: Normalization = required(formerly=_OLD_SPELLING["normalization"])
    spacing_mm: float = required(low=0.05, high=20.0, help="In-plane, of the pixels that the networks see.")
    field: int = required(low=16, high=4096, help="Pixels along each side of the square that the networks see.")
    slices: str = required(choices=("lung", "all"), help="lung: only slices that contain lung.")
    threshold: float = required(low=0.001, high=0.999, help="On the probability, above it a voxel is marked.")
    training: dict[str, Any] = required(help="Method, preset, seed, epochs: what makes the training repeatable.")
    intended_use: str = required(filled=True)
    unintended_use: str = required(filled=True)
    date: str = required(help="ISO 8601, YYYY-MM-DD.")
    program_version: str = required(filled=True)
    data: tuple[dict[str, str], ...] = setting((), help="Of each source its name, license and attribution.")
    smoothing_mm: float = setting(
        0.0, low=0.0, high=50.0, help="Standard deviation of the Gaussian over the slices of probabilities; 0: none."
    )
    candidates: CandidateRule | None = setting(None, help="Which lesion candidates are likely; None: all.")
    misses: str = setting("", help="What the model is known to miss, in a few words.")
    prompt: ClickPrompt | None = setting(None, help="How it is asked by clicks; None: it finds structures by itself.")
    figures: tuple[dict[str, Any], ...] = setting((), help="Held out: measure, value, n, data, where known spread.")
    int8: dict[str, Any] | None = setting(None, help="How int8 was checked; None: int8 is not to be used.")
    weights_sha256: str = setting("", help="64 hexadecimal digits; empty until saved.")
    format: str = FORMAT

    def __post_init__(self) -> None:
        _check_format(self.format)
        with schema.named(ITS_FIELD, ModelError):
            schema.conform(self)
            self._check_texts()
            self._check_networks()
            self._check_labels()
            self._check_data()

    def _check_texts(self) -> None:
        if len(self.name) > 80 or self.name != self.name.strip() or not self.name.isprintable():
            raise wrong("name", "at most 80 printable characters without spaces at its ends", self.name)
        try:
            # strptime, because fromisoformat takes other forms from Python 3.11 on.
            datetime.datetime.strptime(self.date, "%Y-%m-%d")
        except ValueError as error:
            raise wrong("date", "a date as YYYY-MM-DD", self.date) from error
        if not re.fullmatch(r"([0-9a-f]{64})?", self.weights_sha256):
            raise wrong("weights_sha256", "64 hexadecimal digits", self.weights_sha256)

    def _check_networks(self) -> None:
        known = {IMAGE} if self.prompt is None else {IMAGE, PROMPT}
        for network in self.networks:
            if network.name in known:
                raise SchemaError("networks", f"names '{network.name}' twice")
            unknown = [item for item in network.inputs if item not in known]
            if unknown:
                raise ModelError(
                    f"the card's network '{network.name}' reads '{unknown[0]}', which none before it makes."
                )
            known.add(network.name)
        if network.name != SEGMENTOR:
            raise ModelError(f"the card's last network must be '{SEGMENTOR}', not '{network.name}'.")

    def _check_labels(self) -> None:
        for what in ("value", "name"):
            if len({getattr(label, what) for label in self.labels}) < len(self.labels):
                raise SchemaError("labels", f"uses one {what} twice")
        _ = self.classes  # raises where labels and segmentor do not agree
        if self.slices == "lung" and not (self.modality == "CT" and self.normalization.kind == "window"):
            raise SchemaError(
                "slices",
                "is 'lung', which is found by HU: it needs the modality 'CT' and a normalization by window",
            )

    def _check_data(self) -> None:
        sources = [schema.read(_Source, item, f"data.{number}") for number, item in enumerate(self.data)]
        object.__setattr__(self, "data", tuple(map(schema.write, sources)))
        for number, item in enumerate(self.figures):
            schema.read(_Figure, item, f"figures.{number}")

    @property
    def classes(self) -> int:
        """Channels of the logits: 1 (sigmoid), or 1 + labels (softmax, class 0 is the background)."""
        classes, count = self.networks[-1].arguments.get("classes", 1), len(self.labels)
        allowed = (1, 2) if count == 1 else (1 + count,)
        if not isinstance(classes, int) or classes not in allowed:
            wanted = " or ".join(map(str, allowed))
            raise ModelError(f"the card's segmentor needs {wanted} classes for {count} label(s), not {classes}.")
        return classes

    @property
    def channels(self) -> int:
        """Channels that the networks are given: the image, and those of a prompt."""
        return 1 if self.prompt is None else 1 + len(self.prompt.channels)

    def likely(self, mean: float, volume_cc: float) -> bool:
        """Whether a lesion candidate of this mean probability and volume (cc) is a likely one."""
        rule = self.candidates
        return rule is None or (mean >= rule.mean and volume_cc >= rule.volume_cc)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: one number for the model, as the card holds the weights' hash."""
        return _digest(self._as_dict())

    @property
    def version(self) -> str:
        """Short and readable: the date and the first digits of :attr:`digest`."""
        return f"{self.date}-{self.digest[:8]}"

    def _as_dict(self) -> dict[str, Any]:
        stored = {**schema.write(self), "normalization": self.normalization.to_dict()}
        stored = {name: value for name, value in stored.items() if name not in _LATER or value}
        if self.format == OLD_FORMAT:
            stored["data"] = [_in_old_spelling(source) for source in self.data]
            return _in_old_spelling(stored)
        return stored

    def to_json(self) -> str:
        """The card as one JSON object, with a digest of itself so that a later change is noticed."""
        stored = self._as_dict()
        return json.dumps({**stored, DIGEST_FIELD: _digest(stored)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The card that :meth:`to_json` wrote.

        Raises:
            ModelError: no JSON object, another format, a missing, unknown or wrong field, or a card that was
                changed after it was written.
        """
        try:
            tree = schema.parse_object(text)
        except ValueError as error:
            raise ModelError(f"its card is not valid JSON ({error}).") from error
        # Before anything else: a later format may have any fields and another digest.
        _check_format(tree.get("format"))
        digest = tree.pop(DIGEST_FIELD, None)
        with schema.named(ITS_FIELD, ModelError):
            card = schema.read(cls, tree)
        if digest != _digest(tree):
            raise ModelError("its card was changed after it was written (its SHA-256 differs).")
        return card


def _in_old_spelling(item: dict[str, Any]) -> dict[str, Any]:
    return {_OLD_SPELLING.get(name, name): value for name, value in item.items()}


def _check_format(name: object) -> None:
    if name not in (FORMAT, OLD_FORMAT):
        raise ModelError(
            f"its format is {schema.shown(name)} and this program reads '{FORMAT}'; use the version of the "
            "program that it was made for, or a newer one."
        )


def _digest(stored: dict[str, Any]) -> str:
    canonical = json.dumps(stored, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def header_of(data: bytes, size: int) -> dict[str, Any]:
    """The JSON header of a ``.safetensors`` file: 8 bytes of length (little endian), then the text.

    Args:
        data: the beginning of the file, or all of it.
        size: bytes of the whole file.

    Raises:
        ModelError: it is not such a file, or was cut within the header.
    """
    if size < 8:
        raise ModelError("it is empty or cut off after its first bytes.")
    (length,) = struct.unpack("<Q", data[:8])
    if length > LARGEST_HEADER or data[8:9] != b"{":
        raise ModelError("it is not a .safetensors file.")
    if 8 + length > size:
        raise ModelError("it is cut off: its header is incomplete.")
    try:
        return schema.parse_object(data[8 : 8 + length].decode("utf-8"))
    except ValueError as error:
        raise ModelError("its header is damaged.") from error


def card_of(header: dict[str, Any]) -> Card:
    """The card in a file's header; raises ModelError when it has none or a bad one."""
    metadata = header.get("__metadata__")
    stored = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(stored, str):
        raise ModelError("it has no model card, so it is not a model of this program.")
    card = Card.from_json(stored)
    if not card.weights_sha256:
        raise ModelError("the card's field 'weights_sha256' is empty.")
    return card


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """While inside, what is wrong becomes the one sentence that a user reads: which file, and why."""
    try:
        yield
    except (OSError, ModelError) as error:
        reason = error if isinstance(error, ModelError) else f"it could not be read ({error.strerror})."
        raise ModelError(f"{path} cannot be used as a model: {reason}") from error


def read_card(path: Path | str) -> Card:
    """The card of a model's file, from its header alone: quick, but the weights are not verified.

    Raises:
        ModelError: no such file, not readable, or not a model; the message names the file.
    """
    with reading(path), Path(path).open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        data = start + stream.read(min(length, LARGEST_HEADER))
        return card_of(header_of(data, os.fstat(stream.fileno()).st_size))
