"""A plan in words, from what `describe` of apps/jobs/plans.py keeps: for forms, pages and programs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.core.templatetags.lepton import in_bytes
from workers.parallel.candidates import Verdict
from workers.parallel.plan import DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE

AUTO = "auto"
NAMES = {
    AUTO: gettext_lazy("Automatic"),
    SINGLE: gettext_lazy("One device"),
    DDP: gettext_lazy("Data parallel (DDP)"),
    FSDP: gettext_lazy("Sharded (FSDP)"),
    PIPELINE: gettext_lazy("Pipeline"),
    LOCAL_SGD: gettext_lazy("Local SGD (DiLoCo)"),
}
WHAT_IT_DOES = {
    SINGLE: gettext_lazy("The whole model on one device."),
    DDP: gettext_lazy("Every device holds the model and takes its share of each batch; all agree after every step."),
    FSDP: gettext_lazy("Every device keeps a part of the model and borrows the rest layer by layer."),
    PIPELINE: gettext_lazy("Each device holds some of the layers and hands its results on to the next."),
    LOCAL_SGD: gettext_lazy("Every device trains on its own share, and they meet only now and then."),
}
SLIGHTLY = 1.02


@dataclass(frozen=True)
class Row:
    """A device and its part. `share` is 0 to 1: of the examples, or in a pipeline of the layers."""

    device: str
    what: str
    share: float
    memory: str
    memory_share: float


@dataclass(frozen=True)
class Other:
    """A strategy in the table: why it was taken or not."""

    strategy: str
    name: str
    step: str
    speed: str
    reason: str
    is_chosen: bool


@dataclass(frozen=True)
class Card:
    """`headline` is one line; `rows` are empty for one device."""

    strategy: str
    name: str
    explained: str
    headline: str
    step: str
    waits: str
    rows: Sequence[Row]
    others: Sequence[Other]
    notes: Sequence[str]
    source: str
    is_split: bool
    is_measured: bool


def read_plan(prediction: Mapping[str, Any]) -> Card | None:
    """None for a job that was not planned, and where no plan was found."""
    if not prediction or not prediction["strategy"]:
        return None
    strategy = prediction["strategy"]
    return Card(
        strategy=strategy,
        name=str(NAMES[strategy]),
        explained=str(WHAT_IT_DOES[strategy]),
        headline=_headline(prediction),
        step=in_short(prediction["step_seconds"]),
        waits=_waits(prediction),
        rows=[_row(part, prediction) for part in prediction["parts"]],
        others=others_of(prediction),
        notes=[note_words(note["code"], note["numbers"]) for note in prediction["notes"]],
        source=_source(prediction),
        is_split=prediction["world_size"] > 1,
        is_measured=prediction["is_measured"],
    )


def others_of(prediction: Mapping[str, Any]) -> list[Other]:
    """Every strategy, also where none was possible."""
    return [_other(item) for item in prediction["alternatives"]]


def in_short(seconds: float | None) -> str:
    """ "42 ms", "1.3 s"; "–" for what cannot be."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return _("%(n)s ms") % {"n": _digits(1000 * seconds)}
    return _("%(n)s s") % {"n": _digits(seconds)}


def _digits(value: float) -> str:
    """Two digits that matter, or all before the point."""
    return number_format(round(value) if value >= 10 else float(f"{value:.2g}"))


def _times(factor: float) -> str:
    return number_format(float(f"{factor:.2g}") if factor < 10 else round(factor))


def in_speed(factor: float | None) -> str:
    """ "1.8 × faster", "2 × slower", "as fast"; against one device."""
    if factor is None:
        return ""
    if 1 / SLIGHTLY < factor < SLIGHTLY:
        return _("as fast")
    if factor > 1:
        return _("%(n)s × faster") % {"n": _times(factor)}
    return _("%(n)s × slower") % {"n": _times(1 / factor)}


def _headline(prediction: Mapping[str, Any]) -> str:
    world = prediction["world_size"]
    devices = ngettext("%(n)d device", "%(n)d devices", world) % {"n": world}
    if world > 1:
        if prediction["speedup"] is None:
            return _("%(devices)s; it does not fit on one") % {"devices": devices}
        return _("%(devices)s, %(speed)s than one") % {"devices": devices, "speed": in_speed(prediction["speedup"])}
    if any(note["code"] == "devices_idle" for note in prediction["notes"]):
        return _("One device is enough")
    return _second_device(prediction["second_factor"])


def _second_device(factor: float | None) -> str:
    if factor is None:
        return _("One device")
    if factor > SLIGHTLY:
        return _("A second device would make it %(n)s × slower") % {"n": _times(factor)}
    if factor < 1 / SLIGHTLY:
        return _("A second device would make it %(n)s × faster") % {"n": _times(1 / factor)}
    return _("A second device would make no difference")


def _waits(prediction: Mapping[str, Any]) -> str:
    if prediction["strategy"] == PIPELINE:
        return _("%(n)d %% idle between stages") % {"n": round(100 * prediction["bubble"])}
    if prediction["world_size"] > 1:
        return _("%(time)s of it on the network") % {"time": in_short(prediction["communication_seconds"])}
    return ""


def _row(part: Mapping[str, Any], prediction: Mapping[str, Any]) -> Row:
    whole = prediction["batch_size"]
    if prediction["strategy"] == PIPELINE:
        layers = part["layers"]
        every = len(prediction["profile"]["layers"])
        what = layers[0] if len(layers) == 1 else _("%(first)s to %(last)s") % {"first": layers[0], "last": layers[-1]}
        share = len(layers) / every
    else:
        count = round(part["examples"])
        what = _("%(n)d of %(whole)d images") % {"n": count, "whole": whole}
        share = part["examples"] / max(1, whole)
    kind = {"cuda": _("GPU"), "mps": _("GPU"), "cpu": _("CPU")}[part["kind"]]
    available = part["available_bytes"]
    return Row(
        device=f"{part['node']} · {kind} {part['index']}",
        what=what,
        share=min(1.0, share),
        memory=_("%(held)s of %(all)s") % {"held": in_bytes(part["memory_bytes"]), "all": in_bytes(available)},
        memory_share=min(1.0, part["memory_bytes"] / max(1, available)),
    )


def _other(item: Mapping[str, Any]) -> Other:
    verdict = item["verdict"]
    return Other(
        strategy=item["strategy"],
        name=str(NAMES[item["strategy"]]),
        step=in_short(item["step_seconds"]),
        speed=in_speed(item["speedup"]) if item["strategy"] != SINGLE else "",
        reason=verdict_words(verdict["code"], verdict["numbers"]),
        is_chosen=verdict["code"] == "chosen",
    )


def _source(prediction: Mapping[str, Any]) -> str:
    if prediction["is_measured"]:
        return _("Layer times measured on %(name)s.") % {"name": prediction["device_name"]}
    return _("Estimated: the layers have not been measured on these devices yet.")


# Codes


def verdict_words(code: str, numbers: Mapping[str, Any]) -> str:
    """Why a strategy was taken or not, as a sentence."""
    match code:
        case "chosen":
            return _("Chosen.")
        case "possible":
            return _("Possible.")
        case "slower":
            return _("A step takes %(n)s × as long.") % {"n": _times(numbers["factor"])}
        case "faster":
            return _("A step would take %(n)d %% less time.") % {"n": round(100 * (1 - numbers["factor"]))}
        case "no_gain":
            return _("About as fast, and less simple.")
        case "link_too_slow":
            return _("The network is too slow: %(n)d %% of a step would be waiting for it.") % {
                "n": round(100 * numbers["share"])
            }
        case "does_not_fit":
            return _("It needs %(needs)s on %(node)s, where %(has)s are free.") % {
                "needs": in_bytes(numbers["needs_bytes"]),
                "has": in_bytes(numbers["has_bytes"]),
                "node": numbers["node"],
            }
        case "needs_more_devices":
            return _("It needs at least %(n)d devices.") % {"n": numbers["needs"]}
        case "too_few_layers":
            return ngettext(
                "The model has %(layers)d layer for %(devices)d devices.",
                "The model has %(layers)d layers for %(devices)d devices.",
                numbers["layers"],
            ) % {"layers": numbers["layers"], "devices": numbers["devices"]}
        case "batch_too_small":
            return _("A batch of %(size)d cannot be shared; it takes %(needs)d.") % {
                "size": numbers["batch_size"],
                "needs": numbers["needs"],
            }
        case "batch_norm_sees_parts":
            return _("Each device would normalise over %(n)d images only, which makes a poorer model.") % {
                "n": numbers["examples"]
            }
        case "changes_training":
            return _("Another way to train: devices meet every %(n)d steps, so the result differs.") % {
                "n": numbers["sync_every"]
            }
    raise ValueError(f"no words for the verdict {code!r}")


def note_words(code: str, numbers: Mapping[str, Any]) -> str:
    """What to know of the plan that was taken."""
    match code:
        case "batch_norm_sees_parts":
            return _("Batch normalisation sees %(n)d images at a time instead of %(whole)d.") % {
                "n": numbers["examples"],
                "whole": numbers["batch_size"],
            }
        case "changes_training":
            return _("Not the same training: the devices meet every %(n)d steps only.") % {"n": numbers["sync_every"]}
        case "devices_idle":
            return ngettext(
                "The other device would lie idle, so only one is asked for.",
                "The other %(n)d devices would lie idle, so only one is asked for.",
                numbers["devices"],
            ) % {"n": numbers["devices"]}
        case "fewer_are_faster":
            return _("%(n)d devices would be faster: %(time)s for a step, since there is less to agree on.") % {
                "n": numbers["devices"],
                "time": in_short(numbers["seconds"]),
            }
        case "link_not_measured":
            return _("The network between the devices has not been measured; usual figures are assumed.")
    raise ValueError(f"no words for the note {code!r}")


def refusal_words(asked: str, verdict: Verdict) -> str:
    """Why there is no plan, and what to do."""
    reason = verdict_words(verdict.code, verdict.numbers)
    if asked == AUTO:
        return _("The model fits on no choice of these devices. %(reason)s Take a smaller batch or more devices.") % {
            "reason": reason
        }
    return _("%(name)s is not possible here. %(reason)s Choose another strategy, or leave it on automatic.") % {
        "name": NAMES[asked],
        "reason": reason,
    }
