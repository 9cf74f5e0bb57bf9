"""``manage.py up``: the whole of Lepton on one machine, until Ctrl-C."""

import os
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils.translation import gettext as _

from apps.accounts.services import ensure_first_administrator
from lepton_site import embedded
from lepton_site.processes import PRIVATE_UMASK
from lepton_site.supervisor import Address, Supervisor, SupervisorError, services


class Command(BaseCommand):
    help = "Start the embedded servers, the site, the control worker, the beat and one node agent; stop with Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--node", default=settings.LEPTON_NODE_NAME, help="the node agent's name in the pool")
        parser.add_argument("--no-node", action="store_true", help="start no node agent: a site without hardware")

    def handle(self, *, host: str, port: int, node: str, no_node: bool, **_options: object) -> None:
        os.umask(PRIVATE_UMASK)
        address, home = Address(host, port), settings.LEPTON_HOME
        if settings.JOINED:
            raise CommandError(
                f"{home} belongs to a machine that works for {settings.LEPTON_BASE_URL}. Start its agent with "
                "manage.py node_agent, or choose another folder for a site of its own with LEPTON_HOME."
            )
        os.environ.setdefault("LEPTON_BASE_URL", address.url)
        os.environ["LEPTON_HOME"] = str(home)
        supervisor = Supervisor(
            address,
            home=home,
            root=settings.BASE_DIR,
            services=services(address, home=home, node=None if no_node else node),
            embedded_servers=embedded_servers(),
            prepare=lambda: prepare(home, address),
        )
        try:
            supervisor.run()
        except (SupervisorError, embedded.EmbeddedServerError) as error:
            raise CommandError(str(error)) from error


def embedded_servers() -> dict:
    """The servers that the environment does not replace: name -> (is it running, start it)."""
    found = {}
    if not os.environ.get("DATABASE_URL"):
        found["PostgreSQL"] = (embedded.is_postgres_running, embedded.start_postgres)
    if not os.environ.get("REDIS_URL"):
        found["Valkey"] = (embedded.is_valkey_running, embedded.start_valkey)
    return found


def prepare(home: Path, address: Address) -> list[str]:
    """Bring the database and the static files up to date; return what a person must know before the first sign-in."""
    (home / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    link = ensure_first_administrator()
    connection.close()
    connection.close_pool()
    if link is None:
        return []
    return [_("Sign in as the administrator with this link; it works once: %(url)s") % {"url": address.url + link}]
