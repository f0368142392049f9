"""Boxes that would stop and wait for a person: what they say is kept, what a person would answer comes from a queue."""

from __future__ import annotations

import dataclasses
import sys
from collections import deque

from PySide6 import QtCore, QtWidgets

Box = QtWidgets.QMessageBox
ANSWERS = {
    name.lower(): Box.StandardButton[name]
    for name in ("Yes", "No", "Ok", "Cancel", "Retry", "Close", "Save", "Discard")
}


@dataclasses.dataclass
class Message:
    """One box: its kind (``question``, ``critical``, ``file``, ...), its title and what it said."""

    kind: str
    title: str
    text: str
    details: str = ""

    def __contains__(self, words: str) -> bool:
        return words in self.text


PAGES = (QtWidgets.QPlainTextEdit, QtWidgets.QTextEdit)

faults: list[str] = []
"""Of dialogs; :func:`install` puts the application's list here."""
messages: list[Message] = []
answers: deque[str] = deque()


def _button(default: Box.StandardButton) -> Box.StandardButton:
    return ANSWERS[answers.popleft()] if answers and answers[0] in ANSWERS else default


def _path() -> str:
    return answers.popleft() if answers and answers[0] not in ANSWERS else ""


def _shown(box: Box) -> Box.StandardButton:
    kind = box.icon.name.lower() if hasattr(box.icon, "name") else "message"
    messages.append(Message(kind, box.windowTitle.strip(), box.text, box.detailedText))
    # A person who is not expected does the safe thing: what is marked as the default, else what leaves.
    buttons = box.standardButtons
    usual = [ANSWERS[name] for name in ("cancel", "no", "close", "ok") if ANSWERS[name] & buttons]
    default = box.defaultButton()
    if default is not None:
        usual.insert(0, box.standardButton(default))
    return _button(usual[0] if usual else Box.StandardButton.Ok)


def _ask(kind: str, default: Box.StandardButton):
    def ask(parent, title: str, text: str, *arguments: object) -> Box.StandardButton:
        messages.append(Message(kind, title, text))
        return _button(default)

    return staticmethod(ask)


def _file(kind: str):
    def choose(parent=None, caption: str = "", folder: str = "", *arguments: object) -> str:
        messages.append(Message(kind, caption, str(folder)))
        return _path()

    return staticmethod(choose)


def _said(kind: QtCore.QtMsgType, context: object, text: str) -> None:
    # Said by Qt at each window without a display.
    if "propagateSizeHints" not in text:
        print(f"Qt: {text}", file=sys.stderr)


def install(errors: list[str]) -> None:
    """Let no box wait; once per process. ``errors`` gets what is wrong with dialogs."""
    global faults
    faults = errors
    QtCore.qInstallMessageHandler(_said)
    for kind, default in (("question", "no"), ("warning", "ok"), ("critical", "ok"), ("information", "ok")):
        setattr(Box, kind, _ask(kind, ANSWERS[default]))
    # In PythonQt these return the path alone.
    for kind in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        setattr(QtWidgets.QFileDialog, kind, _file("file"))
    QtWidgets.QDialog.exec = QtWidgets.QDialog.exec_ = _dialog
    Box.exec = Box.exec_ = _shown


def _dialog(dialog: QtWidgets.QDialog) -> int:
    labels = [label.text for label in dialog.findChildren(QtWidgets.QLabel)]
    pages = [page.toPlainText() for kind in PAGES for page in dialog.findChildren(kind)]
    messages.append(Message("dialog", dialog.windowTitle, "\n".join(labels + pages)))
    if not any(button.isVisibleTo(dialog) for button in dialog.findChildren(QtWidgets.QAbstractButton)):
        faults.append(f"the dialog '{dialog.windowTitle}' shows no button")
    answer = _button(ANSWERS["cancel"])
    for box in dialog.findChildren(QtWidgets.QDialogButtonBox):
        button = box.button(QtWidgets.QDialogButtonBox.StandardButton(answer.value))
        if button is not None and not button.isEnabled():
            faults.append(f"the dialog '{dialog.windowTitle}' was answered by a button that cannot be pressed")
    return 1 if answer in (ANSWERS["ok"], ANSWERS["yes"], ANSWERS["save"]) else 0
