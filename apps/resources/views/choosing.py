"""Which pool a page is about: ?pool=name, or the default one."""

from collections.abc import Sequence

from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.core.errors import NotFound
from apps.resources.models import Pool
from apps.resources.nodes import default_pool


def all_pools() -> Sequence[Pool]:
    return list(Pool.objects.order_by("id"))


def chosen_pool(request: HttpRequest) -> Pool:
    """Raises NotFound for a name that no pool has."""
    name = request.POST.get("pool") or request.GET.get("pool")
    if not name:
        return default_pool()
    found = next((pool for pool in all_pools() if pool.name == name), None)
    if found is None:
        raise NotFound(_("There is no pool of this name. Choose one on the Policy page."), code="unknown_pool")
    return found
