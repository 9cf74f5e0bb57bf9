"""The ways in which a pool can be shared, by name."""

from apps.resources.scheduling.policies.auction import Auction
from apps.resources.scheduling.policies.base import Policy
from apps.resources.scheduling.policies.fair_share import FairShare
from apps.resources.scheduling.policies.fifo import Fifo
from apps.resources.scheduling.policies.priority import Priority
from apps.resources.scheduling.policies.shortest_predicted import ShortestPredicted

POLICIES: dict[str, type[Policy]] = {
    policy.name: policy for policy in (Fifo, Priority, FairShare, Auction, ShortestPredicted)
}

__all__ = ["POLICIES", "Policy"]
