import re

from tests.stack import ROOT


def read_variables() -> set[str]:
    """Every variable that the settings file asks the environment for."""
    return set(re.findall(r'\benv(?:_list|_bool)?\("([A-Z_]+)"', (ROOT / "lepton_site" / "settings.py").read_text()))


def documented_variables() -> list[str]:
    return re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)


def test_every_setting_stands_in_the_documentation_once_and_nothing_else_does() -> None:
    assert len(read_variables()) > 10
    assert sorted(documented_variables()) == sorted(read_variables())


def test_the_settings_file_asks_the_environment_in_one_way_only() -> None:
    text = (ROOT / "lepton_site" / "settings.py").read_text()
    assert text.count("os.environ") == 1
    assert "getenv" not in text
