"""The card of a model: what it is, what it was trained on, how well it did, what it is for.

The card travels as JSON in the metadata of the model's ``.safetensors`` file (see ``model_file.py``).
Everything here is plain Python, so a list of models is shown without loading torch. Every field is checked
when a card is made, therefore also when one is read; a wrong one is named.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import field_checks as fields
from ..base.errors import ModelError
from ..io.labels import Label
from .normalization import Normalization

FORMAT, OLD_FORMAT = "cmedl-model/2", "cmedl-student/1"
"""The old one spells two names otherwise; a card of it keeps it, and with it its digest and its version."""
_OLD_SPELLING = {"normalization": "normalisation", "license": "licence"}
METADATA_KEY = "cmedl-card"
DIGEST_FIELD = "card_sha256"
SEGMENTOR = "segmentor"
IMAGE = "image"
INT8_PREFIX = "int8"
LARGEST_HEADER = 64 << 20
"""Bytes; a card and the list of tensors take a few kilobytes, so more means the file is something else."""


@dataclass(frozen=True)
class NetworkSpec:
    """One network of a model.

    Attributes:
        name: how others refer to it; its tensors are called ``<name>.<parameter>``. The last one is
            ``segmentor``.
        kind: what ``networks.create_network`` makes.
        arguments: its arguments (widths, channels, classes).
        inputs: what it reads, channels concatenated: ``image`` (normalized) or networks named before it.
    """

    name: str
    kind: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = (IMAGE,)

    def __post_init__(self) -> None:
        fields.text(self.name, "networks.name")
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", self.name) or self.name in (IMAGE, INT8_PREFIX):
            raise fields.wrong(
                "networks.name", "lower-case letters, digits, - and _, but not 'image' or 'int8'", self.name
            )
        fields.text(self.kind, "networks.kind")
        object.__setattr__(self, "arguments", fields.mapping(self.arguments, "networks.arguments"))
        inputs = fields.items(self.inputs, "networks.inputs", 1)
        object.__setattr__(self, "inputs", tuple(fields.text(item, "networks.inputs") for item in inputs))


@dataclass(frozen=True, kw_only=True)
class Card:
    """The model card; see the attributes' comments for units and choices.

    Raises:
        ModelError: a field has a wrong type or value, or fields contradict each other; the message
            names the field.
    """

    name: str  # what a user types: --model NAME
    title: str
    summary: str
    networks: tuple[NetworkSpec, ...]  # run in this order; the last one is the segmentor
    labels: tuple[Label, ...]
    modality: str  # "CT" or "MR"
    normalization: Normalization
    spacing_mm: float  # in-plane, of the pixels that the networks see
    field: int  # pixels along each side of the square that the networks see
    slices: str  # "lung": only slices that contain lung; "all"
    threshold: float  # on the probability, above it a voxel is marked
    training: dict[str, Any]  # method, preset, seed, epochs, whatever makes the training repeatable
    intended_use: str
    unintended_use: str
    date: str  # ISO 8601, YYYY-MM-DD
    program_version: str
    data: tuple[dict[str, str], ...] = ()  # name, license, attribution
    smoothing_mm: float = 0.0  # standard deviation of the Gaussian that smooths probabilities over the slices; 0: none
    figures: tuple[dict[str, Any], ...] = ()  # held out: measure, value, n, data, and where known spread
    int8: dict[str, Any] | None = None  # how int8 was checked on this model; None: int8 is not to be used
    weights_sha256: str = ""  # 64 hexadecimal digits; empty until saved
    format: str = FORMAT

    def __post_init__(self) -> None:
        _check_format(self.format)
        for name in ("title", "summary", "intended_use", "unintended_use", "program_version"):
            fields.text(getattr(self, name), name)
        self._check_name()
        self._check_networks()
        self._check_labels()
        self._check_image()
        self._check_provenance()

    def _check_name(self) -> None:
        name = fields.text(self.name, "name")
        if len(name) > 80 or name != name.strip() or not name.isprintable():
            raise fields.wrong("name", "at most 80 printable characters without spaces at its ends", name)

    def _check_networks(self) -> None:
        networks = fields.items(self.networks, "networks", 1)
        known = {IMAGE}
        for network in networks:
            if not isinstance(network, NetworkSpec):
                raise fields.wrong("networks", "a list of networks", network)
            if network.name in known:
                raise ModelError(f"the card's field 'networks' names '{network.name}' twice.")
            unknown = [item for item in network.inputs if item not in known]
            if unknown:
                raise ModelError(
                    f"the card's network '{network.name}' reads '{unknown[0]}', which none before it makes."
                )
            known.add(network.name)
        if networks[-1].name != SEGMENTOR:
            raise ModelError(f"the card's last network must be '{SEGMENTOR}', not '{networks[-1].name}'.")
        object.__setattr__(self, "networks", networks)

    def _check_labels(self) -> None:
        labels = fields.items(self.labels, "labels", 1)
        for label in labels:
            if not isinstance(label, Label):
                raise fields.wrong("labels", "a list of labels", label)
        if len({label.value for label in labels}) < len(labels):
            raise ModelError("the card's field 'labels' uses one value twice.")
        if len({label.name for label in labels}) < len(labels):
            raise ModelError("the card's field 'labels' uses one name twice.")
        object.__setattr__(self, "labels", labels)
        _ = self.classes  # raises where labels and segmentor do not agree

    def _check_image(self) -> None:
        fields.choice(self.modality, "modality", ("CT", "MR"))
        if not isinstance(self.normalization, Normalization):
            raise fields.wrong("normalization", "a normalization", self.normalization)
        fields.choice(self.slices, "slices", ("lung", "all"))
        if self.slices == "lung" and not (self.modality == "CT" and self.normalization.kind == "window"):
            raise ModelError(
                "the card's field 'slices' is 'lung', which is found by HU: it needs the modality 'CT' and a "
                "normalization by window."
            )
        object.__setattr__(self, "spacing_mm", fields.number(self.spacing_mm, "spacing_mm", 0.05, 20.0))
        fields.integer(self.field, "field", 16, 4096)
        object.__setattr__(self, "threshold", fields.number(self.threshold, "threshold", 0.001, 0.999))
        object.__setattr__(self, "smoothing_mm", fields.number(self.smoothing_mm, "smoothing_mm", 0.0, 50.0))

    def _check_provenance(self) -> None:
        object.__setattr__(self, "training", fields.mapping(self.training, "training"))
        sources = [
            fields.only(_spelled(fields.mapping(item, "data")), "data", _SOURCE_KEYS)
            for item in fields.items(self.data, "data")
        ]
        for source in sources:
            for key in _SOURCE_KEYS:
                fields.text(source[key], f"data.{key}")
        object.__setattr__(self, "data", tuple(sources))
        figures = [_figure(item) for item in fields.items(self.figures, "figures")]
        object.__setattr__(self, "figures", tuple(figures))
        try:
            # strptime, because fromisoformat takes other forms from Python 3.11 on.
            datetime.datetime.strptime(fields.text(self.date, "date"), "%Y-%m-%d")
        except ValueError as error:
            raise fields.wrong("date", "a date as YYYY-MM-DD", self.date) from error
        if self.int8 is not None:
            object.__setattr__(self, "int8", fields.mapping(self.int8, "int8"))
        fields.text(self.weights_sha256, "weights_sha256", empty=True)
        if not re.fullmatch(r"([0-9a-f]{64})?", self.weights_sha256):
            raise fields.wrong("weights_sha256", "64 hexadecimal digits", self.weights_sha256)

    @property
    def classes(self) -> int:
        """Channels of the logits: 1 (sigmoid), or 1 + labels (softmax, class 0 is the background)."""
        found = self.networks[-1].arguments.get("classes", 1)
        allowed = {1, 2} if len(self.labels) == 1 else {1 + len(self.labels)}
        if not isinstance(found, int) or found not in allowed:
            wanted = " or ".join(str(count) for count in sorted(allowed))
            raise ModelError(
                f"the card's segmentor needs {wanted} classes for {len(self.labels)} label(s), not {found}."
            )
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: one number for the model, as the card holds the weights' hash."""
        return _digest(self._as_dict())

    @property
    def version(self) -> str:
        """Short and readable: the date and the first digits of :attr:`digest`."""
        return f"{self.date}-{self.digest[:8]}"

    def _as_dict(self) -> dict[str, Any]:
        stored = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        stored["networks"] = [dataclasses.asdict(network) for network in self.networks]
        stored["labels"] = [dataclasses.asdict(label) for label in self.labels]
        stored["normalization"] = self.normalization.to_dict()
        if self.format == OLD_FORMAT:
            stored["data"] = [_spelled(source, old=True) for source in self.data]
            return _spelled(stored, old=True)
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
            found = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twice)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"its card is not valid JSON ({error}).") from error
        if not isinstance(found, dict):
            raise ModelError("its card is not a JSON object.")
        # Before anything else: a later format may have any fields and another digest.
        _check_format(found.get("format"))
        digest = found.pop(DIGEST_FIELD, None)
        known = dataclasses.fields(cls)
        required = [item.name for item in known if item.default is dataclasses.MISSING]
        written = fields.mapping(found, "")
        found = fields.only(_spelled(found), "", required, optional=[item.name for item in known])
        if digest != _digest(written):
            raise ModelError("its card was changed after it was written (its SHA-256 differs).")
        for key, kind in (("networks", NetworkSpec), ("labels", Label)):
            found[key] = [_from(kind, item, key) for item in fields.items(found[key], key)]
        found["normalization"] = Normalization.from_dict(found["normalization"])
        return cls(**found)


_SOURCE_KEYS = ("name", "license", "attribution")


def _spelled(item: dict[str, Any], old: bool = False) -> dict[str, Any]:
    """The item with its names as :data:`FORMAT` spells them, or as ``old`` ones are."""
    names = _OLD_SPELLING if old else {then: now for now, then in _OLD_SPELLING.items()}
    return {names.get(name, name): value for name, value in item.items()}


def _check_format(found: object) -> None:
    if found not in (FORMAT, OLD_FORMAT):
        raise ModelError(
            f"its format is {fields.shown(found)} and this program reads '{FORMAT}'; use the version of the "
            "program that it was made for, or a newer one."
        )


def _figure(item: object) -> dict[str, Any]:
    figure = fields.only(item, "figures", ("measure", "value", "n", "data"), optional=("spread",))
    fields.text(figure["measure"], "figures.measure")
    fields.number(figure["value"], "figures.value")
    fields.integer(figure["n"], "figures.n", 1, 10**9)
    fields.text(figure["data"], "figures.data")
    if "spread" in figure:
        fields.number(figure["spread"], "figures.spread", 0.0)
    return figure


def _from(kind: type, item: object, field: str) -> Any:
    known = dataclasses.fields(kind)
    required = [
        entry.name
        for entry in known
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    ]
    return kind(**fields.only(item, field, required, optional=[entry.name for entry in known]))


def _digest(stored: dict[str, Any]) -> str:
    canonical = json.dumps(stored, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _no_constant(name: str) -> float:
    raise ValueError(f"it contains {name}")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it names a field twice")
    return found


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
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError("its header is damaged.") from error
    if not isinstance(header, dict):
        raise ModelError("its header is damaged.")
    return header


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


def file_error(path: Path | str, error: ModelError) -> ModelError:
    """The one sentence a user reads: which file, and why."""
    return ModelError(f"{path} cannot be used as a model: {error}")


def read_card(path: Path | str) -> Card:
    """The card of a model's file, from its header alone: quick, but the weights are not verified.

    Raises:
        ModelError: no such file, not readable, or not a model; the message names the file.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            size = path.stat().st_size
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            data = start + stream.read(min(length, LARGEST_HEADER))
    except OSError as error:
        raise file_error(path, ModelError(f"it could not be read ({error.strerror}).")) from error
    try:
        return card_of(header_of(data, size))
    except ModelError as error:
        raise file_error(path, error) from error
