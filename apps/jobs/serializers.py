"""What programs are told of a job."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.jobs.models import Candidate, Checkpoint, Job
from apps.jobs.plan_words import note_words, verdict_words
from apps.jobs.plans import measured_step
from apps.jobs.waiting import Waiting, help_for, holders_of, waiting_of
from apps.registry.models import ModelVersion
from apps.resources.wanted import wanted_of
from workers.predicting.kinds import PREDICTION_FILES


class StartSerializer(serializers.Serializer):
    """A folder of the site with a pretrained checkpoint; its `name` is what a training's start_from takes. `told` are
    the hyper-parameters by which it is told of languages, with the codes that each may be."""

    name = serializers.CharField()
    family = serializers.CharField()
    label = serializers.CharField()
    license = serializers.CharField()
    weight_bytes = serializers.IntegerField()
    told = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))


class CheckpointSerializer(serializers.ModelSerializer):
    """`score` (higher is better) and `metrics` are of the epoch that ends with it; null and {} within an epoch."""

    bytes = serializers.IntegerField(source="size_bytes")

    class Meta:
        model = Checkpoint
        fields = ["id", "epoch", "step", "score", "metrics", "bytes", "is_latest", "is_best", "is_kept", "created_at"]


class CandidateSerializer(serializers.ModelSerializer):
    """A smaller model that a compression made and measured; number 0 is the original. `figures` are empty where it
    could not be made; `model` is the version it was kept as."""

    node = serializers.SerializerMethodField()
    bytes = serializers.IntegerField(source="size_bytes")
    files = serializers.SerializerMethodField()
    model = serializers.SerializerMethodField()

    class Meta:
        model = Candidate
        fields = [
            "number",
            "name",
            "recipe",
            "figures",
            "verdict",
            "reason",
            "notes",
            "node",
            "bytes",
            "files",
            "model",
        ]

    def get_node(self, candidate: Candidate) -> str | None:
        """The machine it was measured on."""
        return candidate.node.name if candidate.node else None

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_files(self, candidate: Candidate) -> list[str]:
        """The names of its files."""
        return sorted(candidate.files)

    def get_model(self, candidate: Candidate) -> dict | None:
        """{"id", "name", "version"}"""
        return model_reference(candidate.version)


def model_reference(version: ModelVersion | None) -> dict | None:
    return {"id": version.model_id, "name": version.model.name, "version": version.number} if version else None


class Terms(serializers.Serializer):
    """What it asks for: `cpu` in cores, `memory` in GB, `bid` in credits for one device-hour."""

    pool = serializers.CharField()
    devices = serializers.IntegerField()
    device_kind = serializers.CharField()
    cpu = serializers.FloatField()
    memory = serializers.FloatField()
    priority = serializers.CharField()
    preemptible = serializers.BooleanField()
    bid = serializers.FloatField()


class Between(serializers.Serializer):
    """Two moments between which it starts 8 times of 10."""

    earliest = serializers.DateTimeField()
    latest = serializers.DateTimeField()


class WaitingSerializer(serializers.Serializer):
    """Why it waits: a stable code, a sentence, its numbers; its place from 1; null where it cannot be told."""

    code = serializers.CharField()
    message = serializers.CharField()
    numbers = serializers.DictField()
    place = serializers.IntegerField(allow_null=True)
    starts_between = Between(allow_null=True)


class HolderSerializer(serializers.Serializer):
    """Who holds some of what it waits for; of another team nothing is said but that, unless you run the site."""

    team = serializers.CharField(allow_null=True)
    job = serializers.IntegerField(allow_null=True)
    name = serializers.CharField(allow_null=True)
    devices = serializers.IntegerField()


class HelpSerializer(serializers.Serializer):
    """A change that lets it start sooner: PATCH the job with `changes`."""

    code = serializers.CharField()
    message = serializers.CharField()
    changes = serializers.DictField()
    starts_now = serializers.BooleanField()
    starts_between = Between(allow_null=True)


class FullWaitingSerializer(WaitingSerializer):
    holders = HolderSerializer(many=True)
    would_help = HelpSerializer(many=True)


class ExpectedSerializer(serializers.Serializer):
    """How long it will run in all: 8 times of 10 between low and high."""

    low_seconds = serializers.FloatField()
    median_seconds = serializers.FloatField()
    high_seconds = serializers.FloatField()


class VerdictSerializer(serializers.Serializer):
    """Why: a stable code, its numbers, a sentence."""

    code = serializers.CharField()
    numbers = serializers.DictField()
    message = serializers.CharField()


class AlternativeSerializer(serializers.Serializer):
    """A strategy with its price; null where it is not possible. `speedup` is against one device."""

    strategy = serializers.CharField()
    step_seconds = serializers.FloatField(allow_null=True)
    speedup = serializers.FloatField(allow_null=True)
    memory_bytes = serializers.IntegerField(allow_null=True)
    verdict = VerdictSerializer()


class RankSerializer(serializers.Serializer):
    """What one rank does."""

    node = serializers.CharField()
    index = serializers.IntegerField()
    kind = serializers.CharField()
    layers = serializers.ListField(child=serializers.CharField())
    examples = serializers.FloatField()
    memory_bytes = serializers.IntegerField()
    available_bytes = serializers.IntegerField()
    compute_seconds = serializers.FloatField()


class PlanSerializer(serializers.Serializer):
    """How a training is spread. `asked` is the strategy that was asked for, `strategy` the one that was chosen, null
    where none is possible; `plan` is what the program is given. Seconds are for one batch; `measured_step_seconds` is
    what the training really takes. `second_factor`: where one device was asked for, how long a step on two takes
    against it."""

    asked = serializers.CharField()
    strategy = serializers.CharField(allow_null=True)
    plan = serializers.DictField()
    world_size = serializers.IntegerField()
    batch_size = serializers.IntegerField()
    step_seconds = serializers.FloatField(allow_null=True)
    measured_step_seconds = serializers.FloatField(allow_null=True)
    single_seconds = serializers.FloatField(allow_null=True)
    speedup = serializers.FloatField(allow_null=True)
    communication_seconds = serializers.FloatField()
    bubble = serializers.FloatField()
    second_factor = serializers.FloatField(allow_null=True)
    is_measured = serializers.BooleanField()
    is_measuring = serializers.BooleanField()
    device_name = serializers.CharField()
    parts = RankSerializer(many=True)
    notes = VerdictSerializer(many=True)
    alternatives = AlternativeSerializer(many=True)
    refusal = VerdictSerializer(allow_null=True)


def present_plan(
    prediction: Mapping[str, Any], *, measured: float | None = None, is_measuring: bool = False, refusal: Any = None
) -> dict:
    """What `describe` of apps/jobs/plans.py keeps, with its sentences."""

    def said(verdict: Mapping[str, Any], words: Callable[[str, Mapping], str]) -> dict:
        return {**verdict, "message": words(verdict["code"], verdict["numbers"])}

    alternatives = [{**item, "verdict": said(item["verdict"], verdict_words)} for item in prediction["alternatives"]]
    return PlanSerializer(
        {
            **prediction,
            "measured_step_seconds": measured,
            "is_measuring": is_measuring,
            "notes": [said(note, note_words) for note in prediction["notes"]],
            "alternatives": alternatives,
            "refusal": refusal and {"code": refusal.code, "numbers": refusal.details, "message": refusal.message},
        }
    ).data


def _between(low_at: datetime | None, high_at: datetime | None) -> dict | None:
    return {"earliest": low_at, "latest": high_at} if low_at and high_at else None


class MemberSerializer(serializers.Serializer):
    """A machine of the present attempt; the one of rank 0 leads. `status`: waiting, starting, running, or how it ended:
    succeeded, stopped, failed, crashed, lost, followed (it ended with the others)."""

    node = serializers.CharField(source="node.name")
    rank = serializers.IntegerField()
    status = serializers.CharField()


class PredictedFileSerializer(serializers.Serializer):
    """A file that can be downloaded: GET <job>/files/<name>."""

    name = serializers.CharField()
    bytes = serializers.IntegerField()


class PartSerializer(serializers.Serializer):
    """A model version that a fusion is made of."""

    id = serializers.IntegerField()
    name = serializers.CharField()


class JobSerializer(serializers.ModelSerializer):
    members = serializers.SerializerMethodField()
    waiting = serializers.SerializerMethodField()
    terms = serializers.SerializerMethodField()
    expected = serializers.SerializerMethodField()
    model = serializers.SerializerMethodField()
    failure = serializers.SerializerMethodField()
    url = serializers.SerializerMethodField()
    parts = PartSerializer(many=True)
    seconds_to_first_step = serializers.SerializerMethodField()
    strategy = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = [
            "id", "kind", "name", "status", "attempt", "progress", "result", "failure", "waiting", "terms", "expected",
            "dataset_version", "parts", "task", "target", "preset", "hyperparameters", "strategy", "method", "model",
            "continues", "members", "url", "created_at", "started_at", "seconds_to_first_step", "pause_requested_at",
            "finished_at",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(WaitingSerializer(allow_null=True))
    def get_waiting(self, job: Job) -> dict | None:
        """Why it waits and when it starts; null when it does not."""
        waiting = waiting_of(job)
        return self.describe_waiting(job, waiting) if waiting else None

    def describe_waiting(self, job: Job, waiting: Waiting) -> dict:
        starts = _between(waiting.low_at, waiting.high_at)
        return WaitingSerializer({**asdict(waiting), "starts_between": starts}).data

    @extend_schema_field(Terms(allow_null=True))
    def get_terms(self, job: Job) -> dict | None:
        """What it asks for; null when that is no longer known."""
        return wanted_of(job.allocation).choices if job.allocation else None

    @extend_schema_field(ExpectedSerializer(allow_null=True))
    def get_expected(self, job: Job) -> dict | None:
        """How long it will run, as was thought when it was handed in."""
        estimate = wanted_of(job.allocation).terms.estimate if job.allocation else None
        return ExpectedSerializer(estimate).data if estimate else None

    @extend_schema_field(MemberSerializer(many=True))
    def get_members(self, job: Job) -> list[dict]:
        """The machines that it runs on, or ran on last."""
        return MemberSerializer(job.present_members, many=True).data

    def get_model(self, job: Job) -> dict | None:
        """The model version it made: {"id", "name", "version"}."""
        return model_reference(job.output_version)

    def get_failure(self, job: Job) -> dict | None:
        return job.failure or None

    def get_seconds_to_first_step(self, job: Job) -> float | None:
        """From submit to the first optimiser step."""
        return (job.first_step_at - job.created_at).total_seconds() if job.first_step_at else None

    def get_strategy(self, job: Job) -> str | None:
        """How it is spread over devices; null for what cannot be."""
        return job.plan.get("strategy")

    def get_url(self, job: Job) -> str:
        return f"/jobs/{job.pk}/"


class JobDetailSerializer(JobSerializer):
    """With how it is spread over devices, who holds what it waits for, what would help, the checkpoints that are kept,
    and of a prediction which version it asked and the files with the answers."""

    plan = serializers.SerializerMethodField()
    checkpoints = serializers.SerializerMethodField()
    base_model = serializers.SerializerMethodField()
    files = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "plan", "checkpoints", "base_model", "files"]
        read_only_fields = fields

    @extend_schema_field(PlanSerializer(allow_null=True))
    def get_plan(self, job: Job) -> dict | None:
        """How it is spread over devices, and why so; null for what cannot be."""
        return present_plan(job.prediction, measured=measured_step(job)) if job.prediction else None

    @extend_schema_field(CheckpointSerializer(many=True))
    def get_checkpoints(self, job: Job) -> list[dict]:
        """Newest first."""
        return CheckpointSerializer(job.checkpoints.complete().order_by("-id"), many=True).data

    def get_base_model(self, job: Job) -> dict | None:
        """The version that was compressed, trained further or asked: {"id", "name", "version"}."""
        return model_reference(job.base_version)

    @extend_schema_field(PredictedFileSerializer(many=True))
    def get_files(self, job: Job) -> list[dict]:
        """The answers of a prediction that has succeeded."""
        names = (name for name in sorted(job.outputs) if name in PREDICTION_FILES)
        return [{"name": name, "bytes": job.outputs[name]["bytes"]} for name in names]

    @extend_schema_field(FullWaitingSerializer(allow_null=True))
    def get_waiting(self, job: Job) -> dict | None:
        """Why it waits, who holds what it waits for, when it starts, what would help; null when it does not wait."""
        return super().get_waiting(job)

    def describe_waiting(self, job: Job, waiting: Waiting) -> dict:
        request = self.context["request"]
        holders = [
            {
                "team": holder.team or None,
                "job": holder.job.pk if holder.job else None,
                "name": holder.name or None,
                "devices": holder.devices,
            }
            for holder in holders_of(job, viewer=request.user, team=request.team)
        ]
        helps = [
            {
                "code": item.code,
                "message": item.message,
                "changes": item.choices,
                "starts_now": item.start.is_now,
                "starts_between": _between(item.start.low_at, item.start.high_at),
            }
            for item in help_for(job, viewer=request.user)
        ]
        known = {**asdict(waiting), "starts_between": _between(waiting.low_at, waiting.high_at)}
        return FullWaitingSerializer({**known, "holders": holders, "would_help": helps}).data
