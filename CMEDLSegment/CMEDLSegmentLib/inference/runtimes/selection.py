"""Which runtime, device, precision and batch; and what to fall back to when memory runs out."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ...base.errors import DeviceError, InputError
from ...base.text import counted
from .plan import Plan, openvino_installed

if TYPE_CHECKING:
    import torch

    from ...models.model_file import ModelFile

RUNTIMES = ("auto", "torch", "openvino")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
BATCH_PIXELS = {"torch cpu": 1 << 16, "openvino cpu": 4 << 16, "torch mps": 4 << 16, "torch cuda": 16 << 16}
"""Pixels in a batch. PyTorch on a CPU gains nothing from more than one slice of 256 x 256, and memory is the bar."""


def make_plan(
    model: ModelFile,
    device: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    batch: int | None = None,
) -> Plan:
    """Fill in what is "auto": the best device, the fastest runtime that is installed and checked for it.

    Raises:
        DeviceError: the asked-for device, runtime or precision cannot be had.
        InputError: a word or the batch is not one this function knows.
    """
    for value, known, what in ((runtime, RUNTIMES, "Runtime"), (precision, PRECISIONS, "Precision")):
        if value not in known:
            raise InputError(f"{what} '{value}' is unknown; choose one of {', '.join(known)}.")
    if batch is not None and batch < 1:
        raise InputError(f"A batch of {batch} makes no sense; give 1 or more.")
    device = resolve_device(device)
    kind = device.partition(":")[0]
    if runtime == "auto":
        torch_only = kind != "cpu" or precision == "fp16"
        runtime = "openvino" if not torch_only and openvino_installed() else "torch"
    if runtime == "openvino":
        if kind != "cpu":
            raise DeviceError(f"The OpenVINO runtime runs on the CPU, not on '{device}'; choose device cpu.")
        if not openvino_installed():
            raise DeviceError("OpenVINO is not installed; pip install 'cmedl[fast]', or choose runtime torch.")
    if precision == "auto":
        precision = _best_precision(kind, device, runtime, model)
    elif precision == "int8" and not (runtime == "openvino" and int8_agrees(model)):
        raise DeviceError(
            "int8 needs the OpenVINO runtime and a model that was checked in int8; choose precision auto."
        )
    elif runtime == "openvino" and precision == "fp16":
        raise DeviceError("The OpenVINO runtime computes in fp32, bf16 or int8, not fp16; choose another precision.")
    if batch is None:
        batch = max(1, round(BATCH_PIXELS[f"{runtime} {kind}"] / model.card.field**2))
    return Plan(device, runtime, precision, batch)


def _best_precision(kind: str, device: str, runtime: str, model: ModelFile) -> str:
    """int8 where it was checked on this model and this CPU multiplies exactly; on CUDA half; elsewhere fp32."""
    if runtime == "openvino":
        from .openvino_runtime import int8_is_exact

        return "int8" if int8_agrees(model) and int8_is_exact() else "fp32"
    if kind != "cuda":
        return "fp32"
    import torch

    major, _ = torch.cuda.get_device_capability(torch.device(device))
    return "bf16" if major >= 8 else "fp16" if major == 7 else "fp32"


def int8_agrees(model: ModelFile) -> bool:
    """Whether int8 was checked on this model and passed; see ``int8_check.check_int8``."""
    return model.card.int8 is not None and model.card.int8.get("passed") is True


def resolve_device(name: str) -> str:
    """The device to use for "auto", "cuda", "cuda:N", "mps" or "cpu".

    Raises:
        DeviceError: the device is absent on this machine.
        InputError: the name is none of these.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    if name not in ("cpu", "mps", "cuda") and not (kind == "cuda" and colon and number.isdecimal()):
        raise InputError(f"Device '{name}' is unknown; choose auto, cuda, cuda:N, mps or cpu.")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"Device '{name}' was asked for, but this PyTorch finds no CUDA GPU; choose auto or cpu, or "
                "install a GPU driver and a CUDA build of PyTorch."
            )
        if colon and int(number) >= count:
            raise DeviceError(f"Device '{name}' is absent: the last of this machine's GPUs is cuda:{count - 1}.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("Device 'mps' was asked for, but this machine has none; choose auto or cpu.")
    return name


def start_runtime(model: ModelFile, plan: Plan) -> Callable[[torch.Tensor], torch.Tensor]:
    """Build the runtime of a plan."""
    runtime: Callable[[torch.Tensor], torch.Tensor]
    if plan.runtime == "openvino":
        from .openvino_runtime import OpenVinoRuntime

        runtime = OpenVinoRuntime(model, plan)
    else:
        from .torch_runtime import TorchRuntime

        runtime = TorchRuntime(model, plan)
    # Conversion leaves networks in cycles of references.
    gc.collect()
    return_freed_memory()
    return runtime


def return_freed_memory() -> None:
    """Give freed memory back to the system where the C library would keep it (glibc).

    Building and converting a network frees 100 to 300 MB, which the volume's arrays could not use otherwise.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is full; MPS and the CPU's allocator say so in words only."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    message = str(error).lower()
    return any(text in message for text in ("out of memory", "not enough memory", "can't allocate memory"))


def lighter(plan: Plan, model: ModelFile) -> tuple[Plan, str] | None:
    """The next rung down when memory runs out, and the sentence that says so; None below the last one.

    Halve the batch; then half precision; then the CPU.
    """
    if plan.batch > 1:
        down = replace(plan, batch=plan.batch // 2)
        return down, f"Memory of {plan.device} ran out: the batch was halved to {counted(down.batch, 'slice')}."
    if plan.device == "cpu":
        return None
    if plan.precision == "fp32":
        return replace(plan, precision="fp16"), f"Memory of {plan.device} ran out: going on in half precision."
    down = make_plan(model, device="cpu")
    return down, f"Memory of {plan.device} ran out with one slice at a time: going on, slower, on the CPU."
