"""REST: uploads, data sets and their versions. Everything is looked up within the caller's team."""

from collections.abc import Sequence

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.access import require_write
from apps.accounts.models import Team
from apps.core.errors import NotFound, Unprocessable
from apps.core.files import blob_response
from apps.core.parsers import TextParser
from apps.datasets import preparing, services
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.datasets.parsers import ChunkParser, has_checksum
from apps.datasets.serializers import (
    ChecksumInput,
    ChunkQuery,
    DatasetDetailOutput,
    DatasetInput,
    DatasetOutput,
    FindingInput,
    RedoInput,
    UploadInput,
    UploadOutput,
    VersionInput,
    VersionOutput,
)
from apps.resources.metering import metered


class UploadList(generics.ListAPIView):
    """The team's uploads, newest first."""

    serializer_class = UploadOutput

    def get_queryset(self) -> QuerySet[Upload]:
        return Upload.objects.filter(team=self.request.team).order_by("-created_at")

    @extend_schema(request=UploadInput, responses={201: UploadOutput})
    def post(self, request: Request) -> Response:
        """Announce a file. Send its bytes to the address of the upload then."""
        require_write(request)
        values = checked(UploadInput(data=request.data))
        upload = services.create_upload(team=request.team, user=request.user, **values)
        return Response(UploadOutput(upload).data, status=201)


class UploadDetail(APIView):
    parser_classes = [ChunkParser, TextParser]

    @extend_schema(responses=UploadOutput)
    def get(self, request: Request, pk: str) -> Response:
        """How much has arrived: where to go on after a lost connection."""
        return Response(UploadOutput(get_object_or_404(Upload, pk=pk, team=request.team)).data)

    @extend_schema(
        parameters=[ChunkQuery, OpenApiParameter("X-Chunk-SHA256", str, OpenApiParameter.HEADER)],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses=UploadOutput,
    )
    def put(self, request: Request, pk: str) -> Response:
        """Add one chunk. A chunk that has arrived before changes nothing."""
        require_write(request)
        upload = get_object_or_404(Upload, pk=pk, team=request.team)
        offset = checked(ChunkQuery(data=request.query_params))["offset"]
        body = request.data or b""
        if not isinstance(body, bytes):
            raise Unprocessable(_("Send the chunk as application/octet-stream."), code="invalid_input")
        if not has_checksum(body, request.headers.get("X-Chunk-SHA256", "")):
            raise wrong_checksum(upload)
        return Response(UploadOutput(services.append_chunk(upload=upload, offset=offset, body=body)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: str) -> Response:
        """Discard what has arrived."""
        require_write(request)
        services.abort_upload(upload=get_object_or_404(Upload, pk=pk, team=request.team))
        return Response(status=204)


def wrong_checksum(upload: Upload) -> Unprocessable:
    return Unprocessable(
        _("The chunk was damaged on its way: its SHA-256 is not the one in X-Chunk-SHA256. Send it again."),
        code="wrong_checksum",
        details={"received_bytes": upload.received_bytes},
    )


class UploadComplete(APIView):
    @extend_schema(request=ChecksumInput, responses=UploadOutput)
    def post(self, request: Request, pk: str) -> Response:
        """Store the file whole, checked against its SHA-256 where one is given."""
        require_write(request)
        upload = get_object_or_404(Upload, pk=pk, team=request.team)
        values = checked(ChecksumInput(data=request.data))
        return Response(UploadOutput(services.complete_upload(upload=upload, **values)).data)


@extend_schema(parameters=[OpenApiParameter("name", str, description="Only the data set of exactly this name.")])
class DatasetList(generics.ListAPIView):
    """The team's data sets, each with its newest version."""

    serializer_class = DatasetOutput

    def get_queryset(self) -> QuerySet[Dataset]:
        datasets = Dataset.objects.filter(team=self.request.team).prefetch_related("versions")
        name = self.request.query_params.get("name")
        return datasets.filter(name=name) if name else datasets

    @extend_schema(request=DatasetInput, responses={201: DatasetOutput})
    def post(self, request: Request) -> Response:
        """Make a data set from complete uploads. Its first version is then checked."""
        require_write(request)
        values = checked(DatasetInput(data=request.data))
        values["uploads"] = find_sources(request.team, values["uploads"])
        version = services.create_dataset(team=request.team, user=request.user, **values)
        return Response(DatasetOutput(version.dataset).data, status=201)


class DatasetDetail(APIView):
    @extend_schema(responses=DatasetDetailOutput)
    def get(self, request: Request, pk: int) -> Response:
        """One data set with all its versions."""
        return Response(DatasetDetailOutput(find_dataset(request, pk)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete the data set with all versions. Refused while jobs work on it."""
        require_write(request)
        services.delete_dataset(dataset=find_dataset(request, pk))
        return Response(status=204)


class VersionList(APIView):
    @extend_schema(request=VersionInput, responses={201: VersionOutput})
    def post(self, request: Request, pk: int) -> Response:
        """Add a version made from complete uploads."""
        require_write(request)
        dataset = find_dataset(request, pk)
        values = checked(VersionInput(data=request.data))
        values["uploads"] = find_sources(request.team, values["uploads"])
        version = services.add_version(dataset=dataset, user=request.user, **values)
        return Response(VersionOutput(version).data, status=201)


class VersionDetail(APIView):
    @extend_schema(responses=VersionOutput)
    def get(self, request: Request, pk: int, number: int) -> Response:
        """One version: what the check found, and its classes or columns."""
        return Response(VersionOutput(find_version(request, pk, number)).data)


class VersionAccept(APIView):
    @extend_schema(request=None, responses=VersionOutput)
    def post(self, request: Request, pk: int, number: int) -> Response:
        """Leave out the items that the check named as bad."""
        require_write(request)
        version = find_version(request, pk, number)
        return Response(VersionOutput(services.accept_without_bad_items(version=version, user=request.user)).data)


class FindingAction(APIView):
    @extend_schema(request=FindingInput, responses={200: VersionOutput, 201: VersionOutput})
    def post(self, request: Request, pk: int, number: int, key: str) -> Response:
        """Do something about a finding: the answer is the next version, or this one where the finding is let be."""
        require_write(request)
        version = find_version(request, pk, number)
        values = checked(FindingInput(data=request.data))
        if values["action"] in ("keep", "reopen"):
            is_kept = values["action"] == "keep"
            return Response(VersionOutput(preparing.keep_finding(version=version, key=key, is_kept=is_kept)).data)
        made = preparing.act_on_finding(version=version, user=request.user, key=key, **values)
        return Response(VersionOutput(made).data, status=201)


class VersionRedo(APIView):
    @extend_schema(request=RedoInput, responses={201: VersionOutput})
    def post(self, request: Request, pk: int, number: int) -> Response:
        """Make the next version without some of the steps of this one."""
        require_write(request)
        values = checked(RedoInput(data=request.data))
        made = preparing.redo_without(version=find_version(request, pk, number), user=request.user, **values)
        return Response(VersionOutput(made).data, status=201)


class VersionFile(APIView):
    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int, number: int, name: str) -> HttpResponseBase:
        """Download the frozen data, or the index that says what is in which split."""
        version = find_version(request, pk, number)
        if name not in version.frozen_files:
            raise NotFound(_("There is no such file in this version."))
        return metered(request, blob_response(request, version.frozen_files[name]["sha256"], name))


def checked(serializer) -> dict:
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def find_dataset(request: Request, pk: int) -> Dataset:
    return get_object_or_404(Dataset.objects.prefetch_related("versions"), pk=pk, team=request.team)


def find_version(request: Request, pk: int, number: int) -> DatasetVersion:
    return get_object_or_404(DatasetVersion, dataset_id=pk, dataset__team=request.team, number=number)


def find_sources(team: Team, wanted: Sequence[dict]) -> list[tuple[Upload, str]]:
    """The uploads with the split each is for, in the order asked. Raises NotFound for an unknown or foreign one."""
    found = Upload.objects.filter(team=team).in_bulk([each["id"] for each in wanted])
    missing = [str(each["id"]) for each in wanted if each["id"] not in found]
    if missing:
        raise NotFound(
            _("There is no upload %(id)s. It was discarded, or is older than %(hours)d hours. Upload it again.")
            % {"id": missing[0], "hours": services.UPLOAD_KEPT_HOURS},
            code="upload_not_found",
            field="uploads",
        )
    return [(found[each["id"]], each["split"]) for each in wanted]


api_urlpatterns = [
    path("uploads/", UploadList.as_view(), name="api_uploads"),
    path("uploads/<uuid:pk>/", UploadDetail.as_view(), name="api_upload"),
    path("uploads/<uuid:pk>/complete/", UploadComplete.as_view(), name="api_upload_complete"),
    path("datasets/", DatasetList.as_view(), name="api_datasets"),
    path("datasets/<int:pk>/", DatasetDetail.as_view(), name="api_dataset"),
    path("datasets/<int:pk>/versions/", VersionList.as_view(), name="api_dataset_versions"),
    path("datasets/<int:pk>/versions/<int:number>/", VersionDetail.as_view(), name="api_dataset_version"),
    path("datasets/<int:pk>/versions/<int:number>/files/<str:name>", VersionFile.as_view(), name="api_dataset_file"),
    path(
        "datasets/<int:pk>/versions/<int:number>/findings/<slug:key>/",
        FindingAction.as_view(),
        name="api_dataset_finding",
    ),
    path("datasets/<int:pk>/versions/<int:number>/redo/", VersionRedo.as_view(), name="api_dataset_version_redo"),
    path("datasets/<int:pk>/versions/<int:number>/accept/", VersionAccept.as_view(), name="api_dataset_version_accept"),
]
