"""``manage.py await_attempt THREADS``: a runner that is ready before its attempt is known (see workers.spares)."""

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from workers.runner import run_attempt, warm_up
from workers.spares import SpareProgram
from workers.waiting import await_work


class Command(BaseCommand):
    help = "Wait for one attempt of a job and run it (started ahead of time by the node agent)."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("threads", type=int, help="of the program that will be run")

    def handle(self, *, threads: int, **_options: object) -> None:
        program = SpareProgram(threads)
        warm_up()
        connection.close()
        connection.close_pool()  # one that waits holds no connection of the database's few
        work = await_work(is_of_use=program.is_alive)
        if work is not None:
            run_attempt(*map(int, work), launch=program.launch)
