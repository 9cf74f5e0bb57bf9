"""``manage.py demo``: upload, train, compress, deploy and classify, through the public SDK, on a site of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

import leptonai
from apps.accounts.models import Team, User
from apps.accounts.services import create_api_key, create_sign_in_link, revoke_api_key
from lepton_site.demo import Demo, ProgressBar, rounded
from lepton_site.supervisor import Address, find_running, is_answering

START_SECONDS = 180
STOP_SECONDS = 120


class Command(BaseCommand):
    help = "Do the main job once, end to end. KEEP=1 leaves the site running."
    requires_system_checks: list[str] = []

    def handle(self, **_options: object) -> None:
        began = time.monotonic()
        keep = os.environ.get("KEEP", "") not in ("", "0")
        with site(self.stdout, keep=keep) as url:
            prediction = self.do_the_job(url)
            self.stdout.write(f"{'Total':<9} {time.monotonic() - began:.0f} s")
            if keep:
                self.tell_how_to_enter(url)
        self.stdout.write(prediction)

    def do_the_job(self, url: str) -> str:
        administrator = User.objects.filter(is_superuser=True).order_by("id").first()
        team = Team.objects.filter(memberships__user=administrator).order_by("id").first()
        key, secret = create_api_key(team=team, user=administrator, name="demo")
        try:
            with leptonai.Client(secret, url) as client:
                return rounded(Demo(client, example_archive(), self.stdout).run())
        except leptonai.LeptonError as error:
            raise CommandError(str(error)) from error
        finally:
            revoke_api_key(key=key, actor=administrator)

    def tell_how_to_enter(self, url: str) -> None:
        link = create_sign_in_link(user=User.objects.filter(is_superuser=True).order_by("id").first())
        self.stdout.write(f"The site runs at {url}")
        self.stdout.write(f"Sign in with this link; it works once: {url}{link}")
        self.stdout.write("Stop it with: make stop")


@contextmanager
def site(out, *, keep: bool) -> Iterator[str]:
    """The address of a site on our data folder: the one that runs already, or one started for the time of the demo."""
    if running := find_running(settings.LEPTON_HOME):
        yield running.url
        return
    bar = ProgressBar("Start", out)
    bar.show(0.0)
    address = Address("127.0.0.1", free_port(int(os.environ.get("PORT", "8000"))))
    log = settings.LEPTON_HOME / "logs" / "up.log"
    process = start(address, log)
    is_left = False
    try:
        wait_until_ready(process, address, log, bar)
        bar.done(address.url)
        yield address.url
        is_left = keep
    finally:
        if not is_left:
            stop(process)


def start(address: Address, log: Path) -> subprocess.Popen:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(address.port)],
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_ready(process: subprocess.Popen, address: Address, log: Path, bar: ProgressBar) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_answering(address):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise CommandError(f"The site did not start. The end of {log}:\n{tail}")
        bar.show(min(0.95, 1 - (deadline - time.monotonic()) / START_SECONDS * 1.0))
        time.sleep(0.2)


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(wanted: int) -> int:
    """`wanted` where it is free, otherwise any."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise CommandError("This machine has no free port.")


def example_archive() -> Path:
    """The 1,797 handwritten digits of scikit-learn as a ZIP of class folders, made by a program of its own."""
    path = settings.LEPTON_HOME / "examples" / "digits.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "workers.examples", "digits", str(path)]
    made = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)
    if made.returncode:
        raise CommandError(f"The example could not be made: {made.stderr}")
    return path
