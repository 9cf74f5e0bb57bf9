"""``manage.py down``: stop the Lepton that runs in this data folder."""

import os
import signal
import time

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lepton_site.supervisor import find_running

PATIENCE_SECONDS = 120


class Command(BaseCommand):
    help = "Stop the Lepton that runs in this data folder."
    requires_system_checks: list[str] = []

    def handle(self, **_options: object) -> None:
        running = find_running(settings.LEPTON_HOME)
        if running is None:
            self.stdout.write("Lepton does not run here.")
            return
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while find_running(settings.LEPTON_HOME):
            if time.monotonic() > deadline:
                raise CommandError(f"Process {running.pid} does not end.")
            time.sleep(0.2)
        self.stdout.write("Lepton has stopped.")
