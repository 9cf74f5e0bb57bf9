"""What tests on the whole site share: keys, and small real data made from what scikit-learn carries along."""

import csv
import io
import zipfile
from functools import cache
from pathlib import Path

from sklearn.datasets import load_iris

from tests.stack import Stack
from workers.examples.pictures import digit_images

MAKE_KEY = """
from apps.accounts.models import Team, User
from apps.accounts.services import create_api_key
user = User.objects.filter(is_superuser=True).first()
print("KEY", create_api_key(team=Team.objects.filter(memberships__user=user).first(), user=user, name="tests")[1])
"""


def make_key(stack: Stack) -> str:
    """An API key of the first administrator's team."""
    printed = stack.manage("shell", "-v", "0", "-c", MAKE_KEY)
    return next(line.split()[1] for line in printed.splitlines() if line.startswith("KEY"))


@cache
def digits(classes: str, per_class: int) -> dict[str, bytes]:
    """name -> PNG of the first `per_class` handwritten digits of each of `classes`: "digits/7/0007.png"."""
    taken: dict[str, int] = {}
    chosen = {}
    for name, body in digit_images():
        label = name.split("/")[1]
        if label in classes and taken.get(label, 0) < per_class:
            taken[label] = taken.get(label, 0) + 1
            chosen[name] = body
    return chosen


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


def write_iris(path: Path) -> Path:
    """Fisher's irises as a CSV with the target column "species"."""
    iris = load_iris()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*(name.removesuffix(" (cm)").replace(" ", "_") for name in iris.feature_names), "species"])
    writer.writerows([*row, iris.target_names[target]] for row, target in zip(iris.data, iris.target, strict=True))
    path.write_text(text.getvalue())
    return path
