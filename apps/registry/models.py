"""Registered models, their versions, and the files of each version."""

from django.conf import settings
from django.db import models

from apps.accounts.models import Team


class RegisteredModel(models.Model):
    """A model by name; what is trained again under the same name becomes its next version."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="models")
    name = models.CharField(max_length=80)
    task = models.CharField(max_length=40)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="model_name_unique_in_team")]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name


class ModelVersion(models.Model):
    """One trained, compressed or fused model.

    `metrics` is {"test": {"accuracy": ...}, "val": {...}}; `meta` is the model's meta.json (workers/training);
    `lineage` is {"dataset", "dataset_version_id", "content_hash", "job_id", "seed", "code_version", "hyperparameters",
    "method"}, and "parts" [{"id", "name", "weight"}] where it was fused; `parent` is the version it was compressed or
    continued from.
    """

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children")
    metrics = models.JSONField(default=dict)
    meta = models.JSONField(default=dict)
    lineage = models.JSONField(default=dict)
    size_bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "number"], name="model_version_number_unique")]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.model.name} v{self.number}"


class Artifact(models.Model):
    """One file of a model version: its name in the bundle and the blob that holds it."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="artifacts")
    name = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "name"], name="artifact_name_unique_in_version")]
        ordering = ["name"]
