"""REST endpoints of the pool: what was promised, and what was used."""

from django.conf import settings
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.access import require_administrator, require_team
from apps.accounts.models import Team
from apps.core.errors import NotFound
from apps.resources.models import Pool, Quota
from apps.resources.nodes import default_pool
from apps.resources.nodes_api import node_urlpatterns
from apps.resources.quotas import set_quota
from apps.resources.reports import GROUPS, PERIODS, Report, make_report, read_question, sorted_rows
from apps.resources.services import pool_overview
from apps.resources.standing import Standing, TeamStanding, standings
from apps.resources.usage import Sums


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


class SumsSerializer(serializers.Serializer):
    """What was used, added up; costs in the site's currency."""

    device_hours = serializers.FloatField()
    busy_device_hours = serializers.FloatField()
    storage_gb_months = serializers.FloatField()
    network_out_bytes = serializers.IntegerField()
    device_cost = serializers.FloatField()
    idle_cost = serializers.FloatField()
    storage_cost = serializers.FloatField()
    network_cost = serializers.FloatField()
    cost = serializers.FloatField()


class UsageRowSerializer(SumsSerializer):
    """`key` is an id, a day or a kind of device; "other" is storage and network, which are no person's and no job's."""

    key = serializers.CharField()
    name = serializers.CharField()


class UsageSerializer(serializers.Serializer):
    """`from` and `to` are the first and the last day, both included."""

    to = serializers.DateField()
    group = serializers.ChoiceField(choices=list(GROUPS))
    currency = serializers.CharField()
    total = SumsSerializer()
    rows = UsageRowSerializer(many=True)

    def get_fields(self) -> dict:
        return {"from": serializers.DateField(), **super().get_fields()}  # a word of Python cannot be declared


class UsageDetail(APIView):
    @extend_schema(
        parameters=[
            OpenApiParameter("group", enum=list(GROUPS)),
            OpenApiParameter("period", enum=list(PERIODS)),
            OpenApiParameter("from", description="first day, 2030-01-31"),
            OpenApiParameter("to", description="last day, included"),
            OpenApiParameter("team", description="administrators: an id, or all"),
        ],
        responses=UsageSerializer,
    )
    def get(self, request: Request) -> Response:
        """What the team used in a period, this month unless given, and what it cost."""
        require_team(request)
        zone = timezone.get_default_timezone()
        question = read_question(
            request.query_params,
            user=request.user,
            team=request.team,
            sees_all=False,
            now=timezone.now(),
            zone=zone,
        )
        return Response(UsageSerializer(_usage(make_report(question))).data)


def _usage(report: Report) -> dict:
    days = report.question.days
    rows = [{"key": str(row.key), "name": row.label, **_sums(row.sums)} for row in sorted_rows(report, "")]
    return {
        "from": days[0],
        "to": days[-1],
        "group": report.question.group,
        "currency": settings.LEPTON_CURRENCY,
        "total": _sums(report.total),
        "rows": rows,
    }


def _sums(sums: Sums) -> dict:
    return {
        "device_hours": sums.device_hours,
        "busy_device_hours": sums.busy_hours,
        "storage_gb_months": sums.gb_months,
        "network_out_bytes": round(sums.sent_bytes),
        "device_cost": sums.device_cost,
        "idle_cost": sums.idle_cost,
        "storage_cost": sums.storage_cost,
        "network_cost": sums.network_cost,
        "cost": sums.cost,
    }


api_urlpatterns = [
    path("pool/", PoolDetail.as_view(), name="api_pool"),
    path("quotas/", QuotaList.as_view(), name="api_quotas"),
    path("quotas/<slug:team_slug>/<str:resource>/", QuotaDetail.as_view(), name="api_quota"),
    path("usage/", UsageDetail.as_view(), name="api_usage"),
    *node_urlpatterns,
]
