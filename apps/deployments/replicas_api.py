"""REST endpoints of what runs behind a deployment: which replicas answer, how others ended, and what happened when."""

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.access import require_write
from apps.deployments.api import DeploymentSerializer, find_deployment, represent
from apps.deployments.events import events_of
from apps.deployments.models import Deployment, Replica
from apps.deployments.replication import said_of
from apps.deployments.services import retry_deployment, state_of
from apps.deployments.serving import served_versions


class ReplicaSerializer(serializers.ModelSerializer):
    """One that is there: `node` is null while it waits for a place in the pool, and then `reason` says for what;
    `processes` is how many predictions it computes side by side."""

    version = serializers.IntegerField(source="version.number")
    node = serializers.CharField(source="node.name", default=None)
    processes = serializers.IntegerField(source="lanes")
    is_ready = serializers.SerializerMethodField()
    reason = serializers.SerializerMethodField()

    class Meta:
        model = Replica
        fields = ["id", "version", "node", "status", "is_ready", "reason", "processes", "created_at", "ready_at"]
        read_only_fields = fields

    def get_is_ready(self, replica: Replica) -> bool:
        return replica.status == Replica.Status.READY

    def get_reason(self, replica: Replica) -> str:
        return said_of(replica)


class ReadinessSerializer(serializers.Serializer):
    """`reason` says why it is not ready; `wanted` counts the replicas of all versions that are served."""

    status = serializers.CharField()
    reason = serializers.CharField()
    wanted = serializers.IntegerField()
    ready = serializers.IntegerField()
    replicas = ReplicaSerializer(many=True)


class TerminationSerializer(serializers.ModelSerializer):
    """One that ended. `exit_code` is that of its process, minus the number of the signal that ended it, null where it
    had none; `log` is the end of what it wrote."""

    version = serializers.IntegerField(source="version.number")
    node = serializers.CharField(source="node.name", default=None)
    reason = serializers.SerializerMethodField()
    log = serializers.CharField()

    class Meta:
        model = Replica
        fields = ["id", "version", "node", "status", "exit_code", "reason", "log", "created_at", "ready_at", "ended_at"]
        read_only_fields = fields

    def get_reason(self, replica: Replica) -> str:
        return said_of(replica)


class EventSerializer(serializers.Serializer):
    """`kind` is created, changed, promoted, rolled_back or stopped (of the traffic), scaled, or replica_created,
    _ready, _stopped or _failed; `made_by` is null where the site did it by itself."""

    at = serializers.DateTimeField()
    kind = serializers.CharField()
    message = serializers.CharField()
    made_by = serializers.CharField(allow_null=True)
    replica = serializers.IntegerField(allow_null=True)


class ReplicasView(GenericAPIView):
    queryset = Deployment.objects.none()


class ReadinessView(ReplicasView):
    serializer_class = ReadinessSerializer

    @extend_schema(responses=ReadinessSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Whether it answers, and with which replicas."""
        deployment = find_deployment(request, pk)
        state = state_of(deployment)
        there = [replica for replica in deployment.replicas.all() if replica.status not in Replica.ENDED]
        told = {
            "status": state.status,
            "reason": state.reason,
            "wanted": sum(served.replicas for served in served_versions(deployment)),
            "ready": sum(replica.status == Replica.Status.READY for replica in there),
            "replicas": there,
        }
        return Response(ReadinessSerializer(told).data)


class TerminationView(ReplicasView):
    serializer_class = TerminationSerializer

    @extend_schema(responses=TerminationSerializer(many=True))
    def get(self, request: Request, pk: int) -> Response:
        """How its last replicas ended, newest first."""
        ended = find_deployment(request, pk).replicas.filter(status__in=Replica.ENDED).order_by("-ended_at", "-id")
        return Response(TerminationSerializer(ended, many=True).data)


class EventsView(ReplicasView):
    serializer_class = EventSerializer

    @extend_schema(responses=EventSerializer(many=True))
    def get(self, request: Request, pk: int) -> Response:
        """What happened to its traffic, its number of replicas and each replica, newest first."""
        return Response(EventSerializer(events_of(find_deployment(request, pk)), many=True).data)


class RetryView(ReplicasView):
    serializer_class = DeploymentSerializer

    @extend_schema(request=None, responses=DeploymentSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Try at once again what failed several times, without waiting for the next pause to end."""
        require_write(request)
        retry_deployment(deployment=find_deployment(request, pk), user=request.user)
        return Response(represent(request, pk))


api_urlpatterns = [
    path("readiness/", ReadinessView.as_view(), name="api_readiness"),
    path("termination/", TerminationView.as_view(), name="api_termination"),
    path("events/", EventsView.as_view(), name="api_events"),
    path("retry/", RetryView.as_view(), name="api_retry"),
]
