"""Prints a one-time sign-in link for someone who is locked out."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import User
from apps.accounts.services import create_sign_in_link


class Command(BaseCommand):
    help = "Print a link that signs a person in once within 24 hours."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", nargs="?", help="who; without it the first administrator")

    def handle(self, *args, username: str | None = None, **options) -> None:
        people = User.objects.filter(is_active=True)
        people = people.filter(username=username) if username else people.filter(is_superuser=True).order_by("id")
        user = people.first()
        if user is None:
            who = f"active user called {username!r}" if username else "administrator"
            raise CommandError(f"There is no {who}.")
        self.stdout.write(settings.LEPTON_BASE_URL.rstrip("/") + create_sign_in_link(user=user))
