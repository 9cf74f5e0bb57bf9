"""``manage.py node_agent --name NAME``: join this machine to the pool and work for it until SIGTERM."""

import os
import signal
import sys

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from lepton_site.celery import app
from lepton_site.processes import PRIVATE_UMASK
from workers import agent


class Command(BaseCommand):
    help = "Join this machine to the pool and work for it until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", default=settings.LEPTON_NODE_NAME, help="the machine's name in the pool")
        parser.add_argument(
            "--stop-work",
            action="store_true",
            help="when stopped, end running jobs (they go back to the queue with a checkpoint) and replicas too",
        )

    def handle(self, *, name: str, stop_work: bool, **_options: object) -> None:
        os.umask(PRIVATE_UMASK)
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())  # until Celery takes it over
        running = agent.run(name)
        queue = f"node.{name}"
        argv = ["--quiet", "worker", "-Q", queue, "-n", f"{queue}@%h", "--pool", "threads", "-c", "2"]
        try:
            app.worker_main([*argv, "--without-gossip", "--without-mingle", "--loglevel", "WARNING"])
        finally:
            running.stop(with_work=stop_work or bool(running.refusal))
            if running.refusal:
                raise CommandError(running.refusal)
