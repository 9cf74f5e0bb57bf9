import ast
import re
import sys

import pytest

from tests.stack import ROOT


def read_requirements(name: str) -> dict[str, str]:
    """Package -> version specifier, of one requirements file."""
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("#", "-r"))]
    pairs = [re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?(.*)", line) for line in wanted]
    return {pair[1].lower(): pair[2] for pair in pairs}


def test_torch_is_pinned_exactly() -> None:
    assert read_requirements("requirements.txt")["torch"] == "==2.13.0"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_other_dependency_has_a_compatible_range(name: str) -> None:
    found = {package: version for package, version in read_requirements(name).items() if package != "torch"}
    assert len(found) > 5
    assert {p: v for p, v in found.items() if not re.fullmatch(r">=[\d.]+,<[\d.]+", v)} == {}


def test_no_committed_file_of_packages_names_a_registry() -> None:
    lock = (ROOT / "package-lock.json").read_text()
    assert '"integrity": "sha512-' in lock
    assert '"resolved"' not in lock


def test_the_sdk_imports_httpx_and_the_standard_library_only() -> None:
    imported = set()
    files = sorted((ROOT / "leptonai").glob("**/*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= {"httpx", "leptonai"}
