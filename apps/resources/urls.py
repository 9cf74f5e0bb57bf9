from django.urls import path

from apps.resources.views import nodes, pool

app_name = "resources"
urlpatterns = [
    path("pool/", pool.pool, name="pool"),
    path("pool/nodes/", nodes.nodes, name="nodes"),
    path("pool/nodes/<slug:name>/", nodes.node, name="node"),
    path("pool/nodes/<slug:name>/<slug:verb>/", nodes.change_node, name="change_node"),
    path("pool/add-machine/", nodes.add_node, name="add_node"),
]
