"""Pack the cohorts of experiments for a machine that has neither the data nor SimpleITK.

    python Testing/gpu/pack.py sts -o sts.npz
    python Testing/gpu/pack.py lung lung-final -o lung.npz

A cohort is named by its experiment: a folder beside this file, or anything that ``cmedl-train experiment`` takes. What
the file holds stands in ``CMEDLTrainLib.experiments.packing``. Needs the data, and the project with all its packages.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from plans import read

from CMEDLSegmentLib.cli.console import Bar
from CMEDLTrainLib.experiments.packing import DATA_FOLDER, write_pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", nargs="+", metavar="COHORTS", help="experiments whose cohorts are packed")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="ends in .npz")
    parser.add_argument("--tiny", action="store_true", help="phantoms in place of patients, to rehearse with")
    options = parser.parse_args()
    bar = Bar(sys.stderr)
    write_pack([read(name, options.tiny) for name in options.cohorts], options.output, bar)
    bar.clear()
    with np.load(options.output) as file:
        named = sum(file[name].nbytes for name in file.files if name.startswith(DATA_FOLDER))
    size = options.output.stat().st_size
    print(f"{options.output}: {(size - named) / 2**20:.1f} MiB, and {named / 2**20:.1f} of files that settings name")


if __name__ == "__main__":
    main()
