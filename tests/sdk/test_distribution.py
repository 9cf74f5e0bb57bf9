"""The SDK's distribution, and the unrelated package of the same import name."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def import_leptonai(*path: Path) -> str:
    """What `import leptonai` says on stderr with `path` in front of the search path."""
    command = [sys.executable, "-c", "import leptonai"]
    env = {"PYTHONPATH": ":".join(map(str, [*path, ROOT])), "PATH": ""}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stderr


def test_a_namesake_is_pointed_out(tmp_path):
    info = tmp_path / "leptonai-0.26.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leptonai\nVersion: 0.26.1\n")
    said = import_leptonai(tmp_path)
    assert "Two packages provide `import leptonai`" in said
    assert "leptonai 0.26.1" in said


def test_without_a_namesake_nothing_is_said():
    assert import_leptonai() == ""


def test_the_distribution_needs_httpx_only():
    project = tomllib.loads((ROOT / "leptonai" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "lepton-site-sdk"
    assert [item.split(">")[0] for item in project["dependencies"]] == ["httpx"]
