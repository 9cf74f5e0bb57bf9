"""All examples, by the name that recipes call them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.examples.pictures import write_digits, write_panels, write_spots
from workers.examples.sounds import write_dialled, write_machines
from workers.examples.tables import (
    write_breast_cancer,
    write_customers,
    write_demand,
    write_diabetes,
    write_purchases,
)


@dataclass(frozen=True)
class Example:
    """What writes the file, and the file's suffix."""

    write: Callable[[Path], None]
    suffix: str


EXAMPLES = {
    "digits": Example(write_digits, ".zip"),
    "panels": Example(write_panels, ".zip"),
    "spots": Example(write_spots, ".zip"),
    "machines": Example(write_machines, ".zip"),
    "dialled": Example(write_dialled, ".zip"),
    "breast_cancer": Example(write_breast_cancer, ".csv"),
    "customers": Example(write_customers, ".csv"),
    "demand": Example(write_demand, ".csv"),
    "purchases": Example(write_purchases, ".csv"),
    "diabetes": Example(write_diabetes, ".csv"),
}
