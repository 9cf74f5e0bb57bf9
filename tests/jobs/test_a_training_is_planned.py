"""Before a training on images starts, the form and the API say how it is spread over devices, and why not otherwise."""

from dataclasses import asdict

import pytest
from django.utils import timezone

from apps.jobs.models import Job
from apps.jobs.plan_words import NAMES, note_words, verdict_words
from apps.jobs.plans import plan_of_grant
from apps.resources.links import want_links
from apps.resources.models import Device, LayerProfile, Node, NodeLink
from apps.resources.nodes import register_node
from apps.resources.profiles import record_profile, sort_of, want_profile
from tests.jobs.making import make_table, make_version, report, run
from tests.people import Person
from workers.parallel.estimates import estimate_profile
from workers.parallel.plan import STRATEGIES, ParallelPlan
from workers.parallel.shapes import Shape

PLAN = {"HX-Request": "true", "HX-Target": "plan"}
GB = 10**9
SHAPE = Shape("resnet_tiny", 64, 10, precision="auto")


@pytest.fixture
def images(team):
    return make_version(team)


def machine(name: str, *, kind: str = "cpu", devices: int = 1, memory: int = 16 * GB) -> Node:
    held = [{"kind": kind, "index": n, "name": f"fast {kind}", "memory_bytes": memory} for n in range(devices)]
    facts = {"cpu_count": 2, "memory_bytes": 16 * GB, "devices": held}
    return register_node(name=name, facts=facts)


def link(first: Node, second: Node, bytes_per_second: float) -> None:
    for pair in ((first, second), (second, first)):
        NodeLink.objects.update_or_create(
            from_node=pair[0], to_node=pair[1],
            defaults={"bytes_per_second": bytes_per_second, "rtt_seconds": 1e-4, "measured_at": timezone.now(),
                      "wanted_at": None},
        )  # fmt: skip


def two_machines(bytes_per_second: float) -> tuple[Node, Node]:
    nodes = machine("one"), machine("two")
    link(*nodes, bytes_per_second)
    return nodes


def form(person: Person, version, **choices):
    headers = PLAN if choices.pop("is_part", False) else {}
    response = person.page.get("/jobs/new/", {"dataset_version": version.pk, **choices}, headers=headers)
    assert response.status_code == 200
    return response


def launch(person: Person, version, **choices):
    data = {"dataset_version": version.pk, "model_name": "mine", "preset": "fast", **choices}
    return person.page.post("/jobs/new/", data)


def ask(person: Person, version, **choices):
    return person.api.post("/api/v1/jobs/plan/", {"dataset": version.dataset.name, **choices}, "application/json")


def pretend_measured(node: Node, seconds: float) -> LayerProfile:
    """As the node's program would have left it: a step of 32 takes `seconds`."""
    device = node.devices.first()
    row = want_profile(shape=SHAPE, device=device)
    profile = estimate_profile(SHAPE, device.kind, flops_per_second=1e9)
    layers = [
        {**asdict(layer), "call_seconds": 0.0, "example_seconds": seconds / 32 / len(profile.layers)}
        for layer in profile.layers
    ]
    result = {
        "profile": {**profile.as_dict(), "layers": layers, "is_measured": True, "update_seconds": 0.0},
        "loading": {"light": 0.0}, "batch_sizes": [8, 32], "step_seconds": seconds,
    }  # fmt: skip
    record_profile(row=row, result=result)
    return row


# The form


def test_one_device_gets_a_short_line_and_is_told_what_a_second_would_bring(member, images):
    two_machines(1e10)
    page = form(member, images).content.decode()
    assert "A second device would make it" in page and "× faster" in page and "plan-rows" not in page


def test_on_a_slow_network_a_second_device_would_be_slower_and_is_not_taken(member, images):
    two_machines(1e5)
    assert "A second device would make it" in form(member, images).content.decode()
    page = form(member, images, devices="2").content.decode()
    assert "One device is enough" in page and "The network is too slow" in page
    launch(member, images, devices="2")
    job = Job.objects.get()
    assert (job.plan["strategy"], job.allocation.devices_asked, job.allocation.max_nodes) == ("single", 1, 1)
    assert "the others would lie idle" in job.events.first().message


def test_several_devices_get_a_card_with_a_row_for_each(member, images):
    two_machines(1e10)
    page = form(member, images, devices="2").content.decode()
    assert 'data-strategy="ddp"' in page and "2 devices, " in page
    assert page.count("32 of 64 images") == 2 and "one · CPU 0" in page and "two · CPU 0" in page
    assert all(str(NAMES[strategy]) in page for strategy in STRATEGIES)


def test_the_plan_can_be_overruled(member, images):
    two_machines(1e10)
    page = form(member, images, devices="2", strategy="pipeline").content.decode()
    assert 'data-strategy="pipeline"' in page and "features.0" in page and "idle between stages" in page
    launch(member, images, devices="2", strategy="pipeline")
    job = Job.objects.get()
    assert job.plan["strategy"] == "pipeline" and len(job.plan["stages"]) == 2
    assert (job.allocation.devices_asked, job.allocation.max_nodes) == (2, None)
    assert member.page.get("/jobs/new/", {"clone": job.pk}).context["where"].strategy == "pipeline"


@pytest.mark.parametrize(
    ("choice", "code", "sentence"),
    [
        ({"devices": "1", "strategy": "fsdp"}, "needs_more_devices", "at least 2 devices"),
        ({"devices": "2", "strategy": "ddp", "batch_size": "3"}, "batch_too_small", "A batch of 3 cannot be shared"),
    ],
)
def test_what_is_not_possible_is_said_before_and_refused_beside_its_field(member, images, choice, code, sentence):
    two_machines(1e10)
    page = form(member, images, **choice).content.decode()
    assert f'data-code="{code}"' in page and sentence in page
    response = launch(member, images, **choice)
    assert response.status_code == 422 and not Job.objects.exists()
    field = "devices" if code == "needs_more_devices" else "strategy"
    assert sentence in response.context["where"].errors[field][0]


def test_a_model_that_fits_nowhere_says_what_it_lacks(member, images):
    machine("tiny", kind="cuda", devices=2, memory=10**6)
    page = form(member, images, devices="2").content.decode()
    assert 'data-code="does_not_fit"' in page and "fits on no choice of these devices" in page
    assert ask(member, images, devices=2).json()["refusal"]["code"] == "does_not_fit"


def test_tables_are_not_spread(member, team):
    two_machines(1e10)
    table = make_table(team)
    page = form(member, table)
    assert page.context["planned"] is None and "strategy" not in page.context["where"].fields
    body = {"kind": "train", "dataset": table.dataset.name, "strategy": "ddp"}
    answer = member.api.post("/api/v1/jobs/", body, "application/json")
    assert answer.status_code == 422 and answer.json()["error"]["code"] == "not_spreadable"


def test_without_a_machine_it_is_planned_by_usual_figures(member, images):
    assert form(member, images, devices="2").context["planned"].has_machines is False
    assert launch(member, images, devices="1").status_code == 302
    assert Job.objects.get().plan["strategy"] == "single"


def test_a_senseless_number_of_devices_is_refused_and_hangs_nobody(member, images):
    two_machines(1e10)
    assert form(member, images, devices="999999999").context["prospect"].refusal.code == "too_many_devices"


# Measurements


def test_a_form_asks_a_machine_to_measure_and_shows_the_estimate_until_then(member, images):
    node, _other = two_machines(1e10)
    page = form(member, images).content.decode()
    assert "Measuring on the machine" in page and 'hx-trigger="every 2s"' in page and "estimated" in page
    row = LayerProfile.objects.get()
    assert (row.node, row.device_name, row.threads, row.measured_at) == (node, "fast cpu", 2, None)
    form(member, images, epochs="7", batch_size="16")
    assert LayerProfile.objects.count() == 1, "only what changes the layers is measured anew"


def test_the_measured_figures_take_the_place_of_the_estimate_and_the_form_stops_asking(member, images):
    node, _other = two_machines(1e10)
    pretend_measured(node, seconds=3.2)
    page = form(member, images, is_part=True).content.decode()
    assert "<html" not in page and 'id="plan"' in page and "hx-trigger" not in page
    assert "6.4 s for a step" in page and "estimated" not in page


def test_what_could_not_be_measured_is_not_waited_for(member, images):
    two_machines(1e10)
    form(member, images)
    LayerProfile.objects.update(error="out of memory")
    assert "Measuring on the machine" not in form(member, images).content.decode()


def test_links_are_measured_only_where_several_machines_are_asked_for(member, images):
    nodes = machine("one"), machine("two")
    form(member, images)
    assert not NodeLink.objects.exists()
    page = form(member, images, devices="2").content.decode()
    assert NodeLink.objects.filter(wanted_at__isnull=False).count() == 2
    assert "has not been measured; usual figures are assumed" in page
    link(*nodes, 1e9)
    assert want_links(nodes) is False


def test_a_faster_machine_takes_more_images(member, images):
    slow, fast = machine("one"), machine("two")
    Device.objects.filter(node=fast).update(name="faster cpu")
    link(slow, fast, 1e10)
    pretend_measured(slow, seconds=3.0)
    pretend_measured(fast, seconds=1.0)
    parts = form(member, images, devices="2").context["planned"].proposal.chosen.parts
    assert {part.node: round(part.examples) for part in parts} == {"one": 16, "two": 48}


# What is kept, and what comes of it


def test_the_job_shows_what_was_predicted_and_what_is_measured(member, images):
    node, _other = two_machines(1e10)
    pretend_measured(node, seconds=3.2)
    launch(member, images)
    job = run(Job.objects.get(), node)
    assert "A step, predicted" in member.page.get(f"/jobs/{job.pk}/").content.decode()
    report(job, {"type": "progress", "fraction": 0.5, "message": "", "step": 3, "samples_per_second": 12.8})
    page = member.page.get(f"/jobs/{job.pk}/").content.decode()
    assert "6.4 s" in page and '<dd id="plan-measured">5.0 s</dd>' in page
    plan = member.api.get(f"/api/v1/jobs/{job.pk}/").json()["plan"]
    assert plan["step_seconds"] == pytest.approx(6.4) and plan["measured_step_seconds"] == pytest.approx(5)


def test_what_is_granted_may_be_another_machine_with_another_share(member, images):
    slow, fast = machine("one"), machine("two")
    Device.objects.filter(node=fast).update(name="faster cpu")
    link(slow, fast, 1e10)
    pretend_measured(slow, seconds=3.0)
    pretend_measured(fast, seconds=1.0)
    launch(member, images, devices="2", strategy="ddp")
    job, (one, two) = Job.objects.get(), Device.objects.order_by("node__name")
    assert plan_of_grant(job, [one, two]).shares == pytest.approx((0.25, 0.75))
    assert plan_of_grant(job, [two, one]).shares == pytest.approx((0.75, 0.25))
    assert plan_of_grant(job, [one]) == ParallelPlan(accumulation=2)
    pretend_measured(slow, seconds=9.0)
    assert plan_of_grant(job, [one, two]).shares == pytest.approx((0.25, 0.75)), "all machines are told the same"


def test_changing_the_number_of_devices_plans_anew(member, images):
    two_machines(1e10)
    launch(member, images, devices="2", strategy="ddp")
    job = Job.objects.get()
    answer = member.api.patch(f"/api/v1/jobs/{job.pk}/", {"devices": 1}, "application/json")
    assert answer.status_code == 422 and answer.json()["error"]["code"] == "needs_more_devices"
    launch(member, images, devices="2")
    other = Job.objects.first()
    answer = member.api.patch(f"/api/v1/jobs/{other.pk}/", {"devices": 1}, "application/json").json()
    assert (answer["strategy"], answer["terms"]["devices"]) == ("single", 1)


# Programs


def test_programs_see_the_plan_and_choose_as_people_do(member, viewer, stranger, images):
    two_machines(1e10)
    plan = ask(member, images, devices=2).json()
    assert plan["strategy"] == "ddp" and plan["speedup"] > 1 and not plan["is_measured"] and plan["is_measuring"]
    assert {item["strategy"]: bool(item["verdict"]["message"]) for item in plan["alternatives"]} == dict.fromkeys(
        STRATEGIES, True
    )
    assert not Job.objects.exists()
    assert ask(stranger, images).status_code == 404 and ask(viewer, images).status_code == 403
    assert ask(member, images, strategy="magic").json()["error"]["field"] == "strategy"
    body = {"kind": "train", "dataset": images.dataset.name, "devices": 2, "strategy": "local_sgd"}
    made = member.api.post("/api/v1/jobs/", body, "application/json").json()
    assert made["strategy"] == "local_sgd" and made["plan"]["notes"][-1]["message"]


def test_every_verdict_and_note_has_words():
    numbers = {
        "factor": 2.0, "share": 0.5, "needs_bytes": 10, "has_bytes": 5, "node": "a", "needs": 2, "layers": 3,
        "devices": 4, "batch_size": 64, "examples": 4.0, "sync_every": 8, "seconds": 1.0, "least": 8, "index": 0,
    }  # fmt: skip
    codes = {
        "chosen", "possible", "slower", "faster", "no_gain", "link_too_slow", "does_not_fit", "needs_more_devices",
        "too_few_layers", "batch_too_small", "batch_norm_sees_parts", "changes_training",
    }  # fmt: skip
    assert all(verdict_words(code, numbers).endswith(".") for code in codes)
    notes = ("batch_norm_sees_parts", "changes_training", "devices_idle", "link_not_measured", "fewer_are_faster")
    assert all(note_words(code, numbers).endswith(".") for code in notes)


def test_a_cpu_with_more_threads_is_another_sort(team):
    small, large = machine("one"), machine("two")
    Node.objects.filter(pk=large.pk).update(cpu_count=8)
    sorts = [sort_of(Device.objects.get(node=node)) for node in (small, large)]
    assert [sort.threads for sort in sorts] == [2, 8]
