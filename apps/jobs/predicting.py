"""Hand in a prediction: a model version is asked about a data set or an uploaded file."""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.accounts.models import Team, User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, Unprocessable
from apps.core.storage import Blob
from apps.datasets.models import DatasetVersion, Upload
from apps.jobs.models import Job
from apps.jobs.services import ONE_DEVICE, queue_job, require_ready
from apps.registry.models import ModelVersion
from apps.resources.models import Pool
from apps.resources.nodes import usual_pool
from apps.resources.scheduling import Demand
from apps.resources.wanted import USUAL_TERMS, Terms, Wanted
from workers.contract import KIND_TABLE, SPLITS, TABULAR_REGRESSION
from workers.domains import TASKS
from workers.predicting.kinds import missing_columns, reads_rows, what_to_send
from workers.preprocessing.sources import TABLE_ENDINGS, ending_of

ARCHIVE_ENDING = ".zip"
NAMED_COLUMNS = 5
MOST_TOP = 100.0  # per cent


def submit_prediction(
    *,
    team: Team,
    user: User | None,
    version: ModelVersion,
    data: DatasetVersion | None = None,
    upload: Upload | None = None,
    split: str = "",
    has_class_columns: bool = False,
    ranked_by: str = "",
    top: float = 100.0,
    demand: Demand = ONE_DEVICE,
    terms: Terms = USUAL_TERMS,
    pool: Pool | None = None,
) -> Job:
    """Queue a prediction of `data`, all of it or one `split`, or of a complete `upload`. With `ranked_by`, a class or
    the target of a regression, the `top` per cent of the rows for which it is highest are listed, highest first.

    Raises Unprocessable where there is not one of the two, or the model cannot be asked about it (with `field`), and
    Conflict where it is not ready.
    """
    if (data is None) == (upload is None):
        raise Unprocessable(_("Choose a data set or a file, one of them."), code="no_source", field="dataset")
    fields: dict[str, Any] = {"dataset_version": data, "inputs": {}}
    if data is not None:
        require_ready(data)
        _require_split(data, split)
        require_askable(version, data)
    else:
        _require_readable(version, upload)
        fields["inputs"] = {upload.name: Blob(upload.sha256, upload.size_bytes).as_dict()}
        split = ""
    settings = {"split": split, "class_columns": has_class_columns and bool(version.meta.get("classes"))}
    if ranked_by:
        _require_ranking(version, ranked_by, top)
        settings |= {"ranked_by": ranked_by, "top": top}
    wanted = Wanted(pool or usual_pool(), demand, terms)
    return _queue(team, user, wanted, version, fields | {"hyperparameters": settings})


def predict_again(*, job: Job, user: User | None, version: ModelVersion, **where: Any) -> Job:
    """The same prediction as `job`, with `version`. Raises Conflict where the data is gone."""
    if job.dataset_version is None and not job.inputs:
        raise Conflict(_("The data of this prediction is gone. Choose other data."), code="data_gone")
    wanted = Wanted(where["pool"], where["demand"], where["terms"])
    names = ("dataset_version", "inputs", "hyperparameters")
    return _queue(job.team, user, wanted, version, {name: getattr(job, name) for name in names})


def _queue(team: Team, user: User | None, wanted: Wanted, version: ModelVersion, fields: dict[str, Any]) -> Job:
    source = str(fields["dataset_version"] or next(iter(fields["inputs"])))
    with transaction.atomic():
        job = queue_job(team=team, user=user, wanted=wanted, **draft_fields(version, source), **fields)
        details = {"model": str(version), "data": source}
        record_audit(team=team, actor=user, action="job.predict", target=str(job), details=details)
    return job


def draft_fields(version: ModelVersion, source: str) -> dict[str, Any]:
    """What every prediction with `version` has; `source` is the name of its data."""
    return {
        "kind": Job.Kind.PREDICT,
        "name": gettext_noop("Predict %(source)s with %(version)s") % {"source": source, "version": version},
        "base_version": version,
        "task": version.model.task,
        "target": version.lineage.get("target") or "",
        "model_name": version.model.name,
    }


def data_to_ask(team: Team, version: ModelVersion) -> list[DatasetVersion]:
    """The newest ready version of each of the team's data sets that the model can be asked about, newest first."""
    ready = DatasetVersion.objects.filter(dataset__team=team, status=DatasetVersion.Status.READY)
    newest = ready.select_related("dataset").order_by("dataset_id", "-number").distinct("dataset_id")
    fitting = [data for data in newest if not why_not(version, data)]
    return sorted(fitting, key=lambda data: data.created_at, reverse=True)


def why_not(version: ModelVersion, data: DatasetVersion) -> str:
    """Why the model cannot be asked about the data, in a sentence; "" where it can."""
    if data.kind != TASKS[version.model.task].data:
        return _("%(data)s is not what %(version)s reads.") % {"data": data, "version": version}
    if data.kind != KIND_TABLE:
        return ""
    missing = missing_columns(version.meta, [column["name"] for column in data.report.get("columns", [])])
    if not missing:
        return ""
    names = ", ".join(missing[:NAMED_COLUMNS])
    return _("%(data)s lacks what %(version)s asks for: %(names)s.") % {
        "data": data,
        "version": version,
        "names": names,
    }


def require_askable(version: ModelVersion, data: DatasetVersion) -> None:
    """Raises Unprocessable where the model cannot be asked about the data."""
    if reason := why_not(version, data):
        raise Unprocessable(reason, code="does_not_fit", field="dataset")


def rankings_of(version: ModelVersion) -> list[str]:
    """What rows can be ranked by: a class, or the target of a regression; nothing where answers are neither."""
    if version.model.task == TABULAR_REGRESSION:
        return [version.meta.get("target") or "value"]
    return list(version.meta.get("classes") or [])


def _require_ranking(version: ModelVersion, ranked_by: str, top: float) -> None:
    known = rankings_of(version)
    if ranked_by not in known:
        named = ", ".join(known[:NAMED_COLUMNS]) or _("none")
        message = _('Rows cannot be ranked by "%(name)s" with %(version)s. It knows: %(known)s.')
        raise Unprocessable(
            message % {"name": ranked_by, "version": version, "known": named}, code="unknown_ranking", field="ranked_by"
        )
    if not 0 < top <= MOST_TOP:
        message = _("The list has a share of the rows: more than 0 and at most 100 per cent.")
        raise Unprocessable(message, code="out_of_range", field="top")


def _require_split(data: DatasetVersion, split: str) -> None:
    if split and (split not in SPLITS or not data.report.get("splits", {}).get(split)):
        message = _("%(data)s has no split %(split)s with rows in it.")
        raise Unprocessable(message % {"data": data, "split": split}, code="unknown_split", field="split")


def _require_readable(version: ModelVersion, upload: Upload) -> None:
    if upload.status != Upload.Status.COMPLETE:
        message = _("%(name)s has not arrived completely. Finish the upload first.")
        raise Conflict(message % {"name": upload.name}, code="incomplete", field="upload")
    known = TABLE_ENDINGS if reads_rows(version.model.task) else {ARCHIVE_ENDING}
    if ending_of(upload.name) not in known:
        message = _("%(name)s is not what this model reads.") % {"name": upload.name}
        raise Unprocessable(f"{message} {what_to_send(version.model.task)}", code="wrong_kind", field="upload")
