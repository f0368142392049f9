"""The colors of the model and of raters, one place for panel, pictures and report; imports nothing."""

from __future__ import annotations

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

MODEL_RED: Color = (235, 64, 52)
EXPERT_YELLOW: Color = (250, 214, 60)
RATER_COLORS: tuple[Color, ...] = (
    EXPERT_YELLOW,
    (0, 127, 255),
    (165, 255, 232),
    (191, 124, 157),
    (76, 191, 133),
    (165, 188, 255),
)
"""Those among bright colors whose least CIEDE2000 difference from each other and from the model's is largest, over
normal vision and the three kinds of color blindness. Further raters begin anew."""
