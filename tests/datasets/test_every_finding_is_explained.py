"""Whatever a check can find has a title, says what it may cost, and stands in the documentation."""

import ast
import re
from collections.abc import Iterator

from apps.datasets.findings import TITLES
from apps.datasets.steps import later_steps
from tests.stack import ROOT
from workers.contract import SPLITS
from workers.domains import TASKS
from workers.preprocessing.findings import COSTS, NOTE_CODES, SERIOUS_CODES
from workers.preprocessing.items import Copies

TELLING = {
    "add": 0, "tell_crossing": 2, "tell_repeated": 2, "tell_torn": 2, "tell_some": 2, "tell_groups": 4,
    "tell_several": 2, "tell_lacking": 3, "tell_sources_across_splits": 2, "_tell_of": 4, "_tell_series": 3, "warn": 0,
}  # where the code stands  # fmt: skip
SAYING_COST = (  # by themselves, with numbers
    "tell_crossing",
    "tell_sources_across_splits",
    "tell_repeated",
    "tell_torn",
)


def found_codes() -> Iterator[tuple[str, bool]]:
    """Every code that the checking program reports, and whether what it costs is said there."""
    for path in sorted((ROOT / "workers/preprocessing").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            is_method = isinstance(call.func, ast.Attribute)
            if name not in TELLING or (is_method and ast.unparse(call.func) != "findings.add"):
                continue
            code = call.args[TELLING[name]]
            says_cost = name in SAYING_COST or any(each.arg == "cost" for each in call.keywords)
            if isinstance(code, ast.Constant):
                yield code.value, says_cost
            elif isinstance(code, ast.JoinedStr):
                yield from ((f"{split}_carved", says_cost) for split in SPLITS[1:])
    copies = Copies("", "")
    yield from ((code, True) for code in (copies.repeated, copies.crossing, copies.torn))


def test_every_finding_has_a_title_for_people():
    codes = {code for code, _says_cost in found_codes()}
    assert {"label_errors", "val_carved", "silent_audio", "near_copies", "missing_times", "rare_answers"} <= codes
    assert codes == TITLES.keys()


def test_every_finding_says_what_it_may_cost():
    assert {code for code, says_cost in found_codes() if not says_cost} <= COSTS.keys()


def test_every_finding_stands_in_the_documentation_and_none_that_there_is_not():
    codes = {code for code, _says_cost in found_codes()}
    told = (ROOT / "docs/data-doctor.md").read_text().partition("## All findings")[2]
    assert codes <= set(re.findall(r"`(\w+)`", told))
    assert codes >= SERIOUS_CODES | NOTE_CODES | COSTS.keys()


def test_for_every_task_people_read_what_a_model_does_by_itself():
    assert {name for name in TASKS if not later_steps("", name)} == set()
