"""``manage.py makemessages``, which also finds the words of the programs' settings; `make messages` runs it.

Programs know no Django, so they mark nothing: what they call their settings is translated where it is shown.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from django.core.management.commands import makemessages
from django.utils.functional import cached_property

NAMED = {"Field": (1, 2), "Method": (1, 2), "Preset": (1, 2)}  # the arguments that are a label and a help
PROGRAMS = "workers/"


def words_of_settings(source: str) -> Iterator[str]:
    """Labels and helps in a module of the programs, in the order in which they stand there."""
    if not any(f"{name}(" in source for name in NAMED):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMED:
            for place in NAMED[node.func.id]:
                if place < len(node.args) and isinstance(node.args[place], ast.Constant):
                    yield node.args[place].value


class BuildFile(makemessages.BuildFile):
    """A module that names settings is read with a mark for each of their words at its end."""

    @cached_property
    def marks(self) -> str:
        path = Path(self.path)
        if path.suffix != ".py" or not path.as_posix().removeprefix("./").startswith(PROGRAMS):
            return ""
        return "\n".join(f"gettext_noop({text!r})" for text in words_of_settings(path.read_text(encoding="utf-8")))

    @cached_property
    def is_templatized(self) -> bool:
        return super().is_templatized or bool(self.marks)

    def preprocess(self) -> None:
        if not self.marks:
            return super().preprocess()
        source = Path(self.path).read_text(encoding="utf-8")
        Path(self.work_path).write_text(f"{source}\n{self.marks}\n", encoding="utf-8")


class Command(makemessages.Command):
    build_file_class = BuildFile
