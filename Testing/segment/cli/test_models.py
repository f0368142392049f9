"""``cmedl-segment models``: the catalog from the command line."""

from __future__ import annotations

import pytest

from segment.cli.conftest import make_model


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "mine.safetensors", 1.0)


@pytest.fixture
def no_bundled(monkeypatch):
    """As in an installation without a bundled model."""
    monkeypatch.setattr("CMEDLSegmentLib.models.registry.bundled_folder", lambda package=None: None)


@pytest.mark.usefixtures("no_bundled")
def test_without_any_model_the_list_says_how_to_get_one(command):
    ended = command("models", "list")
    assert ended.code == 0
    assert "models install FILE" in ended.out
    assert command("models", "list", "--json").json["models"] == []
    assert command("models", "verify").code == 0


def test_a_model_is_installed_listed_shown_verified_used_and_removed(command, model, scan, tmp_path):
    assert command("models", "install", model, "--json").json["name"] == "mine"
    model.unlink()
    listed = command("models", "list", "--json").json["models"]
    assert [(entry["name"], entry["origin"]) for entry in listed if entry["name"] == "mine"] == [("mine", "installed")]
    assert "mine" in command("models", "list").out
    assert "A model for tests." in command("models", "show", "mine").out
    card = command("models", "show", "mine", "--json").json["card"]
    assert card["intended_use"] == "Tests."
    assert command("models", "verify", "mine").out.startswith("mine")
    run = command("run", scan, "-o", tmp_path / "o.nii.gz", "--model", "mine", "--json")
    assert run.json["student"] == "mine"
    assert "removed" in command("models", "remove", "mine").out
    assert command("models", "show", "mine").code == 2


def test_a_newer_version_is_rolled_back_and_a_version_can_be_named(command, tmp_path):
    versions = []
    for day in ("2024-01-01", "2024-01-02"):
        file = make_model(tmp_path / "mine.safetensors", 1.0, date=day)
        versions.append(command("models", "install", file, "--json").json["version"])
    change = command("models", "rollback", "mine", "--json").json
    assert (change["version"], change["previous"]) == tuple(versions)
    assert versions[1] in command("models", "show", "mine").out
    assert command("models", "rollback", "mine", versions[1], "--json").json["version"] == versions[1]
    assert command("models", "rollback", "mine", "2030").code == 2


@pytest.mark.parametrize("action", ["show", "verify", "install", "remove", "rollback"])
def test_a_model_that_is_not_there_is_a_sentence(command, action):
    ended = command("models", action, "nobody", "--json")
    assert ended.code == 2
    assert "nobody" in ended.json["error"]
    assert ended.err == ended.json["error"] + "\n"


def test_a_damaged_file_fails_to_verify_to_install_and_to_run(command, model, scan, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    for arguments in (
        ("models", "verify", damaged),
        ("models", "install", damaged),
        ("run", scan, "-o", tmp_path / "o.nii.gz", "--model", damaged),
    ):
        ended = command(*arguments, "--json")
        assert ended.code == 2
        assert "damaged.safetensors" in ended.json["error"]
    assert not (tmp_path / "o.nii.gz").exists()


def test_a_damaged_installed_model_is_listed_with_its_problem_and_verify_finds_it(command, model, tmp_path):
    command("models", "install", model)
    (installed,) = (tmp_path / "user-models").rglob("*.safetensors")
    installed.write_bytes(installed.read_bytes()[:100])
    ended = command("models", "list")
    assert ended.code == 0
    assert "damaged" in ended.out
    assert command("models", "verify").code == 2
