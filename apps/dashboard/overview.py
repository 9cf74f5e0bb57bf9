"""What the home page shows of one team, gathered across the apps."""

from dataclasses import dataclass

from django.urls import reverse
from django.utils.translation import gettext as _

from apps.accounts.models import Team
from apps.datasets.models import Dataset, DatasetVersion
from apps.deployments.models import Deployment
from apps.deployments.placing import with_replicas
from apps.deployments.services import state_of
from apps.jobs.models import Job
from apps.recipes.offers import offers_to
from apps.registry.figures import headline
from apps.registry.models import ModelVersion, RegisteredModel
from apps.resources.services import pool_overview
from apps.resources.storage_use import storage_bytes_lately, storage_limit

MAX_ACTIVE_JOBS = 12
MAX_ROWS = 5
MOST_OFFERS = 6


def gather(team: Team) -> dict:
    """The template's context; `is_moving` says whether anything on the page will change by itself."""
    active = active_jobs(team)
    deployments = newest_deployments(team)
    are_settled = all(job.is_resting for job in active) and all(row["state"].is_settled for row in deployments)
    steps = main_path(team, active)
    return {
        "pool": pool_overview(team),
        "storage_bytes": storage_bytes_lately(team),
        "storage_limit": storage_limit(team),
        "active_jobs": active[:MAX_ACTIVE_JOBS],
        "running_count": sum(job.status in Job.ACTIVE for job in active),
        "waiting_count": sum(job.status == Job.Status.QUEUED for job in active),
        "paused_count": sum(job.status == Job.Status.PAUSED for job in active),
        "ended_jobs": team.jobs.filter(status__in=Job.ENDED).order_by("-finished_at", "-pk")[:MAX_ROWS],
        "models": newest_models(team),
        "deployments": deployments,
        "steps": steps if any(step.state != DONE for step in steps) else [],
        "offers": [] if has_begun(team) else offers_to(team)[0][:MOST_OFFERS],
        "is_moving": not are_settled,
    }


def has_begun(team: Team) -> bool:
    """Whether there is anything of the team to show yet."""
    return team.jobs.exists() or Dataset.objects.filter(team=team).exists()


def active_jobs(team: Team) -> list[Job]:
    """What runs, then what waits, then what is paused, the oldest first."""
    jobs = team.jobs.exclude(status__in=Job.ENDED).select_related("allocation", "dataset_version__dataset")
    order = (Job.Status.QUEUED, Job.Status.PAUSED)
    return sorted(jobs, key=lambda job: (order.index(job.status) + 1 if job.status in order else 0, job.pk))


def newest_models(team: Team) -> list[dict]:
    """The models whose newest version is the latest: {"model", "version", "figure"}."""
    newest = ModelVersion.objects.filter(model__team=team).order_by("model_id", "-number").distinct("model_id")
    versions = ModelVersion.objects.filter(pk__in=newest.values("pk")).select_related("model").order_by("-created_at")
    return [
        {"model": version.model, "version": version, "figure": headline(version.metrics)}
        for version in versions[:MAX_ROWS]
    ]


def newest_deployments(team: Team) -> list[dict]:
    """{"deployment", "state"} of the newest deployments."""
    rows = with_replicas(Deployment.objects.filter(team=team))[:MAX_ROWS]
    return [{"deployment": deployment, "state": state_of(deployment)} for deployment in rows]


# The way of a newcomer: upload, train, deploy

DONE, NEXT, LATER = "done", "next", "later"


@dataclass
class Step:
    """One step of the main job; `is_busy` while the site works on it."""

    title: str
    text: str
    action: str
    url: str
    state: str = LATER
    is_busy: bool = False
    offers_example: bool = False


def main_path(team: Team, active: list[Job]) -> list[Step]:
    """The three steps, with the first that is not done marked as next."""
    steps = [_upload_step(team), _train_step(team, active), _deploy_step(team)]
    following = next((step for step in steps if step.state != DONE), None)
    if following:
        following.state = NEXT
    return steps


def _upload_step(team: Team) -> Step:
    versions = DatasetVersion.objects.filter(dataset__team=team)
    if versions.filter(status=DatasetVersion.Status.READY).exists():
        return Step(_("Upload data"), _("Your data is ready."), "", "", DONE)
    newest = versions.order_by("-pk").first()
    if newest and newest.status == DatasetVersion.Status.CHECKING:
        return _busy(_("Upload data"), _("%(name)s is being checked.") % {"name": newest.dataset.name}, newest.dataset)
    if newest:
        text = _("%(name)s needs a look before it can be used.") % {"name": newest.dataset.name}
        return Step(_("Upload data"), text, _("Review data"), reverse("datasets:detail", args=[newest.dataset_id]))
    text = _("Images or recordings in a ZIP, or a table of anything: rows, texts, translations, purchases.")
    return Step(_("Upload data"), text, _("Upload data"), reverse("datasets:upload"), offers_example=True)


def _busy(title: str, text: str, dataset: Dataset) -> Step:
    return Step(title, text, _("Watch"), reverse("datasets:detail", args=[dataset.pk]), is_busy=True)


def _train_step(team: Team, active: list[Job]) -> Step:
    if RegisteredModel.objects.filter(team=team).exists():
        return Step(_("Train a model"), _("Your first model is trained."), "", "", DONE)
    training = next((job for job in active if job.kind == Job.Kind.TRAIN), None)
    if training:
        text = _("%(name)s is under way.") % {"name": training.name}
        return Step(_("Train a model"), text, _("Watch"), reverse("jobs:detail", args=[training.pk]), is_busy=True)
    text = _("Choose fast, balanced or accurate. The rest has sensible defaults.")
    return Step(_("Train a model"), text, _("Train model"), _train_url(team))


def _train_url(team: Team) -> str:
    versions = DatasetVersion.objects.filter(dataset__team=team, status=DatasetVersion.Status.READY)
    ready = versions.order_by("-pk").first()
    return reverse("jobs:new") + (f"?dataset_version={ready.pk}" if ready else "")


def _deploy_step(team: Team) -> Step:
    if Deployment.objects.filter(team=team).exists():
        return Step(_("Deploy it"), _("Your model answers."), "", "", DONE)
    text = _("One click gives it an address for programs and a page to try it on.")
    model = RegisteredModel.objects.filter(team=team).order_by("-pk").first()
    url = reverse("registry:detail", args=[model.pk]) if model else reverse("registry:list")
    return Step(_("Deploy it"), text, _("Deploy model"), url)
