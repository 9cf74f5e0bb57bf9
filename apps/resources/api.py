"""REST endpoints of the pool."""

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.access import require_administrator, require_team
from apps.accounts.models import Team
from apps.core.errors import NotFound
from apps.resources.models import Pool, Quota
from apps.resources.nodes import default_pool
from apps.resources.quotas import set_quota
from apps.resources.services import pool_overview
from apps.resources.standing import Standing, TeamStanding, standings


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


class PromiseInput(serializers.Serializer):
    """Devices and jobs in pieces, CPU in thousandths of a core, memory, storage and egress in bytes, device time in
    seconds; egress and device time per calendar month. A limit of null is unlimited."""

    guaranteed = serializers.IntegerField(required=False, default=0)
    limit = serializers.IntegerField(required=False, allow_null=True, default=None)
    user_limit = serializers.IntegerField(required=False, allow_null=True, default=None)
    pool = serializers.CharField(required=False, default="default")


class QuotaSerializer(serializers.Serializer):
    """What a team was promised of one resource, and what it uses."""

    team = serializers.SlugField()
    pool = serializers.SlugField()
    resource = serializers.ChoiceField(choices=Quota.Resource.choices)
    guaranteed = serializers.IntegerField()
    limit = serializers.IntegerField(allow_null=True)
    user_limit = serializers.IntegerField(allow_null=True)
    used = serializers.IntegerField()
    left = serializers.IntegerField(allow_null=True)


class QuotaListSerializer(serializers.Serializer):
    results = QuotaSerializer(many=True)


class QuotaList(APIView):
    @extend_schema(responses=QuotaListSerializer)
    def get(self, request: Request) -> Response:
        """What the team was promised of every pool beside what it uses; administrators see all teams."""
        require_team(request)
        teams = Team.objects.order_by("slug") if request.user.is_superuser else [request.team]
        rows = [
            _quota_row(standing, row, pool)
            for pool in Pool.objects.order_by("id")
            for standing in standings(pool, teams)
            for row in standing.rows
        ]
        return Response({"results": rows})


class QuotaDetail(APIView):
    @extend_schema(request=PromiseInput, responses=QuotaSerializer)
    def put(self, request: Request, team_slug: str, resource: str) -> Response:
        """Promise a team a resource. Administrators only."""
        team = Team.objects.filter(slug=team_slug).first()
        if team is None or not (request.user.is_superuser or team == request.team):
            raise NotFound(_("There is no team of this name."))
        require_administrator(request)
        promised = PromiseInput(data=request.data)
        promised.is_valid(raise_exception=True)
        values = dict(promised.validated_data)
        name = values.pop("pool")
        pool = next((pool for pool in [default_pool(), *Pool.objects.all()] if pool.name == name), None)
        if pool is None:
            raise NotFound(_("There is no pool of this name."), field="pool")
        set_quota(team=team, pool=pool, resource=resource, user=request.user, **values)
        standing = standings(pool, [team])[0]
        return Response(_quota_row(standing, standing.of(resource), pool))


def _quota_row(standing: TeamStanding, row: Standing, pool: Pool) -> dict:
    return {
        "team": standing.team.slug,
        "pool": pool.name,
        "resource": row.resource,
        "guaranteed": row.promise.guaranteed,
        "limit": row.promise.limit,
        "user_limit": row.promise.user_limit,
        "used": row.used,
        "left": row.left,
    }


api_urlpatterns = [
    path("pool/", PoolDetail.as_view(), name="api_pool"),
    path("quotas/", QuotaList.as_view(), name="api_quotas"),
    path("quotas/<slug:team_slug>/<str:resource>/", QuotaDetail.as_view(), name="api_quota"),
]
