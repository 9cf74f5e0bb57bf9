"""REST endpoint of the pool."""

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.access import require_team
from apps.resources.services import pool_overview


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
