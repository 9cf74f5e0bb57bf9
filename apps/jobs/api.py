"""REST endpoints of jobs."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView, ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.access import require_write
from apps.core.errors import Conflict, NotFound
from apps.core.files import blob_response
from apps.datasets.api import find_sources
from apps.datasets.models import Dataset
from apps.jobs.candidates import keep_candidate
from apps.jobs.compressing import submit_compression
from apps.jobs.inputs import JobInput, PlanInput, WantedInput, read_wanted
from apps.jobs.models import Candidate, Job, JobLog, Metric
from apps.jobs.numbers import finite
from apps.jobs.pausing import pause_job, resume_job
from apps.jobs.plans import check_strategy, describe, plan_training
from apps.jobs.predicting import submit_prediction
from apps.jobs.references import (
    data_version,
    find_by_id_or_name,
    uncompressed,
    version_of,
)
from apps.jobs.serializers import (
    CandidateSerializer,
    JobDetailSerializer,
    JobSerializer,
    PlanSerializer,
    StartSerializer,
    present_plan,
)
from apps.jobs.services import (
    ONE_DEVICE,
    cancel_job,
    change_terms,
    draft_training,
    submit_fusion,
    submit_training,
)
from apps.jobs.starts import list_folders
from apps.jobs.starts.folders import told_folder
from apps.registry.models import RegisteredModel
from apps.resources.metering import metered
from apps.resources.nodes import usual_pool
from apps.resources.wanted import Wanted, wanted_of
from workers.contract import GREEDY, TEXT_CLASSIFICATION
from workers.predicting.kinds import PREDICTION_FILES
from workers.pretrained.families import starts_of

AFTER = OpenApiParameter("after", OpenApiTypes.INT, description="Only what has a greater id.")
TASK = OpenApiParameter("task", description="text_classification unless given.")
FILTERS = [
    OpenApiParameter("status", enum=Job.Status.values),
    OpenApiParameter("kind", enum=Job.Kind.values),
    OpenApiParameter("name", description="Exact name."),
]


class MetricSerializer(serializers.ModelSerializer):
    value = serializers.SerializerMethodField()

    def get_value(self, metric: Metric) -> float | None:
        """Null where training diverged: JSON has no NaN."""
        return finite(metric.value)

    class Meta:
        model = Metric
        fields = ["id", "attempt", "name", "split", "step", "epoch", "value"]


class LogSerializer(serializers.ModelSerializer):
    class Meta:
        model = JobLog
        fields = ["id", "attempt", "level", "message", "at"]


def jobs_of(request: Request) -> QuerySet[Job]:
    jobs = Job.objects.filter(team=request.team)
    return jobs.select_related(
        "team", "allocation__pool", "output_version__model", "dataset_version__dataset", "base_version__model"
    ).prefetch_related("members__node")


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
        """Train on a data set, compress a model, fuse several, or predict a file."""
        require_write(request)
        wanted = JobInput(data=request.data)
        wanted.is_valid(raise_exception=True)
        start = STARTS[wanted.validated_data["kind"]]
        job = start(request, wanted.validated_data)
        return answer_with(request, job.pk, status=status.HTTP_201_CREATED)


def start_training(request: Request, wanted: dict) -> Job:
    dataset = find_by_id_or_name(Dataset.objects.filter(team=request.team), wanted["dataset"], "dataset")
    return submit_training(
        team=request.team,
        user=request.user,
        version=data_version(dataset, wanted.get("version")),
        **{key: wanted[key] for key in ("model_name", "task", "target", "preset", "hyperparameters", "strategy")},
        **_where(wanted),
    )


def _where(sent: dict) -> dict:
    wanted = read_wanted(sent, Wanted(usual_pool(), ONE_DEVICE))
    return {"demand": wanted.demand, "terms": wanted.terms, "pool": wanted.pool}


def start_compression(request: Request, wanted: dict) -> Job:
    version = uncompressed(request, wanted)
    return submit_compression(
        team=request.team, user=request.user, base_version=version, settings=wanted["settings"], **_where(wanted)
    )


def start_fusion(request: Request, wanted: dict) -> Job:
    return submit_fusion(
        team=request.team,
        user=request.user,
        versions=[uncompressed(request, reference) for reference in wanted["versions"]],
        method=wanted.get("method", GREEDY),
        model_name=wanted["model_name"],
        **_where(wanted),
    )


def start_prediction(request: Request, wanted: dict) -> Job:
    model = find_by_id_or_name(RegisteredModel.objects.filter(team=request.team), wanted["model"], "model")
    sources: dict[str, Any] = {}
    if "dataset" in wanted:
        dataset = find_by_id_or_name(Dataset.objects.filter(team=request.team), wanted["dataset"], "dataset")
        sources["data"] = data_version(dataset, wanted.get("dataset_version"))
    if "upload" in wanted:
        ((sources["upload"], _split),) = find_sources(request.team, [{"id": wanted["upload"], "split": ""}])
    return submit_prediction(
        team=request.team,
        user=request.user,
        version=version_of(model, wanted.get("version")),
        split=wanted["split"],
        has_class_columns=wanted["class_columns"],
        ranked_by=wanted["ranked_by"],
        top=wanted["top"],
        **sources,
        **_where(wanted),
    )


STARTS = {
    Job.Kind.TRAIN: start_training,
    Job.Kind.COMPRESS: start_compression,
    Job.Kind.FUSE: start_fusion,
    Job.Kind.PREDICT: start_prediction,
}


class StartList(GenericAPIView):
    serializer_class = StartSerializer

    @extend_schema(parameters=[TASK], responses=StartSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The site's folders of pretrained checkpoints that a training of this task can start from."""
        task = request.GET.get("task", TEXT_CLASSIFICATION)
        found = list_folders(task) if starts_of(task) else []
        usable = [item for item in found if item.facts]
        told = {item.name: told_folder(item.name, task) or {} for item in usable}
        return Response([{"name": item.name, **item.facts.as_dict(), "told": told[item.name]} for item in usable])


class PlanPreview(GenericAPIView):
    serializer_class = PlanSerializer

    @extend_schema(request=PlanInput, responses=PlanSerializer)
    def post(self, request: Request) -> Response:
        """How a training would be spread over devices, and why so; nothing is started. What has not been measured is
        estimated, and the machines are asked to measure it: ask again while `is_measuring`."""
        require_write(request)
        sent = PlanInput(data=request.data)
        sent.is_valid(raise_exception=True)
        chosen = sent.validated_data
        dataset = find_by_id_or_name(Dataset.objects.filter(team=request.team), chosen["dataset"], "dataset")
        job = draft_training(
            team=request.team,
            user=request.user,
            version=data_version(dataset, chosen.get("version")),
            preset=chosen["preset"],
            hyperparameters=chosen["hyperparameters"],
        )
        wanted = read_wanted(chosen, Wanted(usual_pool(), ONE_DEVICE))
        check_strategy(job, chosen["strategy"])
        planned = plan_training(job, wanted, chosen["strategy"], may_measure=True)
        if planned is None:
            raise Conflict(_("Only trainings on images are spread over devices."), code="not_spreadable")
        return Response(present_plan(describe(planned), is_measuring=planned.is_measuring, refusal=planned.refusal))


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


class JobFile(GenericAPIView):
    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int, name: str) -> HttpResponseBase:
        """Download one of the job's `files`."""
        job = job_of(request, pk)
        if name not in PREDICTION_FILES or name not in job.outputs:
            raise NotFound(_("This job has no such file."))
        return metered(request, blob_response(request, job.outputs[name]["sha256"], name))


class JobCancel(GenericAPIView):
    serializer_class = JobDetailSerializer

    @extend_schema(request=None, responses=JobDetailSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Stop the job; one that has not started leaves the queue at once."""
        require_write(request)
        cancel_job(job=job_of(request, pk), user=request.user)
        return answer_with(request, pk)


class JobPause(GenericAPIView):
    serializer_class = JobDetailSerializer

    @extend_schema(request=None, responses=JobDetailSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Let the training rest: it writes a checkpoint, gives its devices back, and is paused within seconds."""
        require_write(request)
        pause_job(job=job_of(request, pk), user=request.user)
        return answer_with(request, pk)


class JobResume(GenericAPIView):
    serializer_class = JobDetailSerializer

    @extend_schema(request=None, responses=JobDetailSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Put the paused job back in the queue; it goes on from its newest checkpoint."""
        require_write(request)
        resume_job(job=job_of(request, pk), user=request.user)
        return answer_with(request, pk)


def answer_with(request: Request, pk: int, **options: Any) -> Response:
    """The job as it is now."""
    return Response(JobDetailSerializer(job_of(request, pk), context={"request": request}).data, **options)


class JobCandidates(ListAPIView):
    """What a compression has made and measured so far, by number; 0 is the original."""

    serializer_class, queryset = CandidateSerializer, Candidate.objects.none()

    def get_queryset(self) -> QuerySet[Candidate]:
        rows = job_of(self.request, self.kwargs["pk"]).candidates
        return rows.select_related("node", "version__model").order_by("number")


class JobCandidateKeep(GenericAPIView):
    serializer_class = CandidateSerializer

    @extend_schema(request=None, responses=CandidateSerializer)
    def post(self, request: Request, pk: int, number: int) -> Response:
        """Make a model version of a candidate, while the job runs or after its end; asking again changes nothing."""
        require_write(request)
        job = job_of(request, pk)
        keep_candidate(job=job, number=number, user=request.user)
        candidate = job.candidates.select_related("node", "version__model").get(number=number)
        return Response(CandidateSerializer(candidate).data)


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
    path("jobs/plan/", PlanPreview.as_view(), name="api_job_plan"),
    path("jobs/starts/", StartList.as_view(), name="api_job_starts"),
    path("jobs/<int:pk>/", JobDetail.as_view(), name="api_job"),
    path("jobs/<int:pk>/files/<str:name>", JobFile.as_view(), name="api_job_file"),
    path("jobs/<int:pk>/cancel/", JobCancel.as_view(), name="api_job_cancel"),
    path("jobs/<int:pk>/pause/", JobPause.as_view(), name="api_job_pause"),
    path("jobs/<int:pk>/resume/", JobResume.as_view(), name="api_job_resume"),
    path("jobs/<int:pk>/candidates/", JobCandidates.as_view(), name="api_job_candidates"),
    path("jobs/<int:pk>/candidates/<int:number>/keep/", JobCandidateKeep.as_view(), name="api_job_candidate_keep"),
    path("jobs/<int:pk>/metrics/", JobMetrics.as_view(), name="api_job_metrics"),
    path("jobs/<int:pk>/logs/", JobLogs.as_view(), name="api_job_logs"),
]
