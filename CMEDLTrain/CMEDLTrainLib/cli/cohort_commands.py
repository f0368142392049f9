"""``cmedl-train prepare`` and ``check``: making a cohort's table, and saying what is wrong with it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.text import counted
from CMEDLSegmentLib.cli.console import Bar, Interrupt, add_command, add_json, emit_json
from CMEDLSegmentLib.io.case_folders import TABLE, edit_table
from CMEDLSegmentLib.io.cohort_table import MODALITIES, ROLES, SPLITS, Case, survey_cohort, write_cohort

from ..settings import configuration


def register(commands: Any) -> None:
    """Add the commands to the command line."""
    text = "make a cohort's table from folders of scans, or add to it, or divide it"
    prepare = add_command(commands, "prepare", _prepare, text)
    prepare.add_argument(
        "source",
        type=Path,
        nargs="?",
        metavar="SOURCE",
        help="folder of the scans; none: divide what is there",
    )
    prepare.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the cohort's folder")
    prepare.add_argument("--role", choices=ROLES, default="student", help="of these scans (default: student)")
    prepare.add_argument("--modality", choices=MODALITIES, help="of these scans (default: CT; of a teacher MR)")
    prepare.add_argument(
        "--image",
        default="{patient}",
        metavar="PATTERN",
        help='files or DICOM folders below SOURCE, as in "{patient}/ct_*.nii.gz" or "{case}.nii.gz" (default: a DICOM '
        "folder for each patient)",
    )
    prepare.add_argument(
        "--mask",
        default="",
        metavar="PATTERN",
        help="labelmaps, RTSTRUCT or SEG (default: beside the DICOM images)",
    )
    prepare.add_argument(
        "--structure",
        action="append",
        default=[],
        metavar="NAME",
        help="region or segment; several: labels in order",
    )
    prepare.add_argument("--copy", action="store_true", help="copy images and masks into DIR (default: refer to them)")
    prepare.add_argument(
        "--split",
        type=_shares,
        metavar="A,B,C",
        help="divide by patient into training, validation and test, as in 70,15,15; patients who only teach train",
    )
    prepare.add_argument("--folds", type=int, metavar="K", help="also write cohort-fold1.csv ... for cross-validation")
    prepare.add_argument("--seed", type=int, default=0, help="of the division (default: 0)")
    prepare.add_argument("--resplit", action="store_true", help="divide again what is divided, and write folds again")
    add_json(prepare)

    check = add_command(commands, "check", _check, "look at every case of a cohort and tell all that is wrong")
    check.add_argument("cohort", type=Path, metavar="COHORT.csv", help="the cohort's table")
    check.add_argument("--labels", default="Tumor", metavar="A,B", help="names of the masks' values (default: Tumor)")
    check.add_argument("--method", default="", metavar="ID", help="what is to be trained (default: whatever there is)")
    add_json(check)


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(share) for share in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != len(SPLITS):
        raise argparse.ArgumentTypeError(f'"{text}" is not three numbers as in 70,15,15')
    return shares


def _prepare(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from ..cohort.checks import summary
    from ..cohort.collecting import Collected, CollectionOptions, collect, read_table

    if options.source is None and not (options.split or options.folds):
        raise InputError("There is nothing to do; give the folder of the scans, --split or --folds.")
    fold_tables = [options.output / f"cohort-fold{k}.csv" for k in range(1, (options.folds or 0) + 1)]
    for table in fold_tables:
        if table.exists() and not options.resplit:
            raise InputError(f"{table} exists; add --resplit to write the folds again.")
    with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
        if options.source is not None:
            modality = options.modality or ("MR" if options.role == "teacher" else "CT")
            rules = CollectionOptions(
                options.role, modality, options.image, options.mask, tuple(options.structure), options.copy
            )
            made = collect(options.source.absolute(), options.output.absolute(), rules, bar)
        else:
            made = Collected(read_table(options.output.absolute()))
        made.cases = _divide(options, made.cases, fold_tables)
    table = options.output / TABLE
    if options.json:
        outcome = {"added": made.added, "there": made.there, "refused": made.refused, "notes": made.notes}
        emit_json({"table": table, "cases": len(made.cases), **outcome})
    else:
        for title, pairs in (("note", made.notes), ("not taken", made.refused)):
            for name, sentence in pairs:
                print(f"{title}: {name}: {sentence}")
        if options.source is not None:
            where = f"; {table}" if table.is_file() else ""
            counts = f"{len(made.there)} there before, {len(made.refused)} not taken"
            print(f"{counted(len(made.added), 'case')} added, {counts}{where}")
        if options.split:
            print(f"{table}: {summary(made.cases)}")
        if options.folds:
            print(f"{options.folds} folds are {fold_tables[0]} to {fold_tables[-1].name}.")
    return InputError.exit_code if made.refused else 0


def _divide(options: argparse.Namespace, cases: list[Case], fold_tables: list[Path]) -> list[Case]:
    """Write the splits and the folds that were asked for; the cases with their splits."""
    from ..cohort.splitting import folds, split_by_patient, structure_volumes

    if not cases and options.source is None:
        raise InputError(f"{options.output} holds no cohort yet; give the folder of the scans.")
    if not cases or not (options.split or options.folds):
        return cases
    volumes = structure_volumes(cases)
    if options.folds:
        for table, fold in zip(fold_tables, folds(cases, options.folds, options.seed, volumes), strict=True):
            write_cohort(table, fold)
    if options.split:
        cases = list(split_by_patient(cases, options.split, options.seed, volumes, options.resplit))
        splits = {case.case: case.split for case in cases}
        edit_table(
            options.output / TABLE,
            lambda rows: [{**row, "split": splits.get(row["case"], row["split"])} for row in rows],
        )
    return cases


def _check(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from ..cohort.checks import ERROR, Finding, check_cohort, summary

    method = configuration.Configuration(method=options.method).entry if options.method else None
    cases, problems = survey_cohort(options.cohort)
    roles = method.roles if method else tuple({case.role for case in cases} | {"student"})
    labels = configuration.labels_of(options.labels)
    with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
        findings = check_cohort(cases, labels, roles, bar)
    findings = [Finding(ERROR, problem.case, problem.sentence, problem.line) for problem in problems] + findings
    errors = sum(finding.severity == ERROR for finding in findings)
    if options.json:
        emit_json(
            {
                "findings": [asdict(finding) for finding in findings],
                "errors": errors,
                "warnings": len(findings) - errors,
                "cases": len(cases),
                "summary": summary(cases, errors),
            }
        )
    else:
        for finding in findings:
            where = f"{finding.case or 'the cohort'}{f' (line {finding.line})' if finding.line else ''}"
            print(f"{finding.severity}: {where}: {finding.sentence}")
        counts = f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}"
        print(f"{counts}. {summary(cases, errors)}")
    return InputError.exit_code if errors else 0
