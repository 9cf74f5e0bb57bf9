"""REST: load tests of a deployment, and its request log."""

from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.access import require_write
from apps.deployments.api import find_deployment
from apps.deployments.load_tests import give_up_lost, start_load_test
from apps.deployments.models import LoadTest, LoggedRequest
from apps.deployments.request_log import as_row, set_request_log


class LoadTestInput(serializers.Serializer):
    """How long, and how many clients ask at once."""

    seconds = serializers.IntegerField(required=False, default=10)
    clients = serializers.IntegerField(required=False, default=4)


class LoadTestSerializer(serializers.ModelSerializer):
    """`figures` are {"answers", "errors", "per_second", "p50_seconds", "p95_seconds", "p99_seconds", "statuses",
    "series", "elapsed_seconds"}: answers with status 200, all else by status, and the answers of each second."""

    version = serializers.IntegerField(source="version_number")

    class Meta:
        model = LoadTest
        fields = ["id", "status", "seconds", "clients", "version", "replicas", "figures", "reason", "created_at"]
        read_only_fields = fields


class LoadTestList(ListAPIView):
    """The deployment's load tests, newest first."""

    serializer_class, queryset = LoadTestSerializer, LoadTest.objects.none()

    def get_queryset(self) -> QuerySet[LoadTest]:
        deployment = find_deployment(self.request, self.kwargs["pk"])
        give_up_lost(deployment)
        return deployment.load_tests.all()

    @extend_schema(request=LoadTestInput, responses={201: LoadTestSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Ask the model's own sample over and over by the public address; 60 seconds and 32 clients at most."""
        require_write(request)
        sent = LoadTestInput(data=request.data)
        sent.is_valid(raise_exception=True)
        test = start_load_test(deployment=find_deployment(request, pk), user=request.user, **sent.validated_data)
        return Response(LoadTestSerializer(test).data, status=201)


class LogRulesInput(serializers.Serializer):
    """`percent` of the requests by key (0 is none) are kept for `days`, with what was sent where `inputs`."""

    percent = serializers.FloatField()
    days = serializers.IntegerField(required=False, default=7)
    inputs = serializers.BooleanField(required=False, default=False)


class LoggedRequestSerializer(serializers.Serializer):
    """`input` is what was sent, "" where it is not kept, and "base64:..." where it is no text."""

    at = serializers.DateTimeField()
    version = serializers.IntegerField()
    verb = serializers.CharField()
    status = serializers.IntegerField()
    seconds = serializers.FloatField()
    input_bytes = serializers.IntegerField()
    input = serializers.CharField()
    answer = serializers.CharField()

    def to_representation(self, request: LoggedRequest) -> dict:
        return as_row(request)


class RequestLogView(ListAPIView):
    """What was written down of the requests, newest first."""

    serializer_class, queryset = LoggedRequestSerializer, LoggedRequest.objects.none()

    def get_queryset(self) -> QuerySet[LoggedRequest]:
        return find_deployment(self.request, self.kwargs["pk"]).logged_requests.all()

    @extend_schema(request=LogRulesInput, responses=LogRulesInput)
    def put(self, request: Request, pk: int) -> Response:
        """Change what is written down from now on."""
        require_write(request)
        sent = LogRulesInput(data=request.data)
        sent.is_valid(raise_exception=True)
        wanted = sent.validated_data
        set_request_log(
            deployment=find_deployment(request, pk),
            user=request.user,
            percent=wanted["percent"],
            days=wanted["days"],
            has_inputs=wanted["inputs"],
        )
        return Response(wanted)


api_urlpatterns = [
    path("load-tests/", LoadTestList.as_view(), name="api_load_tests"),
    path("requests/", RequestLogView.as_view(), name="api_requests"),
]
