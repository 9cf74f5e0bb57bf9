"""``manage.py join SITE --name NAME --token TOKEN``: make this machine part of a site's pool and work for it."""

import os
import sys
from pathlib import Path

import httpx
import psycopg
import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.version import code_version
from lepton_site.joined import read_node_env, write_node_env
from lepton_site.processes import PRIVATE_UMASK
from workers.heartbeat import machine_id

ANSWER_SECONDS = 20
CONNECT_SECONDS = 5


class Command(BaseCommand):
    help = "Join this machine to a site's pool and work for it. The site's page Nodes gives the command to copy."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("site", help="the site's address, such as http://lepton.example.org:8000")
        parser.add_argument("--name", required=True, help="the machine's name in the pool")
        parser.add_argument("--token", required=True, help="the token from the page Nodes; it works once")

    def handle(self, *, site: str, name: str, token: str, **_options: object) -> None:
        os.umask(PRIVATE_UMASK)
        home = settings.LEPTON_HOME
        check_home(home)
        answer = ask_site(site, {"name": name, "token": token, "machine_id": machine_id()})
        values = {**answer["settings"], "LEPTON_BASE_URL": site.rstrip("/")}
        path = write_node_env(home, values)
        self.stdout.write(f"{name} has joined the pool of {site}. What it needs is kept in {path}.")
        if answer["version"] != code_version():
            self.stdout.write(f"The site runs version {answer['version']}, this machine {code_version()}.")
        check_reach(values)
        sys.stdout.flush()
        work(home)


def check_home(home: Path) -> None:
    """Raises CommandError in the data folder of a site."""
    if (home / "up.lock").exists() and not read_node_env(home):
        raise CommandError(
            f"{home} is the data folder of a site. Choose another one for this machine: LEPTON_HOME=~/.lepton-node"
        )


def ask_site(site: str, body: dict) -> dict:
    """What the site answers. Raises CommandError with its sentence."""
    try:
        answer = httpx.post(f"{site.rstrip('/')}/api/v1/nodes/join/", json=body, timeout=ANSWER_SECONDS)
        content = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CommandError(f"{site} does not answer ({error}). Is this the address of the site?") from error
    except ValueError as error:
        raise CommandError(f"{site} answers, but not as a Lepton site does. Is this its address?") from error
    if answer.status_code != httpx.codes.OK:
        raise CommandError(content.get("error", {}).get("message") or f"{site} answered {answer.status_code}.")
    return content


def check_reach(values: dict[str, str]) -> None:
    """Raises CommandError when the site's servers cannot be reached from here; the machine has joined all the same."""
    missing = []
    try:
        psycopg.connect(values["DATABASE_URL"], connect_timeout=CONNECT_SECONDS).close()
    except psycopg.Error as error:
        missing.append(f"the database ({str(error).strip()})")
    try:
        with redis.Redis.from_url(values["REDIS_URL"], **settings.REDIS_OPTIONS) as client:
            client.ping()
    except redis.RedisError as error:
        missing.append(f"Redis ({error})")
    if missing:
        raise CommandError(
            f"This machine cannot reach {' and '.join(missing)}. Open the way from here to there, then start its "
            "agent with: manage.py node_agent"
        )


def work(home: Path) -> None:
    """Become the node agent: a new process image, because the settings were read before the machine had joined."""
    environment = {**os.environ, "LEPTON_HOME": str(home)}
    program = str(settings.BASE_DIR / "manage.py")
    os.execve(sys.executable, [sys.executable, program, "node_agent", "--stop-work"], environment)
