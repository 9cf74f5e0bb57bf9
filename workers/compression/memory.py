"""``python -m workers.compression.memory folder threads``: prints by how many bytes loading a model makes it grow."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from workers.inference.predictor import load_predictor


def main(arguments: list[str]) -> int:
    folder, threads = arguments
    process = psutil.Process()
    before = process.memory_info().rss
    predictor = load_predictor(Path(folder), int(threads))
    predictor.run(predictor.encode([predictor.sample]))
    print(process.memory_info().rss - before)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
