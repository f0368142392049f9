"""How a model is run: device, runtime, precision and batch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How a model is run.

    Attributes:
        device: "cpu", "mps", "cuda" or "cuda:N".
        runtime: "torch" or "openvino".
        precision: "fp32", "bf16", "fp16" or "int8".
        batch: slices at a time.
    """

    device: str
    runtime: str
    precision: str
    batch: int

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


def openvino_installed() -> bool:
    """Whether the optional extra "fast" is there and can be imported (a wheel of another platform cannot)."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True
