"""The pages of compressions: the form, the candidates as they are measured, and what a person does with one."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.access import require_write
from apps.core.errors import DomainError
from apps.core.files import Streamed, blob_response
from apps.core.htmx import STOP_POLLING
from apps.deployments.rollouts import try_version
from apps.jobs.candidates import find_candidate, keep_candidate, metrics_of, read_meta
from apps.jobs.comparison import compare_candidates
from apps.jobs.compress_form import CompressForm, values_of_compression
from apps.jobs.compressing import require_compressible, submit_compression
from apps.jobs.finding import jobs_of, read_id, version_named
from apps.jobs.models import Candidate, Job
from apps.jobs.prospects import look_ahead
from apps.jobs.services import ONE_DEVICE, most_devices
from apps.jobs.where import WhereForm
from apps.registry.bundles import texts_of, zip_files
from apps.resources.metering import metered
from apps.resources.nodes import usual_pool
from apps.resources.wanted import Wanted
from workers.compression.recipes import name_of
from workers.contract import WITHIN

FORM_PAGE = "jobs/compress.html"
FORM_PARTIALS = {"recipes": "jobs/_recipes.html", "summary": "jobs/_compress_summary.html"}
REDRAW = ("change", "refill")  # what asks for the form again, not for a job
NO_CONTENT = 204


# The form


@require_http_methods(["GET", "POST"])
def compress(request: HttpRequest) -> HttpResponse:
    """?version= is what is compressed, or ?clone= a compression whose choices are taken over."""
    require_write(request)
    sent = request.POST if request.method == "POST" else request.GET
    cloned = _cloned(request, sent.get("clone", ""))
    version = version_named(request, sent.get("version") or (cloned and cloned.base_version_id) or "")
    data = require_compressible(request.team, version)
    values = sent
    if cloned:
        values = values_of_compression(cloned) | {name: sent[name] for name in sent}
    is_submitted = request.method == "POST" and not any(name in sent for name in REDRAW)
    form = CompressForm(version=version, values=values, is_submitted=is_submitted)
    draft = form.draft(request.team, request.user)
    where = WhereForm(
        team=request.team,
        user=request.user,
        values=values,
        usual=Wanted(usual_pool(), ONE_DEVICE),
        most_devices=most_devices(draft),
    )
    status = 200
    if is_submitted:
        job = _submit(request, form, where)
        if isinstance(job, Job):
            return redirect("jobs:detail", job.pk)
        status = job
    context = {
        "form": form,
        "where": where,
        "version": version,
        "data": data,
        "prospect": look_ahead(job=draft, wanted=where.wanted, user=request.user),
        "next_number": version.model.versions.order_by("-number").values_list("number", flat=True)[0] + 1,
    }
    template = FORM_PARTIALS.get(request.htmx.target or "", FORM_PAGE) if request.htmx else FORM_PAGE
    return render(request, template, context, status=status)


def _cloned(request: HttpRequest, pk: str) -> Job | None:
    return get_object_or_404(jobs_of(request), kind=Job.Kind.COMPRESS, pk=read_id(pk)) if pk else None


def _submit(request: HttpRequest, form: CompressForm, where: WhereForm) -> Job | int:
    """The job, or the status of the page that says what is wrong."""
    if not (form.is_valid() and where.is_valid()):
        return 422
    try:
        return submit_compression(
            team=request.team,
            user=request.user,
            base_version=form.version,
            settings=form.settings,
            demand=where.wanted.demand,
            terms=where.wanted.terms,
            pool=where.wanted.pool,
        )
    except DomainError as error:
        if error.field in where.fields:
            where.add_error(error.field, error.message)
        elif not form.add_refusal(error.field or "", error.message):
            form.add_error(None, error.message)
        return error.status


# The candidates


def candidates_context(request: HttpRequest, job: Job) -> dict:
    """What the table and the plots show. With ?show=within only those within the limit stand in the table."""
    rows = list(job.candidates.select_related("node", "version__model").order_by("number"))
    only_within = request.GET.get("show") == WITHIN
    comparison = compare_candidates(rows, job.result, job.hyperparameters)
    shown = comparison.rows if comparison else []
    if only_within:
        shown = [row for row in shown if row.candidate.is_original or row.candidate.verdict == WITHIN]
    return {
        "comparison": comparison,
        "shown": shown,
        "only_within": only_within,
        "stamp": _stamp(rows, job),
        "serving": _serving(job),
        "recipes": [name_of(steps) for steps in job.hyperparameters.get("recipes", [])],
    }


def _serving(job: Job):
    """The newest deployment that serves what was compressed, where a candidate can be tried beside it; None without."""
    return job.base_version.deployments.first() if job.base_version else None


def _stamp(rows: list[Candidate], job: Job) -> str:
    """Changes whenever the table does."""
    newest = max((row.changed_at.timestamp() for row in rows), default=0)
    return f"{len(rows)}-{newest:.6f}-{job.status}"


@require_GET
def candidates(request: HttpRequest, pk: int) -> HttpResponse:
    """The table as it is now, and nothing where ?seen= says that it has not changed."""
    job = get_object_or_404(jobs_of(request), pk=pk, kind=Job.Kind.COMPRESS)
    if not request.htmx:
        return redirect(f"{reverse('jobs:detail', args=[pk])}#candidates")
    context = candidates_context(request, job) | {"job": job, "is_live": not job.is_resting}
    if request.GET.get("seen") == context["stamp"]:
        return HttpResponse(status=NO_CONTENT)
    return render(request, "jobs/_candidates.html", context, status=STOP_POLLING if job.is_resting else 200)


@require_POST
def keep(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """Keep a candidate as a version. With `then`=deploy the way leads on to the form of deployments; with `then`=try
    the original's deployment sends it a tenth of its traffic."""
    require_write(request)
    job = get_object_or_404(jobs_of(request), pk=pk)
    version = keep_candidate(job=job, number=number, user=request.user)
    serving = _serving(job)
    if request.POST.get("then") == "try" and serving:
        try_version(deployment=serving, user=request.user, version=version)
        return redirect("deployments:detail", serving.pk)
    if request.POST.get("then") == "deploy":
        return redirect(f"{reverse('deployments:create')}?version={version.pk}")
    messages.success(request, _("Kept as %(version)s.") % {"version": version})
    return redirect(f"{reverse('jobs:detail', args=[pk])}#candidates")


@require_GET
def file(request: HttpRequest, pk: int, number: int, name: str) -> HttpResponseBase:
    """One file of a candidate."""
    candidate = find_candidate(get_object_or_404(jobs_of(request), pk=pk), number)
    if name not in candidate.files:
        raise Http404
    return metered(request, blob_response(request, candidate.files[name]["sha256"], name.rsplit("/", 1)[-1]))


@require_GET
def bundle(request: HttpRequest, pk: int, number: int) -> HttpResponseBase:
    """All files of a candidate as one ZIP, with a program that asks the model."""
    job = get_object_or_404(jobs_of(request), pk=pk)
    candidate = find_candidate(job, number)
    if not candidate.files:
        raise Http404
    files = [(name, stored["sha256"]) for name, stored in sorted(candidate.files.items())]
    title = f"{job.model_name}: {candidate.name}"
    texts = texts_of(title, job.task, read_meta(candidate), metrics_of(candidate))
    blocks = zip_files(files, texts, candidate.changed_at.timetuple()[:6])
    response = Streamed(blocks, content_type="application/zip")
    name = f"{slugify(job.model_name) or 'model'}-job{job.pk}-candidate{number}.zip"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return metered(request, response, size_bytes=candidate.size_bytes)
