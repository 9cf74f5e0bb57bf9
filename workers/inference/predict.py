"""Ask a model from its folder, without a site: ``python predict.py picture.jpg``, ``rows.csv`` or ``texts.txt``.

One line of JSON for each picture, row, or line of text. ``python predict.py --check`` asks the model its own sample and
compares the answer with the one it gave when it was made. It needs Python 3.11, numpy and onnxruntime, and Pillow for
pictures. A copy of this file and of what it imports comes with each model that is downloaded.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.contract import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION, ProgramFailure
from workers.inference.files import damaged, read_meta
from workers.inference.outcomes import class_outcome, table_outcome
from workers.inference.parity import PARITY_FILE, difference_from_record

ROWS_AT_ONCE = 1000


def load(folder: Path, threads: int) -> Any:
    """The model in `folder`. Raises ProgramFailure damaged_model."""
    meta = read_meta(folder)
    # Each where it is needed: a model of tables asks for no Pillow.
    if meta.get("task") == IMAGE_CLASSIFICATION:
        from workers.inference.image_predictor import ImagePredictor as Kind
    elif meta.get("task") == TEXT_CLASSIFICATION:
        from workers.inference.text_predictor import TextPredictor as Kind
    else:
        from workers.inference.table_predictor import TablePredictor as Kind
    try:
        return Kind(folder, meta, threads)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(f"{type(error).__name__}: {error}") from error


def check(predictor: Any, folder: Path) -> int:
    """Compare with the recorded answer; returns the exit code."""
    try:
        difference, tolerance = difference_from_record(predictor, folder)
    except (OSError, ValueError, KeyError) as error:
        print(f"{PARITY_FILE} cannot be read: {error!r}. Download the model again.", file=sys.stderr)
        return 2
    is_alike = difference <= tolerance
    verdict = "as it did when it was made" if is_alike else "DIFFERENTLY from when it was made"
    print(f"The model answers its sample {verdict} (largest difference {difference:.2g}, allowed {tolerance:.2g}).")
    return 0 if is_alike else 1


def outcomes(predictor: Any, path: Path, top_k: int | None) -> Iterator[dict[str, Any]]:
    """What the model says to a picture, to each row of a CSV file, or to each line of text. Raises ProgramFailure,
    OSError."""
    if predictor.meta["task"] == IMAGE_CLASSIFICATION:
        probabilities = predictor.predict_image(path.read_bytes())
        yield {"file": str(path), **class_outcome(predictor.classes, probabilities, top_k)}
        return
    is_text = predictor.meta["task"] == TEXT_CLASSIFICATION
    items = read_texts(path, predictor.meta["input"]["column"]) if is_text else read_rows(path)
    predict = predictor.predict_texts if is_text else predictor.predict_rows
    for start in range(0, len(items), ROWS_AT_ONCE):
        for number, output in enumerate(predict(items[start : start + ROWS_AT_ONCE]), start + 1):
            yield {"row": number, **table_outcome(predictor.classes, output, top_k)}


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def read_texts(path: Path, column: str) -> list[str]:
    """The lines of a text file, or the column of a CSV file that was learned from. Raises ProgramFailure."""
    if path.suffix.lower() != ".csv":
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    rows = read_rows(path)
    if rows and column not in rows[0]:
        message = f"{path.name} lacks the column {column!r}."
        raise ProgramFailure("missing_column", message, hint="Add it, or write one text on each line of a .txt file.")
    return [row[column] for row in rows]


def main(arguments: list[str]) -> int:
    """0 done, 1 the check failed, 2 a file could not be read or answered."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "files", nargs="*", type=Path, help="pictures, texts, or CSV files with the columns in meta.json"
    )
    parser.add_argument("--check", action="store_true", help="compare the answer to the sample with the recorded one")
    parser.add_argument("--top-k", type=int, help="list so many of the most probable classes")
    parser.add_argument("--threads", type=int, default=1, help="cores to compute with (default: 1)")
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent, help="the model's folder")
    asked = parser.parse_args(arguments)
    if not asked.files and not asked.check:
        parser.error("name a file, or --check")
    try:
        predictor = load(asked.model, asked.threads)
        code = check(predictor, asked.model) if asked.check else 0
        for path in asked.files:
            for outcome in outcomes(predictor, path, asked.top_k):
                print(json.dumps(outcome, ensure_ascii=False))
    except ProgramFailure as failure:
        print(f"{failure.message} {failure.hint}".strip(), file=sys.stderr)
        return 2
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        print(f"A file cannot be read: {error}.", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
