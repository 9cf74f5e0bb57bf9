"""The REST endpoint that tells how a deployment has scaled."""

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.deployments.api import find_deployment
from apps.deployments.models import Deployment, ScalingEvent
from apps.deployments.serving import requests_in_flight

TOLD_EVENTS = 100


class ScalingEventSerializer(serializers.ModelSerializer):
    """`made_by` is null where the site did it by itself, and then `reason` says why."""

    made_by = serializers.CharField(source="made_by.username", default=None)

    class Meta:
        model = ScalingEvent
        fields = ["before", "after", "reason", "made_by", "at"]
        read_only_fields = fields


class ScalingSerializer(serializers.Serializer):
    """`in_flight` is null where it cannot be read."""

    in_flight = serializers.FloatField(allow_null=True)
    events = ScalingEventSerializer(many=True)


class ScalingView(GenericAPIView):
    serializer_class = ScalingSerializer
    queryset = Deployment.objects.none()

    @extend_schema(responses=ScalingSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Requests in flight, and the last changes of the number of replicas, newest first."""
        deployment = find_deployment(request, pk)
        told = {
            "in_flight": requests_in_flight(deployment),
            "events": deployment.scaling_events.select_related("made_by")[:TOLD_EVENTS],
        }
        return Response(ScalingSerializer(told).data)


api_urlpatterns = [path("scaling/", ScalingView.as_view(), name="api_scaling")]
