"""The list of packages, found in two folders; everything else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages("CMEDLSegment", include=["CMEDLSegmentLib*"]),
        *find_packages("CMEDLTrain", include=["CMEDLTrainLib*"]),
        "CMEDLSegmentLib.bundled",
    ]
)
