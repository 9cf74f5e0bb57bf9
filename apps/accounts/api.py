"""Who a key is: the first call of a program that wants to know whether it may talk to this site."""

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class WhoAmISerializer(serializers.Serializer):
    user = serializers.CharField()
    team = serializers.SlugField(allow_null=True)
    role = serializers.CharField(allow_null=True)


class WhoAmI(APIView):
    @extend_schema(responses=WhoAmISerializer, summary="Who this key or session is")
    def get(self, request: Request) -> Response:
        membership = request.membership
        return Response(
            {
                "user": request.user.username,
                "team": request.team.slug if request.team else None,
                "role": membership.role if membership else None,
            }
        )


api_urlpatterns = [path("me/", WhoAmI.as_view(), name="api_me")]
