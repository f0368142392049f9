"""``python -m CMEDLSegmentLib`` is ``cmedl-segment``, where no script is on the PATH."""

import sys

from .cli import main

sys.exit(main())
