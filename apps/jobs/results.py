"""What a job left behind as its page shows it: figures, confusion matrix, worst mistakes, before and after. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext_lazy as _

from apps.core.charts import series_chart
from apps.jobs.heard import Heard, read_heard
from apps.registry.calibration import Calibration, read_calibration
from apps.registry.figures import KNOWN, Figure, figure, figures, plain, write
from apps.registry.labels import LabelRow, label_rows

SHADES = 10
MAX_CLASSES_AS_TABLE = 40
MAX_CLASSES_IN_HALF = 10
MOST_CONFUSED = 5
MAX_IMPORTANCES = 12
LEAST_IMPORTANCE = 0.005
MAX_MISTAKEN_ROWS = 12
WITHOUT_A_MODEL = {
    "model": _("This model"),
    "memory": _("The translation of the most similar training text"),
    "copy": _("The text itself, untranslated"),
}
NAIVE = {
    "seasonal_naive": _("The value one season before"),
    "naive_with_drift": _("The last value, and on along the trend"),
}
COMPARED_BY = ("mase", "mae", "rmse", "smape")
FINDERS = {
    "model": _("This model"),
    "bm25": _("Words alone (BM25)"),
    "tfidf": _("Words alone (TF-IDF)"),
}
FOUND_FIGURES = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr")
FACTS = (
    "architecture",
    "parameters",
    "epochs",
    "best_epoch",
    "stopped_early",
    "model_bytes",
    "validation",
    "dropped_columns",
)


@dataclass(frozen=True)
class Cell:
    """`share` of its row; `shade` in 0..9 chooses the colour."""

    count: int
    share: float
    shade: int
    is_right: bool


@dataclass(frozen=True)
class ConfusionRow:
    name: str
    cells: list[Cell]
    total: int
    recall: float


@dataclass(frozen=True)
class Confusion:
    """Rows are true classes, columns predicted ones. `most` are the most frequent mix-ups: (count, true, said)."""

    classes: Sequence[str]
    rows: list[ConfusionRow]
    most: list[tuple[int, str, str]]

    @property
    def is_table(self) -> bool:
        return len(self.classes) <= MAX_CLASSES_AS_TABLE

    @property
    def is_small(self) -> bool:
        """Half the page is wide enough for it."""
        return len(self.classes) <= MAX_CLASSES_IN_HALF


@dataclass(frozen=True)
class Mistake:
    """`picture` and `sound` are names among the job's outputs, "" where there is none; `by` says how wrong it was."""

    said: str
    truth: str
    by: str
    picture: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    sound: str = ""


@dataclass(frozen=True)
class Share:
    """One column's weight; `fraction` of the weightiest in [0, 1], for a bar."""

    name: str
    text: str
    fraction: float


@dataclass(frozen=True)
class Tried:
    """A model that was tried, and what it reached on the validation data."""

    name: str
    family: str
    figure: Figure


@dataclass(frozen=True)
class Compared:
    """What translates, and its figures as they are shown."""

    name: str
    bleu: str
    chrf: str
    is_model: bool


@dataclass(frozen=True)
class Translated:
    """How good translations are beside ways to do without a model, on `pairs` of the `of` held-out pairs. `samples` are
    {"source", "reference", "machine", "score", "chrf"}, and `signatures` what others need to measure alike."""

    rows: list[Compared]
    pairs: int
    of: int
    signatures: Mapping[str, str]
    samples: Sequence[Mapping[str, Any]]
    is_beaten: bool  # by looking up the most similar training text


@dataclass(frozen=True)
class Charted:
    """A series with its forecast: `chart` is JSON for js/series.js, `rows` the same as a table."""

    name: str
    chart: str
    rows: list[dict[str, str]]


@dataclass(frozen=True)
class NaiveRow:
    name: str
    texts: list[str]
    is_model: bool


@dataclass(frozen=True)
class Finder:
    """What finds answers, and its figures as they are shown, as in `FOUND_FIGURES`."""

    name: str
    figures: list[str]
    is_model: bool


@dataclass(frozen=True)
class Forecasted:
    """Forecasts of held-out values, and the model's figures beside those of forecasts without learning."""

    charts: list[Charted]
    horizon: int
    origins: int
    values: int
    labels: list[str]
    rows: list[NaiveRow]
    is_beaten: bool


@dataclass(frozen=True)
class Retrieved:
    """How well `questions` that were held out find their answers among all `answers`, beside ways to do without a
    model. `vectors` is how much meaning counts beside words, in [0, 1]; below `threshold` the model does not know."""

    rows: list[Finder]
    headers: list[str]
    questions: int
    answers: int
    vectors: float
    threshold: float
    is_beaten: bool  # by words alone


@dataclass(frozen=True)
class Results:
    """`judged_on` is the split that `confusion` counts: test, or val where there is no test split."""

    test: list[Figure]
    validation: list[Figure]
    judged_on: str
    facts: Mapping[str, Any]
    confusion: Confusion | None
    mistakes: list[Mistake]
    importance: list[Share]
    leaderboard: list[Tried]
    translation: Translated | None = None
    forecast: Forecasted | None = None
    labels: Sequence[LabelRow] = ()
    heard: Heard | None = None
    retrieval: Retrieved | None = None
    calibration: Calibration | None = None


def read(result: Mapping[str, Any], outputs: Mapping[str, Any], columns: Sequence[str] = ()) -> Results:
    """`result` is what a training wrote. Pictures and recordings that are not among `outputs` are left out; `columns`
    is the order in which a table's rows are shown."""
    metrics, baseline = result.get("metrics", {}), result.get("baseline", {})
    return Results(
        test=figures(metrics.get("test"), baseline.get("test")),
        validation=figures(metrics.get("val"), baseline.get("val")),
        judged_on="test" if metrics.get("test") else "val",
        facts=_facts(result),
        confusion=_confusion(result),
        mistakes=_mistakes(result.get("mistakes", []), outputs, columns),
        importance=_shares(result.get("importance", [])),
        leaderboard=[_tried(item) for item in result.get("leaderboard", [])],
        translation=_translated(result),
        forecast=_forecasted(result),
        labels=label_rows(result.get("labels", [])),
        heard=read_heard(result, outputs),
        retrieval=_retrieved(result),
        calibration=read_calibration(result),
    )


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: result[name] for name in FACTS if result.get(name) not in (None, "", [], {})}
    if "dropped_columns" in known:
        known["dropped_columns"] = [column["name"] for column in known["dropped_columns"]]
    return known


def _forecasted(result: Mapping[str, Any]) -> Forecasted | None:
    if not result.get("backtest"):
        return None
    about = result["backtest"]
    ours, naive = result["metrics"][about["split"]], result["baselines"]
    names = [name for name in COMPARED_BY if name in ours]
    all_rows = [(_("This model"), ours, True), *((NAIVE[name], figures_, False) for name, figures_ in naive.items())]
    rows = [
        NaiveRow(str(label), [write(name, values[name]) if name in values else "–" for name in names], is_model)
        for label, values, is_model in all_rows
    ]
    return Forecasted(
        charts=[_charted(item) for item in result["examples"]],
        horizon=result["horizon"],
        origins=about["origins"],
        values=about["values"],
        labels=[str(KNOWN[name][0]) for name in names],
        rows=rows,
        is_beaten=naive["seasonal_naive"]["mae"] <= ours["mae"],
    )


def _charted(item: Mapping[str, Any]) -> Charted:
    lines = {name: item[name] for name in ("forecast", "low", "high")}
    told = zip(item["times"], item["values"], *lines.values(), strict=True)
    rows = [
        {"time": time, "truth": "–" if truth is None else plain(truth), "forecast": plain(middle), "low": plain(low),
         "high": plain(high)}
        for time, truth, middle, low, high in told
        if middle is not None
    ]  # fmt: skip
    return Charted(item["name"], series_chart(item["times"], item["values"], **lines), rows)


def _translated(result: Mapping[str, Any]) -> Translated | None:
    if not result.get("samples"):
        return None
    judged = result["judged"]
    ours = {name: result["metrics"][judged["split"]][name] for name in ("bleu", "chrf")}
    figures_of = {"model": ours} | result["baselines"]
    rows = [(name, figures_of[name], label) for name, label in WITHOUT_A_MODEL.items()]
    return Translated(
        rows=[
            Compared(str(label), *(write(item, values[item]) for item in ("bleu", "chrf")), name == "model")
            for name, values, label in rows
        ],
        pairs=judged["pairs"],
        of=judged["of"],
        signatures=result["signatures"],
        samples=result["samples"],
        is_beaten=result["baselines"]["memory"]["bleu"] > ours["bleu"],
    )  # fmt: skip


def _retrieved(result: Mapping[str, Any]) -> Retrieved | None:
    if "mixture" not in result:
        return None
    judged, alone = result["judged"], result["baselines"]
    figures_of = {"model": result["metrics"][judged["split"]]} | alone
    rows = [
        Finder(str(label), [write(item, figures_of[name][item]) for item in FOUND_FIGURES], name == "model")
        for name, label in FINDERS.items()
    ]
    return Retrieved(
        rows=rows,
        headers=[figure(name, 0.0).label for name in FOUND_FIGURES],
        questions=judged["questions"],
        answers=judged["answers"],
        vectors=result["mixture"]["vectors"],
        threshold=result["threshold"],
        is_beaten=max(values["recall_at_1"] for values in alone.values()) > figures_of["model"]["recall_at_1"],
    )


def _tried(item: Mapping[str, Any]) -> Tried:
    """Table trainings compare losses, others name what they compare."""
    found = figure(item["metric"], item["value"]) if "metric" in item else figure("loss", item["val_loss"])
    return Tried(item["name"], item["family"], found)


def _confusion(result: Mapping[str, Any]) -> Confusion | None:
    found = result.get("confusion")
    if not found:
        return None
    # Table trainings write the bare matrix, image trainings name the classes beside it.
    return confusion(found["labels"], found["matrix"]) if "labels" in found else confusion(result["classes"], found)


def _mistakes(found: Sequence[Mapping[str, Any]], outputs: Mapping[str, Any], columns: Sequence[str]) -> list[Mistake]:
    pictures = [_mistake(item, {}) for item in found if item.get("image") in outputs]
    sounds = [_mistake(item, {}) for item in found if item.get("audio") in outputs]
    rows = [_mistake(item, _in_order(item["row"], columns)) for item in found if "row" in item]
    texts = [_mistake(item, {}) for item in found if "text" in item]
    return pictures or sounds or texts[:MAX_MISTAKEN_ROWS] or rows[:MAX_MISTAKEN_ROWS]


def _in_order(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """The database does not keep the order of a row's columns."""
    known = [name for name in columns if name in row]
    return {name: row[name] for name in (known or row)}


def _mistake(item: Mapping[str, Any], row: Mapping[str, Any]) -> Mistake:
    if "error" in item:
        off = f"{'+' if item['error'] > 0 else '−'}{plain(abs(item['error']))}"
        return Mistake(plain(item["predicted"]), plain(item["true"]), off, row=row)
    by = f"{item['probability'] * 100:.0f} %"
    shown = {"picture": item.get("image", ""), "text": item.get("text", ""), "sound": item.get("audio", "")}
    return Mistake(str(item["predicted"]), str(item["true"]), by, row=row, **shown)


def _shares(importance: Sequence[Mapping[str, Any]]) -> list[Share]:
    """The columns whose values matter; shuffling the others costs nothing."""
    largest = max((item["importance"] for item in importance), default=0.0)
    least = max(largest, 0.0) * LEAST_IMPORTANCE
    useful = [item for item in importance if item["importance"] > least][:MAX_IMPORTANCES]
    return [Share(item["column"], f"{item['importance']:.3g}", item["importance"] / largest) for item in useful]


def confusion(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> Confusion:
    rows = [_row(classes[place], place, counts) for place, counts in enumerate(matrix)]
    wrong = [
        (count, classes[truth], classes[said])
        for truth, counts in enumerate(matrix)
        for said, count in enumerate(counts)
        if count and truth != said
    ]
    return Confusion(classes, rows, sorted(wrong, key=lambda item: -item[0])[:MOST_CONFUSED])


def _row(name: str, place: int, counts: Sequence[int]) -> ConfusionRow:
    total = sum(counts)
    cells = []
    for column, count in enumerate(counts):
        share = count / total if total else 0.0
        # Anything that occurs at all is visible: the lightest shade but one.
        shade = min(SHADES - 1, max(1, round(share * (SHADES - 1)))) if count else 0
        cells.append(Cell(count, share, shade, column == place))
    return ConfusionRow(name, cells, total, cells[place].share if place < len(cells) else 0.0)
