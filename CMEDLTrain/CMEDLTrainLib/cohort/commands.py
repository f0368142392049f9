"""``cmedl-train prepare`` and ``check``: making a cohort's table, and saying what is wrong with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from CMEDLSegmentLib.cohort import survey_cohort
from CMEDLSegmentLib.console import Bar, Interrupt, Parser, emit_json
from CMEDLSegmentLib.errors import InputError

from .. import configuration

Action = Callable[[argparse.Namespace, Interrupt], int]


def register(add: Callable[[str, Action, str], Parser]) -> None:
    """Add the commands to the command line; ``add`` takes a name, what is done, and a line of help."""
    check = add("check", _check, "look at every case of a cohort and tell all that is wrong")
    check.add_argument("cohort", type=Path, metavar="COHORT.csv", help="the cohort's table")
    check.add_argument("--labels", default="Tumor", metavar="A,B", help="names of the masks' values (default: Tumor)")
    check.add_argument("--method", default="", metavar="ID", help="what is to be trained (default: whatever there is)")
    check.add_argument("--json", action="store_true", help="print one JSON object on one line")


def _check(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from .checks import ERROR, Finding, check_cohort, summary

    if options.method and options.method not in configuration.METHODS:
        raise InputError(f"There is no method '{options.method}'; there are: {', '.join(configuration.METHODS)}.")
    cases, problems = survey_cohort(options.cohort)
    present = {case.role for case in cases} | {"student"}
    roles = configuration.METHODS[options.method].roles if options.method else tuple(present)
    labels = configuration.labels_of(options.labels)
    bar = Bar(sys.stderr, quiet=options.json)
    try:
        findings = check_cohort(cases, labels, roles, bar, interrupt)
    finally:
        bar.clear()
    findings = [Finding(ERROR, one.case, one.sentence, one.line) for one in problems] + findings
    errors = sum(one.severity == ERROR for one in findings)
    if options.json:
        emit_json(
            {
                "findings": [asdict(one) for one in findings],
                "errors": errors,
                "warnings": len(findings) - errors,
                "cases": len(cases),
                "summary": summary(cases),
            }
        )
    else:
        for one in findings:
            where = f"{one.case or 'the cohort'}{f' (line {one.line})' if one.line else ''}"
            print(f"{one.severity}: {where}: {one.sentence}")
        print(f"{errors} errors, {len(findings) - errors} warnings. {summary(cases)}")
    return InputError.exit_code if errors else 0
