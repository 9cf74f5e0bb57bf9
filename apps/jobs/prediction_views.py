"""The pages of predictions of whole files: what to ask about, and what came out."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from apps.accounts.access import require_write
from apps.core.errors import DomainError, Unprocessable
from apps.datasets.models import Upload
from apps.datasets.preview import split_choices
from apps.datasets.sending import arrived_files, sent_files
from apps.datasets.services import max_upload_bytes
from apps.datasets.texts import upload_texts
from apps.jobs.finding import version_named
from apps.jobs.models import Job
from apps.jobs.predict_form import DATASET, FILE, USUAL_TOP, PredictForm
from apps.jobs.predicting import submit_prediction
from apps.jobs.prospects import look_ahead
from apps.jobs.results import Confusion, confusion
from apps.jobs.services import ONE_DEVICE, most_devices
from apps.jobs.where import WhereForm
from apps.registry.figures import Figure, figures
from apps.resources.nodes import usual_pool
from apps.resources.wanted import Wanted
from workers.predicting.kinds import CSV_FILE, JSON_FILE, PREDICTION_FILES, TARGETS_FILE, reads_rows

MOST_COUNTS = 12
FILE_WORDS = {CSV_FILE: "CSV", JSON_FILE: "JSON Lines", TARGETS_FILE: gettext_lazy("Target list")}
BESIDE = {"dataset": "dataset_version", "upload": "uploads"}  # where the form shows what a service refuses


@require_http_methods(["GET", "POST"])
def predict(request: HttpRequest) -> HttpResponse:
    """?version= is the model version that is asked; ?source= dataset or file."""
    require_write(request)
    sent = request.POST if request.method == "POST" else request.GET
    version = version_named(request, sent.get("version", ""))
    is_submitted = request.method == "POST"
    form = PredictForm(team=request.team, version=version, values=sent, is_submitted=is_submitted)
    draft = form.draft(request.team, request.user)
    usual = Wanted(usual_pool(), ONE_DEVICE)
    where = WhereForm(team=request.team, user=request.user, values=sent, usual=usual, most_devices=most_devices(draft))
    status = 200
    if is_submitted:
        made = _submit(request, form, where)
        if isinstance(made, Job):
            return redirect("jobs:detail", made.pk)
        status = made
    context = {
        "form": form,
        "where": where,
        "version": version,
        "reads_rows": reads_rows(version.model.task),
        "prospect": look_ahead(job=draft, wanted=where.wanted, user=request.user),
        "max_bytes": max_upload_bytes(),
        "splits": split_choices(),
        "texts": upload_texts(),
        "arrived": arrived_files(request, form) if is_submitted else [],
    }
    return render(request, "jobs/predict.html", context, status=status)


def _submit(request: HttpRequest, form: PredictForm, where: WhereForm) -> Job | int:
    """The job, or the status of the page that says what is wrong."""
    if not (form.is_valid() and where.is_valid()):
        return 422
    try:
        return submit_prediction(
            team=request.team,
            user=request.user,
            version=form.version,
            data=form.chosen if form.source == DATASET else None,
            upload=_upload(request, form) if form.source == FILE else None,
            split=form.cleaned_data["split"],
            has_class_columns=form.cleaned_data.get("class_columns", False),
            ranked_by=form.cleaned_data.get("ranked_by", ""),
            top=form.cleaned_data.get("top") or USUAL_TOP,
            demand=where.wanted.demand,
            terms=where.wanted.terms,
            pool=where.wanted.pool,
        )
    except DomainError as error:
        field = BESIDE.get(error.field, error.field)
        beside = where if field in where.fields else form
        beside.add_error(field if field in beside.fields else None, error.message)
        return error.status


def _upload(request: HttpRequest, form: PredictForm) -> Upload:
    """The one file that was sent. Raises Unprocessable for none or several."""
    files = sent_files(request, form.cleaned_data["uploads"])
    if len(files) != 1:
        message = _("Choose a file.") if not files else _("Send one file at a time; several images go into one ZIP.")
        raise Unprocessable(message, code="no_source", field="upload")
    return files[0][0]


# What came out


@dataclass(frozen=True)
class Predicted:
    """What a prediction found, as its page shows it. `counts` are (class, rows, share of the most frequent)."""

    rows: int
    errors: int
    error_kinds: list[dict[str, Any]]
    columns: list[str]
    preview: list[list[str]]
    hidden_columns: int
    counts: list[tuple[str, int, float]]
    more_classes: int
    figures: list[Figure]
    judged: int
    unknown_classes: int
    confusion: Confusion | None
    files: list[dict[str, Any]]
    rows_per_second: float
    targets: dict[str, Any] | None

    @property
    def answered(self) -> int:
        return self.rows - self.errors


def read_predicted(job: Job) -> Predicted:
    """Of a prediction that has succeeded."""
    result = job.result
    counts = sorted(result["counts"].items(), key=lambda item: -item[1])
    most = counts[0][1] if counts else 1
    matrix = result.get("confusion")
    return Predicted(
        rows=result["rows"],
        errors=result["errors"],
        error_kinds=sorted(result["error_kinds"], key=lambda kind: -kind["count"]),
        columns=result["columns"],
        preview=result["preview"],
        hidden_columns=result["hidden_columns"],
        counts=[(name, count, count / most) for name, count in counts[:MOST_COUNTS]],
        more_classes=max(0, len(counts) - MOST_COUNTS),
        figures=figures(result["metrics"]),
        judged=result.get("judged", 0),
        unknown_classes=result.get("unknown_classes", 0),
        confusion=confusion(matrix["labels"], matrix["matrix"]) if matrix else None,
        files=[
            {"name": name, "word": FILE_WORDS[name], **job.outputs[name]}
            for name in PREDICTION_FILES
            if name in job.outputs
        ],
        rows_per_second=result["rows_per_second"],
        targets=result.get("targets"),
    )
