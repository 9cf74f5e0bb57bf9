"""Load tests: start one, run it in a process of its own, and give up what has been lost."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import create_api_key, record_audit
from apps.core.doorbell import ring
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.core.storage import open_blob
from apps.deployments.loading import Target, apply_load
from apps.deployments.models import Deployment, LoadTest, Replica
from apps.deployments.services import prediction_path, state_of
from apps.registry.models import ModelVersion
from workers.domains import TABLE, TASKS, TEXT, USER

MOST_SECONDS, MOST_CLIENTS = 60, 32
LOST_AFTER = timedelta(seconds=30)  # without a word; it tells once a second
KEPT_TESTS = 50
KEY_NAME = "Load test"

logger = logging.getLogger("lepton.load")
S = LoadTest.Status


def start_load_test(*, deployment: Deployment, user: User, seconds: int = 10, clients: int = 4) -> LoadTest:
    """Queue a load test. Raises Unprocessable for numbers out of range, Conflict while one runs, or where nothing is
    ready to answer."""
    for name, number, most in (("seconds", seconds, MOST_SECONDS), ("clients", clients, MOST_CLIENTS)):
        if not 1 <= number <= most:
            message = _("Give a number of %(name)s from 1 to %(most)d.") % {"name": name, "most": most}
            raise Unprocessable(message, code="out_of_range", field=name)
    give_up_lost(deployment)
    ready = deployment.replicas.filter(status=Replica.Status.READY).count()
    if not ready:
        message = _("No replica of it is ready, so there is nothing to measure: %(state)s.")
        raise Conflict(message % {"state": state_of(deployment).label}, code="not_ready")
    try:
        with transaction.atomic():
            test = LoadTest.objects.create(
                deployment=deployment,
                created_by=user,
                seconds=seconds,
                clients=clients,
                replicas=ready,
                version_number=deployment.version.number,
            )
            details = {"seconds": seconds, "clients": clients}
            target = f"deployment {deployment.name}"
            record_audit(
                team=deployment.team, actor=user, action="deployment.load_test", target=target, details=details
            )
            ring("apps.deployments.tasks.run_load_test", test.pk)
    except IntegrityError as error:
        raise Conflict(_("A load test of it runs already. Wait for its end."), code="already_running") from error
    forget = deployment.load_tests.order_by("-id").values_list("id", flat=True)[KEPT_TESTS:]
    deployment.load_tests.filter(pk__in=list(forget)).delete()
    return test


def give_up_lost(deployment: Deployment | None = None) -> None:
    """What has said nothing for long was lost with its process; its key goes with it. Of all deployments, or of one."""
    tests = LoadTest.objects.all() if deployment is None else deployment.load_tests
    for test in tests.filter(status__in=LoadTest.OPEN, updated_at__lt=Now() - LOST_AFTER):
        _end(test, S.FAILED, reason=_("It was lost: its process did not start, or was ended."))


def run_load_test(pk: int) -> None:
    """In a process of its own: claim the test, apply the load, write down what came of it."""
    if not LoadTest.objects.filter(pk=pk, status=S.QUEUED).update(status=S.RUNNING, updated_at=Now()):
        return
    test = LoadTest.objects.select_related("deployment__version__model", "deployment__team", "created_by").get(pk=pk)
    try:
        target = _target(test)
        figures = asyncio.run(apply_load(target, seconds=test.seconds, clients=test.clients, tell=_teller(test)))
    except Exception as error:
        logger.exception("load test %s", pk)
        _end(test, S.FAILED, reason=str(error)[:500])
        return
    _end(test, S.SUCCEEDED, figures=figures)


def _teller(test: LoadTest) -> Any:
    def tell(figures: dict[str, Any]) -> None:
        LoadTest.objects.filter(pk=test.pk, status=S.RUNNING).update(figures=figures, updated_at=Now())

    return sync_to_async(tell, thread_sensitive=False)


def _end(test: LoadTest, status: str, **changes: Any) -> None:
    if test.api_key_id:  # first: what ends here and leaves the test open is given up later
        test.api_key.delete()
    LoadTest.objects.filter(pk=test.pk, status__in=LoadTest.OPEN).update(status=status, updated_at=Now(), **changes)


def _target(test: LoadTest) -> Target:
    """The public address, with a key that only this process knows."""
    with transaction.atomic():  # no key without a test that names it
        test.api_key, secret = create_api_key(team=test.deployment.team, user=test.created_by, name=KEY_NAME)
        test.save(update_fields=["api_key"])
    content_type, body = sample_body(test.deployment.version)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": content_type}
    return Target(settings.LEPTON_BASE_URL.rstrip("/") + prediction_path(test.deployment), headers, body)


def sample_body(version: ModelVersion) -> tuple[str, bytes]:
    """The model's own sample as a client sends it. Raises NotFound where it has none."""
    artifact = version.artifacts.filter(name=version.meta.get("sample")).first()
    if artifact is None:
        raise NotFound(_("This version came without a sample, so there is nothing to send."))
    with open_blob(artifact.sha256) as file:
        sample = file.read()
    match TASKS[version.model.task].asks:
        case asks if asks == TABLE:
            return "application/json", b'{"row": %s}' % sample
        case asks if asks in (TEXT, USER):  # it is kept as it is asked
            return "application/json", sample
        case _:
            return "application/octet-stream", sample
