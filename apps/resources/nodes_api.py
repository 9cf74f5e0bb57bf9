"""REST endpoints of the pool's machines."""

import psutil
from django.shortcuts import get_object_or_404
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle
from rest_framework.views import APIView

from apps.accounts.access import require_administrator, require_team
from apps.core.version import code_version
from apps.resources import nodes
from apps.resources.joining import NAME_LENGTH, TOKEN_LIFETIME, create_join_token, join_command, join_node
from apps.resources.machines import Machine, look_at
from apps.resources.models import Node, Pool


class NodeDeviceSerializer(serializers.Serializer):
    """A device; `state` is free, mine (your team's), held (another's), cordoned or offline."""

    kind = serializers.CharField(source="device.kind")
    index = serializers.IntegerField(source="device.index")
    name = serializers.CharField(source="device.name")
    memory_bytes = serializers.IntegerField(source="device.memory_bytes")
    memory_used_bytes = serializers.IntegerField(source="device.memory_used_bytes")
    busy_fraction = serializers.FloatField(source="device.busy_fraction")
    temperature = serializers.FloatField(allow_null=True)
    state = serializers.CharField()
    job = serializers.SerializerMethodField(help_text="The id of your team's job that holds it, else null.")

    def get_job(self, slot) -> int | None:
        return (slot.holder and slot.holder.job_id) or None


class ProblemSerializer(serializers.Serializer):
    """What is wrong with a machine, and what to do about it."""

    code = serializers.CharField()
    message = serializers.CharField()
    action = serializers.CharField()
    is_serious = serializers.BooleanField()


class NodeSerializer(serializers.Serializer):
    """A machine; `state` is online, offline, cordoned, draining, drained or removed. `id` is its name.

    `left_on_it` counts jobs and replicas that are still on it.
    """

    id = serializers.CharField(source="node.name")
    name = serializers.CharField(source="node.name")
    pool = serializers.CharField(source="node.pool.name")
    state = serializers.CharField()
    devices = NodeDeviceSerializer(many=True, source="slots")
    cpu_millicores = serializers.IntegerField(source="node.cpu_millicores")
    cpu_held_millicores = serializers.IntegerField(source="node.cpu_held_millicores")
    memory_bytes = serializers.IntegerField(source="node.memory_bytes")
    memory_held_bytes = serializers.IntegerField(source="node.memory_held_bytes")
    storage_bytes = serializers.IntegerField(source="node.storage_bytes")
    storage_free_bytes = serializers.IntegerField(source="node.storage_free_bytes")
    network_in_bytes_per_second = serializers.FloatField(source="node.network_in_bytes_per_second")
    network_out_bytes_per_second = serializers.FloatField(source="node.network_out_bytes_per_second")
    version = serializers.CharField(source="node.health.version", default="")
    last_beat_at = serializers.DateTimeField(source="node.last_beat_at", allow_null=True)
    left_on_it = serializers.IntegerField(source="has_left")
    problems = ProblemSerializer(many=True)
    notes = serializers.ListField(child=serializers.CharField())


class AddNodeSerializer(serializers.Serializer):
    """Without a pool the machine joins the default one."""

    name = serializers.CharField(max_length=NAME_LENGTH)
    pool = serializers.SlugRelatedField("name", queryset=Pool.objects.all(), required=False)


class JoinCommandSerializer(serializers.Serializer):
    """Run `command` on the machine; it works once."""

    name = serializers.CharField()
    command = serializers.CharField()
    valid_seconds = serializers.IntegerField()


class JoinSerializer(serializers.Serializer):
    token = serializers.CharField(max_length=100)
    name = serializers.CharField(max_length=NAME_LENGTH)
    machine_id = serializers.RegexField(r"^[0-9a-f]{32}$")


class JoinedSerializer(serializers.Serializer):
    """What the machine works with, as variables of its environment, and the version that the site runs."""

    settings = serializers.DictField(child=serializers.CharField())
    version = serializers.CharField()


def seen_by(request: Request, name: str) -> Machine:
    """The machine of that name as the person may see it; 404 without one, or where it was removed."""
    return seen_now(request, get_object_or_404(nodes.nodes_in_pool(), name=name))


def seen_now(request: Request, node: Node) -> Machine:
    return look_at(Node.objects.filter(pk=node.pk), team=request.team, sees_all=request.user.is_superuser)[0]


class Nodes(ListAPIView):
    serializer_class = NodeSerializer

    def get_queryset(self):
        found = nodes.nodes_in_pool()
        name = self.request.query_params.get("name")
        return look_at(
            found.filter(name=name) if name else found,
            team=self.request.team,
            sees_all=self.request.user.is_superuser,
        )

    @extend_schema(summary="The machines of the pool", responses=NodeSerializer(many=True))
    def get(self, request: Request) -> Response:
        require_team(request)
        return self.list(request)

    @extend_schema(request=AddNodeSerializer, responses={201: JoinCommandSerializer})
    def post(self, request: Request) -> Response:
        """The command by which a machine joins the pool (administrators)."""
        require_administrator(request)
        form = AddNodeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        name = form.validated_data["name"]
        token = create_join_token(user=request.user, **form.validated_data)
        command = join_command(request.build_absolute_uri("/").rstrip("/"), name, token)
        valid_seconds = int(TOKEN_LIFETIME.total_seconds())
        answer = {"name": name, "command": command, "valid_seconds": valid_seconds}
        return Response(JoinCommandSerializer(answer).data, status=201)


class NodeDetail(APIView):
    @extend_schema(responses=NodeSerializer)
    def get(self, request: Request, name: str) -> Response:
        """One machine, its devices, and what is wrong with it."""
        require_team(request)
        return Response(NodeSerializer(seen_by(request, name)).data)


class ChangeNode(APIView):
    VERBS = {
        "cordon": nodes.cordon_node,
        "open": nodes.uncordon_node,
        "drain": nodes.drain_node,
        "remove": nodes.remove_node,
    }
    verb = ""

    @extend_schema(request=None, responses=NodeSerializer)
    def post(self, request: Request, name: str) -> Response:
        """Cordon, open again, drain or remove a machine (administrators)."""
        require_administrator(request)
        node = seen_by(request, name).node
        self.VERBS[self.verb](node=node, user=request.user)
        return Response(NodeSerializer(seen_now(request, node)).data)


class JoinThrottle(AnonRateThrottle):
    """By the address of the connection: a header would let anybody claim another one for every try."""

    rate = "30/min"

    def get_ident(self, request: Request) -> str:
        return request.META.get("REMOTE_ADDR", "")


class Join(APIView):
    """The token is the login."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (JoinThrottle,)

    @extend_schema(request=JoinSerializer, responses=JoinedSerializer, auth=[])
    def post(self, request: Request) -> Response:
        """What a machine works with, in exchange for the token that an administrator made for it."""
        form = JoinSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        settings = join_node(**form.validated_data, is_same_host=is_same_host(request))
        return Response({"settings": settings, "version": code_version()}, headers={"Cache-Control": "no-store"})


def is_same_host(request: Request) -> bool:
    """Whether the connection comes from an address of this host."""
    own = {address.address for found in psutil.net_if_addrs().values() for address in found}
    return request.META.get("REMOTE_ADDR", "") in own


node_urlpatterns = [
    path("nodes/", Nodes.as_view(), name="api_nodes"),
    path("nodes/join/", Join.as_view(), name="api_node_join"),
    path("nodes/<slug:name>/", NodeDetail.as_view(), name="api_node"),
    *(
        path(f"nodes/<slug:name>/{verb}/", ChangeNode.as_view(verb=verb), name=f"api_node_{verb}")
        for verb in ChangeNode.VERBS
    ),
]
