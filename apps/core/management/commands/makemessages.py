"""``manage.py makemessages``, which also finds the words of programs, who mark nothing; `make messages` runs it."""

from pathlib import Path

from django.core.management.commands import makemessages
from django.utils.functional import cached_property

from apps.core.management.program_words import words_of_program

PROGRAMS = "workers/"


class BuildFile(makemessages.BuildFile):
    """A program is read with a mark for each of its words at its end."""

    @cached_property
    def marks(self) -> str:
        path = Path(self.path)
        if path.suffix != ".py" or not path.as_posix().removeprefix("./").startswith(PROGRAMS):
            return ""
        return "\n".join(f"gettext_noop({text!r})" for text in words_of_program(path.read_text(encoding="utf-8")))

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
