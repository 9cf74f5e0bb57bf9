"""REST endpoints of rollouts: traffic, promote, roll back, the history, and the figures."""

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.access import require_write
from apps.core.errors import Unprocessable
from apps.deployments import rollouts
from apps.deployments.api import DeploymentSerializer, find_deployment, find_version, represent
from apps.deployments.judging import Figures
from apps.deployments.models import Deployment, TrafficChange
from apps.deployments.serving import LATELY_SECONDS, Measured, measure, served_versions
from apps.deployments.traffic import Share

KEPT_CHANGES = 100


class ServedVersionInput(serializers.Serializer):
    """A version of the deployment's model, by its number."""

    version = serializers.IntegerField(min_value=1)


class TrialInput(ServedVersionInput):
    """`weight` in percent."""

    weight = serializers.IntegerField(required=False, default=10)
    replicas = serializers.IntegerField(required=False, default=1)


class ShareInput(ServedVersionInput):
    weight = serializers.IntegerField()
    replicas = serializers.IntegerField(required=False, default=1)


class TrafficInput(serializers.Serializer):
    """Everything that is to be served; the weights sum to 100."""

    traffic = ShareInput(many=True)


class ChangeSerializer(serializers.ModelSerializer):
    """What served from then on; `made_by` is null where the site stopped a canary by itself."""

    made_by = serializers.CharField(source="made_by.username", default=None)
    traffic = serializers.SerializerMethodField()

    class Meta:
        model = TrafficChange
        fields = ["id", "kind", "traffic", "reason", "made_by", "at"]
        read_only_fields = fields

    def get_traffic(self, change: TrafficChange) -> list[dict]:
        """[{"version", "weight", "replicas"}]"""
        return [{key: share[key] for key in ("version", "weight", "replicas")} for share in change.shares]


class VersionFiguresSerializer(serializers.Serializer):
    """Null where nothing was answered; latencies in seconds, as the gateway measures them."""

    version = serializers.IntegerField()
    requests_per_second = serializers.FloatField()
    answers = serializers.IntegerField()
    errors = serializers.IntegerField(help_text="Answers with status 500 or more.")
    p50_seconds = serializers.FloatField(allow_null=True)
    p95_seconds = serializers.FloatField(allow_null=True)
    p99_seconds = serializers.FloatField(allow_null=True)
    batch_size = serializers.FloatField(allow_null=True, help_text="Questions that were answered together, on average.")
    since_change = serializers.DictField(help_text="answers, errors and latencies since the traffic was changed.")


class FiguresSerializer(serializers.Serializer):
    """`seconds` is how far back they reach."""

    seconds = serializers.IntegerField()
    versions = VersionFiguresSerializer(many=True)


def _figures(number: int, measured: Measured) -> dict:
    return {
        "version": number,
        "requests_per_second": measured.per_second,
        **_plain(measured.lately),
        "since_change": _plain(measured.judged),
    }


def _plain(figures: Figures) -> dict:
    names = ("answers", "errors", "p50_seconds", "p95_seconds", "p99_seconds", "batch_size")
    return {name: getattr(figures, name) for name in names}


class RolloutView(GenericAPIView):
    """What these endpoints have in common: a deployment to change, which is answered as it is afterwards."""

    serializer_class = DeploymentSerializer
    queryset = Deployment.objects.none()
    input_class: type[serializers.Serializer] | None = None

    def _start(self, request: Request, pk: int) -> tuple[Deployment, dict]:
        """The deployment, and what was sent. Raises Forbidden, NotFound, and DRF's error for what cannot be read."""
        require_write(request)
        deployment = find_deployment(request, pk)
        if self.input_class is None:
            return deployment, {}
        asked = self.input_class(data=request.data)
        asked.is_valid(raise_exception=True)
        return deployment, asked.validated_data


class TrafficView(RolloutView):
    input_class = TrafficInput

    @extend_schema(request=TrafficInput, responses=DeploymentSerializer)
    def put(self, request: Request, pk: int) -> Response:
        """Serve exactly these versions with these weights."""
        deployment, values = self._start(request, pk)
        model = deployment.version.model
        shares = [
            Share(find_version(model, share["version"]).pk, share["weight"], share["replicas"])
            for share in values["traffic"]
        ]
        rollouts.set_traffic(deployment=deployment, user=request.user, shares=shares)
        return Response(represent(request, pk))


class TrialView(RolloutView):
    input_class = TrialInput

    @extend_schema(request=TrialInput, responses=DeploymentSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Send part of the traffic to a version as soon as it is ready; the rest stays where it is."""
        deployment, values = self._start(request, pk)
        version = find_version(deployment.version.model, values["version"])
        trial = {"weight": values["weight"], "replicas": values["replicas"]}
        rollouts.try_version(deployment=deployment, user=request.user, version=version, **trial)
        return Response(represent(request, pk))

    @extend_schema(request=ServedVersionInput, responses=DeploymentSerializer)
    def delete(self, request: Request, pk: int) -> Response:
        """Stop the trial of `?version=`; its traffic goes back to the stable version."""
        require_write(request)
        deployment = find_deployment(request, pk)
        number = request.query_params.get("version", "")
        if not number.isdecimal():
            raise Unprocessable(_("Say which version's trial to stop: ?version=4."), field="version")
        version = find_version(deployment.version.model, int(number[:9]))
        rollouts.stop_trial(deployment=deployment, user=request.user, version=version)
        return Response(represent(request, pk))


class PromoteView(RolloutView):
    input_class = ServedVersionInput

    @extend_schema(request=ServedVersionInput, responses=DeploymentSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """All traffic to a version, which is ready before what served so far stops."""
        deployment, values = self._start(request, pk)
        version = find_version(deployment.version.model, values["version"])
        rollouts.promote(deployment=deployment, user=request.user, version=version)
        return Response(represent(request, pk))


class RollBackView(RolloutView):
    @extend_schema(request=None, responses=DeploymentSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """All traffic to the version that served before; 409 `nothing_before` where there is none."""
        deployment, _values = self._start(request, pk)
        rollouts.roll_back(deployment=deployment, user=request.user)
        return Response(represent(request, pk))


class ChangesView(GenericAPIView):
    serializer_class = ChangeSerializer
    queryset = TrafficChange.objects.none()

    @extend_schema(responses=ChangeSerializer(many=True))
    def get(self, request: Request, pk: int) -> Response:
        """The history of the traffic, newest first, at most a hundred changes."""
        changes = find_deployment(request, pk).traffic_changes.select_related("made_by")[:KEPT_CHANGES]
        return Response(ChangeSerializer(changes, many=True).data)


class FiguresView(GenericAPIView):
    serializer_class = FiguresSerializer
    queryset = Deployment.objects.none()

    @extend_schema(responses=FiguresSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Requests, latency and errors of each version in the last five minutes, and since the traffic was changed."""
        deployment = find_deployment(request, pk)
        numbers = {item.version.pk: item.version.number for item in served_versions(deployment)}
        found = measure(deployment, list(numbers))
        rows = [_figures(numbers[version_id], measured) for version_id, measured in found.items()]
        return Response({"seconds": LATELY_SECONDS, "versions": rows})


api_urlpatterns = [
    path("traffic/", TrafficView.as_view(), name="api_traffic"),
    path("trial/", TrialView.as_view(), name="api_trial"),
    path("promote/", PromoteView.as_view(), name="api_promote"),
    path("roll-back/", RollBackView.as_view(), name="api_roll_back"),
    path("changes/", ChangesView.as_view(), name="api_changes"),
    path("figures/", FiguresView.as_view(), name="api_figures"),
]
