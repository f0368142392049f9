"""How a run is doing, in words."""

from __future__ import annotations

import re
import time

from slicer.i18n import tr as _

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED, RATER_COLORS
from CMEDLSegmentLib.base.text import duration
from CMEDLTrainLib.runs.run_list import Entry
from CMEDLTrainLib.settings.configuration import METHODS

PROGRESS = re.compile(r"\(\d+%\)$")
"""At the end of a line of the log that says how far the trainer was."""


def figureTitles() -> dict[str, str]:
    """What validation figures are called, by name."""
    return {
        "loss": _("loss"),
        "dsc": _("DSC"),
        "dsc_structure_slices": _("DSC of slices with the structure"),
        "false_pixels": _("false pixels a slice"),
    }


def stateOf(entry: Entry, starting: bool) -> str:
    """The true state of a run in a few words."""
    if entry.problem:
        return _("cannot be read")
    if entry.holder:
        if entry.here:
            return _("running here")
        return _("running on {host}").format(host=entry.holder.get("host") or _("another machine"))
    if starting:
        return _("starting")
    if entry.state == "crashed" and entry.term:
        return _("failed ({term})").format(term=entry.term)
    if entry.state == "stopped" and not entry.status["steps"]:
        return _("not trained yet")
    return {"stopped": _("stopped"), "crashed": _("crashed"), "finished": _("finished")}[entry.state]


def progressOf(status: dict) -> str:
    """Steps done of all."""
    return f"{status['step']} / {status['steps']}" if status and status["steps"] else ""


def faultOf(entry: Entry, starting: bool) -> str:
    """What went wrong, as a sentence with a next step; empty where nothing did."""
    if entry.problem:
        return entry.problem
    if starting or entry.holder or entry.state == "finished":
        return ""
    said = entry.said
    last = said[-1] if said and not PROGRESS.search(said[-1]) else ""
    if entry.state == "crashed" and entry.term:
        return last or _("Training failed at {term}; resume with a lower learning rate.").format(term=entry.term)
    if entry.state == "crashed":
        text = _("The trainer ended without saying why: it was killed, or the machine was restarted. Resume goes on.")
        return text + ("\n" + _("Its last words: {line}").format(line=last) if last else "")
    if not entry.status["steps"] and last:
        return _("The trainer ended at once: {line}").format(line=last)
    return ""


def statusOf(entry: Entry, starting: bool) -> str:
    """Where a run is, how fast it goes, and its last figures, a line each."""
    if entry.problem:
        return ""
    status = entry.status
    first = [stateOf(entry, starting)]
    if entry.holder:
        first[0] += _(" on {device} since {time}").format(**_holder(entry.holder)) if entry.here else ""
    if status["steps"]:
        first.append(_("epoch {epoch}, step {step} of {steps}").format(**status))
    if status["seconds_left"] is not None:
        first.append(_("about {time} left").format(time=duration(status["seconds_left"])))
    if (entry.holder or starting) and not status["step"] and entry.said:
        first.append(entry.said[-1])  # what it prepares
    lines = [", ".join(first)]
    if entry.rates:
        lines.append(_rates(entry.rates))
    if status["validation"]:
        names = figureTitles()
        figures = (f"{names.get(name, name)} {value:.3f}" for name, value in status["validation"].items())
        lines.append(_("Validation: {figures}").format(figures=", ".join(figures)))
    if status["losses"]:
        figures = (f"{name} {value:.4g}" for name, value in status["losses"].items())
        lines.append(_("Losses: {figures}").format(figures=", ".join(figures)))
    return "\n".join(lines)


def previewLegend(method: str) -> str:
    """What the colors and the columns of a preview are, as HTML."""
    names = {EXPERT_YELLOW: _("expert"), MODEL_RED: _("student")}
    columns = ""
    if method in METHODS and "teacher" in METHODS[method].roles:
        names[RATER_COLORS[1]] = _("teacher")
        columns = _("From left: the image, its translation, and that translated back.")
    marks = [f'<span style="color:rgb{color}">\u25a0</span> {name}' for color, name in names.items()]
    return "&nbsp; ".join(marks) + (f"<br>{columns}" if columns else "")


def _holder(holder: dict) -> dict[str, str]:
    started = time.strftime("%d %b %H:%M", time.localtime(holder.get("started", 0)))
    return {"device": holder.get("device", "?"), "time": started}


def _rates(rates: dict[str, float]) -> str:
    formats = {
        "images_per_second": _("{value:.1f} images/s"),
        "gpu_memory_gb": _("{value:.1f} GB of GPU memory"),
        "memory_gb": _("{value:.1f} GB of memory"),
        "learning_rate": _("learning rate x {value:.3g}"),
    }
    return ", ".join(text.format(value=rates[name]) for name, text in formats.items() if name in rates)
