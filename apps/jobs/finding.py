"""What a request's address means: the team's jobs and versions, and nothing of others."""

from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404

from apps.jobs.models import Job
from apps.registry.models import ModelVersion

MAX_DIGITS = 18  # of an id


def read_id(text: str) -> int:
    """Raises Http404 for what is no id."""
    if not str(text).isdecimal() or len(str(text)) > MAX_DIGITS:
        raise Http404
    return int(text)


def jobs_of(request: HttpRequest) -> QuerySet[Job]:
    return Job.objects.filter(team=request.team).select_related(
        "created_by",
        "node",
        "allocation__pool",
        "dataset_version__dataset",
        "base_version__model",
        "output_version__model",
        "continues",
    )


def versions_of(request: HttpRequest) -> QuerySet[ModelVersion]:
    return ModelVersion.objects.filter(model__team=request.team).select_related("model")


def version_named(request: HttpRequest, text: str | int) -> ModelVersion:
    """Raises Http404."""
    return get_object_or_404(versions_of(request), pk=read_id(str(text)))
