"""REST endpoints of recipes."""

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.access import require_write
from apps.core.errors import NotFound
from apps.recipes.catalogue import all_recipes, find_recipe
from apps.recipes.models import RecipeRun
from apps.recipes.services import start_recipe


class RecipeSerializer(serializers.Serializer):
    """`name` is what a run calls its model."""

    slug = serializers.CharField()
    title = serializers.CharField()
    about = serializers.CharField()
    task = serializers.CharField()
    source = serializers.CharField()
    notice = serializers.CharField()
    name = serializers.CharField()
    minutes = serializers.IntegerField()


class RunSerializer(serializers.ModelSerializer):
    """`stage` is checking, training, deploying, done or failed; `error` says why it failed."""

    dataset = serializers.IntegerField(source="dataset_version.dataset_id", allow_null=True)
    deployment_name = serializers.CharField(source="deployment.name", allow_null=True, default=None)

    class Meta:
        model = RecipeRun
        fields = ["id", "recipe", "stage", "error", "dataset", "job", "deployment", "deployment_name", "created_at"]
        read_only_fields = fields


class RecipeList(APIView):
    @extend_schema(responses=RecipeSerializer(many=True))
    def get(self, request: Request) -> Response:
        """What can be started from an example, in the order of the page."""
        recipes, _broken = all_recipes()
        return Response(RecipeSerializer(recipes, many=True).data)


class RecipeRuns(APIView):
    @extend_schema(request=None, responses={201: RunSerializer})
    def post(self, request: Request, slug: str) -> Response:
        """Make its data set, train and deploy; while a run of it goes on, that is the answer."""
        require_write(request)
        run = start_recipe(team=request.team, user=request.user, recipe=find_recipe(slug))
        return Response(RunSerializer(run).data, status=201)


class RunDetail(APIView):
    @extend_schema(responses=RunSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """How far a run is."""
        runs = RecipeRun.objects.select_related("dataset_version", "deployment")
        if (run := runs.filter(team=request.team, pk=pk).first()) is None:
            raise NotFound(_("There is no such run."))
        return Response(RunSerializer(run).data)


api_urlpatterns = [
    path("recipes/", RecipeList.as_view(), name="recipes"),
    path("recipes/<slug:slug>/runs/", RecipeRuns.as_view(), name="recipe_runs"),
    path("recipe-runs/<int:pk>/", RunDetail.as_view(), name="recipe_run"),
]
