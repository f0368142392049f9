"""The MRML scene: volumes in, segmentations out, candidates, experts' segments, views, training cases, export.

The only room that imports slicer and vtk, and the only one that turns Slicer's RAS into the LPS of the rest. It runs
without a window and knows no widgets, so a script, the panel and a test do the same. Import its modules one by one.
"""
