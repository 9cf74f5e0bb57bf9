"""Going on with audio classifiers; see subjects.py. Their networks are those that look at images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.contract import EventWriter, TrainSpec
from workers.parallel.processes import Processes
from workers.training import audio
from workers.training.audio import AudioData, fit_model, write_files
from workers.training.image_subject import build, inputs, narrowed, simplest
from workers.training.images import calibrate
from workers.training.stopping import Stop

__all__ = ["build", "calibrate", "fit_model", "inputs", "load_data", "narrowed", "simplest", "write_files"]


def load_data(
    spec: TrainSpec, meta: Mapping[str, Any], folder: Path, events: EventWriter, stop: Stop, processes: Processes
) -> AudioData:
    return audio.load_data(spec, events, stop, meta["input"]["rate"], meta["input"]["length"])
