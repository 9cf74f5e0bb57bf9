"""Ensembles of decision trees as plain arrays: evaluation, and a compressed form. numpy only.

A model file holds one of two forms, and `Ensemble.from_arrays` reads both. In each the nodes of a tree stand in
preorder, so that a left child always follows its parent. A row goes left where ``x <= threshold``, or where its
category's bit is set; NaN goes where the node sends missing values.

Plain form, for M nodes, T trees, K outputs, S sets of categories, F features:
``feature`` int32 [M], -1 at a leaf; ``threshold`` float32 [M], at a categorical split the row of ``category_sets``;
``right`` int32 [M], distance to the right child; ``missing_left`` uint8 [M]; ``value`` float32 [M]; ``tree_start``
int32 [T]; ``category_sets`` uint8 [S, W], packed bits of the codes that go left; ``categorical`` uint8 [F];
``baseline`` float64 [K]. Tree t adds to output t modulo K.

Quantised form (`quantise`): thresholds are codes into ``edges``, per feature, which loses nothing; the shape of a tree
is one bit a node; leaf values are int8 with one scale a tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.arrays import read_arrays, write_arrays
from workers.contract import ProgramFailure

Arrays = dict[str, np.ndarray]

CELLS_AT_ONCE = 2_000_000
PLAIN_KEYS = {
    "feature", "threshold", "right", "missing_left", "value", "tree_start", "category_sets", "categorical", "baseline",
}  # fmt: skip
QUANTISED_KEYS = {
    "leaf_bits", "missing_bits", "node_feature", "node_code", "set_index", "edges", "edge_start", "leaf_code",
    "leaf_scale", "tree_size", "category_sets", "categorical", "baseline",
}  # fmt: skip


@dataclass(frozen=True)
class Ensemble:
    """Arrays arranged for evaluation: splits first, then leaves, so that walking a level is one lookup.

    Column j of an extended row is feature j with NaN where missing (compares false: right), column F + j the same with
    -inf where missing (left), column 2F + s is 0 where the row's category lies in set s and 1 where it does not.
    """

    column: np.ndarray
    threshold: np.ndarray
    step_left: np.ndarray
    step_right: np.ndarray
    roots: np.ndarray
    leaf_value: np.ndarray
    baseline: np.ndarray
    set_feature: np.ndarray
    sets: np.ndarray
    feature_count: int
    depth: int

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Ensemble:
        """From either form. Raises ProgramFailure damaged_model when the arrays do not make trees."""
        try:
            return _compile(restore(arrays) if "leaf_code" in arrays else _known(arrays, PLAIN_KEYS))
        except (KeyError, IndexError, ValueError) as error:
            raise ProgramFailure(
                "damaged_model", f"The tree model cannot be read: {error}.", hint="Train the model again."
            ) from error

    @property
    def output_count(self) -> int:
        return len(self.baseline)

    @property
    def tree_count(self) -> int:
        return len(self.roots)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Raw scores float64 [N, K] for `rows` float32 [N, F], NaN where missing."""
        rows = np.asarray(rows, dtype=np.float32)
        if len(rows) == 1:
            return self._predict_one(rows[0])
        step = max(1, CELLS_AT_ONCE // (len(self.column) + len(self.leaf_value) + 1))
        parts = [self._predict_block(rows[start : start + step]) for start in range(0, len(rows), step)]
        return np.concatenate(parts) if parts else np.empty((0, self.output_count))

    def _predict_one(self, row: np.ndarray) -> np.ndarray:
        extended = np.concatenate([row, np.where(np.isnan(row), -np.inf, row), self._outside(row[None])[0]])
        goes_left = extended.astype(np.float32).take(self.column) <= self.threshold
        step = np.where(goes_left, self.step_left, self.step_right)
        step = np.concatenate([step, np.arange(len(step), len(step) + len(self.leaf_value))])
        node = self.roots
        for _ in range(self.depth):
            node = step.take(node)
        return self._sum(self.leaf_value.take(node - len(self.column))[:, None])

    def _predict_block(self, rows: np.ndarray) -> np.ndarray:
        count, splits = len(rows), len(self.column)
        extended = np.concatenate([rows, np.where(np.isnan(rows), -np.inf, rows), self._outside(rows)], axis=1)
        columns = np.ascontiguousarray(extended.T, dtype=np.float32)
        step = np.empty((splits + len(self.leaf_value), count), dtype=np.int32)
        goes_left = columns[self.column] <= self.threshold[:, None]
        step[:splits] = np.where(goes_left, self.step_left[:, None], self.step_right[:, None])
        step[splits:] = np.arange(splits, len(step), dtype=np.int32)[:, None]
        flat, position = step.reshape(-1), np.arange(count)
        node = np.repeat(self.roots[:, None], count, axis=1)
        for _ in range(self.depth):
            node = flat.take(node.astype(np.intp) * count + position)
        return self._sum(self.leaf_value.take(node - splits))

    def _outside(self, rows: np.ndarray) -> np.ndarray:
        """float32 [N, S]: 1 where the row's category is not in set s."""
        codes = np.nan_to_num(rows[:, self.set_feature]).astype(np.intp)
        return 1.0 - self.sets[np.arange(len(self.sets)), np.minimum(codes, self.sets.shape[1] - 1)]

    def _sum(self, leaves: np.ndarray) -> np.ndarray:
        """[T, N] leaf values to [N, K] scores."""
        rounds = leaves.reshape(-1, self.output_count, leaves.shape[1])
        return rounds.sum(axis=0, dtype=np.float64).T + self.baseline


def _known(arrays: Arrays, keys: set[str]) -> Arrays:
    if lacking := keys - set(arrays):
        raise KeyError(f"{sorted(lacking)[0]} is not in the file")
    return arrays


def _compile(arrays: Arrays) -> Ensemble:
    feature, right = arrays["feature"].astype(np.intp), arrays["right"].astype(np.intp)
    is_leaf = feature < 0
    _check(arrays, feature, right, is_leaf)
    order = np.empty(len(feature), dtype=np.int32)
    order[~is_leaf] = np.arange((~is_leaf).sum())
    order[is_leaf] = np.arange(is_leaf.sum()) + (~is_leaf).sum()
    nodes = np.flatnonzero(~is_leaf)
    step_left, step_right, roots = order[nodes + 1], order[nodes + right[nodes]], order[arrays["tree_start"]]
    threshold = arrays["threshold"][nodes].astype(np.float32)
    column, set_feature, sets, threshold = _columns(arrays, feature[nodes], threshold, nodes)
    return Ensemble(
        column=column,
        threshold=threshold,
        step_left=step_left,
        step_right=step_right,
        roots=roots,
        leaf_value=arrays["value"][is_leaf].astype(np.float32),
        baseline=arrays["baseline"].astype(np.float64),
        set_feature=set_feature,
        sets=sets,
        feature_count=len(arrays["categorical"]),
        depth=_depth(step_left, step_right, roots),
    )


def _check(arrays: Arrays, feature: np.ndarray, right: np.ndarray, is_leaf: np.ndarray) -> None:
    count, nodes = len(feature), np.flatnonzero(~is_leaf)
    if any(len(arrays[key]) != count for key in ("threshold", "right", "missing_left", "value")):
        raise ValueError("its arrays have different lengths")
    if (feature >= len(arrays["categorical"])).any():
        raise ValueError("a split asks for a feature that does not exist")
    if (right[nodes] < 2).any() or (nodes + right[nodes] >= count).any():
        raise ValueError("a split leads out of the tree")
    if len(arrays["tree_start"]) % max(1, len(arrays["baseline"])):
        raise ValueError("its trees do not go evenly into its outputs")


def _columns(
    arrays: Arrays, feature: np.ndarray, threshold: np.ndarray, nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Column of the extended row and threshold of every split; features and membership of the category sets."""
    count = len(arrays["categorical"])
    column = feature + count * (arrays["missing_left"][nodes] > 0)
    by_set = arrays["categorical"][feature] > 0
    pairs, position = np.unique(
        np.stack([threshold[by_set].astype(np.intp), feature[by_set]]), axis=1, return_inverse=True
    )
    column[by_set] = 2 * count + position.reshape(-1)
    threshold[by_set] = 0.5
    members = np.unpackbits(arrays["category_sets"], axis=1, bitorder="little").astype(np.float32)
    sets = members[pairs[0]] if pairs.size else np.zeros((0, 1), dtype=np.float32)
    return column, pairs[1], sets, threshold


def _depth(step_left: np.ndarray, step_right: np.ndarray, roots: np.ndarray) -> int:
    depth, frontier = 0, roots[roots < len(step_left)]
    while len(frontier):
        depth += 1
        below = np.concatenate([step_left[frontier], step_right[frontier]])
        frontier = below[below < len(step_left)]
    return depth


def to_probabilities(scores: np.ndarray) -> np.ndarray:
    """float64 [N, classes] from raw scores [N, 1] (two classes) or [N, classes]."""
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def average(members: list[Arrays]) -> Arrays:
    """One ensemble in plain form whose scores are the mean of its members' scores."""
    starts = np.cumsum([0] + [len(member["feature"]) for member in members])
    set_starts = np.cumsum([0] + [len(member["category_sets"]) for member in members])
    joined = {
        key: np.concatenate([member[key] for member in members])
        for key in ("feature", "right", "missing_left", "value", "category_sets")
    }
    joined["value"] = joined["value"] / len(members)
    joined["tree_start"] = np.concatenate([m["tree_start"] + s for m, s in zip(members, starts, strict=False)])
    joined["threshold"] = np.concatenate(
        [
            np.where(_splits_by_set(member), member["threshold"] + start, member["threshold"])
            for member, start in zip(members, set_starts, strict=False)
        ]
    )
    joined["baseline"] = np.mean([member["baseline"] for member in members], axis=0)
    dtypes = {"value": np.float32, "threshold": np.float32, "tree_start": np.int32}
    joined = {key: value.astype(dtypes.get(key, value.dtype)) for key, value in joined.items()}
    return {**joined, "categorical": members[0]["categorical"]}


def _splits_by_set(arrays: Arrays) -> np.ndarray:
    """bool [M]: which nodes split by categories."""
    feature = arrays["feature"]
    return (feature >= 0) & (arrays["categorical"][np.maximum(feature, 0)] > 0)


def quantise(arrays: Arrays) -> Arrays:
    """The compressed form of a plain ensemble. Only leaf values are rounded; every split stays as it was."""
    feature, by_set = arrays["feature"], _splits_by_set(arrays)
    is_leaf = feature < 0
    sets, set_index = np.unique(arrays["category_sets"], axis=0, return_inverse=True)
    edges, edge_start, codes = _encode_thresholds(arrays, by_set)
    leaf_code, leaf_scale, sizes = _encode_leaves(arrays, is_leaf)
    chosen = set_index.reshape(-1)[arrays["threshold"][by_set].astype(np.intp)]
    return {
        "leaf_bits": np.packbits(is_leaf),
        "missing_bits": np.packbits(arrays["missing_left"][~is_leaf] > 0),
        "node_feature": feature[~is_leaf].astype(_small(len(arrays["categorical"]))),
        "node_code": codes[~is_leaf & ~by_set],
        "set_index": chosen.astype(_small(len(sets))),
        "edges": edges,
        "edge_start": edge_start,
        "leaf_code": leaf_code,
        "leaf_scale": leaf_scale,
        "tree_size": sizes.astype(np.uint16 if sizes.max(initial=0) < 2**16 else np.uint32),
        "category_sets": sets,
        "categorical": arrays["categorical"],
        "baseline": arrays["baseline"],
    }


def _small(count: int) -> type[np.unsignedinteger]:
    """The smallest type that counts to `count`."""
    return np.uint8 if count <= 2**8 else np.uint16 if count <= 2**16 else np.uint32


def _encode_thresholds(arrays: Arrays, by_set: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    feature, threshold = arrays["feature"], arrays["threshold"]
    codes = np.zeros(len(feature), dtype=np.intp)
    tables = []
    for index in range(len(arrays["categorical"])):
        here = (feature == index) & ~by_set
        table, codes[here] = np.unique(threshold[here], return_inverse=True)
        tables.append(table)
    starts = np.cumsum([0] + [len(table) for table in tables]).astype(np.int32)
    widest = max((len(table) for table in tables), default=0)
    return np.concatenate(tables).astype(np.float32), starts, codes.astype(_small(widest))


def _encode_leaves(arrays: Arrays, is_leaf: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts = arrays["tree_start"].astype(np.intp)
    sizes = np.diff(np.append(starts, len(is_leaf)))
    values = np.where(is_leaf, arrays["value"], 0)
    scale = np.maximum.reduceat(np.abs(values), starts) / 127
    scale[scale == 0] = 1
    codes = np.rint(values / np.repeat(scale, sizes)).astype(np.int8)
    return codes[is_leaf], scale.astype(np.float32), sizes


def restore(arrays: Arrays) -> Arrays:
    """The plain form of a quantised ensemble."""
    arrays = _known(arrays, QUANTISED_KEYS)
    sizes = arrays["tree_size"].astype(np.intp)
    count = int(sizes.sum())
    is_leaf = np.unpackbits(arrays["leaf_bits"], count=count).astype(bool)
    splits = np.flatnonzero(~is_leaf)
    feature = np.full(count, -1, dtype=np.int32)
    feature[splits] = arrays["node_feature"]
    by_set = _splits_by_set({**arrays, "feature": feature})
    threshold = np.zeros(count, dtype=np.float32)
    by_edge = ~is_leaf & ~by_set
    threshold[by_edge] = arrays["edges"][arrays["edge_start"][feature[by_edge]] + arrays["node_code"].astype(np.intp)]
    threshold[by_set] = arrays["set_index"]
    missing_left = np.zeros(count, dtype=np.uint8)
    missing_left[splits] = np.unpackbits(arrays["missing_bits"], count=len(splits))
    value = np.zeros(count, dtype=np.float32)
    value[is_leaf] = arrays["leaf_code"] * np.repeat(arrays["leaf_scale"], sizes)[is_leaf]
    kept = {key: arrays[key] for key in ("category_sets", "categorical", "baseline")}
    return {
        "feature": feature,
        "threshold": threshold,
        "right": _right_children(is_leaf),
        "missing_left": missing_left,
        "value": value,
        "tree_start": (np.cumsum(sizes) - sizes).astype(np.int32),
        **kept,
    }


def _right_children(is_leaf: np.ndarray) -> np.ndarray:
    """int32 [M]: distance to the right child, from the preorder alone: it follows the last leaf of the left subtree."""
    right = np.zeros(len(is_leaf), dtype=np.int32)
    waiting: list[int] = []
    for node, leaf in enumerate(is_leaf.tolist()):
        if not leaf:
            waiting.append(node)
        elif waiting:
            parent = waiting.pop()
            right[parent] = node + 1 - parent
    if waiting:
        raise ValueError("a tree has no end")
    return right


def save(arrays: Arrays, path: str | Path) -> None:
    """Write an ensemble of either form as safetensors."""
    write_arrays(arrays, path)


def load(path: str | Path) -> Ensemble:
    """Read an ensemble of either form, ready to predict."""
    return Ensemble.from_arrays(read_arrays(path))


def predict(model: Ensemble | Arrays, rows: np.ndarray) -> np.ndarray:
    """Raw scores float64 [N, K] of an ensemble, or of arrays of either form, for `rows` float32 [N, F]."""
    ensemble = model if isinstance(model, Ensemble) else Ensemble.from_arrays(model)
    return ensemble.predict(rows)
