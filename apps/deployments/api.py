"""REST endpoints of deployments."""

from django.db.models import QuerySet
from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.access import require_write
from apps.core.errors import NotFound
from apps.deployments.models import Deployment
from apps.deployments.pages import PAGES
from apps.deployments.placing import with_replicas
from apps.deployments.services import (
    change_deployment,
    delete_deployment,
    demo_path,
    deploy_version,
    prediction_path,
    state_of,
)
from apps.deployments.serving import Served, served_versions
from apps.jobs.inputs import ReferenceField
from apps.jobs.references import find_by_id_or_name
from apps.registry.models import ModelVersion, RegisteredModel

PAGE_HELP = f"{', '.join(PAGES)}; empty for the usual."


class DeploymentInput(serializers.Serializer):
    """`model` by id or name; its newest version unless `version` is given."""

    model = ReferenceField()
    version = serializers.IntegerField(required=False, min_value=1)
    name = serializers.CharField(required=False, allow_blank=True, default="")
    is_public = serializers.BooleanField(required=False, default=False)
    page = serializers.CharField(required=False, allow_blank=True, default="", help_text=PAGE_HELP)
    page_settings = serializers.DictField(required=False, default=dict)


class DeploymentChange(serializers.Serializer):
    """What is to be changed; what is left out stays."""

    is_public = serializers.BooleanField(required=False)
    version = serializers.IntegerField(required=False, min_value=1)
    wanted_replicas = serializers.IntegerField(required=False)
    min_answers = serializers.IntegerField(required=False, min_value=1, max_value=1_000_000)
    max_error_points = serializers.FloatField(required=False, min_value=0, max_value=100)
    max_latency_factor = serializers.FloatField(required=False, min_value=1, max_value=1000)
    requests_per_minute = serializers.IntegerField(
        required=False, help_text="Predictions a minute for each key; 0 for no limit."
    )
    allowed_networks = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="CIDR notation; empty for anywhere."
    )
    max_replicas = serializers.IntegerField(
        required=False, help_text="With it their number follows the load; 0 keeps it as it is."
    )
    min_replicas = serializers.IntegerField(required=False, help_text="0 lets it sleep when nobody asks.")
    target_in_flight = serializers.FloatField(required=False, help_text="Requests at once for each replica.")
    target_latency_ms = serializers.IntegerField(required=False, help_text="95th percentile; 0 for any.")
    idle_minutes = serializers.IntegerField(required=False, help_text="Without a request until it sleeps.")
    replica_cpu = serializers.FloatField(
        required=False, min_value=0, help_text="Cores set aside for each replica; 0 for what is usual."
    )
    replica_memory = serializers.FloatField(
        required=False, min_value=0, help_text="GB of memory set aside for each replica; 0 for what is usual."
    )
    page = serializers.CharField(required=False, allow_blank=True, help_text=PAGE_HELP)
    page_settings = serializers.DictField(required=False)


class ServedSerializer(serializers.Serializer):
    """One version: `weight` is the target, `active_weight` what it gets now, both in percent."""

    version = serializers.IntegerField(source="version.number")
    model = serializers.CharField(source="version.model.name")
    is_stable = serializers.BooleanField()
    weight = serializers.IntegerField()
    active_weight = serializers.FloatField()
    replicas = serializers.IntegerField()
    ready = serializers.IntegerField()
    status = serializers.CharField(source="state.status")
    reason = serializers.SerializerMethodField()

    def get_reason(self, served: Served) -> str:
        """Why it is not ready, or why it was stopped."""
        return (served.canary and served.canary.stopped_reason) or served.state.reason


class DeploymentSerializer(serializers.ModelSerializer):
    task = serializers.CharField(source="version.model.task")
    status = serializers.SerializerMethodField()
    reason = serializers.SerializerMethodField()
    model = serializers.SerializerMethodField()
    version = serializers.IntegerField(source="version.number")
    traffic = serializers.SerializerMethodField()
    endpoint = serializers.SerializerMethodField()
    demo_url = serializers.SerializerMethodField()

    class Meta:
        model = Deployment
        fields = [
            "id", "name", "task", "status", "reason", "is_public", "model", "version", "wanted_replicas", "traffic",
            "min_answers", "max_error_points", "max_latency_factor", "requests_per_minute", "allowed_networks",
            "max_replicas", "min_replicas", "target_in_flight", "target_latency_ms", "idle_minutes",
            "replica_cpu", "replica_memory", "page", "page_settings", "endpoint", "demo_url", "created_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_status(self, deployment: Deployment) -> str:
        return state_of(deployment).status

    def get_reason(self, deployment: Deployment) -> str:
        """Why it is not ready; empty when it is."""
        return state_of(deployment).reason

    def get_model(self, deployment: Deployment) -> dict:
        """{"id", "name"}."""
        return {"id": deployment.version.model_id, "name": deployment.version.model.name}

    @extend_schema_field(ServedSerializer(many=True))
    def get_traffic(self, deployment: Deployment) -> list[dict]:
        """The versions that are served, the stable one first."""
        return ServedSerializer(served_versions(deployment), many=True).data

    def get_endpoint(self, deployment: Deployment) -> str:
        return self.context["request"].build_absolute_uri(prediction_path(deployment))

    def get_demo_url(self, deployment: Deployment) -> str:
        return self.context["request"].build_absolute_uri(demo_path(deployment))


def deployments_of(request: Request) -> QuerySet[Deployment]:
    return with_replicas(Deployment.objects.filter(team=request.team))


class DeploymentsView(ListAPIView):
    serializer_class = DeploymentSerializer
    queryset = Deployment.objects.none()

    def get_queryset(self) -> QuerySet[Deployment]:
        found = deployments_of(self.request)
        name = self.request.query_params.get("name")
        return found.filter(name=name) if name else found

    @extend_schema(parameters=[OpenApiParameter("name", OpenApiTypes.STR, description="Exact name.")])
    def get(self, request: Request) -> Response:
        """The team's deployments."""
        return self.list(request)

    @extend_schema(request=DeploymentInput, responses={201: DeploymentSerializer})
    def post(self, request: Request) -> Response:
        """Serve a version of a model at an address of its own."""
        require_write(request)
        asked = DeploymentInput(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.validated_data
        model = find_by_id_or_name(RegisteredModel.objects.filter(team=request.team), values["model"], "model")
        deployment = deploy_version(
            team=request.team,
            user=request.user,
            version=find_version(model, values.get("version")),
            name=values["name"],
            is_public=values["is_public"],
            page=values["page"],
            page_settings=values["page_settings"],
        )
        return Response(represent(request, deployment.pk), status=status.HTTP_201_CREATED)


class DeploymentView(GenericAPIView):
    serializer_class = DeploymentSerializer
    queryset = Deployment.objects.none()

    @extend_schema(responses=DeploymentSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """One deployment: whether it is ready, and where it answers."""
        return Response(represent(request, pk))

    @extend_schema(request=DeploymentChange, responses=DeploymentSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        """Change the version, the replicas, how they scale, who may ask, or when a trial is stopped."""
        require_write(request)
        deployment = find_deployment(request, pk)
        asked = DeploymentChange(data=request.data)
        asked.is_valid(raise_exception=True)
        values = dict(asked.validated_data)
        if "version" in values:
            values["version"] = find_version(deployment.version.model, values["version"])
        change_deployment(deployment=deployment, user=request.user, **values)
        return Response(represent(request, pk))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Stop serving at once. The model stays."""
        require_write(request)
        delete_deployment(deployment=find_deployment(request, pk), user=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


def find_deployment(request: Request, pk: int) -> Deployment:
    """Raises NotFound, also for another team's."""
    deployment = deployments_of(request).filter(pk=pk).first()
    if deployment is None:
        raise NotFound(_("There is no such deployment, or it belongs to another team."))
    return deployment


def find_version(model: RegisteredModel, number: int | None) -> ModelVersion:
    """The version `number` of the model, the newest without a number. Raises NotFound."""
    versions = model.versions.select_related("model")
    version = versions.filter(number=number).first() if number else versions.order_by("-number").first()
    if version is None:
        message = _('The model "%(model)s" has no version %(number)s.') % {"model": model, "number": number or ""}
        raise NotFound(message, field="version")
    return version


def represent(request: Request, pk: int) -> dict:
    """The deployment as it is now. Raises NotFound."""
    return DeploymentSerializer(find_deployment(request, pk), context={"request": request}).data


api_urlpatterns = [
    path("deployments/", DeploymentsView.as_view(), name="api_deployments"),
    path("deployments/<int:pk>/", DeploymentView.as_view(), name="api_deployment"),
]
