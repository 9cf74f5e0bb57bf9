"""Jobs: what a user asked for, every execution of it, and what it said on the way."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Team
from apps.datasets.models import DatasetVersion
from apps.registry.models import ModelVersion
from apps.resources.models import Allocation, Node


class Job(models.Model):
    """One piece of work. Only services.move_job changes `status`; `attempt` is the fencing token of every write.

    `plan` says how it is spread over devices (workers/parallel/plan.py), {} is one device; `prediction` what was
    expected of that plan when it was made, and why not of another (apps/jobs/plans.py).
    """

    class Kind(models.TextChoices):
        PREPARE = "prepare", _("Check data")
        TRAIN = "train", _("Train")
        COMPRESS = "compress", _("Compress")

    class Status(models.TextChoices):
        QUEUED = "queued", _("Waiting")
        STARTING = "starting", _("Starting")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
    ACTIVE = (Status.STARTING, Status.RUNNING)

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="jobs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=80)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    strikes = models.PositiveIntegerField(default=0)

    dataset_version = models.ForeignKey(DatasetVersion, null=True, on_delete=models.SET_NULL, related_name="jobs")
    base_version = models.ForeignKey(
        ModelVersion, null=True, on_delete=models.SET_NULL, related_name="jobs_based_on_it"
    )
    output_version = models.OneToOneField(
        ModelVersion, null=True, on_delete=models.SET_NULL, related_name="produced_by"
    )
    task = models.CharField(max_length=40, blank=True)
    target = models.CharField(max_length=200, blank=True)
    preset = models.CharField(max_length=20, blank=True)
    hyperparameters = models.JSONField(default=dict, blank=True)
    model_name = models.CharField(max_length=80, blank=True)
    method = models.CharField(max_length=40, blank=True)

    allocation = models.OneToOneField(Allocation, null=True, on_delete=models.SET_NULL, related_name="job")
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.SET_NULL, related_name="jobs")
    plan = models.JSONField(default=dict, blank=True)
    prediction = models.JSONField(default=dict, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    progress = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    outputs = models.JSONField(default=dict, blank=True)
    failure = models.JSONField(default=dict, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    first_step_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["team", "-created_at"]), models.Index(fields=["status"])]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"#{self.pk} {self.name}"

    @property
    def is_ended(self) -> bool:
        return self.status in self.ENDED

    @property
    def was_preempted(self) -> bool:
        """It waits because it had to leave its devices."""
        return self.status == self.Status.QUEUED and bool(self.allocation and self.allocation.leave_code)


class JobEvent(models.Model):
    """A change of state, or something worth telling: who, when, why.

    `status` is the new state; PREEMPTED is told of work that had to leave its devices and is queued again.
    """

    PREEMPTED = "preempted"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    attempt = models.PositiveIntegerField()
    status = models.CharField(max_length=10, blank=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    message = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]


class JobLog(models.Model):
    """A line the program wrote."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log_lines")
    attempt = models.PositiveIntegerField()
    level = models.CharField(max_length=10, default="info")
    message = models.TextField()
    at = models.DateTimeField()

    class Meta:
        ordering = ["id"]


class Metric(models.Model):
    """One point of a curve."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="metrics")
    attempt = models.PositiveIntegerField()
    name = models.CharField(max_length=40)
    split = models.CharField(max_length=10)
    step = models.PositiveBigIntegerField()
    epoch = models.FloatField()
    value = models.FloatField()

    class Meta:
        ordering = ["id"]


class Checkpoint(models.Model):
    """A complete checkpoint in storage; `files` maps names to {"sha256", "bytes"}."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoints")
    attempt = models.PositiveIntegerField()
    path = models.CharField(max_length=200)
    step = models.PositiveBigIntegerField()
    epoch = models.FloatField()
    files = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
