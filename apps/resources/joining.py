"""How a machine joins: an administrator's token for one name, and what the machine is told in exchange for it."""

import hashlib
import secrets
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.resources.models import JoinToken, Node, Pool
from apps.resources.nodes import default_pool, online_nodes

TOKEN_LIFETIME = timedelta(hours=24)
NAME_LENGTH = 60
RESERVED = {"join"}  # an address of the API
LOCAL_HOSTS = {"", "localhost", "127.0.0.1", "::1"}


@transaction.atomic
def create_join_token(*, name: str, user: User | None, pool: Pool | None = None) -> str:
    """A token that lets one machine join as `name` within 24 hours; those made before for the name stop working.

    Raises Unprocessable for a name that cannot stand in an address, Conflict while a machine works under it.
    """
    check_name(name)
    if online_nodes().filter(name=name).exists():
        raise Conflict(
            _("A machine of the name %(name)s is in the pool already. Choose another name.") % {"name": name},
            code="node_name_taken",
            field="name",
        )
    JoinToken.objects.filter(node_name=name, used_at=None).delete()
    token = secrets.token_urlsafe(32)
    JoinToken.objects.create(
        pool=pool or default_pool(),
        node_name=name,
        token_hash=_hash(token),
        created_by=user,
        expires_at=timezone.now() + TOKEN_LIFETIME,
    )
    record_audit(team=None, actor=user, action="node.invited", target=name)
    return token


def check_name(name: str) -> None:
    """Raises Unprocessable unless `name` can stand in addresses and in the name of a queue."""
    if name != slugify(name) or not 1 <= len(name) <= NAME_LENGTH or name in RESERVED:
        raise Unprocessable(
            _("Use up to %(n)d small letters, digits and hyphens for the name of a machine, such as gpu-2.")
            % {"n": NAME_LENGTH},
            code="invalid_name",
            field="name",
        )


@transaction.atomic
def join_node(*, token: str, name: str, machine_id: str, is_same_host: bool) -> dict[str, str]:
    """Use the token up and make the machine known under its name; returns the settings it works with.

    The site's secret key is not among them: a machine signs nothing. Raises NotFound for a token that is unknown, used
    or too old, Unprocessable for another name than it was made for, and Conflict for another host while the site's
    servers listen on this one only; the token can then still be used.
    """
    found = JoinToken.objects.select_for_update(of=("self",)).filter(token_hash=_hash(token)).first()
    _check_token(found, name)
    if not is_same_host and (local := local_settings()):
        raise Conflict(only_here(local), code="site_is_local", details={"settings": local})
    node = Node.objects.select_for_update(of=("self",)).filter(name=name).first() or Node(name=name)
    if node.pk and node.machine_id != machine_id and online_nodes().filter(pk=node.pk).exists():
        raise Conflict(
            _("Another machine works under the name %(node)s. Add this one with a name of its own.") % {"node": name},
            code="node_name_taken",
        )
    node.pool, node.machine_id = found.pool, machine_id
    node.removed_at = node.drain_requested_at = node.last_beat_at = None
    node.is_cordoned = False
    node.save()
    JoinToken.objects.filter(pk=found.pk).update(used_at=Now())
    record_audit(team=None, actor=found.created_by, action="node.joined", target=name)
    return {
        "DATABASE_URL": settings.DATABASE_URL,
        "REDIS_URL": settings.REDIS_URL,
        "LEPTON_STORAGE_URL": settings.LEPTON_STORAGE_URL,
        "LEPTON_BASE_URL": settings.LEPTON_BASE_URL,
        "LEPTON_LEASE_SECONDS": str(settings.LEPTON_LEASE_SECONDS),
        "LEPTON_NODE_NAME": name,
    }


def join_command(site: str, name: str, token: str) -> str:
    """What to run on the machine that is to join. On the site's own host it needs a data folder of its own."""
    home = f"LEPTON_HOME=~/.lepton-{name} " if local_settings() else ""
    return f"{home}.venv/bin/python manage.py join {site} --name {name} --token={token}"


def _check_token(found: JoinToken | None, name: str) -> None:
    again = _("Make a new command with “Add a machine” on the page Nodes.")
    if found is None:
        raise NotFound(_("This token is not valid.") + " " + again, code="token_unknown")
    if found.used_at:
        raise NotFound(_("This token was used already.") + " " + again, code="token_used")
    if found.expires_at <= timezone.now():
        raise NotFound(_("This token is older than 24 hours.") + " " + again, code="token_expired")
    if found.node_name != name:
        raise Unprocessable(
            _("This token is for a machine of the name %(name)s.") % {"name": found.node_name},
            code="wrong_name",
            field="name",
        )


def local_settings() -> list[str]:
    """The settings that name servers which only this host can reach: by a Unix socket, or as localhost."""
    return [name for name in ("DATABASE_URL", "REDIS_URL") if _is_local(getattr(settings, name))]


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    host = unquote(parts.hostname or "")
    return parts.scheme == "unix" or host.startswith("/") or host in LOCAL_HOSTS


def is_storage_a_folder() -> bool:
    """Whether data lies in a folder, which every machine then has to see under the same path."""
    return urlsplit(settings.LEPTON_STORAGE_URL).scheme in ("", "file")


def only_here(names: list[str]) -> str:
    return _(
        "The site's servers listen on its own host only, so no other host can work for it. Set %(names)s on the site "
        "to servers that both can reach, and LEPTON_STORAGE_URL to a shared folder or a bucket; start the site again."
    ) % {"names": ", ".join(names)}


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
