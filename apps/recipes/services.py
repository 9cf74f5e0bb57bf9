"""Recipes are followed step by step, each step by what people would use for it by hand."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count
from django.utils.translation import gettext as _

from apps.accounts.models import Team, User
from apps.core.errors import Conflict, DomainError
from apps.datasets.models import DatasetVersion, VersionFile
from apps.datasets.services import abort_upload, create_dataset, receive_file
from apps.deployments.models import Deployment
from apps.deployments.replication import FAILED, READY
from apps.deployments.services import change_deployment, deploy_version, state_of
from apps.jobs.models import Job
from apps.jobs.services import submit_training
from apps.recipes.catalogue import Recipe, find_recipe
from apps.recipes.models import RecipeRun

EXAMPLE_SECONDS = 120
MOST_NAMES = 50
S = RecipeRun.Stage


def start_recipe(*, team: Team, user: User | None, recipe: Recipe) -> RecipeRun:
    """Begin with the data; the rest follows by itself (`advance`). While a run of it goes on, that is returned.

    Raises what creating a data set raises.
    """
    if running := RecipeRun.objects.filter(team=team, recipe=recipe.slug).exclude(stage__in=RecipeRun.ENDED).first():
        return running
    version = create_data(team=team, user=user, recipe=recipe)
    try:
        with transaction.atomic():
            run = RecipeRun.objects.create(team=team, created_by=user, recipe=recipe.slug, dataset_version=version)
    except IntegrityError:  # pressed twice
        return RecipeRun.objects.filter(team=team, recipe=recipe.slug).exclude(stage__in=RecipeRun.ENDED).get()
    return run


def create_data(*, team: Team, user: User | None, recipe: Recipe) -> DatasetVersion:
    """The recipe's data as a data set of the team: the one it made earlier, or a new one under a free name."""
    with tempfile.TemporaryDirectory(prefix="lepton-") as folder:
        path = _data_file(recipe, Path(folder))
        content = path.read_bytes()
        if found := _with_this_content(team, content):
            return found
        upload = receive_file(team=team, user=user, name=path.name, size_bytes=len(content), blocks=[content])
    try:
        return _with_free_name(
            recipe.data_name,
            lambda name: create_dataset(
                team=team, user=user, name=name, uploads=[(upload, "")], target=recipe.target, description=recipe.source
            ),
        )
    except DomainError:
        abort_upload(upload=upload)
        raise


def _with_this_content(team: Team, content: bytes) -> DatasetVersion | None:
    """The newest version of the team that was made of this file alone."""
    files = VersionFile.objects.filter(version__dataset__team=team, sha256=hashlib.sha256(content).hexdigest())
    versions = DatasetVersion.objects.filter(pk__in=files.values("version")).annotate(count=Count("files"))
    return versions.filter(count=1).exclude(status=DatasetVersion.Status.REJECTED).order_by("-pk").first()


def _data_file(recipe: Recipe, folder: Path) -> Path:
    if recipe.file:
        return recipe.folder / recipe.file
    path = folder / recipe.example
    command = [sys.executable, "-m", "workers.examples", path.stem, str(path)]
    try:
        subprocess.run(command, cwd=settings.BASE_DIR, check=True, capture_output=True, timeout=EXAMPLE_SECONDS)
    except subprocess.SubprocessError as error:
        message = _("The data of this recipe could not be made: %(error)s.")
        raise DomainError(message % {"error": error}, code="example_failed") from error
    return path


def _with_free_name(name: str, create: Callable[[str], DatasetVersion]) -> DatasetVersion:
    for number in range(1, MOST_NAMES):
        try:
            return create(name if number == 1 else f"{name} {number}")
        except Conflict as error:
            if error.code != "name_taken":
                raise
    raise Conflict(_('Too many data sets are called "%(name)s".') % {"name": name}, code="name_taken")


def advance(run: RecipeRun) -> bool:
    """One step, if what it waits for has happened. Asked by several at once, one of them does it."""
    with transaction.atomic():
        locked = RecipeRun.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=run.pk).first()
        if locked is None or locked.is_ended:
            return False
        before = locked.stage
        try:
            with transaction.atomic():
                STEPS[locked.stage](locked)
        except DomainError as error:
            _fail(locked, error.message)
        locked.save()
    return locked.stage != before


def _fail(run: RecipeRun, message: str) -> None:
    run.stage, run.error = S.FAILED, str(message)


def _after_checking(run: RecipeRun) -> None:
    version = run.dataset_version
    if version is None:
        _fail(run, _("The data was deleted."))
    elif version.status == DatasetVersion.Status.READY:
        recipe = find_recipe(run.recipe)
        run.job = submit_training(
            team=run.team,
            user=run.created_by,
            version=version,
            model_name=recipe.name,
            task=recipe.task,
            target=recipe.target,
            preset=recipe.preset,
            hyperparameters=dict(recipe.settings),
        )
        run.stage = S.TRAINING
    elif version.status != DatasetVersion.Status.CHECKING:
        _fail(run, _("The data was not accepted. Its page says why."))


def _after_training(run: RecipeRun) -> None:
    job = run.job
    if job is None:
        _fail(run, _("The training was deleted."))
    elif job.status == Job.Status.SUCCEEDED and job.output_version is not None:
        run.deployment = _deploy(run, find_recipe(run.recipe))
        run.stage = S.DEPLOYING
    elif job.is_ended:
        _fail(run, _("The training did not succeed. Its page says why."))


def _deploy(run: RecipeRun, recipe: Recipe) -> Deployment:
    """A deployment of its own, or the one that an earlier run made, which gets the new version."""
    version = run.job.output_version
    earlier = RecipeRun.objects.filter(team=run.team, recipe=run.recipe, deployment__version__model=version.model)
    if found := earlier.exclude(pk=run.pk).order_by("-pk").first():
        return change_deployment(deployment=found.deployment, user=run.created_by, version=version)
    return deploy_version(
        team=run.team, user=run.created_by, version=version, page=recipe.page, page_settings=recipe.all_page_settings
    )


def _after_deploying(run: RecipeRun) -> None:
    if run.deployment is None:
        _fail(run, _("The deployment was deleted."))
        return
    state = state_of(run.deployment)
    if state.status == READY:
        run.stage = S.DONE
    elif state.status == FAILED:
        _fail(run, _("The model did not start. The page of its deployment says why."))


STEPS = {S.CHECKING: _after_checking, S.TRAINING: _after_training, S.DEPLOYING: _after_deploying}
