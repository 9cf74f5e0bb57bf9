"""A word that people see is marked, and every language of the site has it: who adds one runs `make messages`."""

import gettext
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from django.conf import settings
from django.utils.translation import to_locale

from apps.core.told_by_programs import SENTENCES
from apps.recipes.catalogue import TOLD, all_recipes
from tests.house.catalogues import Translated, read_catalogue
from tests.house.words import marked_words

OTHERS = [code for code, _name in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
WHAT_TO_DO = "run `make messages`, fill in what it names in {path}, run it again, and commit the .po and the .mo file"
HOLE = re.compile(r"%\((\w+)\)|\{(\w*)\}|(`)|</?(\w+)")
NOT_WORDS = {  # names, and what is the same in every language
    "BLEU", "CSV", "Ctrl", "JSON", "Lepton", "Lines", "JavaScript", "Python", "SHA", "chrF", "curl", "ms", "px", "teaching",
}  # fmt: skip
PUT_TOGETHER = {  # by programs out of parts of sentences
    "The files are as large as before.",
    "The model is as fast as before.",
    "%(noun)s that are byte for byte copies of others: %(n)s.",
    "%(noun)s that have different labels: %(n)s.",
    "%(noun)s that stand in more than one class: %(n)s.",
    "%(n)s of the %(all)s items that judge a model (%(share)s) have a copy in another part.",
}
READ_ALOUD = ("alt", "aria-label", "placeholder", "title")


def path_of(language: str):
    return settings.BASE_DIR / "locale" / to_locale(language) / "LC_MESSAGES/django.po"


@pytest.fixture(scope="module", params=OTHERS)
def language(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def catalogue(language: str) -> list[Translated]:
    return list(read_catalogue(path_of(language)))


def what_to_do(language: str) -> str:
    return WHAT_TO_DO.format(path=path_of(language).relative_to(settings.BASE_DIR))


def test_the_catalogue_has_the_words_of_the_code_and_no_others(language, catalogue):
    marked, known = marked_words(), {item.entry for item in catalogue}
    assert len(marked) > 2000
    assert not marked - known, f"not in the catalogue: {what_to_do(language)}"
    assert not known - marked, f"no longer in the code: {what_to_do(language)}"


def test_every_word_is_translated(language, catalogue):
    assert not [item.entry for item in catalogue if not item.is_done], what_to_do(language)


def test_a_translation_has_the_placeholders_and_tags_of_its_original(catalogue):
    """Of one of its two forms, where there is a plural."""
    wrong = []
    for item in catalogue:
        _context, singular, plural = item.entry
        wanted = [_holes(form) for form in (singular, plural) if form]
        wrong += [(item.entry, said) for said in item.said if _holes(said) not in wanted]
    assert not wrong


def _holes(text: str) -> Counter:
    return Counter(found[0] for found in HOLE.finditer(text))


def test_what_is_compiled_is_what_is_written(language, catalogue):
    with open(path_of(language).with_suffix(".mo"), "rb") as file:
        compiled = gettext.GNUTranslations(file)
    differing = []
    for item in catalogue:
        context, singular, plural = item.entry
        said = (
            compiled.npgettext(context, singular, plural, 5)
            if context and plural
            else compiled.pgettext(context, singular)
            if context
            else compiled.ngettext(singular, plural, 5)
            if plural
            else compiled.gettext(singular)
        )
        differing += [item.entry] if said != item.said[-1] else []
    assert not differing, f"compiled before it was written: {what_to_do(language)}"


def test_every_recipe_tells_what_it_is_in_every_language(language):
    recipes, broken = all_recipes()
    assert recipes and not broken
    for recipe in recipes:
        told = {name for name in TOLD if getattr(recipe, name)}
        assert set(recipe.words.get(language, {})) == told, f"[words.{language}] of the recipe {recipe.slug}"


def test_the_sentences_of_programs_are_still_what_programs_say():
    said = _texts_of_programs()
    gone = [
        sentence
        for sentence in set(SENTENCES) - PUT_TOGETHER
        if not all(part in said for part in re.split(r"%\(\w+\)s", sentence) if len(part.split()) > 2)
    ]
    assert not gone, "apps/core/told_by_programs.py says this otherwise than the programs in workers/"


def _texts_of_programs() -> str:
    """Their sources, in which texts that follow each other are one."""
    sources = [path.read_text(encoding="utf-8") for path in (settings.BASE_DIR / "workers").rglob("*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "\0".join(sources))


class Bare(HTMLParser):
    """Words that stand in a template as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.silent += tag in ("script", "style", "code", "pre", "svg")
        self.found += [value for name, value in attrs if name in READ_ALOUD and value]

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in ("script", "style", "code", "pre", "svg")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.found.append(data)


def test_no_template_has_a_word_that_is_not_marked():
    unmarked = []
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"))
        text = re.sub(r"\{% blocktranslate.*?endblocktranslate %\}", "", text, flags=re.DOTALL)
        text = re.sub(r"\{% block (?:container|body_container|body_class) %\}.*?\{% endblock %\}", "", text)
        text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", text, flags=re.DOTALL)
        bare = Bare()
        bare.feed(text)
        words = {word for part in bare.found for word in re.findall(r"[A-Za-z]{2,}", part)}
        unmarked += [(path.name, word) for word in sorted(words - NOT_WORDS)]
    assert not unmarked, "say {% translate %} or {% blocktranslate %} around these, then run `make messages`"
