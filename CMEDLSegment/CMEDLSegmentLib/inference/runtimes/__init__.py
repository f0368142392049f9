"""Runtimes: what turns a batch of normalized slices into logits, and the plan that says which, where and how.

A runtime is a callable: images (n, 1, pixels, pixels) float32 on the plan's device -> logits (n, classes,
pixels, pixels) float32 on the same device. PyTorch runs everywhere; OpenVINO, where installed, is faster on a
CPU.
"""

from .plan import Plan
from .selection import lighter, make_plan, out_of_memory, return_freed_memory, start_runtime

__all__ = ["Plan", "lighter", "make_plan", "out_of_memory", "return_freed_memory", "start_runtime"]
