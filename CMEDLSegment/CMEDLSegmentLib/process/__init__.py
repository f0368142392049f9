"""Work in processes of their own, and who owns a folder.

``supervisor``  starts a program of ours, hears it, ends it, says how it ended
``protocol``    what it says: messages, each a line of JSON
``client``      segments in a ``worker``, which stays warm between clicks; voxels travel in files of a private folder
``lock``        the one process that may train a run or change a cohort
"""
