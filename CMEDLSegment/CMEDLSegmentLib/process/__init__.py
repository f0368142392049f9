"""Segmenting in a process of its own: a front end asks by :class:`WorkerClient`, a worker process does the work.

Messages are lines of JSON through pipes; voxels travel in files of a private temporary folder. The worker stays
warm between clicks, so that a second one costs only the segmentation.
"""
