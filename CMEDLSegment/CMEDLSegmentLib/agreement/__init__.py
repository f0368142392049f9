"""How far delineations of one tumor agree: several raters and a model on one image, or over a cohort."""
