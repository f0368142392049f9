"""From a scan to a segmentation: the pipeline from file to file, the segmenter from volume to label."""
