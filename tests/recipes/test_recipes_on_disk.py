"""A recipe is a folder: those that come along are sound, a site's own are found, and what is wrong in one is named."""

import csv
import html
import shutil
import subprocess
import sys

import pytest
from django.conf import settings as site

from apps.core.errors import NotFound, Unprocessable
from apps.recipes.catalogue import all_recipes, find_recipe
from tests.stack import ROOT
from workers.contract import KIND_TABLE
from workers.domains import TASKS
from workers.examples.catalogue import EXAMPLES

SHIPPED = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/recipe.toml"))


@pytest.fixture
def own(settings, tmp_path):
    """The folder of the site's own recipes, with one that can be broken."""
    settings.LEPTON_HOME = tmp_path
    shutil.copytree(site.BASE_DIR / "recipes" / "customer-service", tmp_path / "recipes" / "bookshop")
    return tmp_path / "recipes" / "bookshop"


def rewrite(folder, old: str, new: str) -> None:
    path = folder / "recipe.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("slug", SHIPPED)
def test_each_that_comes_along_has_data_with_the_column_to_predict(slug, tmp_path):
    recipe = find_recipe(slug)
    path = recipe.folder / recipe.file if recipe.file else tmp_path / recipe.example
    if recipe.example:
        assert EXAMPLES[path.stem].suffix == path.suffix
        subprocess.run([sys.executable, "-m", "workers.examples", path.stem, str(path)], cwd=ROOT, check=True)
    assert path.stat().st_size > 1000
    if TASKS[recipe.task].data == KIND_TABLE and recipe.target:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) > 100 and all(row[recipe.target] for row in rows)
        if recipe.page == "screening":
            assert recipe.page_settings["positive"] in {row[recipe.target] for row in rows}


def test_an_answer_is_there_for_each_class_of_the_chat():
    recipe = find_recipe("customer-service")
    with open(recipe.folder / recipe.file, newline="", encoding="utf-8") as file:
        classes = {row["intent"] for row in csv.DictReader(file)}
    assert set(recipe.page_settings["answers"]) == classes


def test_a_copied_folder_is_a_recipe_of_the_site(own):
    rewrite(own, 'title = "Smart customer service"', 'title = "Book shop"')
    assert find_recipe("bookshop").title == "Book shop"
    assert "bookshop" in [recipe.slug for recipe in all_recipes()[0]]


def test_the_sites_own_counts_before_one_that_came_along(own):
    shutil.copytree(own, own.parent / "handwritten-digits")
    assert find_recipe("handwritten-digits").task == "text_classification"
    assert len([recipe for recipe in all_recipes()[0] if recipe.slug == "handwritten-digits"]) == 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('task = "text_classification"', 'task = "juggling"', "no task 'juggling'"),
        ('file = "messages.csv"', 'file = "../secret.csv"', "has no file"),
        ('file = "messages.csv"', 'file = "other.csv"', "has no file"),
        ('file = "messages.csv"', 'example = "/etc/passwd"', "is no example"),
        ('kind = "chat"', 'kind = "radio"', 'no page "radio"'),
        ('preset = "balanced"', 'preset = "balanced"\nsettings = {epochs = -1}', "epochs"),
        ('preset = "balanced"', "preset = balanced", "recipe.toml|Invalid value"),
        ('title = "Smart customer service"\n', "", "it lacks 'title'"),
        ('title = "Smart customer service"\n', "title = 5\n", "title is 5, which is no text"),
        ("order = 20", 'order = "first"', "order is 'first', which is no whole"),
        ("minutes = 1", "minutes = true", "minutes is True"),
        ('preset = "balanced"', 'preset = "balanced"\nsettings = "none"', "settings is 'none', which is no table"),
    ],
)
def test_what_is_wrong_in_one_is_named(own, old, new, told):
    rewrite(own, old, new)
    with pytest.raises(Unprocessable, match=told) as caught:
        find_recipe("bookshop")
    assert "bookshop" in caught.value.message and caught.value.code == "invalid_recipe"


@pytest.mark.parametrize("about", ["about = 7", "about = []"])
def test_an_about_that_is_no_text_is_named_and_not_an_error_of_the_site(own, about):
    text = (own / "recipe.toml").read_text()
    start, end = text.index("about ="), text.index('task = "')
    (own / "recipe.toml").write_text(f"{text[:start]}{about}\n{text[end:]}")
    with pytest.raises(Unprocessable, match="bookshop") as caught:
        find_recipe("bookshop")
    assert caught.value.code == "invalid_recipe"


def test_no_link_leads_out_of_its_folder(own, tmp_path):
    (tmp_path / "secret_key").write_text("text,intent\nhidden,secret\n")
    (own / "messages.csv").unlink()
    (own / "messages.csv").symlink_to(tmp_path / "secret_key")
    with pytest.raises(Unprocessable, match="has no file"):
        find_recipe("bookshop")


def test_names_that_are_no_folder_are_not_looked_for():
    for slug in ("nothing", "..", "a/b", ""):
        with pytest.raises(NotFound):
            find_recipe(slug)


@pytest.mark.django_db
def test_they_stand_under_what_their_data_are(member):
    page = member.page.get("/recipes/").content.decode()
    shelves = {part.split("</h2>")[0].split(">")[-1]: part for part in page.split('class="recipes-shelf"')[1:]}
    assert list(shelves) == ["Images", "Texts", "Tables", "Recordings"]
    assert "/recipes/control-panel/" in shelves["Images"] and "/recipes/travel-phrases/" in shelves["Texts"]
    assert "/recipes/dialled-numbers/" in shelves["Recordings"] and "/recipes/demand-forecast/" in shelves["Tables"]


@pytest.mark.django_db
def test_one_that_is_broken_is_told_of_and_hides_no_other(own, member):
    rewrite(own, 'task = "text_classification"', 'task = "juggling"')
    page = html.unescape(member.page.get("/recipes/").content.decode())
    assert "The recipe bookshop cannot be used" in page and "/recipes/customer-service/" in page
    assert "bookshop" not in [item["slug"] for item in member.api.get("/api/v1/recipes/").json()]
