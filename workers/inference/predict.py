"""Ask a model from its folder, without a site: ``python predict.py picture.jpg``, ``recording.wav``, ``rows.csv`` or
``texts.txt``.

One line of JSON for each picture, recording, row, or line of text. ``python predict.py --check`` asks the model its own
sample and compares the answer with the one it gave when it was made. It needs Python 3.11, numpy and onnxruntime,
Pillow for pictures, soundfile for recordings. A copy of this file and of what it imports comes with each
model that is downloaded.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.contract import ProgramFailure
from workers.inference.parity import PARITY_FILE, difference_from_record
from workers.inference.predictor import Predictor, load_predictor

ITEMS_AT_ONCE = 1000


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


def outcomes(predictor: Predictor, path: Path, top_k: int | None) -> Iterator[dict[str, Any]]:
    """What the model says to each item in a file. Raises ProgramFailure, OSError."""
    items = predictor.items_in(path)
    for start in range(0, len(items), ITEMS_AT_ONCE):
        part = items[start : start + ITEMS_AT_ONCE]
        for number, output in enumerate(predictor.predict(part), start + 1):
            yield {"file": str(path), "item": number, **predictor.outcome(output, top_k)}


def main(arguments: list[str]) -> int:
    """0 done, 1 the check failed, 2 a file could not be read or answered."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "files", nargs="*", type=Path, help="pictures, recordings, texts, or CSV files with the columns in meta.json"
    )
    parser.add_argument("--check", action="store_true", help="compare the answer to the sample with the recorded one")
    parser.add_argument("--top-k", type=int, help="list so many of the most probable classes")
    parser.add_argument("--threads", type=int, default=1, help="cores to compute with (default: 1)")
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent, help="the model's folder")
    asked = parser.parse_args(arguments)
    if not asked.files and not asked.check:
        parser.error("name a file, or --check")
    try:
        predictor = load_predictor(asked.model, asked.threads)
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
