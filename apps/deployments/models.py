"""Deployments: what should be served. Replicas: the processes that serve it."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Team
from apps.registry.models import ModelVersion
from apps.resources.models import Node


class Deployment(models.Model):
    """The wanted state: which version, how many replicas, who may see its demo page."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="deployments")
    name = models.SlugField(max_length=80)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="deployments")
    wanted_replicas = models.PositiveIntegerField(default=1)
    is_public = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="deployment_name_unique_in_team")]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name


class Replica(models.Model):
    """One inference process on one node; Ready only after it has answered a real prediction."""

    class Status(models.TextChoices):
        PENDING = "pending", _("Waiting")
        STARTING = "starting", _("Starting")
        READY = "ready", _("Ready")
        STOPPING = "stopping", _("Stopping")
        STOPPED = "stopped", _("Stopped")
        FAILED = "failed", _("Failed")

    LIVE = (Status.PENDING, Status.STARTING, Status.READY)

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="replicas")
    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="replicas")
    node = models.ForeignKey(Node, null=True, on_delete=models.SET_NULL, related_name="replicas")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    socket_path = models.CharField(max_length=200, blank=True)
    pid = models.PositiveIntegerField(null=True, blank=True)
    process_started_at = models.FloatField(null=True, blank=True)
    strikes = models.PositiveIntegerField(default=0)
    exit_code = models.IntegerField(null=True, blank=True)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
