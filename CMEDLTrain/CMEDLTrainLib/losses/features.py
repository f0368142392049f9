"""VGG features, which the contextual loss compares images by: the network, and where its weights come from."""

from __future__ import annotations

import math
import os
import pickle
import re
import shutil
import urllib.request
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path, sha256_of

CONVOLUTIONS = {"vgg16": (0, 2, 5, 7, 10, 12, 14, 17), "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19)}
"""Numbers of the convolutions conv1_1 to conv4_1 in torchvision's ``features``. A step of 2 passes a ReLU, one of 3 a
ReLU and a max-pooling."""
TAPS = {"vgg16": (12, 14, 17), "vgg19": (14, 16, 19)}
"""conv3_2, conv3_3, conv4_1 of VGG16 and conv3_3, conv3_4, conv4_1 of VGG19: the sizes that the paper gives for its
"Conv7, Conv8 and Conv9" are VGG19's."""

CONVENTIONS = ("torchvision", "caffe")
"""What a network was trained on. torchvision: RGB, 0..1, less ``IMAGENET_MEAN``, over ``IMAGENET_STD``. caffe (the
published Oxford weights): BGR, 0..255, less ``CAFFE_MEAN``."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN = (123.68, 116.779, 103.939)
"""In the order RGB."""

PUBLISHED = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
}
"""torchvision's files; after the dash their names carry the beginning of their SHA-256."""
SUFFIXES = (".pth", ".pt", ".safetensors", ".npz")
TIMEOUT_S = 30
WAYS = (
    "Give 'vgg19' or 'vgg16', which are downloaded once from download.pytorch.org; or a file with such weights (.pth, "
    ".safetensors, .npz) or the folder that holds it; or 'random', which is only for trying the program out."
)


class VggFeatures(nn.Module):
    """VGG16 or VGG19 (Simonyan and Zisserman 2015) up to conv4_1, frozen.

    The weights are buffers, so no optimizer and no ``requires_grad_`` can reach them; gradients pass through to the
    images. Keys are torchvision's (``features.0.weight``).

    Args:
        weights: ``features.N.weight`` and ``features.N.bias`` of at least ``CONVOLUTIONS``; which of the two networks
            it is shows in the numbers. More is ignored.
        convention: of ``CONVENTIONS``.
        title: what these weights are, for the words of an error.

    Raises:
        InputError: the weights are not those of such a network, or not finite.
    """

    def __init__(self, weights: Mapping[str, Tensor], convention: str = "torchvision", title: str = "VGG") -> None:
        super().__init__()
        self.kind = "vgg19" if "features.16.weight" in weights else "vgg16"
        self.features = nn.ModuleDict()
        channels = 3
        for number in CONVOLUTIONS[self.kind]:
            layer = _taken(weights, f"features.{number}", channels, title)
            channels = layer.bias.shape[0]
            self.features[str(number)] = layer
        # Gray images of -1..1 as three equal channels in RGB, each brought to what the network was trained on.
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        scale, offset = 0.5 / std, (0.5 - mean) / std
        if convention == "caffe":
            scale, offset = torch.full((3,), 127.5), 127.5 - torch.tensor(CAFFE_MEAN)
            self.features["0"].weight = self.features["0"].weight.flip(1)
        self.register_buffer("scale", scale.reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("offset", offset.reshape(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (n, 1, h, w) in [-1, 1], of 8 x 8 pixels or more -> the features of ``TAPS``, after their ReLU.

        At 256 x 256 these are (n, 256, 64, 64) twice and (n, 512, 32, 32).
        """
        x, before, taps = images * self.scale + self.offset, 0, []
        for number in CONVOLUTIONS[self.kind]:
            if number - before == 3:
                x = F.max_pool2d(x, 2)
            x, before = self.features[str(number)](x), number
            if number in TAPS[self.kind]:
                taps.append(x)
        return taps


class _Convolution(nn.Module):
    """Convolution 3 x 3 and ReLU with fixed weights."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, self.weight, self.bias, padding=1))


def load_features(source: str, cache: Path | None = None) -> VggFeatures:
    """The features that ``source`` names, in memory; move them to the device afterwards.

    Args:
        source: ``vgg19`` or ``vgg16``: torchvision's published weights, downloaded if they are not in ``cache``.
            A path to a ``.pth``, ``.safetensors`` or ``.npz`` file, or to a folder with one such file; ``~`` and
            ``$NAME`` are expanded (``$CMEDL_DATA/vgg16``). An ``.npz`` is taken to be of Caffe's convention and the
            others of torchvision's, unless ``caffe:`` or ``torchvision:`` stands before the path.
            ``random`` or ``random:WIDTH``: VGG19 with random filters, always the same, ``WIDTH`` of them (64) in the
            first layer. Never chosen unless asked for.
        cache: folder for downloads; by default torch's own, which torchvision uses too.

    Raises:
        InputError: no such source, or it cannot be had or read; the message says the ways there are.
    """
    name, colon, rest = source.partition(":")
    if name == "random":
        if colon and not (rest.isdecimal() and int(rest) > 0):
            raise InputError(f"The features '{source}' need a width above zero; write random or, say, random:8.")
        return random_features(int(rest) if colon else 64)
    if source in PUBLISHED:
        folder = cache or Path(torch.hub.get_dir(), "checkpoints")
        path, convention = _published(PUBLISHED[source], folder), "torchvision"
    else:
        path = _file(rest if name in CONVENTIONS else source)
        convention = "caffe" if path.suffix == ".npz" else "torchvision"
        if name in CONVENTIONS:
            convention = name
        if not _whole(path):
            raise InputError(f"{path} is damaged: its SHA-256 does not begin as its name says. Get it anew.")
    return VggFeatures(_read(path), convention, f"{path.name} ({convention} convention)")


def random_features(width: int = 64) -> VggFeatures:
    """VGG19 with filters from N(0, 2 / inputs), the same at each call; the global random state is left alone."""
    generator = torch.Generator().manual_seed(0)
    weights, channels, before, stage = {}, 3, 0, 0
    for number in CONVOLUTIONS["vgg19"]:
        stage += number - before == 3
        filters = width * 2**stage
        shape = (filters, channels, 3, 3)
        weights[f"features.{number}.weight"] = torch.randn(shape, generator=generator) * math.sqrt(2 / (9 * channels))
        weights[f"features.{number}.bias"] = torch.zeros(filters)
        channels, before = filters, number
    return VggFeatures(weights, title=f"VGG19 with random filters ({width} in the first layer)")


def _taken(weights: Mapping[str, Tensor], name: str, channels: int, title: str) -> _Convolution:
    """The convolution ``name`` of ``weights``, for ``channels`` at its input."""
    if missing := {f"{name}.weight", f"{name}.bias"} - set(weights):
        raise InputError(f"{title} has no '{min(missing)}', so it is neither VGG16 nor VGG19. {WAYS}")
    weight, bias = (weights[f"{name}.{part}"].detach().float().contiguous() for part in ("weight", "bias"))
    if weight.ndim != 4 or tuple(weight.shape[1:]) != (channels, 3, 3) or bias.shape != weight.shape[:1]:
        shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        raise InputError(
            f"{title} has a convolution '{name}' of shape {shapes} where filters of {(channels, 3, 3)} are needed, so "
            f"it is neither VGG16 nor VGG19. {WAYS}"
        )
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise InputError(f"{title} has values in '{name}' that are not finite; get the file anew.")
    return _Convolution(weight, bias)


def _file(text: str) -> Path:
    """The weights' file that ``text``, a path to it or to its folder, means."""
    path = Path(os.path.expandvars(text)).expanduser()
    if text and path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        if len(files) != 1:
            raise InputError(f"{len(files)} files in {path} could be the weights of the features; name one file.")
        path = files[0]
    if not text or not path.is_file() or path.suffix not in SUFFIXES:
        raise InputError(f"There are no features '{text}'. {WAYS}")
    return path


def _read(path: Path) -> dict[str, Tensor]:
    """The arrays of ``path`` that belong to ``CONVOLUTIONS``; nothing of it is run."""
    numbers = {number for layout in CONVOLUTIONS.values() for number in layout}
    wanted = {f"features.{number}.{part}" for number in numbers for part in ("weight", "bias")}
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {key: torch.from_numpy(arrays[key]) for key in wanted & set(arrays.files)}
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in wanted & set(file.keys())}
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: value for key, value in state.items() if key in wanted and isinstance(value, Tensor)}
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        SafetensorError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as weights of features ({reason}). {WAYS}") from error


def _hash_in(name: str) -> str:
    """The beginning of its SHA-256 that a file's name carries, as in ``vgg19-dcbb9e9d.pth``; else empty."""
    match = re.fullmatch(r".*-([0-9a-f]{8,64})\.\w+", name)
    return match[1] if match else ""


def _whole(path: Path) -> bool:
    """Whether the file has the checksum that its name carries, if it carries one."""
    return not _hash_in(path.name) or sha256_of(path).startswith(_hash_in(path.name))


def _published(url: str, folder: Path) -> Path:
    """The file of ``url`` in ``folder``, downloaded unless a whole one lies there."""
    path = folder / url.rpartition("/")[2]
    if path.is_file() and _whole(path):
        return path
    with atomic_path(path) as beside:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, beside.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (OSError, HTTPException) as error:
            raise InputError(
                f"{url} could not be downloaded ({error}). Download it elsewhere and put it into {folder}, or take "
                f"another way. {WAYS}"
            ) from error
        if not sha256_of(beside).startswith(_hash_in(path.name)):
            raise InputError(
                f"What came from {url} is not the published file: its SHA-256 does not begin with "
                f"{_hash_in(path.name)}. Try again, or download it elsewhere and put it into {folder}."
            )
    return path
