"""Uploads, and data sets made of frozen versions."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Team
from apps.datasets.kinds import Shown, shown_as
from workers.contract import KIND_TABLE
from workers.domains import tasks_of


class Upload(models.Model):
    """One file on its way in, chunk by chunk. Its bytes lie in LEPTON_HOME/uploads/<id> until it is complete."""

    class Status(models.TextChoices):
        RECEIVING = "receiving", _("Receiving")
        COMPLETE = "complete", _("Complete")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="uploads")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    name = models.CharField(max_length=500)
    size_bytes = models.BigIntegerField()
    received_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.RECEIVING)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)


class Dataset(models.Model):
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=80)
    description = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="dataset_name_unique_in_team")]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    @property
    def latest_version(self) -> "DatasetVersion | None":
        """The newest version, whatever its status; uses prefetched versions where there are some."""
        return next(iter(self.versions.all()), None)


class DatasetVersion(models.Model):
    """A snapshot. Once `ready` nothing in it changes.

    `report` is what the preprocessing program found (workers/preprocessing says its shape);
    `outputs` maps its files ("data.zip", "index.jsonl", "thumbs/00.png") to {"sha256", "bytes"}. A version that was
    made from another one (`parent`) has the same uploads and a `recipe` of what was decided about them
    (workers/preprocessing/recipe.py). `kept` has the findings that somebody has looked at and lets be.
    """

    class Status(models.TextChoices):
        CHECKING = "checking", _("Checking")
        NEEDS_REVIEW = "needs_review", _("Needs review")
        READY = "ready", _("Ready")
        REJECTED = "rejected", _("Rejected")

    FROZEN = ("data.zip", "data.csv", "index.jsonl", "index.json")

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=12, choices=Status, default=Status.CHECKING)
    kind = models.CharField(max_length=20, blank=True)
    task = models.CharField(max_length=40, blank=True)
    target = models.CharField(max_length=200, blank=True)
    seed = models.PositiveIntegerField(default=0)
    report = models.JSONField(default=dict, blank=True)
    outputs = models.JSONField(default=dict, blank=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children")
    recipe = models.JSONField(default=dict, blank=True)
    kept = models.JSONField(default=list, blank=True)
    content_hash = models.CharField(max_length=64, blank=True)
    item_count = models.PositiveBigIntegerField(default=0)
    size_bytes = models.BigIntegerField(default=0)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    error_hint = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    frozen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="dataset_version_number_unique")]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.dataset.name} v{self.number}"

    @property
    def first(self) -> "DatasetVersion":
        """The version of these uploads about which nothing was decided yet; the version itself where it is that one."""
        version = self
        while version.parent:
            version = version.parent
        return version

    @property
    def shown(self) -> Shown | None:
        """How people see data of this kind."""
        return shown_as(self.kind, self.task)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it can be used for: a table for whatever tables are, other data for what their check has found."""
        if self.kind == KIND_TABLE:
            return tasks_of(self.kind)
        return tuple(self.report.get("tasks") or (self.task,))

    @property
    def frozen_files(self) -> dict[str, dict]:
        """The data and its index: name -> {"sha256", "bytes"}; thumbnails and the report are not among them."""
        return {name: self.outputs[name] for name in self.FROZEN if name in self.outputs}


class VersionFile(models.Model):
    """An uploaded file that a version is made from; `split` is set where the user said which part it is."""

    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="files")
    upload = models.ForeignKey(Upload, null=True, on_delete=models.SET_NULL)
    name = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    split = models.CharField(max_length=10, blank=True)
