"""A model on disk: one ``.safetensors`` file with its weights, and its model card in the metadata.

- The tensors are named ``<network>.<parameter>``, as float32, or where the file was saved small as float16 or int8
  (they are computed in float32 either way). One of int8 has beside it ``scale.<network>.<parameter>``, float32, what
  one step is worth in each row of its first axis. Tensors named ``int8.*`` are calibration ranges; they are allowed
  only where the card tells how int8 was checked.
- The metadata has one entry, ``cmedl-card``: the card's JSON, with a SHA-256 of itself.
- ``weights_sha256`` in the card covers every tensor of the file: SHA-256 over the tensors in the order of
  their names, for each the name, a zero byte, the dtype as in the file ("F32"), a zero byte, the shape as
  decimal numbers joined by "x", a zero byte, and the values, little endian, row by row.

Both hashes find damage and careless edits; they are no signature, so they do not tell who made a file.
Nothing is unpickled: a header in JSON, and numbers. All of it is verified on saving, on loading and on
installing, by the same function.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError
from torch import nn

from ..base.errors import ModelError
from ..base.files import atomic_path
from ..networks import create_network
from .model_card import (
    IMAGE,
    INT8_PREFIX,
    METADATA_KEY,
    PROMPT,
    Card,
    NetworkSpec,
    card_of,
    header_of,
    reading,
)

_DTYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "I8": np.int8}
_SCALE = "scale"
STORED = ("float32", "float16", "int8")
"""What weights may be stored as."""
_STEPS = 127
_SENSITIVE = 8
"""Layers with fewer channels in or out stay float16 in an int8 file: they are small, and rounding shows most there."""
_PROBE = 32
"""Pixels along each side of the image that is sent through the networks to see that they fit each other."""


class ModelNetwork(nn.Module):
    """A card's networks as one: each reads the image or outputs of those before it; the last gives logits.

    ``forward(image)``: image (n, 1, height, width) in -1..1 to logits (n, classes, height, width). Where the model
    reads clicks, the prompt's channels (0..1) follow that of the image.
    """

    def __init__(self, specs: tuple[NetworkSpec, ...], networks: list[nn.Module]) -> None:
        super().__init__()
        self.specs = specs
        self.networks = nn.ModuleList(networks)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The segmentor's logits; see the class."""
        outputs = {IMAGE: image[:, :1], PROMPT: image[:, 1:]}
        for spec, network in zip(self.specs, self.networks, strict=True):
            read = [outputs[name] for name in spec.inputs]
            output = network(read[0] if len(read) == 1 else torch.cat(read, dim=1))
            # A segmentor returns (logits, hints); hints are for training.
            outputs[spec.name] = output[0] if isinstance(output, tuple) else output
        return outputs[self.specs[-1].name]


@dataclass
class ModelFile:
    """A verified model in memory.

    Attributes:
        card: the model card.
        state: float32 (and integer) tensors by ``<network>.<parameter>``.
        path: the file it came from.
        int8: the calibration ranges by their names without ``int8.``; empty where the card has no ``int8``.
    """

    card: Card
    state: dict[str, torch.Tensor]
    path: Path
    int8: dict[str, torch.Tensor] = field(default_factory=dict)

    def build(self) -> ModelNetwork:
        """The networks with the weights, on the CPU, float32, in evaluation mode, without gradients."""
        # Made without memory or initial values, which take longer than everything else here.
        with torch.device("meta"):
            network = _create(self.card)
        for spec, module in zip(network.specs, network.networks, strict=True):
            prefix = f"{spec.name}."
            own = {key[len(prefix) :]: value.clone() for key, value in self.state.items() if key.startswith(prefix)}
            module.load_state_dict(own, strict=True, assign=True)
        return network.eval().requires_grad_(False)


def save_model(
    path: Path | str,
    card: Card,
    modules: Mapping[str, nn.Module],
    stored: str = "float32",
    int8: Mapping[str, torch.Tensor] | None = None,
) -> Card:
    """Write a model; the file appears complete and verified, or not at all.

    Args:
        path: ends in ``.safetensors``.
        card: its ``weights_sha256`` is filled in here.
        modules: one module for each network of the card, by name.
        stored: one of :data:`STORED`, what weights become in the file. Vectors (biases, batch norm) and tensors whose
            values do not fit float16 stay float32 in any case. As int8 each row of the first axis is rounded to 127
            steps of its own on either side of 0.
        int8: calibration ranges, by name without ``int8.``; needs ``card.int8``.

    Returns:
        The card as written.

    Raises:
        ModelError: modules and card do not agree, or weights are not finite.
        InputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} must end in .safetensors, the format of a model.")
    names = [spec.name for spec in card.networks]
    if set(modules) != set(names):
        raise ModelError(f"{path}: the card names the networks {names}, but {sorted(modules)} were given.")
    arrays: dict[str, np.ndarray] = {}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            arrays |= _stored(f"{name}.{key}", value, stored)
    for key, value in (int8 or {}).items():
        arrays |= _stored(f"{INT8_PREFIX}.{key}", value, "float32")
    card = dataclasses.replace(card, weights_sha256=_weights_hash(arrays))
    data = safetensors.numpy.save(arrays, {METADATA_KEY: card.to_json()})
    verify_bytes(data, path)
    with atomic_path(path) as beside:
        beside.write_bytes(data)
    return card


def load_model(path: Path | str) -> ModelFile:
    """The model of a file, verified; :func:`.registry.load` takes a name too.

    Raises:
        ModelError: it is not there, or anything about it is wrong: cut, altered, missing or extra tensors,
            wrong shapes, NaN or infinite weights, an unknown architecture or format. One sentence names the
            file and the reason.
    """
    path = Path(path)
    card, arrays = verify_bytes(read_bytes(path), path)
    state, int8 = {}, {}
    for key, array in arrays.items():
        if key.startswith(f"{_SCALE}."):
            continue
        # Copies: the arrays are read-only views of the file's bytes.
        value = torch.from_numpy(array.astype(np.int64 if array.dtype == np.int64 else np.float32))
        if array.dtype == np.int8:
            value *= torch.from_numpy(arrays[f"{_SCALE}.{key}"].copy()).view(-1, *(1,) * (value.ndim - 1))
        if key.startswith(f"{INT8_PREFIX}."):
            int8[key.removeprefix(f"{INT8_PREFIX}.")] = value
        else:
            state[key] = value
    return ModelFile(card, state, path, int8)


def read_bytes(path: Path) -> bytes:
    """All of a model's file, not verified yet.

    Raises:
        ModelError: it cannot be read.
    """
    with reading(path):
        return path.read_bytes()


def verify_bytes(data: bytes, path: Path | str) -> tuple[Card, dict[str, np.ndarray]]:
    """The card and the tensors, as stored, of a model's whole file, all verified; ``path`` is named in the errors.

    Raises:
        ModelError: as :func:`load_model`.
    """
    with reading(path):
        header = header_of(data, len(data))
        card = card_of(header)
        arrays = _arrays(data, header)
        if _weights_hash(arrays) != card.weights_sha256:
            raise ModelError("its weights were altered or damaged (their SHA-256 is not the card's).")
        for key, array in arrays.items():
            if not np.isfinite(array).all():
                raise ModelError(f"its tensor '{key}' holds NaN or infinite values.")
        _check_tensors(card, arrays)
        return card, arrays


def _arrays(data: bytes, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """The tensors as stored; the dtypes are seen first, because numpy lacks some of the format's."""
    for key, entry in header.items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if key != "__metadata__" and dtype not in _DTYPES:
            raise ModelError(f"its tensor '{key}' has the type {dtype}, not one of {', '.join(_DTYPES)}.")
    try:
        return safetensors.numpy.load(data)
    except SafetensorError as error:
        raise ModelError(f"it is cut off or damaged ({error}).") from error


def _stored(key: str, value: torch.Tensor, stored: str) -> dict[str, np.ndarray]:
    """A tensor as it goes to the file under ``key``, with its scale where it is rounded."""
    value = value.detach().cpu()
    array = (value.float() if value.is_floating_point() else value.long()).contiguous().numpy()
    if stored == "float32" or array.ndim < 2 or array.dtype != np.float32:
        return {key: array}
    if stored == "int8" and min(array.shape[:2]) >= _SENSITIVE:
        largest = np.abs(array).reshape(len(array), -1).max(axis=1)
        scale = np.maximum(largest, np.finfo(np.float32).tiny * _STEPS) / np.float32(_STEPS)
        rows = array / scale.reshape(-1, *(1,) * (array.ndim - 1))
        return {key: np.rint(rows).astype(np.int8), f"{_SCALE}.{key}": scale}
    with np.errstate(over="ignore"):
        small = array.astype(np.float16)
    return {key: small if np.isfinite(small).all() else array}


def _weights_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over all tensors, as the module's text defines it."""
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = arrays[key]
        shape = "x".join(str(size) for size in array.shape)
        digest.update(f"{key}\0{names[array.dtype]}\0{shape}\0".encode())
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _create(card: Card) -> ModelNetwork:
    """The networks of a card with fresh weights.

    Raises:
        ModelError: an architecture or argument that this program does not know.
    """
    networks = []
    for spec in card.networks:
        try:
            networks.append(create_network(spec.kind, **spec.arguments))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"its network '{spec.name}' ({spec.kind}) cannot be made: {error}") from error
    return ModelNetwork(card.networks, networks)


def _check_tensors(card: Card, arrays: Mapping[str, np.ndarray]) -> None:
    """The file's tensors are those of the card's networks, and these fit each other."""
    # On the meta device a network costs no memory, whatever widths a card asks for.
    with torch.device("meta"):
        network = _create(card).eval()
    expected = {
        f"{spec.name}.{key}": value
        for spec, module in zip(network.specs, network.networks, strict=True)
        for key, value in module.state_dict().items()
    }
    weights = {key: array for key, array in arrays.items() if not key.startswith((f"{INT8_PREFIX}.", f"{_SCALE}."))}
    _check_scales(arrays)
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing:
        raise ModelError(f"its tensor '{missing[0]}' is missing{_and_more(missing)}.")
    if extra:
        raise ModelError(f"its tensor '{extra[0]}' belongs to none of its networks{_and_more(extra)}.")
    for key, value in expected.items():
        array, shape = weights[key], tuple(value.shape)
        if shape != array.shape:
            raise ModelError(f"its tensor '{key}' has the shape {array.shape}, the card asks for {shape}.")
        if value.is_floating_point() != (array.dtype != np.int64):
            raise ModelError(f"its tensor '{key}' has the type {array.dtype}, the network's is another.")
    if (card.int8 is not None) != any(key.startswith(f"{INT8_PREFIX}.") for key in arrays):
        raise ModelError("its card and its tensors do not agree on whether it has int8 ranges.")
    _check_flow(card, network)


def _check_scales(arrays: Mapping[str, np.ndarray]) -> None:
    """Each tensor of int8 has its scale, and there is no other."""
    expected = {
        f"{_SCALE}.{key}": (np.float32, array.shape[:1] or (0,))
        for key, array in arrays.items()
        if array.dtype == np.int8
    }
    scales = {key: (array.dtype, array.shape) for key, array in arrays.items() if key.startswith(f"{_SCALE}.")}
    if scales != expected:
        raise ModelError("its rounded tensors and their scales do not agree.")


def _and_more(keys: list[str]) -> str:
    return f", and {len(keys) - 1} more" if len(keys) > 1 else ""


def _check_flow(card: Card, network: ModelNetwork) -> None:
    """An image goes in, logits of the image's size and the card's classes come out.

    ``network`` is on the meta device and of the file's shapes, so memory for it is bounded by the file; its values do
    not matter here. (On the meta device itself a forward takes up to a second: its kernels are written in Python.)
    """
    # Module.to_empty would import the better part of PyTorch's compiler, 80 MB that nothing else here needs.
    for module in network.networks:
        state = module.state_dict()
        zeros = {key: torch.zeros(value.shape, dtype=value.dtype, device="cpu") for key, value in state.items()}
        module.load_state_dict(zeros, assign=True)
    try:
        with torch.inference_mode():
            shape = tuple(network(torch.zeros(1, card.channels, _PROBE, _PROBE)).shape)
    except RuntimeError as error:
        raise ModelError(f"its networks do not fit each other ({str(error).splitlines()[0]}).") from error
    wanted = (1, card.classes, _PROBE, _PROBE)
    if shape != wanted:
        raise ModelError(f"its networks make logits of shape {shape}, the card asks for {wanted}.")
