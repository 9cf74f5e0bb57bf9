"""An explanation as the demo page shows it: shades of two colours, for and against the answer. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHADES = 9
MOST_CONTRIBUTIONS = 12
LEAST_SHARE = 0.05  # of the largest weight, below which a word has no colour


@dataclass(frozen=True)
class Token:
    """A piece of a text; `shade` is "for-1" to "for-9", "against-1" to "against-9", or "" where it matters little."""

    text: str
    shade: str
    weight: str


@dataclass(frozen=True)
class Contribution:
    """What a column adds to the answer; `share` of the largest in [0, 1], for a bar."""

    column: str
    value: str
    usual: str
    text: str
    is_for: bool
    share: float


@dataclass(frozen=True)
class Explained:
    """`overlay` is a data URI of a picture; of the three parts the one is there that the model's input has."""

    method: str
    overlay: str = ""
    tokens: Sequence[Token] = ()
    contributions: Sequence[Contribution] = ()
    hidden: int = 0
    baseline: str = ""
    output: str = ""


def read_explanation(found: Mapping[str, Any], *, has_classes: bool) -> Explained:
    """`found` is what a replica says (workers/inference/explaining)."""
    match found["method"]:
        case "occlusion":
            return Explained("occlusion", overlay=f"data:image/png;base64,{found['overlay']}")
        case "leave_one_out":
            return Explained("leave_one_out", tokens=_tokens(found["tokens"]))
        case _:
            return _contributions(found, has_classes)


def _tokens(tokens: Sequence[Mapping[str, Any]]) -> list[Token]:
    largest = max((abs(token["weight"]) for token in tokens if token["weight"] is not None), default=0.0)
    return [Token(token["text"], _shade(token["weight"], largest), _signed(token["weight"])) for token in tokens]


def _shade(weight: float | None, largest: float) -> str:
    if weight is None or not largest or abs(weight) < LEAST_SHARE * largest:
        return ""
    return f"{'for' if weight > 0 else 'against'}-{max(1, round(SHADES * abs(weight) / largest))}"


def _signed(weight: float | None) -> str:
    return "" if weight is None else f"{'+' if weight >= 0 else '−'}{abs(weight) * 100:.1f} pp"


def _contributions(found: Mapping[str, Any], has_classes: bool) -> Explained:
    parts = [part for part in found["contributions"] if part["contribution"]]
    largest = max((abs(part["contribution"]) for part in parts), default=1.0)
    shown = parts[:MOST_CONTRIBUTIONS]
    return Explained(
        "shapley",
        contributions=[
            Contribution(
                column=part["column"],
                value=_cell(part["value"]),
                usual=_cell(part["usual"]),
                text=_signed(part["contribution"]) if has_classes else _number(part["contribution"]),
                is_for=part["contribution"] > 0,
                share=abs(part["contribution"]) / largest,
            )
            for part in shown
        ],
        hidden=len(parts) - len(shown),
        baseline=_whole(found["baseline"], has_classes),
        output=_whole(found["output"], has_classes),
    )


def _cell(value: Any) -> str:
    return "–" if value is None or value == "" else f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{abs(value):.4g}"


def _whole(value: float, has_classes: bool) -> str:
    return f"{value * 100:.1f} %" if has_classes else f"{value:.4g}"
