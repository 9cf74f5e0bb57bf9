"""``manage.py run_attempt JOB ATTEMPT RANK``: what the node agent starts for its part of each attempt of a job."""

from django.core.management.base import BaseCommand, CommandParser

from workers.runner import run_attempt


class Command(BaseCommand):
    help = "Run this machine's part of an attempt of a job (started by the node agent)."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job_id", type=int)
        parser.add_argument("attempt", type=int)
        parser.add_argument("rank", type=int)

    def handle(self, *, job_id: int, attempt: int, rank: int, **_options: object) -> None:
        run_attempt(job_id, attempt, rank)
