"""Jobs: what a user asked for, every execution of it, and what it said on the way."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Team
from apps.datasets.models import DatasetVersion
from apps.registry.models import ModelVersion
from apps.resources.models import Allocation, Node
from workers.contract import FAILED, NO_GAIN, OVER, WITHIN
from workers.domains import TASKS


class Job(models.Model):
    """One piece of work. Only services.move_job changes `status`; `attempt` is the fencing token of every write.

    A paused job has given everything back and goes on from its newest checkpoint when it is resumed. `continues` is the
    training that this one trains further, from its checkpoint after `extends_step` steps, in its epoch `extends_epoch`.
    `node` is the machine that leads. `plan` says how it is spread over its devices (workers/parallel/plan.py), {} is as
    usual; `prediction` what was expected of that plan when it was made, and why not of another (apps/jobs/plans.py).
    `parts` are the model versions that a fusion is made of, in the order they were given: [{"id", "name"}]. Like a
    lineage it names what was there; a version that was deleted since leaves its name. `hyperparameters` of a
    compression are its settings (workers/compression/recipes.py), and its `method` is SEARCH or RECIPE of there.
    A prediction asks `base_version` about `dataset_version`, or about the file in `inputs`, which like `outputs` maps
    names to {"sha256", "bytes"}. The `inputs` of a training are the checkpoint that it starts from (apps/jobs/starts).
    """

    class Kind(models.TextChoices):
        PREPARE = "prepare", _("Check data")
        TRAIN = "train", _("Train")
        COMPRESS = "compress", _("Compress")
        FUSE = "fuse", _("Fuse")
        PREDICT = "predict", _("Predict")

    class Status(models.TextChoices):
        QUEUED = "queued", _("Waiting")
        STARTING = "starting", _("Starting")
        RUNNING = "running", _("Running")
        PAUSED = "paused", _("Paused")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
    ACTIVE = (Status.STARTING, Status.RUNNING)
    RESTING = (Status.PAUSED, *ENDED)  # they hold nothing, and wait for no hardware
    PAUSABLE = (Kind.TRAIN, Kind.COMPRESS, Kind.PREDICT)  # they write checkpoints to go on from

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
    parts = models.JSONField(default=list, blank=True)
    task = models.CharField(max_length=40, blank=True)
    target = models.CharField(max_length=200, blank=True)
    preset = models.CharField(max_length=20, blank=True)
    hyperparameters = models.JSONField(default=dict, blank=True)
    model_name = models.CharField(max_length=80, blank=True)
    continues = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="continued_by")
    extends_step = models.PositiveBigIntegerField(default=0)
    extends_epoch = models.FloatField(default=0.0)
    method = models.CharField(max_length=40, blank=True)

    allocation = models.OneToOneField(Allocation, null=True, on_delete=models.SET_NULL, related_name="job")
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.SET_NULL, related_name="jobs")
    plan = models.JSONField(default=dict, blank=True)
    prediction = models.JSONField(default=dict, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    pause_requested_at = models.DateTimeField(null=True, blank=True)

    progress = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    inputs = models.JSONField(default=dict, blank=True)
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
    def is_compressible(self) -> bool:
        """Whether the model it makes can be made smaller."""
        return self.task in TASKS and bool(TASKS[self.task].samples)

    @property
    def is_ended(self) -> bool:
        return self.status in self.ENDED

    @property
    def present_members(self) -> "list[Member]":
        """Those of the newest attempt, the one that leads first; where members were prefetched, without a query."""
        return [member for member in self.members.all() if member.attempt == self.attempt]

    @property
    def is_resting(self) -> bool:
        """It changes no more by itself: it has ended, or is paused."""
        return self.status in self.RESTING

    @property
    def is_being_paused(self) -> bool:
        return self.status in self.ACTIVE and bool(self.pause_requested_at) and not self.cancel_requested_at

    @property
    def can_pause(self) -> bool:
        return self.kind in self.PAUSABLE and not (self.is_resting or self.cancel_requested_at)

    @property
    def was_preempted(self) -> bool:
        """It waits because it had to leave its devices."""
        return self.status == self.Status.QUEUED and bool(self.allocation and self.allocation.leave_code)


class Member(models.Model):
    """The part of an attempt that runs on one machine, with its lease. The one of rank 0 leads.

    The rows stay, as the log of leases: an attempt begins only when every member of those before it has `ended_at`,
    which its runner writes once its programs are gone, or the reaper once its lease has run out. `runner` names the
    process that took it. `endpoint` is where the programs of a gang meet, told by the member that leads; `read_bytes`
    is how much of what its program said is written down.
    """

    class Ending(models.TextChoices):
        SUCCEEDED = "succeeded", _("Succeeded")
        STOPPED = "stopped", _("Stopped")  # as asked, after a checkpoint
        FAILED = "failed", _("Failed")  # the program has said why
        CRASHED = "crashed", _("Crashed")
        LOST = "lost", _("Lost")  # the machine, the runner, or the program to a signal
        FOLLOWED = "followed", _("Ended with the others")

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="members")
    attempt = models.PositiveIntegerField()
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="members")
    rank = models.PositiveIntegerField(default=0)
    runner = models.CharField(max_length=100, blank=True)
    endpoint = models.CharField(max_length=120, blank=True)
    read_bytes = models.PositiveBigIntegerField(default=0)
    lease_expires_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    running_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ending = models.CharField(max_length=10, choices=Ending, blank=True)
    message = models.TextField(blank=True)
    failure = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "attempt", "node"], name="one_member_per_node_of_an_attempt"),
            models.UniqueConstraint(fields=["job", "attempt", "rank"], name="one_member_per_rank_of_an_attempt"),
            models.CheckConstraint(
                condition=models.Q(ended_at__isnull=True, ending="")
                | models.Q(ended_at__isnull=False) & ~models.Q(ending=""),
                name="what_has_ended_says_how",
            ),
        ]
        indexes = [
            models.Index(fields=["node"], condition=models.Q(ended_at=None), name="open_members_of_a_node"),
            models.Index(fields=["lease_expires_at"], condition=models.Q(ended_at=None), name="leases_that_run"),
        ]
        ordering = ["attempt", "rank"]

    def __str__(self) -> str:
        return f"{self.job_id}-{self.attempt} on {self.node.name}"

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def status(self) -> str:
        """waiting, starting, running, or how it ended."""
        if self.ended_at:
            return self.ending
        return "running" if self.running_at else "starting" if self.claimed_at else "waiting"

    @property
    def status_word(self) -> str:
        known = {"waiting": _("Waiting"), "starting": _("Starting"), "running": _("Running")}
        return str(known.get(self.status) or self.get_ending_display())


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
    """A line the program wrote; `code` marks those that the page looks for (workers/contract.py)."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log_lines")
    attempt = models.PositiveIntegerField()
    level = models.CharField(max_length=10, default="info")
    code = models.CharField(max_length=30, blank=True)
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


class CheckpointQuerySet(models.QuerySet):
    def complete(self) -> "CheckpointQuerySet":
        """Those that can be resumed from: every member's part is in storage."""
        return self.filter(missing=[])


class Checkpoint(models.Model):
    """A checkpoint in storage; `files` maps names to {"sha256", "bytes"}, `missing` are the ranks of the members whose
    part is not there yet.

    `score` (higher is better) and `metrics` are of the epoch that ends with it, None and {} within an epoch. The newest
    (`is_latest`), the one with the highest score (`is_best`) and those that were asked for (`is_kept`) stay.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoints")
    attempt = models.PositiveIntegerField()
    path = models.CharField(max_length=200)
    step = models.PositiveBigIntegerField()
    epoch = models.FloatField()
    score = models.FloatField(null=True, blank=True)
    metrics = models.JSONField(default=dict, blank=True)
    is_latest = models.BooleanField(default=False)
    is_best = models.BooleanField(default=False)
    is_kept = models.BooleanField(default=False)
    files = models.JSONField(default=dict)
    missing = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CheckpointQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "attempt", "path"], name="one_checkpoint_per_path")]
        ordering = ["id"]

    @property
    def size_bytes(self) -> int:
        return sum(file["bytes"] for file in self.files.values())


class Candidate(models.Model):
    """A smaller model that a compression made and measured; number 0 is the original as it was measured beside them.

    `recipe` is its steps, `figures` what was measured on `node` (workers/compression), `files` maps names to {"sha256",
    "bytes"} and is empty where it could not be made. `version` is the model version that it was kept as.
    """

    class Verdict(models.TextChoices):
        WITHIN = WITHIN, _("Within the limit")
        OVER = OVER, _("Loses too much")
        NO_GAIN = NO_GAIN, _("No gain")
        FAILED = FAILED, _("Could not be made")

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="candidates")
    attempt = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=200)
    recipe = models.JSONField(default=list, blank=True)
    figures = models.JSONField(default=dict, blank=True)
    verdict = models.CharField(max_length=10, choices=Verdict)
    reason = models.TextField(blank=True)
    notes = models.JSONField(default=list, blank=True)
    files = models.JSONField(default=dict, blank=True)
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    version = models.OneToOneField(
        ModelVersion, null=True, blank=True, on_delete=models.SET_NULL, related_name="candidate"
    )
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="one_candidate_per_number_of_a_job")]
        ordering = ["job", "number"]

    def __str__(self) -> str:
        return f"{self.name} (#{self.number} of job {self.job_id})"

    @property
    def is_original(self) -> bool:
        return self.number == 0

    @property
    def size_bytes(self) -> int:
        return sum(file["bytes"] for file in self.files.values())

    @property
    def can_be_kept(self) -> bool:
        """It is a model of its own whose files are there."""
        return not self.is_original and bool(self.files)
