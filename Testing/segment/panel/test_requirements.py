"""Which packages are asked for, and that nothing of Slicer's or of other extensions changes by it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

from CMEDLSegmentPanel import requirements
from extension.module_lists import REPOSITORY

BUNDLED = {
    "5.10": (
        "certifi==2025.4.26 cffi==1.17.1 chardet==5.2.0 charset-normalizer==3.4.2 couchdb==1.2 cryptography==45.0.3 "
        "Deprecated==1.2.18 dicomweb-client==0.60.0 gitdb==4.0.12 GitPython==3.1.44 idna==3.10 numpy==2.0.2 "
        "packaging==25.0 pillow==11.2.1 pip==25.1.1 pycparser==2.22 pydicom==2.4.4 PyGithub==2.6.1 PyJWT==2.10.1 "
        "PyNaCl==1.5.0 pyparsing==3.2.3 python-dateutil==2.9.0.post0 requests==2.32.3 retrying==1.3.4 scipy==1.13.1 "
        "setuptools==80.9.0 SimpleITK==2.5.2 six==1.17.0 smmap==5.0.2 typing_extensions==4.14.0 urllib3==2.4.0 "
        "wheel==0.45.1 wrapt==1.17.2"
    ),
    "5.12": (
        "certifi==2026.5.20 cffi==2.0.0 chardet==7.4.3 charset-normalizer==3.4.7 couchdb==1.2 cryptography==48.0.0 "
        "dcmqi==0.4.0 Deprecated==1.3.1 dicomweb-client==0.61.0 gitdb==4.0.12 GitPython==3.1.50 highdicom==0.27.0 "
        "idna==3.16 numpy==2.4.6 packaging==26.2 pillow==12.2.0 pip==26.1.1 pycparser==3.0 pydicom==3.0.2 "
        "PyGithub==2.9.1 pyjpegls==1.5.1 PyJWT==2.13.0 PyNaCl==1.6.2 pyparsing==3.3.2 python-dateutil==2.9.0.post0 "
        "requests==2.34.2 retrying==1.4.2 scipy==1.17.1 setuptools==82.0.1 simpleitk==2.5.5 six==1.17.0 smmap==5.0.3 "
        "typing_extensions==4.15.0 urllib3==2.7.0 wheel==0.47.0 wrapt==2.2.1"
    ),
}
"""What Slicer installs into its Python (3.12), by Slicer's version."""


def installed(*distributions: tuple[str | None, str]) -> list[SimpleNamespace]:
    """Distributions as Python lists them; one that a cancelled installation left half has no name."""
    found = []
    for name, version in distributions:
        metadata = Message()
        if name:
            metadata["Name"] = name
        found.append(SimpleNamespace(metadata=metadata, version=version))
    return found


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch):
    """Sets what is installed, in the order in which Python finds it."""

    def put(*distributions: tuple[str | None, str]) -> None:
        found = installed(*distributions)

        def version(name: str) -> str:
            for one in found:
                if one.metadata["Name"] and one.metadata["Name"].lower() == name.lower():
                    return one.version
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
        monkeypatch.setattr(importlib.metadata, "version", version)

    return put


def test_everything_that_is_installed_keeps_its_version(site) -> None:
    site(("numpy", "2.0.2"), ("torch", "2.8.0+cu126"), ("SimpleITK", "2.5.2"), (None, "1.0"), ("numpy", "1.26.4"))
    importlib.metadata.distributions().append(*installed(("odd", "unknown")))
    assert requirements.constraints() == ["numpy==2.0.2", "SimpleITK==2.5.2", "torch==2.8.0+cu126"]


def test_what_is_to_be_installed_is_free(site) -> None:
    site(("scikit_image", "0.19.0"), ("numpy", "2.0.2"))
    assert requirements.constraints(["scikit-image>=0.22"]) == ["numpy==2.0.2"]


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ((), ["torch>=2.6,<2.14", "safetensors>=0.4.3"]),
        ((("torch", "2.8.0+cu126"), ("safetensors", "0.5.0")), []),
        ((("torch", "2.5.1"), ("safetensors", "0.5.0")), ["torch>=2.6,<2.14"]),
        ((("torch", "2.14.0"), ("safetensors", "0.4.2")), ["safetensors>=0.4.3"]),
        ((("torch", "2.9.0rc1"), ("safetensors", "0.5.0")), []),
    ],
)
def test_what_is_missing_or_too_old_is_asked_for(site, there: tuple, missing: list[str]) -> None:
    site(*there)
    assert requirements.missing("segment") == missing


def test_what_a_cancelled_installation_left_half_counts_as_not_installed(tmp_path, monkeypatch) -> None:
    """In files, as Python finds them: without any metadata, and with metadata that ends before the version."""
    for folder, text in (("torch-2.8.0", None), ("safetensors-0.8.0", "Metadata-Version: 2.1\nName: safetensors\n")):
        (tmp_path / f"{folder}.dist-info").mkdir()
        if text:
            (tmp_path / f"{folder}.dist-info" / "METADATA").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert requirements.missing("segment") == list(requirements.NEEDS["segment"])
    assert requirements.constraints() == []


def test_each_requirement_is_the_project_s() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for lines in requirements.NEEDS.values():
        assert all(f'"{line}"' in project for line in lines)


def test_segmenting_needs_no_more_than_torch_and_safetensors() -> None:
    names = [line.partition(">")[0] for line in requirements.NEEDS["segment"]]
    assert names == ["torch", "safetensors"]


def wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    """A package without contents."""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        info = f"{name}-{version}.dist-info"
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            f"Version: {version}",
            *(f"Requires-Dist: {n}" for n in needs),
        ]
        file.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


def resolved(tmp_path: Path, wanted: list[str], pins: list[str], *options: str) -> dict[str, str] | None:
    """Versions by name that pip would install with the options that the panel gives; None where there is no way."""
    constraints, report = tmp_path / "constraints.txt", tmp_path / "report.json"
    constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
    dry = ["--dry-run", "--ignore-installed", "--quiet", "--report", str(report), *options]
    command = [sys.executable, "-m", "pip", "install", *dry, *requirements.pip_options(constraints), *wanted]
    if subprocess.run(command, capture_output=True, encoding="utf-8").returncode:
        return None
    found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in found}


def test_pip_takes_what_fits_or_refuses_and_replaces_nothing(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for version in ("2.0.2", "2.4.6"):
        wheel(shelf, "numbers", version)
    wheel(shelf, "surfaces", "0.25.0", "numbers>=1.26")
    wheel(shelf, "surfaces", "0.26.0", "numbers>=2.4")
    wheel(shelf, "newest", "1.0", "numbers>=2.4")
    offline = ("--no-index", "--find-links", str(shelf))
    pins = ["numbers==2.0.2"]
    assert resolved(tmp_path, ["surfaces>=0.22"], [], *offline) == {"surfaces": "0.26.0", "numbers": "2.4.6"}
    assert resolved(tmp_path, ["surfaces>=0.22"], pins, *offline) == {"surfaces": "0.25.0", "numbers": "2.0.2"}
    assert resolved(tmp_path, ["newest"], pins, *offline) is None


@pytest.mark.slow
@pytest.mark.parametrize("purpose", requirements.NEEDS)
@pytest.mark.parametrize("slicer", BUNDLED)
def test_nothing_that_slicer_bundles_is_replaced(slicer: str, purpose: str, tmp_path: Path) -> None:
    """Asks the package index, for Slicer's Python 3.12 on Linux."""
    pins = BUNDLED[slicer].split()
    bundled = dict(line.lower().split("==") for line in pins)
    wanted = [line for line in requirements.NEEDS[purpose] if line.partition(">")[0] not in bundled]
    if not wanted:
        return  # Slicer has it all
    target = ("--python-version", "3.12", "--only-binary=:all:", "--target", str(tmp_path / "site"))
    found = resolved(tmp_path, wanted, pins, *target)
    assert found is not None
    print(slicer, purpose, {name: version for name, version in found.items() if name not in bundled})
    changed = {name: found[name] for name in found.keys() & bundled.keys() if found[name] != bundled[name]}
    assert changed == {}
