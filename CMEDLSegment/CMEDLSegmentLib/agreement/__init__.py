"""How far two delineations of one tumour agree; scipy and scikit-image are imported on first use."""

from .distances import SurfaceDistances, compare, dice, hd95, surface_dice, surface_distances, volume_cc

__all__ = ["SurfaceDistances", "compare", "dice", "hd95", "surface_dice", "surface_distances", "volume_cc"]
