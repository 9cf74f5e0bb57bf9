"""REST endpoints of models, their versions and their files."""

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.core.errors import NotFound
from apps.core.files import blob_response
from apps.registry.models import Artifact, ModelVersion, RegisteredModel
from apps.registry.spread import Spread, spread_of
from apps.resources.metering import metered


class FileSerializer(serializers.ModelSerializer):
    class Meta:
        model = Artifact
        fields = ["name", "sha256", "size_bytes"]


class FusedPartSerializer(serializers.Serializer):
    """A version that a fused one is made of; `weight` is its share, 0 where it was left out."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    weight = serializers.FloatField()


class VersionSerializer(serializers.ModelSerializer):
    model = serializers.SerializerMethodField()
    task = serializers.CharField(source="model.task")
    parent = serializers.SerializerMethodField()
    parts = serializers.SerializerMethodField()
    method = serializers.SerializerMethodField()
    files = FileSerializer(source="artifacts", many=True)

    class Meta:
        model = ModelVersion
        fields = [
            "id", "number", "model", "task", "parent", "parts", "method", "metrics", "meta", "lineage", "size_bytes",
            "files", "created_at",
        ]  # fmt: skip

    def get_model(self, version: ModelVersion) -> dict:
        """{"id", "name"}"""
        return {"id": version.model_id, "name": version.model.name}

    def get_parent(self, version: ModelVersion) -> int | None:
        """The number of the version it was compressed or continued from."""
        return version.parent.number if version.parent else None

    @extend_schema_field(FusedPartSerializer(many=True))
    def get_parts(self, version: ModelVersion) -> list:
        """The versions it was fused from, and how much of each; empty when it was not."""
        return version.lineage.get("parts") or []

    def get_method(self, version: ModelVersion) -> str:
        """How it was compressed or fused; empty when it was trained."""
        return version.lineage.get("method") or ""


class SeedRunSerializer(serializers.Serializer):
    """One seed: the `version` it made, and the figure on the metric of the spread."""

    version = serializers.IntegerField(source="version.number")
    seed = serializers.IntegerField()
    value = serializers.FloatField(source="figure.value")


class SpreadSerializer(serializers.Serializer):
    """The headline figure over the trainings that only the seed sets apart; `deviation`, with n - 1, is null of one."""

    metric = serializers.CharField(source="mean.name")
    mean = serializers.FloatField(source="mean.value")
    deviation = serializers.FloatField(source="deviation.value", allow_null=True, default=None)
    low = serializers.FloatField(source="low.value")
    high = serializers.FloatField(source="high.value")
    runs = SeedRunSerializer(many=True)


class ModelSerializer(serializers.ModelSerializer):
    latest_version = serializers.SerializerMethodField()

    class Meta:
        model = RegisteredModel
        fields = ["id", "name", "task", "latest_version", "created_at"]

    def get_latest_version(self, model: RegisteredModel) -> dict | None:
        """{"number", "metrics", "size_bytes"} of the newest version."""
        versions = model.versions.all()
        if not versions:
            return None
        newest = versions[0]
        return {"number": newest.number, "metrics": newest.metrics, "size_bytes": newest.size_bytes}


class ModelDetailSerializer(ModelSerializer):
    versions = VersionSerializer(many=True)

    class Meta(ModelSerializer.Meta):
        fields = [*ModelSerializer.Meta.fields, "versions"]


def models_of(request: Request) -> QuerySet[RegisteredModel]:
    return RegisteredModel.objects.filter(team=request.team).prefetch_related(
        "versions__artifacts", "versions__parent", "versions__model"
    )


class ModelList(ListAPIView):
    serializer_class = ModelSerializer

    def get_queryset(self) -> QuerySet[RegisteredModel]:
        models = RegisteredModel.objects.filter(team=self.request.team).prefetch_related("versions")
        filters = {key: self.request.GET[key] for key in ("name", "task") if key in self.request.GET}
        return models.filter(**filters)

    @extend_schema(parameters=[OpenApiParameter("name", description="Exact name."), OpenApiParameter("task")])
    def get(self, request: Request) -> HttpResponseBase:
        """The team's models, each with its newest version."""
        return super().get(request)


class ModelDetail(RetrieveAPIView):
    """One model with all its versions."""

    serializer_class = ModelDetailSerializer

    def get_queryset(self) -> QuerySet[RegisteredModel]:
        return models_of(self.request)


class VersionDetail(RetrieveAPIView):
    """One version: its figures, its files and where it came from."""

    serializer_class = VersionSerializer

    def get_object(self) -> ModelVersion:
        versions = ModelVersion.objects.filter(model__team=self.request.team).select_related("model", "parent")
        return get_object_or_404(versions, model=self.kwargs["pk"], number=self.kwargs["number"])


class VersionSpread(RetrieveAPIView):
    """How much of the version's figure is chance: the same training with other seeds. 404 where none can be."""

    serializer_class = SpreadSerializer

    def get_object(self) -> Spread:
        versions = ModelVersion.objects.filter(model__team=self.request.team).select_related("model")
        found = spread_of(get_object_or_404(versions, model=self.kwargs["pk"], number=self.kwargs["number"]))
        if found is None:
            raise NotFound(_("This version was not trained from the beginning with a seed, so it has no spread."))
        return found


class VersionFile(APIView):
    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int, number: int, name: str) -> HttpResponseBase:
        """Download one file of the version."""
        artifacts = Artifact.objects.filter(version__model__team=request.team)
        artifact = get_object_or_404(artifacts, version__model=pk, version__number=number, name=name)
        return metered(request, blob_response(request, artifact.sha256, name.rsplit("/", 1)[-1]))


api_urlpatterns = [
    path("models/", ModelList.as_view(), name="api_models"),
    path("models/<int:pk>/", ModelDetail.as_view(), name="api_model"),
    path("models/<int:pk>/versions/<int:number>/", VersionDetail.as_view(), name="api_model_version"),
    path("models/<int:pk>/versions/<int:number>/spread/", VersionSpread.as_view(), name="api_model_spread"),
    path("models/<int:pk>/versions/<int:number>/files/<path:name>", VersionFile.as_view(), name="api_model_file"),
]
