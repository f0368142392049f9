"""Reports and pictures: one HTML page, charts, tables, contours drawn on slices."""
