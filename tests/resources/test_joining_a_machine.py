"""A machine joins with one command, once, within a day; it is told what it works with and nothing more."""

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.core.errors import Conflict
from apps.resources.joining import create_join_token, join_command
from apps.resources.models import JoinToken, Node, Pool
from apps.resources.nodes import online_nodes, register_node, remove_node
from lepton_site.joined import read_node_env, write_node_env
from tests.jobs.making import make_node
from tests.stack import ROOT

PLACE = "/api/v1/nodes/join/"
MACHINE, OTHER = "a" * 32, "b" * 32
FACTS = {"cpu_count": 2, "memory_bytes": 10**9, "storage_free_bytes": 10**9, "devices": []}
FAR = "203.0.113.9"
REACHABLE = {"DATABASE_URL": "postgresql://l:p@db.example.org/l", "REDIS_URL": "redis://:p@db.example.org:6379/0"}


def ask(token: str, name: str = "gpu-2", machine_id: str = MACHINE, address: str = "127.0.0.1"):
    body = {"token": token, "name": name, "machine_id": machine_id}
    return Client(REMOTE_ADDR=address).post(PLACE, body, content_type="application/json")


def code(answer) -> str:
    return answer.json()["error"]["code"]


def token_on(page: str) -> str:
    return re.search(r"--token=(\S+?)<", page)[1]


@pytest.fixture
def token(administrator) -> str:
    return create_join_token(name="gpu-2", user=administrator.user)


def test_an_administrator_copies_one_command_that_is_shown_once(administrator):
    answer = administrator.page.post("/pool/add-machine/", {"name": "gpu-2"})
    page = answer.content.decode()
    assert answer.status_code == 201 and "manage.py join http://testserver --name gpu-2 --token=" in page
    assert "no-store" in answer.headers["Cache-Control"]
    assert JoinToken.objects.get().token_hash not in page and token_on(page) not in str(JoinToken.objects.values())
    assert "Waiting for gpu-2" in page
    assert "--token" not in administrator.page.get("/pool/add-machine/").content.decode()


def test_the_page_is_honest_about_servers_that_only_this_host_reaches(administrator, settings):
    page = administrator.page.get("/pool/add-machine/").content.decode()
    assert "Only this host can join" in page and "LEPTON_STORAGE_URL" in page
    command = administrator.page.post("/pool/add-machine/", {"name": "gpu-2"}).content.decode()
    assert "LEPTON_HOME=~/.lepton-gpu-2 .venv/bin/python" in command
    settings.DATABASE_URL, settings.REDIS_URL = REACHABLE.values()
    page = administrator.page.post("/pool/add-machine/", {"name": "gpu-3"}).content.decode()
    assert "Only this host can join" not in page and "LEPTON_HOME" not in page
    assert "has to see this folder under the same path" in page


def test_a_program_of_an_administrator_gets_the_command_too(administrator, member):
    answer = administrator.api.post("/api/v1/nodes/", {"name": "gpu-2"}, content_type="application/json")
    assert answer.status_code == 201 and answer.json()["valid_seconds"] == 86400
    assert "--name gpu-2" in answer.json()["command"]
    refused = member.api.post("/api/v1/nodes/", {"name": "gpu-2"}, content_type="application/json")
    assert refused.status_code == 403


def test_the_machine_is_told_what_it_works_with_and_no_secret_key(token, settings):
    answer = ask(token)
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    told = answer.json()["settings"]
    assert set(told) == {
        "DATABASE_URL", "REDIS_URL", "LEPTON_STORAGE_URL", "LEPTON_BASE_URL", "LEPTON_LEASE_SECONDS", "LEPTON_NODE_NAME"
    }  # fmt: skip
    assert told["LEPTON_LEASE_SECONDS"] == "60" and settings.SECRET_KEY not in answer.content.decode()
    node = register_node(name="gpu-2", facts=FACTS, machine_id=MACHINE)
    assert online_nodes().get() == node
    assert AuditEvent.objects.filter(action="node.joined", target="gpu-2").count() == 1


def test_a_token_works_once_for_its_name_within_a_day(token):
    assert code(ask(token, name="gpu-9")) == "wrong_name"
    assert ask(token).status_code == 200
    assert (ask(token).status_code, code(ask(token))) == (404, "token_used")
    JoinToken.objects.update(used_at=None, expires_at=timezone.now() - timedelta(seconds=1))
    assert code(ask(token)) == "token_expired"
    assert code(ask("guessed")) == "token_unknown"


def test_a_new_command_ends_the_one_before(administrator, token):
    create_join_token(name="gpu-2", user=administrator.user)
    assert code(ask(token)) == "token_unknown"


def test_another_host_is_told_what_to_set_and_may_use_the_token_afterwards(token, settings):
    refused = ask(token, address=FAR)
    assert (refused.status_code, code(refused)) == (409, "site_is_local")
    assert refused.json()["error"]["details"]["settings"] == ["DATABASE_URL", "REDIS_URL"]
    settings.DATABASE_URL, settings.REDIS_URL = REACHABLE.values()
    told = ask(token, address=FAR).json()["settings"]
    assert told["DATABASE_URL"] == REACHABLE["DATABASE_URL"]


@pytest.mark.parametrize("name", ["", "GPU 2", "a" * 61, "join", "<b>x</b>", "-x-/..", "\0"])
def test_a_name_that_cannot_stand_in_an_address_is_refused_beside_its_field(administrator, name):
    assert administrator.page.post("/pool/add-machine/", {"name": name}).status_code == 422
    assert not JoinToken.objects.exists()
    assert administrator.page.get("/pool/add-machine/", {"name": name or "\0"}).status_code == 422


@pytest.mark.parametrize("body", [{}, {"token": "x"}, {"token": ["x"], "name": {}}, {"token": "x" * 10_000}])
def test_a_careless_machine_is_told_what_is_missing(db, body):
    assert Client().post(PLACE, json.dumps(body), content_type="application/json").status_code == 422


def test_whoever_tries_again_and_again_has_to_wait(db):
    answers = [ask("guessed").status_code for _ in range(31)]
    assert answers[-1] == 429 and answers.count(404) == 30
    assert ask("guessed", address=FAR).status_code == 404


def test_two_machines_of_one_name_do_not_work_at_once(administrator, token):
    register_node(name="gpu-2", facts=FACTS, machine_id=OTHER)
    assert code(ask(token)) == "node_name_taken"
    with pytest.raises(Conflict, match="is in the pool already"):
        create_join_token(name="gpu-2", user=administrator.user)
    with pytest.raises(Conflict, match="a name of its own") as caught:
        register_node(name="gpu-2", facts=FACTS, machine_id=MACHINE)
    assert caught.value.code == "node_name_taken"
    Node.objects.update(last_beat_at=timezone.now() - timedelta(minutes=1))
    assert ask(token).status_code == 200  # the other one is dead: this one takes its place
    register_node(name="gpu-2", facts=FACTS, machine_id=MACHINE)


def test_a_removed_machine_may_not_come_back_by_itself_but_with_a_new_command(administrator):
    node = register_node(name="gpu-2", facts=FACTS, machine_id=MACHINE)
    remove_node(node=node, user=administrator.user)
    with pytest.raises(Conflict, match="was removed from the pool"):
        register_node(name="gpu-2", facts=FACTS, machine_id=MACHINE)
    assert ask(create_join_token(name="gpu-2", user=administrator.user)).status_code == 200
    assert register_node(name="gpu-2", facts=FACTS, machine_id=MACHINE).pk == node.pk


def test_it_joins_the_pool_that_was_chosen(administrator):
    Pool.objects.create(name="default")
    Pool.objects.create(name="students")
    page = administrator.page.post("/pool/add-machine/", {"name": "gpu-2", "pool": "students"}).content.decode()
    ask(token_on(page))
    assert register_node(name="gpu-2", facts=FACTS, machine_id=MACHINE).pool.name == "students"


def test_the_page_says_when_the_machine_has_come(administrator, token):
    htmx = {"HX-Request": "true", "HX-Target": "joining"}
    waiting = administrator.page.get("/pool/add-machine/?name=gpu-2", headers=htmx)
    assert waiting.status_code == 200 and "Waiting for gpu-2" in waiting.content.decode()
    make_node("gpu-2")
    there = administrator.page.get("/pool/add-machine/?name=gpu-2", headers=htmx)
    assert there.status_code == 286 and "has joined" in there.content.decode()


# What the machine keeps


def test_what_a_machine_was_told_is_read_back_and_is_for_its_account_alone(tmp_path):
    told = {"DATABASE_URL": "postgresql://l:p=%23x@h/l?sslmode=require", "LEPTON_NODE_NAME": "gpu-2"}
    path = write_node_env(tmp_path / "home", told)
    assert read_node_env(tmp_path / "home") == told and path.stat().st_mode & 0o777 == 0o600
    assert read_node_env(tmp_path) == {}
    with pytest.raises(ValueError):
        write_node_env(tmp_path, {"A": "1\nB=2"})


def manage(home: Path, *args: str) -> subprocess.CompletedProcess:
    names = ("DATABASE_URL", "REDIS_URL")
    env = {name: value for name, value in os.environ.items() if name not in names} | {"LEPTON_HOME": str(home)}
    return subprocess.run([sys.executable, "manage.py", *args], cwd=ROOT, env=env, capture_output=True, text=True)


def test_a_joined_machine_has_the_settings_of_its_site_and_starts_no_site_of_its_own(tmp_path):
    write_node_env(tmp_path, {**REACHABLE, "LEPTON_BASE_URL": "http://site:8000", "LEPTON_NODE_NAME": "gpu-2"})
    shown = manage(tmp_path, "shell", "-v", "0", "-c", "from django.conf import settings as s; print(s.DATABASE_URL)")
    assert shown.stdout.strip() == REACHABLE["DATABASE_URL"]
    refused = manage(tmp_path, "up")
    assert refused.returncode and "works for http://site:8000" in refused.stderr


def test_the_folder_of_a_site_does_not_join_another_one(tmp_path):
    (tmp_path / "up.lock").touch()
    refused = manage(tmp_path, "join", "http://127.0.0.1:1", "--name", "x", "--token", "y")
    assert "data folder of a site" in refused.stderr and not (tmp_path / "node.env").exists()


def test_a_token_that_begins_like_an_option_is_one(tmp_path):
    words = shlex.split(join_command("http://127.0.0.1:1", "x", "-kYGTl93MIcOg"))
    tried = manage(tmp_path / "new", *words[words.index("join") :])
    assert "does not answer" in tried.stderr, tried.stderr


def test_a_site_that_does_not_answer_is_named(tmp_path):
    refused = manage(tmp_path / "new", "join", "http://127.0.0.1:1", "--name", "x", "--token", "y")
    assert refused.returncode and "http://127.0.0.1:1 does not answer" in refused.stderr
