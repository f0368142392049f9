"""The parts of the CMEDLTrain panel, one file each; the module file puts them together.

They keep the rules of ``CMEDLSegmentPanel`` and are made of the same pieces: sections show what is in the folder and in
the scene and pass clicks on, what a click does can be had without a window, and work that takes long is done in a
thread or in a process of its own.
"""
