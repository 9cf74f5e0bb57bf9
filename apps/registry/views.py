"""The pages of models and their versions, and the way to take them home."""

from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from apps.core.files import Streamed, blob_response
from apps.core.templatetags.lepton import in_bytes
from apps.registry.bundles import texts_of, zip_files
from apps.registry.calibration import read_calibration
from apps.registry.costs import compare_measured
from apps.registry.figures import DOWNLOADS, Difference, compare, figures, headline, share_text
from apps.registry.labels import label_rows
from apps.registry.models import ModelVersion, RegisteredModel
from apps.registry.operating import counts_of, read_operating
from apps.registry.spread import spread_of
from apps.resources.metering import metered
from workers.domains import TASKS


def versions_of(request: HttpRequest) -> QuerySet[ModelVersion]:
    versions = ModelVersion.objects.filter(model__team=request.team)
    made_by = ("produced_by__created_by", "candidate__job__created_by")
    return versions.select_related("model", "parent", *made_by).prefetch_related("deployments")


@require_GET
def model_list(request: HttpRequest) -> HttpResponse:
    newest_first = Prefetch("versions", ModelVersion.objects.order_by("-number").prefetch_related("deployments"))
    models = list(RegisteredModel.objects.filter(team=request.team).prefetch_related(newest_first))
    for model in models:
        all_versions = list(model.versions.all())
        model.newest = all_versions[0] if all_versions else None
        model.count = len(all_versions)
        model.headline = headline(model.newest.metrics) if model.newest else None
        model.served = [item for version in all_versions for item in version.deployments.all()]
    return render(request, "registry/list.html", {"models": models})


@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    model = get_object_or_404(RegisteredModel.objects.filter(team=request.team), pk=pk)
    versions = list(versions_of(request).filter(model=model))
    for version in versions:
        version.headline = headline(version.metrics)
    context = {
        "model": model,
        "versions": versions,
        "newest": versions[0] if versions else None,
        "may_fuse": request.membership.may_write and TASKS[model.task].fusions,
    }
    return render(request, "registry/detail.html", context | _comparison(request, versions))


def _comparison(request: HttpRequest, versions: list[ModelVersion]) -> dict:
    """The two versions that ?left= and ?right= name, side by side; nothing unless both are there."""
    by_number = {str(version.number): version for version in versions}
    left, right = (by_number.get(request.GET.get(side, "")) for side in ("left", "right"))
    if left is None or right is None or left == right:
        return {}
    return {"left": left, "right": right, "differences": compare_versions(left, right)}


def compare_versions(left: ModelVersion, right: ModelVersion) -> list[Difference]:
    """Test figures, size, and every hyper-parameter that differs."""
    rows = compare(left.metrics.get("test", {}), right.metrics.get("test", {}))
    smaller = "" if left.size_bytes == right.size_bytes else "right" if right.size_bytes < left.size_bytes else "left"
    ratio = f"× {right.size_bytes / left.size_bytes:.2f}" if left.size_bytes else "–"
    rows.append(Difference("Size", in_bytes(left.size_bytes), in_bytes(right.size_bytes), ratio, smaller))
    ours, theirs = (version.lineage.get("hyperparameters") or {} for version in (left, right))
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            rows.append(Difference(name, str(ours.get(name, "–")), str(theirs.get(name, "–")), "", ""))
    return rows


@require_GET
def version(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    found = get_object_or_404(versions_of(request), model=pk, number=number)
    artifacts, deployments = list(found.artifacts.all()), list(found.deployments.all())
    job = _job_of(found)
    result = job.result if job and job.kind in ("train", "fuse") else {}
    operating = read_operating(result)
    baseline = found.meta.get("baseline") or {}
    splits = ((split, figures(found.metrics.get(split), baseline.get(split))) for split in ("test", "val", "train"))
    context = {
        "version": found,
        "model": found.model,
        "headline": headline(found.metrics),
        "splits": [(split, values) for split, values in splits if values],
        "artifacts": artifacts,
        "downloads": [(item.name, DOWNLOADS[item.name]) for item in artifacts if item.name in DOWNLOADS],
        "smaller": found.children.exclude(lineage__method="").select_related("model").order_by("-number").first(),
        "parts": parts_of(found),
        "compressing": found.jobs_based_on_it.filter(kind="compress", finished_at=None).first(),
        "may_compress": bool(TASKS[found.model.task].samples),
        "deployments": deployments,
        "trials": found.canaries.filter(weight__gt=0).select_related("deployment"),
        "may_be_tried_in": _deployments_of_others(found),
        "job": job,
        "spread": spread_of(found),
        "labels": label_rows(found.meta.get("labels") or []),
        "calibration": read_calibration(result),
        "operating": operating,
        "operating_counts": counts_of(operating),
        "kept_threshold": _kept_threshold(deployments),
        "compared": compare_measured(*_before_and_after(found)),
    }
    return render(request, "registry/version.html", context)


def _kept_threshold(deployments: list) -> dict:
    """{"positive", "percent"} of the first deployment that decides by a threshold; no class and 50 where none does."""
    decision = next((item.decision for item in deployments if item.decision), None)
    if decision is None:
        return {"positive": "", "percent": 50}
    return {"positive": decision["positive"], "percent": round(100 * decision["threshold"])}


def _deployments_of_others(version: ModelVersion) -> list:
    """The deployments that serve another version of the same model, where this one is not tried yet."""
    others = version.model.versions.exclude(pk=version.pk).prefetch_related("deployments__canaries")
    found = [item for other in others for item in other.deployments.all()]
    return [item for item in found if version.pk not in {canary.version_id for canary in item.canaries.all()}]


def _job_of(version: ModelVersion):
    """The job that made it, or whose candidate was kept; None where it is gone."""
    candidate = getattr(version, "candidate", None)
    return getattr(version, "produced_by", None) or (candidate and candidate.job)


def _before_and_after(version: ModelVersion) -> tuple[dict, dict]:
    """What a compression measured of the original and of this version; empty where it was not compressed."""
    compression = version.lineage.get("compression") or {}
    return compression.get("before", {}), compression.get("after", {})


def parts_of(version: ModelVersion) -> list[dict]:
    """What a fused version is made of: {"name", "share", "version"}, the last None where it has been deleted."""
    parts = version.lineage.get("parts") or []
    versions = ModelVersion.objects.filter(model__team=version.model.team_id, pk__in=[part["id"] for part in parts])
    existing = versions.select_related("model").in_bulk()
    return [
        {"name": part["name"], "share": share_text(part["weight"]), "version": existing.get(part["id"])}
        for part in parts
    ]


@require_GET
def file(request: HttpRequest, pk: int, number: int, name: str) -> HttpResponseBase:
    """One file of a version."""
    found = get_object_or_404(versions_of(request), model=pk, number=number)
    artifact = get_object_or_404(found.artifacts, name=name)
    return metered(request, blob_response(request, artifact.sha256, name.rsplit("/", 1)[-1]))


@require_GET
def bundle(request: HttpRequest, pk: int, number: int) -> HttpResponseBase:
    """All files of a version as one ZIP, with a program that asks the model."""
    found = get_object_or_404(versions_of(request), model=pk, number=number)
    files = list(found.artifacts.values_list("name", "sha256"))
    if not files:
        raise Http404
    blocks = zip_files(
        files, texts_of(str(found), found.model.task, found.meta, found.metrics), found.created_at.timetuple()[:6]
    )
    response = Streamed(blocks, content_type="application/zip")
    name = slugify(found.model.name) or "model"
    response["Content-Disposition"] = f'attachment; filename="{name}-v{found.number}.zip"'
    response["X-Content-Type-Options"] = "nosniff"
    return metered(request, response, size_bytes=found.size_bytes)
