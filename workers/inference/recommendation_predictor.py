"""A model that recommends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from workers.arrays import read_arrays
from workers.contract import ProgramFailure
from workers.inference.files import read_rows
from workers.neighbours import Neighbour, Reason, Takers
from workers.recommending import Factors, ItemWeights, Popularity, Ratings, Scorer, TwoTower, best_places

WEIGHTS_FILE, CATALOGUE_FILE = "model.safetensors", "catalogue.json"
USUAL_LENGTH, MOST_ITEMS = 10, 1_000
HISTORY, ITEMS, POPULARITY = "history", "items", "popularity"
DIGITS = 5
MOST_NAMED = 20  # items of somebody


@dataclass(frozen=True)
class Recommended:
    """The answer to one question: `places` are numbers of items, best first, with their `scores`; `rated` the ratings
    that are expected of them, where the model is about ratings. `asked` is the number of the one item that was asked
    about, -1 for a list. Where it was asked for, `owned` are the items of the history, `reasons` says why each of
    `places` is recommended, and `people` are those with most in common."""

    places: np.ndarray
    scores: np.ndarray
    rated: np.ndarray | None
    based_on: str
    unknown: list[str]
    asked: int = -1
    rank: int = 0
    owned: np.ndarray | None = None
    reasons: list[Reason | None] = field(default_factory=list)
    people: list[Neighbour] | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """By which answers are compared: the scores, best first."""
        return np.asarray(self.scores, dtype=dtype)


class RecommendationPredictor:
    """Items for a user of the data, or for somebody who names some items they like.

    A question is ``{"user": id}`` or ``{"items": [id, ...]}`` (for ratings also ``{"items": {id: rating}}``), with "k",
    the number of items; "item", one item to be judged; and "exclude_seen", which is true unless it says otherwise.
    With "reasons" the answer says why, and with "people" who has most in common, so many of them.
    """

    classes: list[str] = []

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        arrays = read_arrays(model_dir / WEIGHTS_FILE)
        catalogue = json.loads((model_dir / CATALOGUE_FILE).read_text(encoding="utf-8"))
        self.items: list[str] = catalogue["items"]
        self.names: list[str] = catalogue["names"] or [""] * len(self.items)
        self.sample: dict[str, Any] = json.loads((model_dir / meta["sample"]).read_text(encoding="utf-8"))
        self._users = {user: number for number, user in enumerate(catalogue["users"])}
        self._places = {item: number for number, item in enumerate(self.items)}
        self._popular = Popularity(arrays["popularity"])
        self._ranker = _scorer(meta["ranking"], arrays, "ranking.")
        self._rater = _scorer(meta["ratings"], arrays, "ratings.") if meta["ratings"] else None
        self._starts, self._taken, self._values = (arrays[f"history.{name}"] for name in ("starts", "items", "values"))
        self._user_ids: list[str] = catalogue["users"]
        self.is_rated = meta["feedback"] == "ratings"
        _check_sizes(self, arrays)

    @cached_property
    def takers(self) -> Takers:
        """Made when it is first asked why."""
        return Takers(self._starts, self._taken, len(self.items))

    def rank(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        """float32 [items]: how well each goes with a history of item numbers and ratings or numbers of events."""
        liked = values >= self.meta["liked_from"] if self.is_rated else np.ones(len(items), dtype=bool)
        weights = np.ones(int(liked.sum())) if self.is_rated else 1 + np.log(np.maximum(values[liked], 1))
        return self._ranker.scores(items[liked], weights.astype(np.float32))

    def expect(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        """float32 [items]: the rating that is expected of each."""
        return self._rater.scores(items, values)

    def encode(self, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return list(items)

    def feed(self, items: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        return {}  # there is no graph

    def run(self, encoded: Sequence[Mapping[str, Any]]) -> list[Recommended]:
        return [self._answer(question) for question in encoded]

    def predict(self, items: Sequence[Mapping[str, Any]]) -> list[Recommended]:
        return self.run(self.encode(items))

    def _answer(self, question: Mapping[str, Any]) -> Recommended:
        items, values, based_on, unknown = self._history(question)
        has_liked = bool(len(items)) and (not self.is_rated or bool((values >= self.meta["liked_from"]).any()))
        scores = self.rank(items, values) if has_liked else self._popular.scores(items, values)
        based_on = based_on if has_liked else POPULARITY
        rated = self.expect(items, values) if self._rater else None
        seen = items if question.get("exclude_seen", True) else items[:0]
        if (item := question.get("item")) is not None:
            return self._about_one(str(item), scores, rated, based_on, unknown)
        places = best_places(scores, question.get("k", USUAL_LENGTH), seen)
        more = self._why(question, places, items)
        return Recommended(places, scores[places], None if rated is None else rated[places], based_on, unknown, **more)

    def _why(self, question: Mapping[str, Any], places: np.ndarray, history: np.ndarray) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if question.get("reasons"):
            more |= {"owned": history, "reasons": [self.takers.reason(place, history) for place in places.tolist()]}
        if most := question.get("people"):
            asking = self._users.get(str(question.get("user")), -1)
            more["people"] = self.takers.neighbours(history, most, asking)
        return more

    def _history(self, question: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, str, list[str]]:
        """Item numbers, their values, what the answer is based on, and what is not known."""
        if "items" not in question:
            number = self._users.get(str(question["user"]))
            if number is None:
                return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), HISTORY, []
            part = slice(self._starts[number], self._starts[number + 1])
            return self._taken[part].astype(np.int64), self._values[part], HISTORY, []
        given = question["items"]
        usual = float(self._rater.highest) if self._rater else 1.0
        pairs = given.items() if isinstance(given, Mapping) else ((item, usual) for item in dict.fromkeys(given))
        known = [(self._places[str(item)], value) for item, value in pairs if str(item) in self._places]
        unknown = [str(item) for item in given if str(item) not in self._places]
        places = np.array([place for place, _ in known], dtype=np.int64)
        return places, np.array([value for _, value in known], dtype=np.float32), ITEMS, unknown

    def _about_one(
        self, item: str, scores: np.ndarray, rated: np.ndarray | None, based_on: str, unknown: list[str]
    ) -> Recommended:
        place = self._places.get(item)
        if place is None:
            message = f"The model knows no item {item[:60]!r}."
            raise ProgramFailure("unknown_item", message, hint="Ask about one it was trained on.", field="item")
        places = np.array([place])
        rank = int((scores > scores[place]).sum()) + 1
        return Recommended(
            places, scores[places], None if rated is None else rated[places], based_on, unknown, place, rank
        )

    def items_in(self, path: Path) -> list[dict[str, Any]]:
        """The users in the column of a CSV file that was learned from, each once, or one on each line of a text file.
        Raises ProgramFailure."""
        column = self.meta["input"]["columns_by_role"]["user"]
        if path.suffix.lower() != ".csv":
            users = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        else:
            rows = read_rows(path)
            if rows and column not in rows[0]:
                hint = "Add it, or write one user on each line of a .txt file."
                raise ProgramFailure("missing_column", f"{path.name} lacks the column {column!r}.", hint=hint)
            users = [row[column] for row in rows]
        return [{"user": user} for user in dict.fromkeys(users) if user]

    def outcome(self, output: Recommended, top_k: int | None = None) -> dict[str, Any]:
        """{"items": [{"item", "name", "score", "rating"}], "based_on"}, and of one item these and its "rank". With
        reasons items have "because" {"items", "people", "also"} where there is one, and the whole has "owned"; with
        people it has "people" [{"user", "likeness", "shared", "others"}]."""
        listed = [self._item(output, number) for number in range(len(output.places))]
        more = {"unknown_items": output.unknown} if output.unknown else {}
        if output.asked >= 0:
            return {**listed[0], "rank": output.rank, "based_on": output.based_on, **more}
        if output.owned is not None:
            more["owned"] = [self._named(place) for place in output.owned.tolist()]
        if output.people is not None:
            more["people"] = [self._person(each) for each in output.people]
        return {"items": listed[: top_k or len(listed)], "based_on": output.based_on, **more}

    def _named(self, place: int) -> dict[str, str]:
        return {"item": self.items[place], "name": self.names[place]}

    def _person(self, each: Neighbour) -> dict[str, Any]:
        shared, others = ([self._named(place) for place in part.tolist()] for part in (each.shared, each.others))
        return {
            "user": self._user_ids[each.user],
            "likeness": round(each.likeness, 3),
            "shared": shared[:MOST_NAMED],
            "others": others[:MOST_NAMED],
        }

    def _because(self, reason: Reason) -> dict[str, Any]:
        return {"items": [self._named(place) for place in reason.items], "people": reason.people, "also": reason.also}

    def _item(self, output: Recommended, number: int) -> dict[str, Any]:
        place = int(output.places[number])
        found = {
            "item": self.items[place],
            "name": self.names[place],
            "score": float(f"{output.scores[number]:.{DIGITS}g}"),
        }
        if output.rated is not None:
            found["rating"] = round(float(output.rated[number]), 3)
        if output.reasons and (reason := output.reasons[number]):
            found["because"] = self._because(reason)
        return found


def _scorer(settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> Scorer:
    mine = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    match settings["kind"]:
        case "popularity":
            return Popularity(mine["counts"])
        case "item_weights":
            return ItemWeights(mine["starts"], mine["places"], mine["weights"])
        case "factors":
            wide = mine["items"].astype(np.float64)
            return Factors(mine["items"], wide.T @ wide, settings["unobserved"], settings["regularization"])
        case "two_tower":
            hidden, out = ((mine[f"{layer}.weight"], mine[f"{layer}.bias"]) for layer in ("hidden", "out"))
            return TwoTower(mine["embeddings"], mine["biases"], hidden, out)
        case "ratings":
            mean, lowest, highest = mine["scale"].tolist()
            return Ratings(mean, mine["biases"], mine["items"], settings["regularization"], lowest, highest)
    raise ValueError(f"there is no kind of model {settings['kind']!r}")


def _check_sizes(model: RecommendationPredictor, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError for files that do not belong together."""
    items = len(model.items)
    if len(arrays["popularity"]) != items or len(model.names) != items or len(model._starts) != len(model._users) + 1:
        raise ValueError("the catalogue and the arrays are of different sizes")
    if len(model._taken) and not 0 <= int(model._taken.min()) <= int(model._taken.max()) < items:
        raise ValueError("a history names an item that the catalogue does not have")
