"""One training of one contestant in this process: ``python -m benchmarks.training_contestants <name> <options.json>``.

Every contestant trains the same network from the same seed with the same optimiser, schedule, clipping, augmentation,
batch size and number of epochs, and judges it on the validation images after every epoch. It prints the seconds of wall
clock and of CPU (its children's too) from the first look at the data to the last answer, and the accuracy it came to.
"""

import json
import math
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from workers.training.architectures import ARCHITECTURES, stem_stride
from workers.training.batches import Draws
from workers.training.image_data import AUGMENTATIONS
from workers.training.image_models import ImageClassifier

CLASSES = [str(digit) for digit in range(10)]
WARMUP, CLIPPING, DROPOUT = 0.1, 1.0, 0.1


@dataclass(frozen=True)
class Options:
    """`folder` holds what training_data wrote. `workers` decode for the peers' loaders; `work` is to be written to."""

    folder: str
    work: str
    epochs: int
    batch_size: int
    side: int
    threads: int
    workers: int
    augmentation: str = "light"
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    seed: int = 0

    @property
    def files(self) -> Path:
        return Path(self.folder) / "files"


# What the peers share


class ImageFiles(Dataset):
    """Decodes a file each time that it is asked for: (uint8 [side, side, 3], class number)."""

    def __init__(self, folder: Path, side: int) -> None:
        self.paths, self.side = sorted(folder.glob("*/*.jpg")), side
        self.labels = [CLASSES.index(path.parent.name) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[place]) as image:
            image.draft("RGB", (self.side, self.side))
            pixels = np.array(image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels), self.labels[place]


class Augmented:
    """Makes a batch of examples and changes its images as Lepton does, in the process that loads it."""

    def __init__(self, name: str) -> None:
        self.change = AUGMENTATIONS[name]

    def __call__(self, examples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = default_collate(examples)
        return augment(self.change, images), labels


def augment(change: Any, images: torch.Tensor) -> torch.Tensor:
    seed = int(torch.randint(2**31, ()))
    return change((images,), Draws(seed, len(images)))[0] if change else images


def make_loaders(options: Options) -> tuple[DataLoader, DataLoader]:
    shared: dict[str, Any] = {"num_workers": options.workers, "persistent_workers": options.workers > 0}
    train, val = (ImageFiles(options.files / split, options.side) for split in ("train", "val"))
    return (
        DataLoader(train, options.batch_size, shuffle=True, collate_fn=Augmented(options.augmentation), **shared),
        DataLoader(val, 256, **shared),
    )


def make_model(options: Options) -> ImageClassifier:
    return ImageClassifier(
        **ARCHITECTURES["resnet_tiny"], channels=3, classes=len(CLASSES), stem_stride=stem_stride(options.side),
        dropout=DROPOUT, mean=[90.0] * 3, deviation=[50.0] * 3,
    )  # fmt: skip


def make_optimizer(model: torch.nn.Module, options: Options) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)


def make_scheduler(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Cosine after a linear rise."""
    rise = round(WARMUP * steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


# The contestants: each returns the validation accuracy after its last epoch


def bare_loop(options: Options) -> float:
    """What one writes by hand first: files, a loader with worker processes, a loop."""
    train, val = make_loaders(options)
    return _loop(options, lambda: train, lambda: val, len(train))


def memory_loop(options: Options) -> float:
    """The same by hand on images that are decoded once and kept as tensors, which asks for memory that holds them."""
    train, val = (_tensors(ImageFiles(options.files / split, options.side)) for split in ("train", "val"))
    change, steps = AUGMENTATIONS[options.augmentation], math.ceil(len(train[1]) / options.batch_size)

    def shuffled() -> Any:
        for rows in torch.randperm(len(train[1])).split(options.batch_size):
            yield augment(change, train[0][rows]), train[1][rows]

    return _loop(options, shuffled, lambda: zip(val[0].split(256), val[1].split(256), strict=True), steps)


def _tensors(files: ImageFiles) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*(files[place] for place in range(len(files))), strict=True)
    return torch.stack(images), torch.tensor(labels)


def _loop(options: Options, train: Any, val: Any, steps_per_epoch: int) -> float:
    model = make_model(options)
    optimizer = make_optimizer(model, options)
    scheduler = make_scheduler(optimizer, steps_per_epoch * options.epochs)
    for _epoch in range(options.epochs):
        model.train()
        for images, labels in train():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIPPING)
            optimizer.step()
            scheduler.step()
            loss.item()  # a loop reports its loss
        model.eval()
        right = count = 0
        with torch.no_grad():
            for images, labels in val():
                right, count = right + int((model(images).argmax(dim=1) == labels).sum()), count + len(labels)
    return right / count


def lightning(options: Options) -> float:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model(options)

        def training_step(self, batch: Any, place: int) -> torch.Tensor:
            loss = F.cross_entropy(self.model(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, place: int) -> None:
            self.log("accuracy", (self.model(batch[0]).argmax(dim=1) == batch[1]).float().mean())

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = make_optimizer(self.model, options)
            scheduler = make_scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    train, val = make_loaders(options)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=options.epochs, gradient_clip_val=CLIPPING, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(Module(), train, val)
    return float(trainer.callback_metrics["accuracy"])


def trainer(options: Options) -> float:
    """The Trainer of Hugging Face transformers."""
    from transformers import Trainer, TrainingArguments

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model(options)

        def forward(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.model(images)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    class Collate:
        """The Trainer has one collator for training and evaluation, and its datasets say which it is."""

        def __call__(self, examples: list[tuple[torch.Tensor, int, bool]]) -> dict[str, torch.Tensor]:
            images, labels, trained = default_collate(examples)
            change = AUGMENTATIONS[options.augmentation] if trained[0] else None
            return {"images": augment(change, images), "labels": labels}

    class Marked(ImageFiles):
        def __init__(self, split: str) -> None:
            super().__init__(options.files / split, options.side)
            self.is_trained = split == "train"

        def __getitem__(self, place: int) -> tuple[torch.Tensor, int, bool]:
            return *super().__getitem__(place), self.is_trained

    train, val, model = Marked("train"), Marked("val"), Model()
    steps = math.ceil(len(train) / options.batch_size) * options.epochs
    optimizer = make_optimizer(model, options)
    arguments = TrainingArguments(
        output_dir=options.work, num_train_epochs=options.epochs, per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=256, max_grad_norm=CLIPPING, eval_strategy="epoch", save_strategy="no",
        report_to=[], disable_tqdm=True, use_cpu=True, dataloader_num_workers=options.workers, seed=options.seed,
        dataloader_persistent_workers=options.workers > 0, remove_unused_columns=False, label_names=["labels"],
        logging_steps=10,
    )  # fmt: skip
    run = Trainer(
        model, arguments, data_collator=Collate(), train_dataset=train, eval_dataset=val,
        optimizers=(optimizer, make_scheduler(optimizer, steps)),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
    )  # fmt: skip
    run.train()
    return next(row["eval_accuracy"] for row in reversed(run.state.log_history) if "eval_accuracy" in row)


def lepton(options: Options, **overrides: Any) -> float:
    """The product's own program, with decoding, calibration, export and its checks."""
    from workers.contract import EVENTS_FILE, IMAGE_CLASSIFICATION, EventWriter, TrainSpec
    from workers.training.__main__ import run
    from workers.training.hyperparameters import resolve
    from workers.training.stopping import Stop

    settings = {
        "model": "resnet_tiny", "epochs": options.epochs, "batch_size": options.batch_size, "dropout": DROPOUT,
        "image_size": options.side, "learning_rate": options.learning_rate, "weight_decay": options.weight_decay,
        "warmup_ratio": WARMUP, "max_grad_norm": CLIPPING, "augmentation": options.augmentation, "seed": options.seed,
    }  # fmt: skip
    folder, work = Path(options.folder), Path(options.work)
    spec = TrainSpec(
        work_dir=str(work),
        task=IMAGE_CLASSIFICATION,
        data_path=str(folder / "data.zip"),
        index_path=str(folder / "index.jsonl"),
        hyperparameters=resolve(IMAGE_CLASSIFICATION, "fast", settings | overrides),
        threads=options.threads,
    )
    summary = run(spec, EventWriter(work / EVENTS_FILE), Stop())
    return summary["metrics"]["val"]["accuracy"]


def lepton_full(options: Options) -> float:
    return lepton(options, mixed_precision="no")


CONTESTANTS = {
    "lepton": lepton,
    "lepton_32_bits": lepton_full,
    "bare_loop": bare_loop,
    "memory_loop": memory_loop,
    "lightning": lightning,
    "trainer": trainer,
}


def main(name: str, path: str) -> None:
    options = Options(**json.loads(Path(path).read_text()))
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    _load(name)
    begin, used = time.perf_counter(), _cpu_seconds()
    accuracy = CONTESTANTS[name](options)
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "cpu_seconds": _cpu_seconds() - used, "accuracy": accuracy}))


def _load(name: str) -> None:
    """Imports are made before the clock starts."""
    if name == "lightning":
        import lightning  # noqa: F401
    elif name == "trainer":
        from transformers import Trainer  # noqa: F401
    elif name.startswith("lepton"):
        import workers.training.images  # noqa: F401


def _cpu_seconds() -> float:
    """Of this process, of its children that have ended, and of those that live on."""
    ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    living = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return sum(usage.ru_utime + usage.ru_stime for usage in ended) + sum(times.user + times.system for times in living)


if __name__ == "__main__":
    main(*sys.argv[1:])
