"""Models, machines and links as the planner is told of them, and Hypothesis strategies for more of the kind."""

from hypothesis import strategies as st

from workers.parallel.facts import Data, Device, Layer, Link, Links, ModelProfile, Settings
from workers.parallel.planner import Proposal, choose_plan

MB, GB = 10**6, 10**9
DATA = Data(examples=10_000, example_bytes=3072, classes=10)


def model(
    layers: int = 8, *, parameters: int = 10**6, seconds: float = 1e-3, activations: int = MB, norms: int = 0, **facts
) -> ModelProfile:
    """Equal layers; `parameters`, `activations` (bytes for an example) and `seconds` (for an example) of each."""
    row = [Layer(f"features.{n}", parameters, 10_000, activations, seconds, 1e-4, norms) for n in range(layers)]
    return ModelProfile(tuple(row), update_seconds=1e-3, is_measured=True, **facts)


def machines(count: int, *, memory: int = 16 * GB, kind: str = "cpu", speeds: tuple[float, ...] = ()) -> list[Device]:
    """One device each."""
    return [Device(f"m{n}", 0, kind, memory, speeds[n] if speeds else 1.0) for n in range(count)]


def network(bytes_per_second: float, latency: float = 1e-4) -> Links:
    return Links(between=Link(bytes_per_second, latency, is_measured=True))


FAST, SLOW = network(1e10), network(1e5)


def plan(profile: ModelProfile, devices, links=FAST, forced: str | None = None, **settings) -> Proposal:
    return choose_plan(profile, devices, links, DATA, Settings(**{"batch_size": 64, **settings}), forced)


# For property tests

sizes = st.integers(1, 10**8)
seconds = st.floats(1e-6, 0.1)
layers = st.builds(Layer, st.uuids().map(str), sizes, sizes, sizes, seconds, seconds, st.sampled_from([0, 1]))
profiles = st.builds(
    ModelProfile,
    st.lists(layers, min_size=1, max_size=7).map(tuple),
    update_seconds=seconds,
)
links = st.builds(Link, st.floats(1e4, 1e11), st.floats(0, 0.1))
any_links = st.builds(Links, st.just({}), links, links)
any_settings = st.builds(Settings, st.integers(1, 300), st.just("no"), st.integers(0, 2), st.booleans())


@st.composite
def any_devices(draw, least: int = 1):
    """Up to five devices on up to three machines, in the order of the machines."""
    count = draw(st.integers(least, 5))
    nodes = sorted(draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count)))
    kind = draw(st.sampled_from(["cpu", "cuda"]))
    memory, speeds = st.integers(10**6, 10**11), st.floats(0.1, 10)
    return [Device(node, index, kind, draw(memory), draw(speeds)) for index, node in enumerate(nodes)]
