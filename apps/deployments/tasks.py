"""Control-plane tasks of deployments."""

import subprocess
import sys

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from apps.deployments.load_tests import give_up_lost
from apps.deployments.request_log import forget_old_requests


@shared_task
def run_load_test(pk: int) -> None:
    """In a process of its own: a minute of load would hold up what the control worker has to do."""
    subprocess.Popen(
        [sys.executable, "manage.py", "load_test", str(pk)],
        cwd=settings.BASE_DIR,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


@shared_task
def forget_requests() -> None:
    """What was written down for so many days is over them."""
    forget_old_requests(now=timezone.now())


@shared_task
def give_up_load_tests() -> None:
    """Those that were lost, also where nobody looks: their keys go with them."""
    give_up_lost()
