"""Whom to recommend to: ``{"user": "42", "k": 10}``, ``{"items": ["a", "b"]}``, ``{"user": "42", "item": "a"}``,
``{"users": ["42", "43"]}`` or ``{"rows": [{"user_id": "42"}, ...]}`` for several, or one tensor of users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workers.contract import ProgramFailure
from workers.inference.framing import RAW, SAMPLE, Question
from workers.inference.questions.columns import as_texts, only
from workers.inference.questions.json_body import read_object, refuse_unknown
from workers.inference.tensors import Request
from workers.recommending import LARGEST_RATING

if TYPE_CHECKING:
    from workers.inference.recommendation_predictor import RecommendationPredictor, Recommended

FORM = '{"user": "..."} or {"items": ["...", "..."]}'
MOST_USERS, MOST_LIKED, LONGEST_LIST = 1_000, 1_000, 1_000
OF_TENSORS = 10
MOST_PEOPLE = 20
KNOWN = ("user", "users", "rows", "items", "item", "k", "exclude_seen", "reasons", "people")


def read(predictor: RecommendationPredictor, question: Question) -> tuple[list[dict[str, Any]], bool]:
    """Raises ProgramFailure: invalid_request, wrong_content_type, unknown_field, too_many_users, too_many_items,
    out_of_range."""
    if question.content == SAMPLE:
        return [predictor.sample], True
    if question.content == RAW:
        raise ProgramFailure("wrong_content_type", "The body is not JSON.", hint=f"Send {FORM}.")
    asked = read_object(question.body, FORM)
    refuse_unknown(asked, KNOWN)
    shared = _options(asked, question.top_k)
    users = asked.get("users")
    if "rows" in asked:
        users = _users_of(predictor, asked["rows"])
    elif users is None:
        return [_one(predictor, asked) | shared], True
    if not isinstance(users, list) or not users or not all(map(_is_id, users)):
        raise _invalid('"users" is not a list of users.', "users")
    if len(users) > MOST_USERS:
        message = f"{len(users):,} users are too many for one request; at most {MOST_USERS:,} are answered."
        raise ProgramFailure("too_many_users", message, hint="Send them in parts.", field="users")
    return [{"user": str(user)} | shared for user in users], False


def _users_of(predictor: RecommendationPredictor, rows: Any) -> list[Any]:
    """What stands in the column of users of a table's rows."""
    column = predictor.meta["input"]["columns_by_role"]["user"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) and _is_id(row.get(column)) for row in rows):
        raise _invalid(f'"rows" is not a list of objects with a user under "{column}".', "rows")
    return [row[column] for row in rows]


def _one(predictor: RecommendationPredictor, asked: Mapping[str, Any]) -> dict[str, Any]:
    if "items" in asked and "user" in asked:
        raise _invalid('"user" and "items" do not go together: the items are those of somebody new.', "items")
    if "items" in asked:
        return {"items": _liked(predictor, asked["items"])}
    if not _is_id(asked.get("user")):
        raise _invalid('The JSON has neither a text under "user" nor items under "items".', "user")
    return {"user": str(asked["user"])}


def _liked(predictor: RecommendationPredictor, items: Any) -> Any:
    """A list of items, or an object of items and ratings."""
    if isinstance(items, dict):
        if not predictor.is_rated:
            raise _invalid("This model knows no ratings; send a list of items.", "items")
        if not items or not all(map(_is_rating, items.values())):
            raise _invalid('"items" is not an object of items and ratings.', "items")
    elif not isinstance(items, list) or not items or not all(map(_is_id, items)):
        raise _invalid('"items" is not a list of items.', "items")
    if len(items) > MOST_LIKED:
        message = f"{len(items):,} items are too many for one request; at most {MOST_LIKED:,} are read."
        raise ProgramFailure("too_many_items", message, hint="Send those that say most.", field="items")
    return items if isinstance(items, dict) else [str(item) for item in items]


def _options(asked: Mapping[str, Any], top_k: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    k = asked.get("k", top_k)
    if k is not None:
        found["k"] = _whole(k, "k", LONGEST_LIST)
    for name in ("exclude_seen", "reasons"):
        if name in asked and not isinstance(asked[name], bool):
            raise _invalid(f'"{name}" must be true or false.', name)
        found |= {name: asked[name]} if name in asked else {}
    if "people" in asked:
        found["people"] = _whole(asked["people"], "people", MOST_PEOPLE)
    if "item" in asked:
        if not _is_id(asked["item"]):
            raise _invalid('"item" is not a text.', "item")
        found["item"] = str(asked["item"])
    return found


def _whole(value: Any, field: str, most: int) -> int:
    """Raises ProgramFailure (out_of_range)."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        message = f'"{field}" must be a whole number from 1 to {most:,}.'
        raise ProgramFailure("out_of_range", message, field=field)
    return value


def _is_id(value: Any) -> bool:
    """A text, or a whole number as ids often are."""
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))


def _is_rating(value: Any) -> bool:
    """A number that can be reckoned with: JSON in Python knows NaN, Infinity and numbers of a thousand digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_RATING


def _invalid(message: str, field: str) -> ProgramFailure:
    return ProgramFailure("invalid_request", message, hint=f"Send {FORM}.", field=field)


def predict_tensors(predictor: RecommendationPredictor, request: Request) -> list[Recommended]:
    """One list of `OF_TENSORS` items for each user, shorter where there are no more."""
    users = as_texts(only(request), MOST_USERS)
    return predictor.predict([{"user": user, "k": OF_TENSORS} for user in users])


def describe(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "user", "datatype": "BYTES", "shape": [-1]}]
