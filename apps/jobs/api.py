"""REST endpoints of jobs."""

import math
from dataclasses import asdict
from datetime import datetime

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView, ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.access import require_write
from apps.core.errors import Conflict, NotFound
from apps.datasets.models import Dataset, DatasetVersion
from apps.jobs.models import Job, JobLog, Metric
from apps.jobs.services import ONE_DEVICE, cancel_job, change_terms, submit_compression, submit_training
from apps.jobs.waiting import Waiting, help_for, holders_of, waiting_of
from apps.registry.models import ModelVersion, RegisteredModel
from apps.resources.api import WantedInput, read_wanted
from apps.resources.nodes import default_pool
from apps.resources.wanted import Wanted, wanted_of

AFTER = OpenApiParameter("after", OpenApiTypes.INT, description="Only what has a greater id.")
FILTERS = [
    OpenApiParameter("status", enum=Job.Status.values),
    OpenApiParameter("kind", enum=Job.Kind.values),
    OpenApiParameter("name", description="Exact name."),
]


def find_by_id_or_name(rows: QuerySet, reference: int | str, field: str):
    """The row with this id (a number), or this name; a text of digits is a name first. Raises NotFound."""
    found = rows.filter(name=reference).first() if isinstance(reference, str) else None
    if found is None and len(str(reference)) < 19 and str(reference).isdecimal():
        found = rows.filter(pk=int(reference)).first()
    if found is None:
        message = _('Your team has no %(field)s "%(reference)s".') % {"field": field, "reference": reference}
        raise NotFound(message, field=field)
    return found


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class ReferenceField(serializers.Field):
    """An id or a name."""

    def to_internal_value(self, data: object) -> int | str:
        if isinstance(data, bool) or not isinstance(data, int | str):
            raise serializers.ValidationError(_("Give an id or a name."))
        return data

    def to_representation(self, value: int | str) -> int | str:
        return value


class JobInput(WantedInput):
    """What to run, and where and how. `dataset` for train; `model` for compress."""

    kind = serializers.ChoiceField(choices=["train", "compress"])
    dataset = ReferenceField(required=False)
    model = ReferenceField(required=False)
    version = serializers.IntegerField(required=False, min_value=1)
    model_name = serializers.CharField(required=False, allow_blank=True, max_length=80, default="")
    task = serializers.CharField(required=False, allow_blank=True, default="")
    target = serializers.CharField(required=False, allow_blank=True, default="")
    preset = serializers.CharField(required=False, default="balanced")
    hyperparameters = serializers.DictField(required=False, default=dict)
    method = serializers.CharField(required=False, default="int8")

    def validate(self, attrs: dict) -> dict:
        attrs = super().validate(attrs)
        needed = "dataset" if attrs["kind"] == Job.Kind.TRAIN else "model"
        if needed not in attrs:
            raise serializers.ValidationError({needed: _("This is needed for a job of this kind.")})
        return attrs


class Terms(serializers.Serializer):
    """What it asks for: `cpu` in cores, `memory` in GB, `bid` in credits for one device-hour."""

    pool = serializers.CharField()
    devices = serializers.IntegerField()
    device_kind = serializers.CharField()
    cpu = serializers.FloatField()
    memory = serializers.FloatField()
    priority = serializers.CharField()
    preemptible = serializers.BooleanField()
    bid = serializers.FloatField()


class Between(serializers.Serializer):
    """Two moments between which it starts 8 times of 10."""

    earliest = serializers.DateTimeField()
    latest = serializers.DateTimeField()


class WaitingSerializer(serializers.Serializer):
    """Why it waits: a stable code, a sentence, its numbers; its place from 1; null where it cannot be told."""

    code = serializers.CharField()
    message = serializers.CharField()
    numbers = serializers.DictField()
    place = serializers.IntegerField(allow_null=True)
    starts_between = Between(allow_null=True)


class HolderSerializer(serializers.Serializer):
    """Who holds some of what it waits for; of another team nothing is said but that, unless you run the site."""

    team = serializers.CharField(allow_null=True)
    job = serializers.IntegerField(allow_null=True)
    name = serializers.CharField(allow_null=True)
    devices = serializers.IntegerField()


class HelpSerializer(serializers.Serializer):
    """A change that lets it start sooner: PATCH the job with `changes`."""

    code = serializers.CharField()
    message = serializers.CharField()
    changes = serializers.DictField()
    starts_now = serializers.BooleanField()
    starts_between = Between(allow_null=True)


class FullWaitingSerializer(WaitingSerializer):
    holders = HolderSerializer(many=True)
    would_help = HelpSerializer(many=True)


class ExpectedSerializer(serializers.Serializer):
    """How long it will run in all: 8 times of 10 between low and high."""

    low_seconds = serializers.FloatField()
    median_seconds = serializers.FloatField()
    high_seconds = serializers.FloatField()


def _between(low_at: datetime | None, high_at: datetime | None) -> dict | None:
    return {"earliest": low_at, "latest": high_at} if low_at and high_at else None


class JobSerializer(serializers.ModelSerializer):
    waiting = serializers.SerializerMethodField()
    terms = serializers.SerializerMethodField()
    expected = serializers.SerializerMethodField()
    model = serializers.SerializerMethodField()
    failure = serializers.SerializerMethodField()
    url = serializers.SerializerMethodField()
    seconds_to_first_step = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = [
            "id", "kind", "name", "status", "attempt", "progress", "result", "failure", "waiting", "terms", "expected",
            "dataset_version", "task", "target", "preset", "hyperparameters", "method", "model", "url", "created_at",
            "started_at", "seconds_to_first_step", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(WaitingSerializer(allow_null=True))
    def get_waiting(self, job: Job) -> dict | None:
        """Why it waits and when it starts; null when it does not."""
        waiting = waiting_of(job)
        return self.describe_waiting(job, waiting) if waiting else None

    def describe_waiting(self, job: Job, waiting: Waiting) -> dict:
        starts = _between(waiting.low_at, waiting.high_at)
        return WaitingSerializer({**asdict(waiting), "starts_between": starts}).data

    @extend_schema_field(Terms(allow_null=True))
    def get_terms(self, job: Job) -> dict | None:
        """What it asks for; null when that is no longer known."""
        return wanted_of(job.allocation).choices if job.allocation else None

    @extend_schema_field(ExpectedSerializer(allow_null=True))
    def get_expected(self, job: Job) -> dict | None:
        """How long it will run, as was thought when it was handed in."""
        estimate = wanted_of(job.allocation).terms.estimate if job.allocation else None
        return ExpectedSerializer(estimate).data if estimate else None

    def get_model(self, job: Job) -> dict | None:
        """The model version it made: {"id", "name", "version"}."""
        made = job.output_version
        return {"id": made.model_id, "name": made.model.name, "version": made.number} if made else None

    def get_failure(self, job: Job) -> dict | None:
        return job.failure or None

    def get_seconds_to_first_step(self, job: Job) -> float | None:
        """From submit to the first optimiser step."""
        return (job.first_step_at - job.created_at).total_seconds() if job.first_step_at else None

    def get_url(self, job: Job) -> str:
        return f"/jobs/{job.pk}/"


class JobDetailSerializer(JobSerializer):
    """With who holds what it waits for, and what would help."""

    @extend_schema_field(FullWaitingSerializer(allow_null=True))
    def get_waiting(self, job: Job) -> dict | None:
        """Why it waits, who holds what it waits for, when it starts, what would help; null when it does not wait."""
        return super().get_waiting(job)

    def describe_waiting(self, job: Job, waiting: Waiting) -> dict:
        request = self.context["request"]
        holders = [
            {
                "team": holder.team or None,
                "job": holder.job.pk if holder.job else None,
                "name": holder.name or None,
                "devices": holder.devices,
            }
            for holder in holders_of(job, viewer=request.user, team=request.team)
        ]
        helps = [
            {
                "code": item.code,
                "message": item.message,
                "changes": item.choices,
                "starts_now": item.start.is_now,
                "starts_between": _between(item.start.low_at, item.start.high_at),
            }
            for item in help_for(job, viewer=request.user)
        ]
        known = {**asdict(waiting), "starts_between": _between(waiting.low_at, waiting.high_at)}
        return FullWaitingSerializer({**known, "holders": holders, "would_help": helps}).data


class MetricSerializer(serializers.ModelSerializer):
    value = serializers.SerializerMethodField()

    def get_value(self, metric: Metric) -> float | None:
        """Null where training diverged: JSON has no NaN."""
        return metric.value if math.isfinite(metric.value) else None

    class Meta:
        model = Metric
        fields = ["id", "attempt", "name", "split", "step", "epoch", "value"]


class LogSerializer(serializers.ModelSerializer):
    class Meta:
        model = JobLog
        fields = ["id", "attempt", "level", "message", "at"]


def jobs_of(request: Request) -> QuerySet[Job]:
    jobs = Job.objects.filter(team=request.team)
    return jobs.select_related("team", "allocation__pool", "output_version__model")


def job_of(request: Request, pk: int) -> Job:
    return get_object_or_404(jobs_of(request), pk=pk)


class JobList(ListAPIView):
    serializer_class = JobSerializer

    def get_queryset(self) -> QuerySet[Job]:
        """Filters from an allow-list; an unknown status or kind finds nothing."""
        wanted = {key: self.request.GET[key] for key in ("status", "kind", "name") if key in self.request.GET}
        return jobs_of(self.request).filter(**wanted)

    @extend_schema(parameters=FILTERS)
    def get(self, request: Request) -> Response:
        """The team's jobs, newest first."""
        return super().get(request)

    @extend_schema(request=JobInput, responses={201: JobDetailSerializer})
    def post(self, request: Request) -> Response:
        """Train on a data set, or compress a model."""
        require_write(request)
        wanted = JobInput(data=request.data)
        wanted.is_valid(raise_exception=True)
        start = start_training if wanted.validated_data["kind"] == Job.Kind.TRAIN else start_compression
        job = job_of(request, start(request, wanted.validated_data).pk)
        serializer = JobDetailSerializer(job, context={"request": request})
        return Response(serializer.data, status=status.HTTP_201_CREATED)


def start_training(request: Request, wanted: dict) -> Job:
    dataset = find_by_id_or_name(Dataset.objects.filter(team=request.team), wanted["dataset"], "dataset")
    return submit_training(
        team=request.team,
        user=request.user,
        version=_data_version(dataset, wanted.get("version")),
        **{key: wanted[key] for key in ("model_name", "task", "target", "preset", "hyperparameters")},
        **_where(wanted),
    )


def _where(sent: dict) -> dict:
    wanted = read_wanted(sent, Wanted(default_pool(), ONE_DEVICE))
    return {"demand": wanted.demand, "terms": wanted.terms, "pool": wanted.pool}


def _data_version(dataset: Dataset, number: int | None) -> DatasetVersion:
    """The version asked for, or the newest that is ready."""
    if number is not None:
        return _numbered(dataset.versions, number, str(dataset))
    version = dataset.versions.filter(status=DatasetVersion.Status.READY).order_by("-number").first()
    if version is None:
        raise Conflict(
            _("%(dataset)s has no version that is ready to train on.") % {"dataset": dataset}, code="data_not_ready"
        )
    return version


def start_compression(request: Request, wanted: dict) -> Job:
    model = find_by_id_or_name(RegisteredModel.objects.filter(team=request.team), wanted["model"], "model")
    number = wanted.get("version")
    version = _numbered(model.versions, number, model.name) if number else _newest_uncompressed(model)
    return submit_compression(
        team=request.team, user=request.user, base_version=version, method=wanted["method"], **_where(wanted)
    )


def _newest_uncompressed(model: RegisteredModel) -> ModelVersion:
    for version in model.versions.order_by("-number"):
        if "compression" not in version.meta:
            return version
    raise NotFound(_("%(model)s has no version that could be compressed.") % {"model": model.name}, field="model")


def _numbered(versions: QuerySet, number: int, name: str):
    version = versions.filter(number=number).first()
    if version is None:
        message = _("%(name)s has no version %(number)d.") % {"name": name, "number": number}
        raise NotFound(message, field="version")
    return version


class JobDetail(RetrieveAPIView):
    """One job: its state, how far it is, and what came of it."""

    serializer_class = JobDetailSerializer

    def get_queryset(self) -> QuerySet[Job]:
        return jobs_of(self.request)

    @extend_schema(request=WantedInput, responses=JobDetailSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        """Let a job that waits ask for something else; what is left out stays. It keeps its age in the queue."""
        require_write(request)
        job = job_of(request, pk)
        sent = WantedInput(data=request.data)
        sent.is_valid(raise_exception=True)
        if job.allocation is None:
            raise Conflict(_("It does not wait any more, so nothing was changed."), code="not_waiting")
        change_terms(job=job, wanted=read_wanted(sent.validated_data, wanted_of(job.allocation)), user=request.user)
        return self.get(request, pk=pk)


class JobCancel(GenericAPIView):
    serializer_class = JobDetailSerializer

    @extend_schema(request=None, responses=JobDetailSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Stop the job; one that has not started leaves the queue at once."""
        require_write(request)
        job = cancel_job(job=job_of(request, pk), user=request.user)
        return Response(JobDetailSerializer(job, context={"request": request}).data)


class AfterListView(ListAPIView):
    """Rows of one job in the order they came, those after the id ?after=."""

    related = ""

    def get_queryset(self) -> QuerySet:
        rows = getattr(job_of(self.request, self.kwargs["pk"]), self.related).order_by("pk")
        after = self.request.GET.get("after", "0")
        if not after.isdecimal() or len(after) > 18:
            raise serializers.ValidationError({"after": _("Give the id of the last row you have.")})
        return rows.filter(pk__gt=int(after))

    @extend_schema(parameters=[AFTER])
    def get(self, request: Request, *args: object, **kwargs: object) -> Response:
        return super().get(request, *args, **kwargs)


class JobMetrics(AfterListView):
    """What was measured, in the order it came; ?after= an id gives what is new."""

    serializer_class, related, queryset = MetricSerializer, "metrics", Metric.objects.none()


class JobLogs(AfterListView):
    """The log, in the order it was written; ?after= an id gives what is new."""

    serializer_class, related, queryset = LogSerializer, "log_lines", JobLog.objects.none()


api_urlpatterns = [
    path("jobs/", JobList.as_view(), name="api_jobs"),
    path("jobs/<int:pk>/", JobDetail.as_view(), name="api_job"),
    path("jobs/<int:pk>/cancel/", JobCancel.as_view(), name="api_job_cancel"),
    path("jobs/<int:pk>/metrics/", JobMetrics.as_view(), name="api_job_metrics"),
    path("jobs/<int:pk>/logs/", JobLogs.as_view(), name="api_job_logs"),
]
