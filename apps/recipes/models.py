"""Runs of recipes."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Team
from apps.datasets.models import DatasetVersion
from apps.deployments.models import Deployment
from apps.jobs.models import Job


class RecipeRun(models.Model):
    """One time a team tries a recipe: its data is checked, a model trained and deployed, one after the other.

    Where it stands follows from what it has made; `error` says why it went no further.
    """

    class Stage(models.TextChoices):
        CHECKING = "checking", _("Checking the data")
        TRAINING = "training", _("Training")
        DEPLOYING = "deploying", _("Deploying")
        DONE = "done", _("Ready to try")
        FAILED = "failed", _("Failed")

    ENDED = (Stage.DONE, Stage.FAILED)

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="recipe_runs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    recipe = models.SlugField(max_length=80)
    stage = models.CharField(max_length=12, choices=Stage, default=Stage.CHECKING)
    error = models.TextField(blank=True)
    dataset_version = models.ForeignKey(DatasetVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    deployment = models.ForeignKey(Deployment, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "recipe"],
                condition=~models.Q(stage__in=("done", "failed")),
                name="recipe_runs_once_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"{self.recipe} {self.pk}"

    @property
    def is_ended(self) -> bool:
        return self.stage in self.ENDED
