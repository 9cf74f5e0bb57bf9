"""REST endpoint of the pool, and how programs say where and how work is to run."""

import math
from collections.abc import Mapping
from typing import Any

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.access import require_team
from apps.resources.models import Device
from apps.resources.nodes import pool_named
from apps.resources.refusals import MOST_BID, MOST_CORES, MOST_GB
from apps.resources.services import pool_overview
from apps.resources.wanted import PRIORITIES, Wanted


class WantedInput(serializers.Serializer):
    """Where and how work is to run; what is left out is as usual. `cpu` in cores, `memory` in GB, `bid` in credits for
    one device-hour where the pool is auctioned."""

    pool = serializers.CharField(required=False, max_length=60)
    devices = serializers.IntegerField(required=False, min_value=0)
    device_kind = serializers.ChoiceField(required=False, allow_blank=True, choices=Device.Kind.choices)
    cpu = serializers.FloatField(required=False, min_value=0, max_value=MOST_CORES)
    memory = serializers.FloatField(required=False, min_value=0, max_value=MOST_GB)
    priority = serializers.ChoiceField(required=False, choices=list(PRIORITIES))
    preemptible = serializers.BooleanField(required=False)
    bid = serializers.FloatField(required=False, min_value=0, max_value=MOST_BID)

    def validate(self, attrs: dict) -> dict:
        for name in ("cpu", "memory", "bid"):
            if not math.isfinite(attrs.get(name, 0.0)):
                raise serializers.ValidationError({name: _("Give a number.")})
        return attrs


def read_wanted(sent: Mapping[str, Any], usual: Wanted) -> Wanted:
    """`usual` with the choices of a valid WantedInput. Raises NotFound for a pool."""
    chosen = {name: sent[name] for name in WantedInput().fields if name in sent}
    if "pool" in chosen:
        chosen["pool"] = pool_named(chosen["pool"])
    return usual.changed(chosen)


class PoolSerializer(serializers.Serializer):
    """How full the pool and the team's quota are; a quota of null is unlimited."""

    devices_total = serializers.IntegerField()
    devices_used = serializers.IntegerField()
    nodes_online = serializers.IntegerField()
    nodes_total = serializers.IntegerField()
    devices_held = serializers.IntegerField()
    jobs_active = serializers.IntegerField()
    quota_devices = serializers.IntegerField(allow_null=True)
    quota_jobs = serializers.IntegerField(allow_null=True)
    quota_storage_bytes = serializers.IntegerField(allow_null=True)


class PoolDetail(APIView):
    @extend_schema(responses=PoolSerializer)
    def get(self, request: Request) -> Response:
        """How full the pool and the team's quota are."""
        require_team(request)
        return Response(PoolSerializer(pool_overview(request.team)).data)


api_urlpatterns = [path("pool/", PoolDetail.as_view(), name="api_pool")]
