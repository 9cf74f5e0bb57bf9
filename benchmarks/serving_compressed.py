"""The model that ``make bench-serving`` asks, made smaller by the steps that a compression takes.

Its weights are drawn, so nothing is fine-tuned and no accuracy is lost or kept: only its speed means something.
"""

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from workers.compression.making import Maker
from workers.compression.program import prepare
from workers.compression.recipes import name_of, resolve
from workers.contract import CompressSpec, EventWriter
from workers.inference.files import read_meta
from workers.training.stopping import Stop

SPLITS = ("train", "val")


def write_compressed(source: Path, pictures: Sequence[Path], channels: float, folder: Path) -> str:
    """Write what is left of the model in `source` to `folder`: less the share `channels` of its channels, where that is
    not 0, and in 8 bits, with ranges from `pictures`. Returns the name of the recipe."""
    work_dir = folder.with_name(f"{folder.name}.work")
    work_dir.mkdir()
    meta = read_meta(source)
    data, index = _write_data(pictures, meta["classes"], work_dir)
    narrower = [{"method": "prune_channels", "amount": channels, "epochs": 0}] if channels else []
    settings = resolve(meta["task"], {"recipes": [[*narrower, {"method": "quantise", "scheme": "int8"}]]})
    (recipe,) = settings["recipes"]
    spec = CompressSpec(str(work_dir), meta["task"], str(source), str(data), str(index), settings)
    work = prepare(spec, EventWriter(work_dir / "events.jsonl"), Stop())
    Maker(work).make(recipe, folder, lambda _share: None)
    shutil.rmtree(work_dir)
    return name_of(recipe)


def _write_data(pictures: Sequence[Path], classes: Sequence[str], folder: Path) -> tuple[Path, Path]:
    """The archive and the index that a preparation of `pictures` leaves, with classes in turn."""
    data, index = folder / "data.zip", folder / "index.jsonl"
    rows = []
    with zipfile.ZipFile(data, "w") as archive:
        for number, picture in enumerate(pictures):
            archive.write(picture, picture.name)
            label, split = classes[number % len(classes)], SPLITS[number >= len(pictures) // 2]
            width, height = Image.open(picture).size
            row = {"member": picture.name, "label": label, "split": split, "source": picture.name}
            rows.append(row | {"width": width, "height": height})
    index.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return data, index
