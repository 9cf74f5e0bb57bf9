from django.urls import path

from apps.resources.views import auction, nodes, policy, pool, prices, quotas, simulator, usage

app_name = "resources"
urlpatterns = [
    path("pool/", pool.pool, name="pool"),
    path("pool/nodes/", nodes.nodes, name="nodes"),
    path("pool/nodes/<slug:name>/", nodes.node, name="node"),
    path("pool/nodes/<slug:name>/<slug:verb>/", nodes.change_node, name="change_node"),
    path("pool/add-machine/", nodes.add_node, name="add_node"),
    path("pool/quotas/", quotas.quotas, name="quotas"),
    path("pool/quotas/<slug:team_slug>/<str:what>/", quotas.quota, name="quota"),
    path("pool/auction/", auction.auction, name="auction"),
    path("pool/auction/bids/<int:allocation_id>/", auction.bid, name="bid"),
    path("pool/policy/", policy.policy, name="policy"),
    path("pool/policy/pools/", policy.new_pool, name="new_pool"),
    path("pool/policy/pools/<int:pool_id>/", policy.rename, name="rename_pool"),
    path("pool/policy/nodes/<int:node_id>/", policy.move, name="move_node"),
    path("pool/simulator/", simulator.simulator, name="simulator"),
    path("pool/usage/", usage.usage, name="usage"),
    path("pool/usage.csv", usage.export, name="usage_csv"),
    path("pool/prices/", prices.prices, name="prices"),
]
