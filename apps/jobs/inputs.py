"""What programs send to start a job, or to make a new one of another."""

import math
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.jobs.models import Job
from apps.jobs.plans import AUTO, CHOICES
from apps.jobs.repeating import MOST_REPEATS, USUAL_REPEATS
from apps.resources.market import MOST_BID
from apps.resources.models import Device
from apps.resources.nodes import pool_named
from apps.resources.refusals import MOST_CORES, MOST_GB
from apps.resources.wanted import PRIORITIES, Wanted

METHOD_OF_A_RECIPE = gettext_lazy(
    'Name the methods in settings.recipes: [[{"method": "quantise"}]]; without any, it searches.'
)
NEEDED = {
    Job.Kind.TRAIN: "dataset",
    Job.Kind.COMPRESS: "model",
    Job.Kind.FUSE: "versions",
    Job.Kind.PREDICT: "model",
}


class WantedInput(serializers.Serializer):
    """Where and how work is to run; what is left out is as usual. `cpu` in cores, `memory` in GB, `bid` in credits for
    one device-hour where the pool is auctioned."""

    pool = serializers.CharField(required=False, max_length=60)
    devices = serializers.IntegerField(required=False, min_value=0)
    device_kind = serializers.ChoiceField(required=False, allow_blank=True, choices=Device.Kind.choices)
    cpu = serializers.FloatField(required=False, min_value=0, max_value=MOST_CORES)
    memory = serializers.FloatField(required=False, min_value=0, max_value=MOST_GB)
    priority = serializers.ChoiceField(required=False, choices=list(PRIORITIES))
    preemptible = serializers.BooleanField(required=False)
    bid = serializers.FloatField(required=False, min_value=0, max_value=MOST_BID)

    def validate(self, attrs: dict) -> dict:
        for name in ("cpu", "memory", "bid"):
            if not math.isfinite(attrs.get(name, 0.0)):
                raise serializers.ValidationError({name: _("Give a number.")})
        return attrs


def read_wanted(sent: Mapping[str, Any], usual: Wanted) -> Wanted:
    """`usual` with the choices of a valid WantedInput. Raises NotFound for a pool."""
    chosen = {name: sent[name] for name in WantedInput().fields if name in sent}
    if "pool" in chosen:
        chosen["pool"] = pool_named(chosen["pool"])
    return usual.changed(chosen)


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class ReferenceField(serializers.Field):
    """An id or a name."""

    def to_internal_value(self, data: object) -> int | str:
        if isinstance(data, bool) or not isinstance(data, int | str):
            raise serializers.ValidationError(_("Give an id or a name."))
        return data

    def to_representation(self, value: int | str) -> int | str:
        return value


class ModelVersionInput(serializers.Serializer):
    """A version of a model; the newest that is not compressed where no number is given."""

    model = ReferenceField()
    version = serializers.IntegerField(required=False, min_value=1)


class JobInput(WantedInput):
    """What to run, and where and how. `dataset` for train; `model` and `settings` for compress; `versions` and `method`
    for fuse; for predict `model` (and its `version`) with a `dataset`, its `dataset_version` and `split`, or with an
    `upload`, and `class_columns`, `ranked_by` and `top`."""

    kind = serializers.ChoiceField(choices=list(NEEDED))
    dataset = ReferenceField(required=False)
    model = ReferenceField(required=False)
    version = serializers.IntegerField(required=False, min_value=1)
    versions = ModelVersionInput(many=True, required=False)
    model_name = serializers.CharField(required=False, allow_blank=True, max_length=80, default="")
    task = serializers.CharField(required=False, allow_blank=True, default="")
    target = serializers.CharField(required=False, allow_blank=True, default="")
    preset = serializers.CharField(required=False, default="balanced")
    strategy = serializers.ChoiceField(required=False, choices=list(CHOICES), default=AUTO)
    hyperparameters = serializers.DictField(required=False, default=dict)
    settings = serializers.DictField(required=False, default=dict)
    method = serializers.CharField(required=False)
    dataset_version = serializers.IntegerField(required=False, min_value=1)
    upload = serializers.UUIDField(required=False)
    split = serializers.CharField(required=False, allow_blank=True, default="")
    class_columns = serializers.BooleanField(required=False, default=False)
    ranked_by = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)
    top = serializers.FloatField(required=False, default=100.0)

    def validate(self, attrs: dict) -> dict:
        attrs = super().validate(attrs)
        needed = NEEDED[attrs["kind"]]
        if needed not in attrs:
            raise serializers.ValidationError({needed: _("This is needed for a job of this kind.")})
        if attrs["kind"] == Job.Kind.COMPRESS and "method" in attrs:
            raise serializers.ValidationError({"method": METHOD_OF_A_RECIPE})
        return attrs


class PlanInput(WantedInput):
    """A training that might be started."""

    dataset = ReferenceField()
    version = serializers.IntegerField(required=False, min_value=1)
    preset = serializers.CharField(required=False, default="balanced")
    hyperparameters = serializers.DictField(required=False, default=dict)
    strategy = serializers.ChoiceField(required=False, choices=list(CHOICES), default=AUTO)


class CloneInput(WantedInput):
    """What is to be otherwise than in the job that is run again; what is left out stays. Of `hyperparameters` only
    and of `settings` those that are named change."""

    dataset = ReferenceField(required=False)
    model = ReferenceField(required=False)
    version = serializers.IntegerField(required=False, min_value=1)
    model_name = serializers.CharField(required=False, max_length=80)
    task = serializers.CharField(required=False)
    target = serializers.CharField(required=False)
    preset = serializers.CharField(required=False)
    strategy = serializers.ChoiceField(required=False, choices=list(CHOICES))
    hyperparameters = serializers.DictField(required=False)
    settings = serializers.DictField(required=False)
    method = serializers.CharField(required=False)


class ExtendInput(serializers.Serializer):
    """How many epochs more, and from which checkpoint (its id; the newest unless given)."""

    epochs = serializers.IntegerField(min_value=1)
    checkpoint = serializers.IntegerField(required=False)


class RepeatInput(serializers.Serializer):
    """How many trainings more, each with another seed."""

    count = serializers.IntegerField(min_value=1, max_value=MOST_REPEATS, default=USUAL_REPEATS)
