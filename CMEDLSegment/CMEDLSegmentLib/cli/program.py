"""``cmedl-segment``: segment a scan, a cohort or the demo phantom, compare experts, and look after the models.

Only light modules are imported here, so that ``--help`` answers at once; torch and the image libraries are
imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..base.errors import InputError
from ..inference.options import AUTO, THRESHOLD, Click, SegmentationOptions
from ..inference.pipeline import PipelineResult, SegmentationJob, run
from ..models import DEFAULT
from .console import (
    Bar,
    Interrupt,
    Parser,
    Report,
    add_command,
    add_device,
    amount,
    command_line,
    command_parser,
    emit_json,
    number,
)

PROGRAM = "cmedl-segment"
IMAGE = "NIfTI, NRRD or MetaImage file, or a folder with a DICOM series"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cmedl-segment`` with ``argv`` (default: the process's own) and return the exit code."""
    return command_line(PROGRAM, parser, argv)


def parser() -> Parser:
    """The whole command line."""
    description = "Segment tumors with a model: a network, its card and its figures in one file."
    top, commands = command_parser(PROGRAM, description, __version__, "cancelled")
    for add in (_add_demo, _add_run, _add_batch, _add_compare, _add_models):
        add(commands)
    return top


def _add_demo(commands: Any) -> None:
    demo = add_command(
        commands,
        "demo",
        _demo,
        "make a thorax phantom with a tumor, segment it, and compare with its expert contour",
        "Files of an earlier demo in the folder are replaced. The phantom is synthetic and proves nothing "
        "about patients.",
    )
    demo.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("cmedl-demo"),
        metavar="DIR",
        help="folder for the results (default: %(default)s)",
    )
    _add(demo, "--model", "--json")


def _add_run(commands: Any) -> None:
    run = add_command(
        commands,
        "run",
        _run,
        "segment one scan",
        "A file that exists is not replaced unless --overwrite is given. All results appear together when "
        "the work is done; after a failure or a cancel there is none.",
    )
    run.add_argument("input", type=Path, metavar="INPUT", help=IMAGE)
    run.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUTPUT",
        help=".seg.nrrd: segmentation for 3D Slicer; .nii.gz, .nii, .nrrd, .mha: label map on the input's "
        "grid; .dcm: DICOM SEG (DICOM input only)",
    )
    _add(run, "--model", *OPTIONS)
    run.add_argument(
        "--click",
        type=_click,
        action="append",
        default=[],
        metavar="X,Y,Z",
        help="a tumor lies here (mm, LPS), which the model may have missed: contour it too; once for each click. "
        "add:X,Y,Z and cut:X,Y,Z mend the tumor clicked before, end:X,Y,Z says that it goes no further than this slice",
    )
    _add(run, "--click-model")
    run.add_argument(
        "--probability",
        type=Path,
        metavar="FILE",
        help="also write the tumor's probability, 0 to 1, as an image on the input's grid",
    )
    _add(run, "--series")
    run.add_argument(
        "--rtstruct", type=Path, metavar="FILE", help="also write a DICOM RT Structure Set, .dcm (DICOM input only)"
    )
    _add(run, "--overwrite", "--json")


def _add_batch(commands: Any) -> None:
    batch = add_command(
        commands,
        "batch",
        _batch,
        "segment a cohort",
        "MANIFEST.csv has the columns patient,case,role,modality,image,mask,split; its paths are relative to "
        "it, and mask, role and split may be empty. A column click may hold clicks, spelled as those of run "
        "and separated by semicolons. Each case gives CASE.seg.nrrd and CASE.json in DIR, and "
        "results.csv sums up. Run the same command again to resume: a case is done anew only if its image, "
        "its mask, the model or an option changed or its result is gone. A bad case never stops the rest.",
    )
    batch.add_argument("manifest", type=Path, metavar="MANIFEST.csv", help="the cohort")
    batch.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    _add(batch, "--model", *OPTIONS, "--click-model", "--json")


def _add_compare(commands: Any) -> None:
    compare = add_command(
        commands,
        "compare",
        _compare,
        "compare experts, and the model with them: agreement, consensus, report",
        "Give one IMAGE with its raters, or a cohort by --manifest. A FILE is .seg.nrrd, a labelmap (.nii.gz, .nrrd, "
        ".mha), DICOM SEG or RTSTRUCT, or a folder with one of the latter; FILE#SEGMENT names a segment of it. DIR "
        "gets report.html, agreement.json and tables as CSV; for a cohort also a folder for each case.",
    )
    compare.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help=IMAGE)
    compare.add_argument(
        "--model", "--candidate", metavar="FILE", help='the model\'s, or who else is tested; "candidate" in tables'
    )
    compare.add_argument(
        "--rater",
        type=_rater,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="an expert's; once for each of them",
    )
    compare.add_argument("--segment", metavar="NAME", help="which segment of each file, where it holds several")
    _add(compare, "--series")
    compare.add_argument(
        "--manifest",
        type=Path,
        metavar="CSV",
        help="a cohort instead of IMAGE: the columns case,image,rater,file and perhaps segment, a line for each "
        'delineation; the rater "candidate" is the model',
    )
    compare.add_argument(
        "--same-raters",
        action="store_true",
        help="a rater's name is the same person in all cases of the manifest: give each a row over the cohort",
    )
    compare.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the report")
    compare.add_argument(
        "--tolerance",
        type=number("a length above 0", lambda value: value > 0),
        default=2.0,
        metavar="MM",
        help="of the surface DSC, mm (default: %(default)g)",
    )
    compare.add_argument(
        "--names",
        action="store_true",
        help="let the outputs name the image or the cases, which may be patients' names (default: they do not)",
    )
    _add(compare, "--overwrite", "--json")


def _add_models(commands: Any) -> None:
    models = commands.add_parser(
        "models",
        help="list, show, verify, install, remove or roll back models",
        description="Look after the models: those that come with the program and your own.",
    )
    actions = models.add_subparsers(metavar="ACTION", dest="action", required=True)
    for name, noun, text in (
        ("list", "", "list the models"),
        ("show", "NAME|FILE", "show a model's card"),
        ("verify", "NAME|FILE", "check a model's file, or all models where none is named"),
        ("install", "FILE", "check a model's file and copy it into your own folder"),
        ("remove", "NAME", "delete all installed versions of a model"),
        ("rollback", "NAME", "use an earlier version of a model, or the bundled one; none is deleted"),
    ):
        sub = add_command(actions, name, _models, text)
        if noun:
            sub.add_argument("model", metavar=noun, nargs="?" if name == "verify" else None)
        if name == "rollback":
            sub.add_argument(
                "version",
                metavar="VERSION",
                nargs="?",
                help='as "models show" lists it, or its beginning (default: the one before the one in use)',
            )
        _add(sub, "--json")


SHARED: dict[str, dict[str, Any]] = {
    "--model": {
        "default": DEFAULT,
        "metavar": "NAME|FILE",
        "help": 'the model: a name of "models list" or a .safetensors file (default: %(default)s)',
    },
    "--threshold": {
        "type": number("a number between 0 and 1", lambda value: 0 < value < 1),
        "metavar": "T",
        "help": "probability from which a voxel is tumor, between 0 and 1 (default: the model's)",
    },
    "--all-slices": {
        "action": "store_true",
        "help": "segment every slice, also where the model would look at slices with lung only",
    },
    "--min-volume-cc": {
        "type": amount("a volume"),
        "default": 0.0,
        "metavar": "V",
        "help": "drop components smaller than V cubic centimeters (default: %(default)g)",
    },
    "--click-model": {
        "default": AUTO,
        "metavar": f"NAME|FILE|{THRESHOLD}|{AUTO}",
        "help": f"who answers clicks beside a model that reads none: a model that does, {THRESHOLD}: the model's own "
        f"probability around the click, or {AUTO}: the first if one is installed (default: %(default)s)",
    },
    "--series": {"metavar": "UID", "help": "which series of a DICOM folder that holds several"},
    "--overwrite": {"action": "store_true", "help": "replace results that exist"},
    "--json": {"action": "store_true", "help": "print one JSON object on one line, and no progress"},
}
"""The options that several commands have."""
OPTIONS = ("--threshold", "--all-slices", "--min-volume-cc")


def _add(sub: Parser, *names: str) -> None:
    """Add options of ``SHARED``; after ``--model`` comes ``--device``."""
    for name in names:
        sub.add_argument(name, **SHARED[name])
        if name == "--model":
            add_device(sub)


def _rater(text: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if equals and name.strip() and file:
        return name.strip(), file
    raise argparse.ArgumentTypeError(f'"{text}" is not NAME=FILE')


def _click(text: str) -> Click:
    try:
        return Click.parse(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _demo(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from .demo import run_demo

    with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
        demo = run_demo(options.output, SegmentationOptions(options.model, options.device), bar)
        _warn(bar, demo.result)
    _tell(demo, options)
    return 0


def _run(options: argparse.Namespace, interrupt: Interrupt) -> int:
    job = SegmentationJob(
        input=options.input,
        output=options.output,
        options=replace(_segmentation_options(options), clicks=options.click),
        series=options.series,
        probability=options.probability,
        rtstruct=options.rtstruct,
        overwrite=options.overwrite,
    )
    with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
        result = run(job, progress=bar)
        _warn(bar, result)
    _tell(result, options)
    return 0


def _segmentation_options(options: argparse.Namespace) -> SegmentationOptions:
    return SegmentationOptions(
        model=options.model,
        device=options.device,
        threshold=options.threshold,
        all_slices=options.all_slices,
        minimum_cc=options.min_volume_cc,
        click_model=options.click_model,
    )


def _batch(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from ..inference.batch import run_batch

    with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
        result = run_batch(options.manifest, options.output, _segmentation_options(options), bar)
    _tell(result, options)
    return result.exit_code


def _compare(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from .compare import compare_case, compare_cohort

    if (options.image is None) == (options.manifest is None):
        raise InputError("Give either one IMAGE with its raters or a cohort by --manifest.")
    if options.manifest is not None:
        given = {"--rater": options.rater, "--model": options.model, "--segment": options.segment}
        for name in (name for name, value in {**given, "--series": options.series}.items() if value):
            raise InputError(f"{name} goes with one IMAGE; a manifest says such things itself.")
        with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
            cohort = compare_cohort(
                options.manifest,
                options.output,
                options.same_raters,
                options.tolerance,
                options.names,
                options.overwrite,
                bar,
            )
        _tell(cohort, options)
        return cohort.exit_code
    if options.same_raters:
        raise InputError("--same-raters goes with --manifest: one image has no other to share its raters with.")
    with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
        comparison = compare_case(
            options.image,
            options.rater,
            options.model,
            options.output,
            segment=options.segment,
            series=options.series,
            tolerance_mm=options.tolerance,
            name=options.image.name if options.names else "",
            names=options.names,
            overwrite=options.overwrite,
            progress=bar,
        )
    _tell(comparison, options)
    return 0


def _models(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from .model_commands import ACTIONS

    return ACTIONS[options.action](options)


def _warn(bar: Bar, result: PipelineResult) -> None:
    for warning in result.segmentation.warnings:
        bar.say(f"Warning: {warning}")


def _tell(result: Report, options: argparse.Namespace) -> None:
    if options.json:
        emit_json(result.to_json())
    else:
        print(result.report())
