"""The catalog: where bundled models are found, and what installing, rolling back and removing leave behind."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import InputError, ModelError
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import Card
from segment.models.making import a_model_file


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the user's own for each test, and no bundled models."""
    folder = tmp_path / "mine"
    monkeypatch.setenv("CMEDL_MODELS", str(folder))
    monkeypatch.setattr(registry, "bundled_folder", lambda: None)
    return folder


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """The card of a bundled model named ``lung-ct``."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    card = a_model_file(folder / "lung-ct.safetensors", name="lung-ct")
    monkeypatch.setattr(registry, "bundled_folder", lambda: folder)
    return card


def made(tmp_path: Path, seed: int, name: str = "lung-ct", **changes: object) -> Path:
    """A model's file outside the catalog."""
    path = tmp_path / f"model {seed}.safetensors"
    a_model_file(path, seed, name=name, **changes)
    return path


def in_use() -> list[tuple[str, bool]]:
    """The versions of ``lung-ct``, and whether each is in use."""
    return [(entry.version, entry.current) for entry in registry.versions("lung-ct")]


find_bundled = registry.bundled_folder
"""The true function: the fixture ``mine`` puts another in its place."""

LAYOUTS = {
    "checkout": ("repository/CMEDLSegment/CMEDLSegmentLib", "repository/Resources/Models"),
    "wheel": ("site-packages/CMEDLSegmentLib", "site-packages/CMEDLSegmentLib/bundled"),
    "extension": ("lib/qt-scripted-modules/CMEDLSegmentLib", "lib/qt-scripted-modules/Resources/Models"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bundled_models_are_found(tmp_path: Path, layout: str) -> None:
    package, folder = (tmp_path / part for part in LAYOUTS[layout])
    package.mkdir(parents=True)
    assert find_bundled(package) is None
    (package.parent / "Resources" / "UI").mkdir(parents=True, exist_ok=True)
    assert find_bundled(package) is None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lung-ct.json").write_text("{}", "utf-8")
    assert find_bundled(package) is None
    (folder / "lung-ct.safetensors").write_bytes(b"")
    assert find_bundled(package) == folder


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {}, "home/.local/share/cmedl/models"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/cmedl/models"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "home/.local/share/cmedl/models"),
        ("darwin", {}, "home/Library/Application Support/CMEDL/Models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/CMEDL/Models"),
        ("win32", {}, "home/AppData/Local/CMEDL/Models"),
    ],
)
def test_the_users_folder_is_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], folder: str
) -> None:
    for name in ("CMEDL_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(sys, "platform", platform)
    assert registry.user_folder() == tmp_path / folder


def test_without_any_model_the_list_is_empty(mine: Path) -> None:
    assert registry.list_models() == []
    assert not mine.exists()


def test_a_bundled_model_is_found_by_name_in_any_case(bundled: Card) -> None:
    assert registry.find("LUNG-ct").name == "lung-ct.safetensors"
    assert registry.load("lung-ct").card == bundled


def test_an_unknown_name_is_refused_with_the_nearest(bundled: Card) -> None:
    with pytest.raises(ModelError, match=r"'lungct'.*'lung-ct'"):
        registry.find("lungct")
    with pytest.raises(ModelError, match=r"'abdomen'.*lung-ct"):
        registry.find("abdomen")


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody/x", "", ".", "../..", "a\0b", "con"])
def test_names_that_can_be_nothing_are_refused(name: str) -> None:
    with pytest.raises(ModelError):
        registry.find(name)


def test_a_file_is_found_by_its_path_as_text_or_path(tmp_path: Path) -> None:
    path = made(tmp_path, 1)
    assert registry.find(path) == registry.find(str(path)) == path
    assert registry.entry(path).origin == "file"


def test_a_name_goes_before_a_file_of_that_name(bundled: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lung-ct").write_text("something else", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert registry.entry("lung-ct").origin == "bundled"


def test_installing_makes_a_model_known_by_name(tmp_path: Path, mine: Path) -> None:
    path = made(tmp_path, 1, name="My Model")
    change = registry.install(path)
    assert change.path.read_bytes() == path.read_bytes()
    assert change.path.is_relative_to(mine)
    assert (change.name, change.previous) == ("My Model", "")
    path.unlink()
    assert registry.load("my model").card.version == change.version
    [entry] = registry.list_models()
    assert (entry.name, entry.origin, entry.current, entry.problem) == ("My Model", "installed", True, "")


def test_an_installed_model_goes_before_the_bundled_one_and_it_is_said(bundled: Card, tmp_path: Path) -> None:
    change = registry.install(made(tmp_path, 1))
    assert "used instead of the bundled one" in change.message
    assert registry.load("lung-ct").card.version == change.version != bundled.version
    first, second = registry.list_models()
    assert (first.origin, first.current, first.note) == (
        "installed",
        True,
        "used instead of the bundled one of this name",
    )
    assert (second.origin, second.current) == ("bundled", False)
    assert change.version in second.note


def test_installing_a_later_version_keeps_the_earlier_one(tmp_path: Path) -> None:
    first, second = (registry.install(made(tmp_path, seed)) for seed in (1, 2))
    assert second.previous == first.version
    assert first.version in second.message
    assert "kept" in second.message
    assert in_use() == [
        (first.version, False),
        (second.version, True),
    ]


def test_installing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = made(tmp_path, 1)
    first, again = registry.install(path), registry.install(path)
    assert "installed already" in again.message
    assert again.path == first.path
    assert len(registry.versions("lung-ct")) == 1


def test_installing_mends_a_damaged_copy(tmp_path: Path) -> None:
    path = made(tmp_path, 1)
    copy = registry.install(path).path
    copy.write_bytes(path.read_bytes()[:-100])
    registry.install(path)
    assert registry.load("lung-ct").path == copy


def test_rolling_back_goes_through_the_versions_in_their_order(tmp_path: Path) -> None:
    a, b, c = (registry.install(made(tmp_path, seed)).version for seed in (1, 2, 3))
    assert registry.rollback("lung-ct").version == b
    back = registry.rollback("lung-ct")
    assert (back.version, back.previous) == (a, b)
    assert registry.load("lung-ct").card.version == a
    with pytest.raises(ModelError, match=a):
        registry.rollback("lung-ct")
    assert [entry.version for entry in registry.versions("lung-ct")] == [a, b, c]


def test_rolling_back_to_a_given_version(tmp_path: Path) -> None:
    a, _, c = (registry.install(made(tmp_path, seed)).version for seed in (1, 2, 3))
    assert registry.rollback("lung-ct", a).version == a
    assert registry.rollback("lung-ct", c.rsplit("-", 1)[1][:5]).version == c
    assert "already" in registry.rollback("lung-ct", c).message
    with pytest.raises(ModelError, match="'2024'"):
        registry.rollback("lung-ct", "2024")
    with pytest.raises(ModelError, match=f"'1999'.*{a}"):
        registry.rollback("lung-ct", "1999")


def test_installing_after_a_rollback_adds_the_newest(tmp_path: Path) -> None:
    a, b = (registry.install(made(tmp_path, seed)).version for seed in (1, 2))
    registry.rollback("lung-ct")
    change = registry.install(made(tmp_path, 3))
    assert change.previous == a
    assert [entry.version for entry in registry.versions("lung-ct")] == [a, b, change.version]


def test_there_is_nothing_to_roll_back_without_an_installed_version(bundled: Card) -> None:
    with pytest.raises(ModelError, match="lung-ct"):
        registry.rollback("lung-ct")


def test_the_bundled_model_is_the_first_version_and_is_rolled_back_to(bundled: Card, tmp_path: Path) -> None:
    path = made(tmp_path, 1)
    own = registry.install(path)
    assert in_use() == [
        (bundled.version, False),
        (own.version, True),
    ]
    back = registry.rollback("lung-ct")
    assert (back.version, back.previous) == (bundled.version, own.version)
    assert "the bundled version" in back.message
    assert registry.load("lung-ct").card == bundled
    (listed,) = (entry for entry in registry.list_models() if entry.current)
    assert (listed.origin, listed.note) == ("bundled", "")
    assert [current for _, current in in_use()] == [True, False]
    with pytest.raises(ModelError, match=bundled.version):
        registry.rollback("lung-ct")
    # Forward again by its version, back by the bundled one's, forward by installing it once more.
    assert registry.rollback("lung-ct", own.version).version == own.version
    assert registry.entry("lung-ct").origin == "installed"
    registry.rollback("lung-ct", bundled.version)
    assert registry.install(path).version == own.version
    assert registry.entry("lung-ct").version == own.version


def test_an_installed_version_serves_where_the_bundled_one_is_there_no_longer(
    bundled: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = registry.install(made(tmp_path, 1))
    registry.rollback("lung-ct")
    monkeypatch.setattr(registry, "bundled_folder", lambda: None)
    assert registry.entry("lung-ct").version == own.version


def test_a_damaged_version_is_not_rolled_back_to(tmp_path: Path) -> None:
    first, second = (registry.install(made(tmp_path, seed)) for seed in (1, 2))
    data = first.path.read_bytes()
    first.path.write_bytes(data[:-8] + bytes(8))
    with pytest.raises(ModelError, match=first.path.name):
        registry.rollback("lung-ct")
    assert registry.load("lung-ct").card.version == second.version


def test_removing_deletes_every_version_and_returns_to_the_bundled_one(
    bundled: Card, tmp_path: Path, mine: Path
) -> None:
    for seed in (1, 2):
        registry.install(made(tmp_path, seed))
    change = registry.remove("lung-ct")
    assert "2 versions" in change.message
    assert "bundled one of this name is used again" in change.message
    assert change.version == bundled.version
    assert list(mine.iterdir()) == []
    assert registry.load("lung-ct").card == bundled


def test_what_is_bundled_or_not_there_is_not_removed(bundled: Card) -> None:
    for name in ("lung-ct", "other"):
        with pytest.raises(ModelError, match=f"'{name}'"):
            registry.remove(name)
    registry.load("lung-ct")


def test_a_bad_file_is_not_installed(tmp_path: Path, mine: Path) -> None:
    path = made(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=path.name):
        registry.install(path)
    with pytest.raises(ModelError, match=r"none\.safetensors"):
        registry.install(tmp_path / "none.safetensors")
    assert not mine.exists()


@pytest.mark.parametrize("seen_in_the_list", [True, False])
def test_a_damaged_file_is_not_loaded_and_listed_with_its_problem_where_the_card_shows_it(
    bundled: Card, seen_in_the_list: bool
) -> None:
    path = registry.find("lung-ct")
    data = path.read_bytes()
    path.write_bytes(data[:50] if seen_in_the_list else data[:-8] + bytes(8))
    [entry] = registry.list_models()
    assert entry.name == "lung-ct"
    if seen_in_the_list:
        assert (entry.card, entry.version) == (None, "")
        assert path.name in entry.problem
    else:
        assert (entry.card, entry.problem) == (bundled, "")
    with pytest.raises(ModelError, match=path.name):
        registry.load("lung-ct")


def test_a_pointer_that_is_lost_or_leads_out_of_its_folder_means_the_newest_version(tmp_path: Path) -> None:
    for seed in (1, 2):
        change = registry.install(made(tmp_path, seed))
    pointer = change.path.parent / "current"
    for text in ("0007_gone.safetensors", str(made(tmp_path, 3))):
        pointer.write_text(text, "utf-8")
        assert registry.find("lung-ct") == change.path
    pointer.unlink()
    assert registry.find("lung-ct") == change.path


NAMES = [
    "lung-ct",
    "Lungentumor Köln",
    "肺癌",
    "a/b",
    "a\\b",
    "a:b",
    "../up",
    "..",
    "con",
    "x.y",
    "x" * 80,
    "é" * 80,
    "-",
]


def test_every_name_gets_a_folder_name_of_its_own() -> None:
    folders = [registry.folder_name(name) for name in NAMES]
    assert len(set(folders)) == len(NAMES)
    for folder in folders:
        assert folder.isascii()
        assert 0 < len(folder) <= 70
        assert not set(folder) & set('/\\:*?"<>|. ')
        assert folder != "con"


def test_composed_and_decomposed_letters_and_cases_are_one_name() -> None:
    assert registry.folder_name("K\u00f6ln") == registry.folder_name("Ko\u0308ln") == registry.folder_name("K\u00d6LN")


@pytest.mark.parametrize("name", ["肺癌 model", "a/b", "../up"])
def test_models_of_unusual_names_are_installed_and_found(tmp_path: Path, mine: Path, name: str) -> None:
    change = registry.install(made(tmp_path, 1, name=name))
    assert change.path.parent.parent == mine
    assert registry.find(name) == change.path
    registry.remove(name)


def test_a_users_folder_of_a_non_ascii_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMEDL_MODELS", str(tmp_path / "Schüler 肺"))
    registry.install(made(tmp_path, 1))
    registry.load("lung-ct")


def test_a_users_folder_that_cannot_be_written_is_an_input_error(
    tmp_path: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder", "utf-8")
    monkeypatch.setenv("CMEDL_MODELS", str(tmp_path / "file"))
    assert registry.list_models() == []
    with pytest.raises(InputError, match=tmp_path.name):
        registry.install(made(tmp_path, 1))
    if os.name == "posix" and os.geteuid() != 0:  # whom permissions bind
        mine.mkdir(mode=0o555)
        monkeypatch.setenv("CMEDL_MODELS", str(mine))
        with pytest.raises(InputError, match=tmp_path.name):
            registry.install(made(tmp_path, 1))


def test_half_written_files_are_not_listed(tmp_path: Path, mine: Path) -> None:
    change = registry.install(made(tmp_path, 1))
    (change.path.parent / ".cmedl-0123.safetensors").write_bytes(b"half")
    assert len(registry.versions("lung-ct")) == 1


def test_installing_from_several_threads_keeps_every_version(tmp_path: Path) -> None:
    paths = [made(tmp_path, seed) for seed in range(4)]
    threads = [threading.Thread(target=registry.install, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.versions("lung-ct")) == 4
    registry.load("lung-ct")
