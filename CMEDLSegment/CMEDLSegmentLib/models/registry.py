"""The models at hand: those bundled with the program, and those a user installed in a folder of their own.

The user's folder holds one folder per model. Every installed version stays in it as a file of its own,
``0001_<version>.safetensors`` and so on in the order of installing, and the text file ``current`` names the
one in use, or says ``bundled``. So installing and rolling back are each one atomic rename, and nothing is
overwritten. An installed model goes before a bundled one of the same name, until it is rolled back to that
one; every listing says so.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import InputError, ModelError
from ..base.files import DEVICE_NAMES, atomic_path
from ..base.text import counted
from . import DEFAULT as DEFAULT
from .model_card import Card, read_card, reading

if TYPE_CHECKING:
    from .model_file import ModelFile

BUNDLED, INSTALLED, FILE = "bundled", "installed", "file"
_ENDING = ".safetensors"
_CURRENT = "current"


@dataclass(frozen=True)
class Entry:
    """One model's file as a listing shows it.

    Attributes:
        name: what ``--model`` takes; of a damaged file, its name without the ending.
        path: the file.
        origin: ``bundled``, ``installed`` or ``file`` (given by its path).
        card: the model card; None when the file is damaged.
        problem: why the file cannot be used; empty when its card is good.
        current: whether ``--model NAME`` means this file.
        note: what a user should know, such as that this one hides a bundled one.
    """

    name: str
    path: Path
    origin: str
    card: Card | None
    problem: str = ""
    current: bool = True
    note: str = ""

    @property
    def version(self) -> str:
        """The card's; empty for a damaged file."""
        return self.card.version if self.card else ""


@dataclass(frozen=True)
class Change:
    """What installing, removing or rolling back did.

    Attributes:
        name, message: the model, and one or two sentences for the user.
        path, version: of the file in use now; None and empty when the name is known no longer.
        previous: the version that was in use before; empty if none was.
    """

    name: str
    message: str
    path: Path | None = None
    version: str = ""
    previous: str = ""


def user_folder() -> Path:
    """The folder of installed models: ``CMEDL_MODELS``, else where the platform keeps a user's data.

    Windows: ``%LOCALAPPDATA%``; macOS: ``~/Library/Application Support``; elsewhere ``$XDG_DATA_HOME`` or
    ``~/.local/share``. It need not exist.
    """
    chosen = os.environ.get("CMEDL_MODELS")
    if chosen:
        return Path(chosen).absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "CMEDL" / "Models"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "CMEDL" / "Models"
    share = os.environ.get("XDG_DATA_HOME")
    # The XDG rules: a relative path there is invalid and to be ignored.
    base = Path(share) if share and Path(share).is_absolute() else Path.home() / ".local" / "share"
    return base / "cmedl" / "models"


def bundled_folder(package: Path | None = None) -> Path | None:
    """The folder of bundled models, or None if this copy of the program has none.

    Args:
        package: the folder of this package; default is where this file lies.
    """
    package = package or Path(__file__).resolve().parents[1]
    candidates = (
        package / "bundled",  # a wheel
        package.parent / "Resources" / "Models",  # an installed extension
        package.parent.parent / "Resources" / "Models",  # a checkout
    )
    return next((folder for folder in candidates if _models(folder)), None)


def folder_name(name: str) -> str:
    """A folder's name for a model's name: safe on every platform, and different for different names.

    Lower case, because two names that differ in case only share a folder on Windows and macOS; what is not a
    plain letter, digit, ``-`` or ``_`` becomes ``-``, and a hash of the name then keeps it apart from others.
    """
    text = unicodedata.normalize("NFC", name).casefold()
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    safe = re.sub(r"[^a-z0-9_-]+", "-", plain)[:60].strip("-")
    if safe == text and safe not in DEVICE_NAMES:
        return safe
    return f"{safe or 'model'}-{hashlib.sha256(text.encode('utf-8')).hexdigest()[:8]}"


def click_reader(entries: Iterable[Entry], card: Card) -> Entry | None:
    """The first model in use that reads clicks, and images and a label of a card's; None where there is none."""
    names = {label.name for label in card.labels}
    return next(
        (
            entry
            for entry in entries
            if entry.current
            and entry.card is not None
            and entry.card.prompt is not None
            and entry.card.modality == card.modality
            and names & {label.name for label in entry.card.labels}
        ),
        None,
    )


def list_models() -> list[Entry]:
    """Every model that a name stands for, sorted by name: installed ones in use and bundled ones.

    Damaged files are listed with their problem; a bundled model that an installed one hides, as not current.
    """
    installed = {
        folder.name: _entry(path, INSTALLED) for folder in _folders(user_folder()) if (path := _current(folder))
    }
    entries = []
    for entry in _bundled():
        folder = folder_name(entry.name)
        if mine := installed.get(folder):
            entry = replace(entry, note=f"hidden by the installed version {mine.version}", current=False)
            installed[folder] = replace(mine, note="used instead of the bundled one of this name")
        entries.append(entry)
    return sorted([*entries, *installed.values()], key=lambda entry: (entry.name.casefold(), not entry.current))


def versions(name: str) -> list[Entry]:
    """The versions of a model, oldest first, the one in use being ``current``; empty if none is installed.

    A bundled one of this name is the first.
    """
    folder = user_folder() / folder_name(name)
    current = _current(folder)
    kept = [replace(_entry(path, INSTALLED), current=path == current) for path in _models(folder)]
    bundled = _bundled_of(name)
    return [replace(bundled, current=current is None), *kept] if kept and bundled else kept


def find(name_or_file: Path | str) -> Path:
    """The file that a name or a path stands for; an installed model goes before a bundled one.

    Args:
        name_or_file: a model's name, any case; or a path, which a Path, a text ending in ``.safetensors``
            or one that names an existing file is taken for.

    Raises:
        ModelError: there is no such model; the message names those there are.
    """
    return entry(name_or_file).path


def entry(name_or_file: Path | str) -> Entry:
    """The listing's entry of a name or a path, as :func:`find` takes it; its card is read, its weights not verified.

    Raises:
        ModelError: there is no such model.
    """
    text = str(name_or_file)
    known = [] if isinstance(name_or_file, Path) else list_models()
    for candidate in known:
        if candidate.current and folder_name(candidate.name) == folder_name(text):
            return candidate
    path = Path(text)
    kind = _kind(path)
    if kind == "file":
        return _entry(path, FILE)
    if isinstance(name_or_file, Path) or path.suffix == _ENDING:
        reason = "it is a folder; name the .safetensors file in it." if kind else "there is no such file."
        with reading(path):
            raise ModelError(reason)
    names = [candidate.name for candidate in known if candidate.current]
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names) or 'none'}."
    raise ModelError(f"No model is named '{text}'; {hint}")


def load(name_or_file: Path | str) -> ModelFile:
    """The model of a file, or the installed or bundled one of a name, verified.

    Raises:
        ModelError: it is not there, or anything about it is wrong; see :func:`.model_file.load_model`.
    """
    from .model_file import load_model

    return load_model(find(name_or_file))


def install(file: Path | str) -> Change:
    """Verify a model's file and copy it into the user's folder, where its name then stands for it.

    The version in use before stays for :func:`rollback`.

    Raises:
        ModelError: the file is not a good model.
        InputError: the user's folder cannot be written.
    """
    from .model_file import read_bytes, verify_bytes

    file = Path(file)
    data = read_bytes(file)
    card, _ = verify_bytes(data, file)
    folder = user_folder() / folder_name(card.name)
    before = _current(folder)
    kept = next((path for path in _models(folder) if _version_of(path) == card.version), None)
    if kept is None or kept.read_bytes() != data:
        # A kept file with other bytes is damaged, as its name holds the digest: the good one takes its place.
        kept = kept or folder / f"{_next_number(folder):04d}_{card.version}{_ENDING}"
        with atomic_path(kept) as beside:
            beside.write_bytes(data)
    if before == kept:
        return _change(card.name, kept, before, f"'{card.name}' {card.version} is installed already.")
    _use(folder, kept.name)
    message = f"'{card.name}' {card.version} is installed in {folder}."
    if before:
        message += f" The version used before, {_version_of(before)}, is kept: models rollback {card.name}."
    elif _bundled_of(card.name):
        message += " It is used instead of the bundled one of this name."
    return _change(card.name, kept, before, message)


def rollback(name: str, version: str | None = None) -> Change:
    """Use an earlier version again, or the given one; no version is deleted.

    Args:
        name: the model.
        version: as :func:`versions` shows it, or its beginning or the beginning of its digest; default is the
            one installed before the one in use, and before the first of them a bundled one of this name.

    Raises:
        ModelError: there is no such version, or its file is damaged.
    """
    from .model_file import load_model

    folder = user_folder() / folder_name(name)
    known = {kept.path: kept.version or _version_of(kept.path) for kept in versions(name)}
    if not known:
        raise ModelError(f"'{name}' has no installed version, so there is none to go back to.")
    paths, bundled = list(known), _bundled_of(name)
    before = _current(folder) or paths[0]
    if version is None:
        earlier = paths[: paths.index(before)]
        if not earlier:
            raise ModelError(f"'{name}' has no version earlier than {known[before]}.")
        target = earlier[-1]
    else:
        target = _chosen(name, version, known)
    if target == before:
        return Change(name, f"'{name}' is version {known[target]} already.", target, known[target], known[before])
    load_model(target)
    own = bundled is not None and target == bundled.path
    _use(folder, BUNDLED if own else target.name)
    message = f"'{name}' is {'the bundled ' if own else ''}version {known[target]} again; {known[before]} is kept."
    return Change(name, message, target, known[target], known[before])


def remove(name: str) -> Change:
    """Delete every installed version of a model; a bundled one of this name is used again.

    Raises:
        ModelError: it is not installed; bundled models cannot be removed.
        InputError: the files cannot be deleted.
    """
    folder = user_folder() / folder_name(name)
    kept, bundled = _models(folder), _bundled_of(name)
    if not kept:
        why = "comes with the program and" if bundled else "is not installed, so it"
        raise ModelError(f"'{name}' {why} cannot be removed.")
    before = _current(folder)
    try:
        for path in kept:
            path.unlink()
        (folder / _CURRENT).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
    except OSError as error:
        raise InputError(
            f"{folder} could not be emptied ({error.strerror}); close what uses its files and try again."
        ) from error
    message = f"'{name}' is removed ({counted(len(kept), 'version')})."
    if bundled:
        return _change(name, bundled.path, before, f"{message} The bundled one of this name is used again.")
    return _change(name, None, before, message)


def _models(folder: Path | None) -> list[Path]:
    """The models' files of a folder, if there is one; hidden files are half-written and left out."""
    files = folder.glob(f"*{_ENDING}") if folder and folder.is_dir() else ()
    return sorted(path for path in files if not path.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(
            f"{folder}, the folder of installed models, could not be read ({error.strerror}); set CMEDL_MODELS to "
            "a folder that can."
        ) from error


def _kind(path: Path) -> str:
    """``file``, ``folder`` or, for what is not there, nothing."""
    try:
        return "folder" if path.is_dir() else "file" if path.is_file() else ""
    except OSError:  # a name too long for the file system: no such file
        return ""


def _current(folder: Path) -> Path | None:
    """The installed version in use: the one that ``current`` names, else the newest; None where a bundled one is."""
    kept = _models(folder)
    try:
        named = (folder / _CURRENT).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        named = ""
    if named == BUNDLED and _bundled_of(folder.name):
        return None
    return folder / named if folder / named in kept else kept[-1] if kept else None


def _use(folder: Path, named: str) -> None:
    with atomic_path(folder / _CURRENT) as beside:
        beside.write_text(named, encoding="utf-8")


def _next_number(folder: Path) -> int:
    numbers = [int(match[1]) for path in _models(folder) if (match := re.match(r"(\d+)_", path.name))]
    return max(numbers, default=0) + 1


def _version_of(path: Path) -> str:
    return path.stem.split("_", 1)[-1]


def _chosen(name: str, version: str, known: Mapping[Path, str]) -> Path:
    """The one file of whose version, or of whose digest, ``version`` is the beginning."""
    fitting = [
        path
        for path, own in known.items()
        if version and (own.startswith(version) or own.rsplit("-", 1)[-1].startswith(version))
    ]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(known.values())
    if fitting:
        raise ModelError(f"'{version}' fits several versions of '{name}': name one of {there}.")
    raise ModelError(f"'{name}' has no version '{version}'; it has {there}.")


def _entry(path: Path, origin: str) -> Entry:
    try:
        card = read_card(path)
    except ModelError as error:
        name = path.parent.name if origin == INSTALLED else path.stem
        return Entry(name, path, origin, None, problem=str(error))
    return Entry(card.name, path, origin, card)


def _bundled() -> list[Entry]:
    return [_entry(path, BUNDLED) for path in _models(bundled_folder())]


def _bundled_of(name: str) -> Entry | None:
    return next((entry for entry in _bundled() if folder_name(entry.name) == folder_name(name)), None)


def _change(name: str, path: Path | None, before: Path | None, message: str) -> Change:
    version = read_card(path).version if path else ""
    return Change(name, message, path, version, _version_of(before) if before else "")
