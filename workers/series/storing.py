"""A model's series and what it reads, as plain values for meta.json and arrays for its safetensors file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.series.columns import SeriesColumns
from workers.series.features import Recipe
from workers.series.frequency import Frequency
from workers.series.model import ForecastModel
from workers.series.regular import Series, merge, regularise
from workers.series.times import Clock
from workers.tables.columns import MISSING_CODE
from workers.tables.encoder import Encoded, Row, TableEncoder
from workers.trees import Arrays

HISTORY = "history."


@dataclass(frozen=True)
class Further:
    """Columns beside times, values and names: `ahead` are known beforehand, `behind` are read at the origin; None
    where there are none."""

    ahead: TableEncoder | None
    behind: TableEncoder | None

    @property
    def parts(self) -> list[tuple[TableEncoder, bool]]:
        return [(part, part is self.ahead) for part in (self.ahead, self.behind) if part]

    def encode(self, rows: Sequence[Row]) -> Encoded:
        """Of `rows`, a column that one lacks is unknown. Raises ProgramFailure wrong_type."""
        found = []
        for encoder, _ in self.parts:
            names = [column.name for column in encoder.columns]
            found.append(encoder.encode([{name: row.get(name) for name in names} for row in rows]))
        if not found:
            return Encoded(np.zeros((len(rows), 0), np.float32), np.zeros((len(rows), 0), np.int64))
        return Encoded(
            np.concatenate([each.numeric for each in found], axis=1),
            np.concatenate([each.categorical for each in found], axis=1),
        )

    def recipe_fields(self) -> dict[str, Any]:
        """The part of a `Recipe` that is about these columns."""
        parts = [(len(encoder.numeric_features), encoder.code_counts, ahead) for encoder, ahead in self.parts]
        return {
            "number_count": sum(count for count, _, _ in parts),
            "code_counts": tuple(size for _, sizes, _ in parts for size in sizes),
            "numbers_ahead": tuple(ahead for count, _, ahead in parts for _ in range(count)),
            "codes_ahead": tuple(ahead for _, sizes, ahead in parts for _ in sizes),
        }

    @property
    def names(self) -> list[str]:
        return [column.name for encoder, _ in self.parts for column in encoder.columns]

    def to_meta(self) -> dict[str, Any]:
        return {
            name: part.to_meta() if part else None for name, part in (("ahead", self.ahead), ("behind", self.behind))
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Further:
        return cls(*(TableEncoder.from_meta(meta[name]) if meta[name] else None for name in ("ahead", "behind")))


@dataclass(frozen=True)
class Reading:
    """How rows of a table become series, the same in training and for what clients send."""

    columns: SeriesColumns
    clock: Clock
    frequency: Frequency
    season: int
    filling: str
    merging: str
    further: Further

    def series_of(self, name: str, ticks: np.ndarray, values: np.ndarray, rows: Sequence[Row]) -> Series | None:
        """From rows [N] in any order; NaN values are those not known yet, whose further columns count all the same.
        None without any value. Raises ProgramFailure wrong_type."""
        periods = self.frequency.periods(ticks)
        present = ~np.isnan(values)
        if not present.any():
            return None
        distinct, merged = merge(periods[present], values[present], self.merging)
        first, full, known = regularise(distinct, merged, self.filling, self.season)
        if not self.further.parts:
            return Series(name, first, full, known)
        encoded = self.further.encode(rows)
        length = max(len(full), int(periods.max()) - first + 1)
        numbers = np.full((length, encoded.numeric.shape[1]), np.nan, dtype=np.float32)
        codes = np.full((length, encoded.categorical.shape[1]), MISSING_CODE, dtype=np.int64)
        inside = periods >= first
        places = periods[inside] - first
        numbers[places], codes[places] = encoded.numeric[inside], encoded.categorical[inside]
        return Series(name, first, full, known, numbers, codes)

    def to_meta(self) -> dict[str, Any]:
        return {
            "columns": self.columns.to_dict(),
            "clock": self.clock.to_dict(),
            "frequency": self.frequency.to_dict(),
            "season": self.season,
            "filling": self.filling,
            "merging": self.merging,
            "further": self.further.to_meta(),
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Reading:
        return cls(
            SeriesColumns.from_dict(meta["columns"]),
            Clock(**meta["clock"]),
            Frequency(**meta["frequency"]),
            meta["season"],
            meta["filling"],
            meta["merging"],
            Further.from_meta(meta["further"]),
        )


def recipe_of(reading: Reading, seasons: Sequence[int], names: Sequence[str]) -> Recipe:
    return Recipe(reading.frequency, tuple(seasons), names=tuple(names), **reading.further.recipe_fields())


def pack_series(series: Sequence[Series]) -> Arrays:
    """All series one after the other."""
    return {
        f"{HISTORY}first": np.array([each.first for each in series], dtype=np.int64),
        f"{HISTORY}lengths": np.array([len(each) for each in series], dtype=np.int64),
        f"{HISTORY}further": np.array([len(each.numbers) for each in series], dtype=np.int64),
        f"{HISTORY}values": np.concatenate([each.values for each in series]),
        f"{HISTORY}known": np.concatenate([each.known for each in series]).astype(np.uint8),
        f"{HISTORY}numbers": np.concatenate([each.numbers for each in series]).astype(np.float32),
        f"{HISTORY}codes": np.concatenate([each.codes for each in series]).astype(np.int32),
    }


def unpack_series(arrays: Arrays, names: Sequence[str]) -> dict[str, Series]:
    """By name, in the order in which they were packed. Raises KeyError, ValueError."""
    found = {name.removeprefix(HISTORY): array for name, array in arrays.items() if name.startswith(HISTORY)}
    ends, further_ends = np.cumsum(found["lengths"])[:-1], np.cumsum(found["further"])[:-1]
    parts = zip(
        names,
        found["first"].tolist(),
        np.split(found["values"], ends),
        np.split(found["known"].astype(bool), ends),
        np.split(found["numbers"], further_ends),
        np.split(found["codes"].astype(np.int64), further_ends),
        strict=True,
    )
    return {part[0]: Series(*part) for part in parts}


def model_from(arrays: Arrays, meta: Mapping[str, Any], reading: Reading) -> ForecastModel:
    """Raises KeyError, ValueError and ProgramFailure for what is no model."""
    recipe = recipe_of(reading, meta["seasons"], meta["told_apart"])
    return ForecastModel.from_arrays(arrays, recipe, meta["share"], meta["floor"])
