"""A version taken home as ZIP: unpacked anywhere, its program asks it, with numpy, ONNX Runtime and no site."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from apps.core.storage import put_file
from apps.registry.services import register_version
from tests.inference.models import image_model, png, table_model
from tests.texts.making import english, train_here, write_texts
from workers.inference.packing import pack
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor

# Imports of these fail, as on a machine that does not have them.
WITHOUT = """
import importlib.abc, runpy, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
sys.path.insert(0, {folder!r})
sys.argv = {arguments!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
NEVER_NEEDED = ("django", "torch", "onnx", "safetensors", "celery", "sklearn", "scipy", "lepton_site", "apps")


def download(member, folder: Path, task: str) -> Path:
    """Register the model in `folder`, take its ZIP, and unpack it."""
    meta = json.loads((folder / "meta.json").read_text())
    files = {path.name: put_file(path) for path in sorted(folder.iterdir())}
    version = register_version(
        team=member.team, user=member.user, model_name=folder.name, task=task, meta=meta, lineage={},
        metrics={"test": {"accuracy": 0.975}}, files=files,
    )  # fmt: skip
    response = member.page.get(f"/models/{version.model_id}/versions/1/bundle.zip")
    home = folder.parent / f"{folder.name} at home"
    with zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content))) as archive:
        assert archive.testzip() is None
        archive.extractall(home)
    shutil.rmtree(folder)
    return home


def ask(home: Path, *arguments: str, missing: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run predict.py in another folder, isolated from this checkout."""
    argv = [str(home / "predict.py"), *arguments]
    code = WITHOUT.format(missing=(*NEVER_NEEDED, *missing), folder=str(home), arguments=argv)
    return subprocess.run([sys.executable, "-I", "-c", code], cwd=home.parent, capture_output=True, text=True)


@pytest.fixture
def pictures(member, tmp_path) -> Path:
    """An unpacked ZIP of a model that tells bright pictures from dark ones, whose graph is packed."""
    folder = image_model(tmp_path / "pictures")
    assert pack(folder / "model.onnx", folder / "model.onnx.packed")
    (folder / "model.onnx").unlink()
    record_answer(load_predictor(folder, 1), folder)
    return download(member, folder, "image_classification")


@pytest.fixture
def rows(member, tmp_path) -> Path:
    folder = table_model(tmp_path / "rows")
    record_answer(load_predictor(folder, 1), folder)
    return download(member, folder, "tabular_classification")


@pytest.fixture
def texts(member, tmp_path) -> Path:
    """A model that the training program has made."""
    data = write_texts(tmp_path / "data", english())
    folder = tmp_path / "texts"
    (train_here(tmp_path / "work", data, model="hashed_ngrams") / "model").rename(folder)
    return download(member, folder, "text_classification")


def test_pictures_are_answered_as_on_the_site(pictures, tmp_path):
    (tmp_path / "dark.png").write_bytes(png(10))
    done = ask(pictures, str(tmp_path / "dark.png"), str(pictures / "sample.png"), "--top-k", "2")
    assert done.returncode == 0, done.stderr
    dark, bright = map(json.loads, done.stdout.splitlines())
    assert (dark["class"], bright["class"]) == ("dark", "bright")
    assert [item["class"] for item in dark["classes"]] == ["dark", "bright"]


def test_rows_of_a_table_need_no_pillow(rows, tmp_path):
    (tmp_path / "rows.csv").write_text("age,city,more\n55,Oslo,x\n21,Rome,y\n")
    done = ask(rows, str(tmp_path / "rows.csv"), missing=("PIL",))
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(item["item"], item["class"]) for item in told] == [(1, "old"), (2, "young")]


def test_texts_are_answered_line_by_line_or_from_their_column(texts, tmp_path):
    (tmp_path / "asked.txt").write_text("where is my sofa\n\nwhere is my lamp\n")
    (tmp_path / "asked.csv").write_text("more,text\nx,where is my sofa\ny,where is my lamp\n")
    lines, rows = (ask(texts, str(tmp_path / name), missing=("PIL",)) for name in ("asked.txt", "asked.csv"))
    assert lines.returncode == 0, lines.stderr
    told = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [item["item"] for item in told] == [1, 2] and all(item["class"] for item in told)
    assert rows.stdout == lines.stdout.replace("asked.txt", "asked.csv")
    (tmp_path / "other.csv").write_text("more\nx\n")
    done = ask(texts, str(tmp_path / "other.csv"))
    assert done.returncode == 2 and "lacks the column 'text'" in done.stderr
    readme = (texts / "README.md").read_text()
    assert "python predict.py texts.txt" in readme and "column `text`" in readme


@pytest.mark.parametrize("kind", ["pictures", "rows", "texts"])
def test_the_check_passes_for_the_files_that_were_sent(kind, request):
    done = ask(request.getfixturevalue(kind), "--check")
    assert done.returncode == 0 and "as it did when it was made" in done.stdout


def test_the_check_fails_where_the_model_answers_differently(pictures):
    record = json.loads((pictures / "parity.json").read_text())
    record["answer"] = record["answer"][::-1]
    (pictures / "parity.json").write_text(json.dumps(record))
    done = ask(pictures, "--check")
    assert done.returncode == 1 and "DIFFERENTLY" in done.stdout


def test_what_cannot_be_answered_gets_a_sentence(pictures, rows, tmp_path):
    (tmp_path / "no.png").write_text("no picture")
    (tmp_path / "no.csv").write_text("city\nOslo\n")
    for home, file, words in ((pictures, "no.png", "cannot be read"), (rows, "no.csv", "lacks the column 'age'")):
        done = ask(home, str(tmp_path / file))
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert ask(pictures, str(tmp_path / "nothing.png")).returncode == 2


def test_a_damaged_model_gets_a_sentence(pictures):
    packed = pictures / "model.onnx.packed"
    packed.write_bytes(packed.read_bytes()[:-9])
    done = ask(pictures, "--check")
    assert done.returncode == 2 and "damaged" in done.stderr and "Traceback" not in done.stderr


def test_the_readme_says_how_to_ask_it_and_what_it_takes(pictures, rows):
    picture, table = ((home / "README.md").read_text() for home in (pictures, rows))
    assert "pip install numpy pillow onnxruntime" in picture and "8 x 8 pixels, grey" in picture
    assert "pip install numpy onnxruntime" in table and "- `age`: numeric" in table
    assert picture.startswith("# pictures v1") and table.startswith("# rows v1")
    for text in (picture, table):
        assert "python predict.py --check" in text and "accuracy 97.5 %" in text
