"""Sentences that were kept in the site's own language, said in the reader's.

What a job's history, a finding or a stopped trial says is written once, by whichever process knew it, and read by
people who speak several languages. The catalogue has what such a sentence was made from, with its placeholders: the
sentence is recognised by that, and said anew with the same values.
"""

import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from django.conf import settings
from django.utils.translation import get_language, override, to_locale

PLACEHOLDER = re.compile(r"%\((?P<name>\w+)\)[-+ #0-9.]*[a-z]|%(?P<percent>%)")
END_OF_SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z“])")
FULL_WIDTH = ("。", "？", "！")  # they bring the blank behind them along
HEAD = 3  # letters by which templates are told apart before any is tried
LEAST_LETTERS = {False: 2, True: 10}  # of its own that a template must have, the second where it begins with a value
LONGEST = 2_000  # letters
MAGIC = 0x950412DE


@dataclass(frozen=True)
class Template:
    """`parts` are what stands before, between and behind the values `names`; `said` is its translation, to be filled
    with texts."""

    parts: tuple[str, ...]
    names: tuple[str, ...]
    said: str
    letters: int

    def values(self, text: str) -> dict[str, str] | None:
        """What `text` was made with; None where it was not made from this. Each value is as short as it can be, so that
        no place is looked at twice."""
        first, *between, last = self.parts
        end = len(text) - len(last)
        if not text.startswith(first) or not text.endswith(last):
            return None
        found: dict[str, str] = {}
        place = len(first)
        for name, part in zip(self.names, (*between, None), strict=True):
            until = end if part is None else text.find(part, place + 1, end)
            value = text[place:until]
            if until <= place or found.setdefault(name, value) != value:
                return None
            place = until + len(part or "")
        return found


def for_keeping() -> override:
    """Within it sentences are made in the site's own language, whoever asks: others will read what is kept."""
    return override(settings.LANGUAGE_CODE)


def retell(sentence: str) -> str:
    """The sentence in the present language, or as it is where no template of the catalogue makes it."""
    language = get_language() or settings.LANGUAGE_CODE
    return sentence if language == settings.LANGUAGE_CODE else _retold(sentence, language)


@lru_cache(maxsize=4096)
def _retold(text: str, language: str) -> str:
    whole = _said(text, language)
    if whole is not None:
        return whole
    parts = END_OF_SENTENCE.split(text)
    if len(parts) == 1:
        return text
    said = [_said(part, language) or part for part in parts]
    return "".join(part if part.endswith(FULL_WIDTH) else f"{part} " for part in said).rstrip()


def _said(text: str, language: str) -> str | None:
    words, templates = _catalogue(language)
    if text in words:
        return words[text]
    if len(text) > LONGEST:
        return None
    for template in (*templates[text[:HEAD]], *templates[""]):
        found = template.values(text)
        if found and not any(END_OF_SENTENCE.search(value) for value in found.values()):
            return template.said % {name: _value(name, value, language) for name, value in found.items()}
    return None


def _value(name: str, text: str, language: str) -> str:
    """A single word is left as it is, for it may be what somebody called a thing; a `noun` is a word by its name."""
    if name == "noun":
        return _retold(text.lower(), language)
    return _retold(text, language) if " " in text else text


@cache
def _catalogue(language: str) -> tuple[Mapping[str, str], Mapping[str, Sequence[Template]]]:
    """Whole sentences, and templates by their first letters, those first that say the most by themselves."""
    words: dict[str, str] = {}
    templates: dict[str, list[Template]] = defaultdict(list)
    for asked, said in _entries(settings.BASE_DIR / "locale" / to_locale(language) / "LC_MESSAGES/django.mo"):
        for text in asked.split("\0"):  # the singular and the plural
            if "%(" not in text:
                words[text] = said
            elif made := _template(text, said):
                templates[_head(text)].append(made)
    for group in templates.values():
        group.sort(key=lambda template: (-template.letters, "noun" not in template.names))
    return words, templates


def _head(text: str) -> str:
    head = text[:HEAD]
    return "" if "%" in head else head


def _template(text: str, said: str) -> Template | None:
    """None where too much or too little would be recognised by it, or the translation has a value that the text has
    not."""
    parts, names, place = [""], [], 0
    for hole in PLACEHOLDER.finditer(text):
        parts[-1] += text[place : hole.start()]
        place = hole.end()
        if hole["percent"]:
            parts[-1] += "%"
        else:
            names.append(hole["name"])
            parts.append("")
    parts[-1] += text[place:]
    letters = sum(letter.isalpha() for part in parts for letter in part)
    asked = {hole["name"] for hole in PLACEHOLDER.finditer(said) if hole["name"]}
    if not names or letters < LEAST_LETTERS[not _head(text)] or not asked <= set(names):
        return None
    if len(names) > 1 and not parts[-2].strip(' "') and not parts[-1].strip("."):
        return None  # whatever is said of a thing would be taken for its last value
    # Values come as they were written, so numbers go in as texts.
    said = PLACEHOLDER.sub(lambda hole: f"%({hole['name']})s" if hole["name"] else "%%", said)
    return Template(tuple(parts), tuple(names), said, letters)


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """What a compiled catalogue asks and says, without its header and what has a context; nothing where it is missing.

    The format is GNU's: two tables of (length, offset), of the originals and of the translations.
    """
    data = path.read_bytes() if path.is_file() else b""
    if len(data) < 28 or struct.unpack_from("<I", data)[0] != MAGIC:
        return
    count, originals, translations = struct.unpack_from("<3I", data, 8)
    for number in range(count):
        asked, said = (_text(data, table + 8 * number) for table in (originals, translations))
        if asked and "\x04" not in asked:
            yield asked, said.split("\0")[-1]


def _text(data: bytes, place: int) -> str:
    length, offset = struct.unpack_from("<2I", data, place)
    return data[offset : offset + length].decode()
