"""The pages of jobs: the list, the launch form, and one job as it runs."""

import csv

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.access import require_write
from apps.core.errors import DomainError
from apps.core.files import blob_response
from apps.core.htmx import render_live
from apps.datasets.models import DatasetVersion
from apps.jobs import curves, fused, results
from apps.jobs.checkpoints import checkpoint_trouble, listed_checkpoints
from apps.jobs.compression_views import candidates_context
from apps.jobs.continuing import USUAL_EPOCHS, checkpoints_to_extend, extend_training
from apps.jobs.finding import MAX_DIGITS, jobs_of, read_id, versions_of
from apps.jobs.forms import LaunchForm, values_of_job
from apps.jobs.fuse_form import FuseForm
from apps.jobs.fusing import existing_parts
from apps.jobs.listing import ORDERS, chosen_order, filter_jobs
from apps.jobs.models import Job, JobEvent
from apps.jobs.pausing import pause_job, resume_job
from apps.jobs.plan_words import in_short, others_of, read_plan
from apps.jobs.plans import Planned, describe, is_spreadable, measured_step, plan_training
from apps.jobs.prediction_views import read_predicted
from apps.jobs.prospects import look_ahead
from apps.jobs.remedies import BLAME, find_remedy
from apps.jobs.repeating import repeat_training
from apps.jobs.services import (
    ONE_DEVICE,
    cancel_job,
    change_terms,
    most_devices,
    submit_fusion,
    submit_training,
)
from apps.jobs.timeline import state_line
from apps.jobs.waiting import help_for, holders_of, waiting_of
from apps.jobs.where import WhereForm, read_changes
from apps.registry.models import ModelVersion, RegisteredModel
from apps.resources.metering import metered
from apps.resources.nodes import usual_pool
from apps.resources.wanted import Wanted, wanted_of
from workers.spreadsheets import harmless
from workers.training.hyperparameters import RESTART_SHARE
from workers.training.presets import PRESETS

PAGE_SIZE = 25
LOG_LINES = 200
SHOWN_EXTENSIONS = 3
FORM_PAGE = "jobs/new.html"
FORM_PARTIALS = {
    "settings": "jobs/_settings.html",
    "summary": "jobs/_summary.html",
    "where": "jobs/_where.html",
    "plan": "jobs/_plan.html",
}
FINAL = "final_"  # one point of the finished model, not of a curve
EVENT_WORDS = {**dict(Job.Status.choices), JobEvent.PREEMPTED: gettext_lazy("Preempted")}
COLUMNS = (
    ("status", gettext_lazy("Status")),
    ("name", gettext_lazy("Job")),
    ("kind", gettext_lazy("Kind")),
    ("created", gettext_lazy("Created")),
    ("duration", gettext_lazy("Time")),
)


# The list


@require_GET
def job_list(request: HttpRequest) -> HttpResponse:
    jobs = filter_jobs(jobs_of(request), request.GET, request.user)
    page = Paginator(jobs, PAGE_SIZE).get_page(request.GET.get("page"))
    is_live = any(not job.is_resting for job in page)
    context = {
        "page": page,
        "has_any": bool(page.paginator.count) or Job.objects.filter(team=request.team).exists(),
        "statuses": Job.Status.choices,
        "kinds": Job.Kind.choices,
        "headers": _headers(chosen_order(request.GET.get("sort", ""))),
    }
    return render_live(request, "jobs/list.html", context, partials={"job-table": "jobs/_table.html"}, is_live=is_live)


def _headers(order: str) -> list[dict]:
    """Each sortable column with the order its header leads to, and which way it is sorted now."""
    name, is_descending = order.removeprefix("-"), order.startswith("-")
    return [
        {
            "name": key,
            "label": label,
            "sort": key if key == name and is_descending else f"-{key}" if key == name or key == "created" else key,
            "sorted": ("descending" if is_descending else "ascending") if key == name else "",
        }
        for key, label in COLUMNS
        if key in ORDERS
    ]


@require_GET
def export(request: HttpRequest) -> HttpResponse:
    """The filtered list as CSV."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="jobs.csv"'
    writer = csv.writer(response)
    writer.writerow(["id", "name", "kind", "status", "data", "created_by", "created_at", "started_at", "finished_at"])
    for job in filter_jobs(jobs_of(request), request.GET, request.user).iterator():
        times = [moment.isoformat() if moment else "" for moment in (job.created_at, job.started_at, job.finished_at)]
        writer.writerow(
            [job.pk, harmless(job.name), job.kind, job.status, harmless(str(job.dataset_version or ""))]
            + [harmless(str(job.created_by or "")), *times]
        )
    return response


# The launch form


def new(request: HttpRequest) -> HttpResponse:
    require_write(request)
    values = request.POST if request.method == "POST" else request.GET
    version_id = values.get("dataset_version", "")
    if not version_id and "clone" not in values:
        return _choose_data(request)
    cloned = get_object_or_404(jobs_of(request), pk=read_id(values["clone"])) if "clone" in values else None
    version = _version(request, version_id or cloned.dataset_version_id)
    if version.status != DatasetVersion.Status.READY:
        return render(request, "jobs/data_not_ready.html", {"version": version}, status=409)
    values = {**(values_of_job(cloned) if cloned else {}), **values.dict()}
    form = LaunchForm(version=version, values=values, is_submitted=request.method == "POST")
    usual = Wanted(usual_pool(), ONE_DEVICE)
    draft = form.draft(request.team, request.user)
    where = WhereForm(
        team=request.team,
        user=request.user,
        values=values,
        usual=usual,
        most_devices=most_devices(draft),
        is_spreadable=is_spreadable(draft),
    )
    if request.method == "POST" and "refill" not in request.POST:
        return _launch(request, form, where)
    template = FORM_PARTIALS.get(request.htmx.target or "", FORM_PAGE) if request.htmx else FORM_PAGE
    return render(request, template, _launch_context(request, form, where))


def _version(request: HttpRequest, version_id: str | int) -> DatasetVersion:
    versions = DatasetVersion.objects.filter(dataset__team=request.team).select_related("dataset")
    return get_object_or_404(versions, pk=read_id(version_id))


def _choose_data(request: HttpRequest) -> HttpResponse:
    versions = DatasetVersion.objects.filter(dataset__team=request.team, status=DatasetVersion.Status.READY)
    newest = versions.select_related("dataset").order_by("dataset_id", "-number").distinct("dataset_id")
    chosen = sorted(newest, key=lambda version: version.created_at, reverse=True)
    return render(request, "jobs/choose_data.html", {"versions": chosen})


def _launch(request: HttpRequest, form: LaunchForm, where: WhereForm) -> HttpResponse:
    if form.is_valid() and where.is_valid():
        try:
            job = submit_training(
                team=request.team,
                user=request.user,
                version=form.version,
                model_name=form.cleaned_data["model_name"],
                task=form.task_name,
                target=form.target_column,
                preset=form.preset_name,
                hyperparameters=form.own_values,
                demand=where.wanted.demand,
                terms=where.wanted.terms,
                pool=where.wanted.pool,
                strategy=where.strategy,
            )
        except DomainError as error:
            beside = where if error.field in where.fields else form
            field = form.start_place if error.field == "start_from" else error.field
            beside.add_error(field if field in beside.fields else None, error.message)
            return render(request, FORM_PAGE, _launch_context(request, form, where), status=error.status)
        return redirect("jobs:detail", job.pk)
    return render(request, FORM_PAGE, _launch_context(request, form, where), status=422)


def _launch_context(request: HttpRequest, form: LaunchForm, where: WhereForm) -> dict:
    name = form["model_name"].value()
    model = RegisteredModel.objects.filter(team=request.team, name=name).first()
    similar = jobs_of(request).filter(
        kind=Job.Kind.TRAIN,
        status=Job.Status.SUCCEEDED,
        dataset_version__dataset=form.version.dataset_id,
        preset=form.preset_name,
        started_at__isnull=False,
    )
    last = similar.annotate(took=F("finished_at") - F("started_at")).order_by("-finished_at").first()
    draft = form.draft(request.team, request.user)
    wanted = where.wanted
    planned = plan_training(draft, wanted, where.strategy, may_measure=True)
    return {
        "form": form,
        "where": where,
        "version": form.version,
        "presets": PRESETS.values(),
        "prospect": look_ahead(job=draft, wanted=wanted, user=request.user, planned=planned),
        "planned": planned,
        **_plan_context(planned),
        "model_name": name,
        "next_number": model.versions.count() + 1 if model else 1,
        "last_seconds": last.took.total_seconds() if last else None,
    }


def _plan_context(planned: Planned | None) -> dict:
    prediction = describe(planned) if planned else {}
    return {"plan": read_plan(prediction), "planned_others": others_of(prediction) if prediction else []}


def fuse(request: HttpRequest) -> HttpResponse:
    """Choose what to fuse and how: ?version= ids that are chosen already, ?model= where none is."""
    require_write(request)
    values = request.POST if request.method == "POST" else request.GET
    form = FuseForm(start=_start_of_fusion(request, values), values=values, is_submitted=request.method == "POST")
    usual = Wanted(usual_pool(), ONE_DEVICE)
    draft = form.draft(request.team, request.user)
    most = most_devices(draft)
    where = WhereForm(team=request.team, user=request.user, values=values, usual=usual, most_devices=most)
    status = 200
    if request.method == "POST":
        if form.is_valid() and where.is_valid():
            try:
                return redirect("jobs:detail", _submit_fusion(request, form, where).pk)
            except DomainError as error:
                beside = where if error.field in where.fields else form
                beside.add_error(error.field if error.field in beside.fields else None, error.message)
                status = error.status
        else:
            status = 422
    prospect = look_ahead(job=draft, wanted=where.wanted, user=request.user)
    context = {"form": form, "where": where, "start": form.start, "prospect": prospect}
    return render(request, "jobs/fuse.html", context, status=status)


def _start_of_fusion(request: HttpRequest, values: QueryDict) -> ModelVersion:
    """The first version that is chosen, else the newest of the model: what others must go with."""
    versions = versions_of(request)
    if chosen := values.getlist("version"):
        return get_object_or_404(versions, pk=read_id(chosen[0]))
    newest = versions.filter(model=read_id(values.get("model", ""))).exclude(meta__has_key="compression")
    return get_object_or_404(newest.order_by("-number")[:1])


def _submit_fusion(request: HttpRequest, form: FuseForm, where: WhereForm) -> Job:
    return submit_fusion(
        team=request.team,
        user=request.user,
        versions=form.chosen,
        method=form.cleaned_data["method"],
        model_name=form.cleaned_data["model_name"],
        demand=where.wanted.demand,
        terms=where.wanted.terms,
        pool=where.wanted.pool,
    )


# One job


@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    job = get_object_or_404(jobs_of(request), pk=pk)
    return render_live(
        request,
        "jobs/detail.html",
        _job_context(request, job),
        partials={"job-live": "jobs/_live.html"},
        is_live=not job.is_resting,
    )


def _job_context(request: HttpRequest, job: Job) -> dict:
    events = list(job.events.select_related("actor"))
    for event in events:
        event.status_word = EVENT_WORDS.get(event.status, "")
    context = {
        "job": job,
        "events": events,
        "steps": state_line(job, events, timezone.now()),
        "log": list(reversed(job.log_lines.order_by("-id")[:LOG_LINES])),
        "seconds": job_seconds(job),
        "has_curves": job.kind == Job.Kind.TRAIN,
        "members": list(job.members.filter(attempt=job.attempt).select_related("node")),
        "checkpoint": job.checkpoints.complete().last(),
        "plan": read_plan(job.prediction),
        "checkpoints": listed_checkpoints(job),
        "trouble": checkpoint_trouble(job),
        "extendable": checkpoints_to_extend(job) if job.dataset_version else [],
        "usual_epochs": USUAL_EPOCHS,
        "restart_share": RESTART_SHARE,
        "extended_by": list(job.continued_by.order_by("-pk")[:SHOWN_EXTENSIONS]),
    }
    if seconds := measured_step(job):
        context["measured_step"] = in_short(seconds)
    if job.kind == Job.Kind.TRAIN:
        context["words"] = curves.words(job.hyperparameters, job.target)
    if waiting := waiting_of(job):
        context["waiting"] = waiting
        context["holders"] = holders_of(job, viewer=request.user, team=request.team)
        context["helps"] = help_for(job, viewer=request.user)
    if job.failure:
        context["remedy"] = find_remedy(job.failure, job.hyperparameters)
        context["blame"] = BLAME.get(job.failure.get("blame", ""), BLAME["machine"])
    if job.status == Job.Status.SUCCEEDED and job.kind == Job.Kind.TRAIN:
        report = job.dataset_version.report if job.dataset_version else {}
        columns = [column["name"] for column in report.get("columns", [])]
        context["results"] = results.read(job.result, job.outputs, columns)
    if job.kind == Job.Kind.COMPRESS:
        context |= candidates_context(request, job)
    if job.kind == Job.Kind.FUSE:
        context["parts"] = _parts(job)
        if job.status == Job.Status.SUCCEEDED:
            context["fused"] = fused.read(job.result, job.parts)
    if job.kind == Job.Kind.PREDICT and job.status == Job.Status.SUCCEEDED:
        context["predicted"] = read_predicted(job)
    return context


def _parts(job: Job) -> list[tuple[str, ModelVersion | None]]:
    """The name of each version that a fusion is made of, and the version where it is still there."""
    versions = existing_parts(job)
    return [(part["name"], versions.get(part["id"])) for part in job.parts]


def job_seconds(job: Job) -> float | None:
    """How long the job has been running, or ran; a pause does not count."""
    if not job.started_at:
        return None
    released_at = job.allocation.released_at if job.allocation else None
    ends = [moment for moment in (job.finished_at, released_at) if moment]
    return (min(ends, default=timezone.now()) - job.started_at).total_seconds()


@require_GET
def metrics(request: HttpRequest, pk: int) -> JsonResponse:
    """The curves' new points after the metric id ?after=."""
    job = get_object_or_404(Job, pk=pk, team=request.team)
    after = read_id(request.GET.get("after", "0"))
    rows = job.metrics.filter(pk__gt=after).exclude(name__startswith=FINAL).order_by("pk")
    return JsonResponse(curves.increment(rows[: curves.POINTS_PER_ANSWER + 1], is_resting=job.is_resting))


@require_GET
def output(request: HttpRequest, pk: int, name: str) -> HttpResponseBase:
    """A picture or a sound that the job's program made, such as a mistake; only what the job says it left."""
    job = get_object_or_404(Job, pk=pk, team=request.team)
    if name not in job.outputs:
        raise Http404
    kind = {".png": "image/png", ".wav": "audio/wav"}.get(name[-4:], "")
    file = blob_response(request, job.outputs[name]["sha256"], name.rsplit("/", 1)[-1], kind, inline=bool(kind))
    return metered(request, file)


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    job = cancel_job(job=get_object_or_404(jobs_of(request), pk=pk), user=request.user)
    if not job.is_ended:
        messages.info(request, _("Stopping. It writes a checkpoint first and ends within seconds."))
    return redirect("jobs:detail", job.pk)


@require_POST
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    job = pause_job(job=get_object_or_404(jobs_of(request), pk=pk), user=request.user)
    if job.is_being_paused:
        messages.info(request, _("Pausing. It writes a checkpoint first and gives its devices back within seconds."))
    return redirect("jobs:detail", job.pk)


@require_POST
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    require_write(request)
    job = resume_job(job=get_object_or_404(jobs_of(request), pk=pk), user=request.user)
    return redirect("jobs:detail", job.pk)


@require_POST
def extend(request: HttpRequest, pk: int) -> HttpResponse:
    """Train further: `epochs` more, from the `checkpoint` with that id, or the newest."""
    require_write(request)
    job = get_object_or_404(jobs_of(request), pk=pk)
    epochs, checkpoint = request.POST.get("epochs", ""), request.POST.get("checkpoint", "")
    made = extend_training(
        job=job,
        user=request.user,
        epochs=int(epochs) if epochs.isdecimal() and len(epochs) <= MAX_DIGITS else 0,
        checkpoint_id=read_id(checkpoint) if checkpoint else None,
    )
    return redirect("jobs:detail", made.pk)


@require_POST
def repeat(request: HttpRequest, pk: int) -> HttpResponse:
    """Train again with other seeds; the list of jobs shows them."""
    require_write(request)
    job = get_object_or_404(jobs_of(request), pk=pk)
    count = request.POST.get("count", "")
    made = repeat_training(job=job, user=request.user, count=int(count) if count.isdecimal() and len(count) < 4 else 0)
    words = ngettext("Queued %(n)d training with another seed.", "Queued %(n)d trainings with other seeds.", len(made))
    messages.success(request, words % {"n": len(made)})
    return redirect("jobs:list")


@require_POST
def terms(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a job that waits ask for something else; what is not sent stays as it is."""
    require_write(request)
    job = get_object_or_404(jobs_of(request), pk=pk)
    if job.allocation is None:
        raise Http404
    change_terms(job=job, wanted=read_changes(request.POST, wanted_of(job.allocation)), user=request.user)
    messages.success(request, _("Changed. It keeps its age in the queue."))
    return redirect("jobs:detail", job.pk)
