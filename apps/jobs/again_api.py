"""REST endpoints that make new jobs of old ones."""

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.access import require_write
from apps.datasets.models import Dataset
from apps.jobs.api import answer_with, job_of
from apps.jobs.continuing import clone_job, extend_training, terms_of
from apps.jobs.inputs import CloneInput, ExtendInput, RepeatInput, read_wanted
from apps.jobs.models import Job
from apps.jobs.references import data_version, find_by_id_or_name, newest_uncompressed, numbered
from apps.jobs.repeating import repeat_training
from apps.jobs.serializers import JobDetailSerializer, JobSerializer
from apps.registry.models import RegisteredModel


class JobClone(GenericAPIView):
    serializer_class = JobDetailSerializer

    @extend_schema(request=CloneInput, responses={201: JobDetailSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Run the job again, with what is sent otherwise."""
        require_write(request)
        job = job_of(request, pk)
        sent = CloneInput(data=request.data)
        sent.is_valid(raise_exception=True)
        changes = sent.validated_data
        made = clone_job(
            job=job,
            user=request.user,
            wanted=read_wanted(changes, terms_of(job, request.user)),
            changes=changes,
            **_other_source(request, job, changes),
        )
        return answer_with(request, made.pk, status=status.HTTP_201_CREATED)


def _other_source(request: Request, job: Job, changes: dict) -> dict:
    """The data or the model version that was sent in place of the job's own."""
    number = changes.get("version")
    if job.kind == Job.Kind.COMPRESS:
        if "model" not in changes and number is None:
            return {}
        reference = changes.get("model", job.model_name)
        model = find_by_id_or_name(RegisteredModel.objects.filter(team=request.team), reference, "model")
        return {"base_version": numbered(model.versions, number, model.name) if number else newest_uncompressed(model)}
    if "dataset" in changes:
        dataset = find_by_id_or_name(Dataset.objects.filter(team=request.team), changes["dataset"], "dataset")
    elif number is not None and job.dataset_version:
        dataset = job.dataset_version.dataset
    else:
        return {}
    return {"version": data_version(dataset, number)}


class JobExtend(GenericAPIView):
    serializer_class = JobDetailSerializer

    @extend_schema(request=ExtendInput, responses={201: JobDetailSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Train a training that has ended for more epochs, as a new job that makes the model's next version."""
        require_write(request)
        sent = ExtendInput(data=request.data)
        sent.is_valid(raise_exception=True)
        wanted = sent.validated_data
        job = extend_training(
            job=job_of(request, pk),
            user=request.user,
            epochs=wanted["epochs"],
            checkpoint_id=wanted.get("checkpoint"),
        )
        return answer_with(request, job.pk, status=status.HTTP_201_CREATED)


class JobRepeat(GenericAPIView):
    serializer_class = JobSerializer

    @extend_schema(request=RepeatInput, responses={201: JobSerializer(many=True)})
    def post(self, request: Request, pk: int) -> Response:
        """Train again with other seeds, to see how much of the figures is chance."""
        require_write(request)
        sent = RepeatInput(data=request.data)
        sent.is_valid(raise_exception=True)
        made = repeat_training(job=job_of(request, pk), user=request.user, count=sent.validated_data["count"])
        return Response(
            JobSerializer(made, many=True, context={"request": request}).data, status=status.HTTP_201_CREATED
        )


api_urlpatterns = [
    path("jobs/<int:pk>/clone/", JobClone.as_view(), name="api_job_clone"),
    path("jobs/<int:pk>/extend/", JobExtend.as_view(), name="api_job_extend"),
    path("jobs/<int:pk>/repeat/", JobRepeat.as_view(), name="api_job_repeat"),
]
