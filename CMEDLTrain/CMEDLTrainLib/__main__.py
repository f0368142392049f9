"""``python -m CMEDLTrainLib`` is ``cmedl-train``."""

import sys

from .cli import main

sys.exit(main())
