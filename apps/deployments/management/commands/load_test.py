"""``manage.py load_test ID``: what the site starts for a load test, in a process of its own."""

from django.core.management.base import BaseCommand, CommandParser

from apps.deployments.load_tests import run_load_test


class Command(BaseCommand):
    help = "Run a load test that was asked for on a deployment's page."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", type=int)

    def handle(self, *, id: int, **_options: object) -> None:
        run_load_test(id)
