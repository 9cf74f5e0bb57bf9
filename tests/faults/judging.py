"""What must hold after every fault: the job is done, once, as if nothing had happened, and nothing is left of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.injections import Fault, Scene
from tests.faults.recording import checkpoints_of, steps_of
from tests.faults.site import Site, Training
from tests.stack import wait_until

STORE_SECONDS = 2.0  # in which a checkpoint that a program has written is in storage
CLOCK_SECONDS = 0.05  # between the clock of the database and that of a program, on one host
TIDY_SECONDS = 30
WEIGHTS = "model/model.safetensors"


@dataclass(frozen=True)
class Outcome:
    """What an undisturbed training comes to: every point of its curves and the sha256 of its weights."""

    points: Counter
    weights: str
    test_metrics: dict


@dataclass
class Verdict:
    """One row of the table. `broken` are the rules that did not hold, as sentences; `judge` decides on them."""

    fault: str
    injected_at_step: int = 0
    noticed_seconds: float | None = None
    attempts: int = 0
    repeated_steps: int = 0
    is_equal: bool = False
    processes_left: int = 0
    devices_left: int = 0
    seconds: float = 0.0
    skipped: str = ""
    broken: list[str] = field(default_factory=lambda: ["it did not come to its end"])


def outcome_of(training: Training) -> Outcome:
    row = training.row()
    points = training.site.rows("SELECT name, split, step, value FROM jobs_metric WHERE job_id = %s", training.pk)
    counted = Counter((point["name"], point["split"], point["step"], point["value"]) for point in points)
    return Outcome(counted, row["outputs"].get(WEIGHTS, {}).get("sha256", ""), row["result"].get("metrics", {}))


def judge(verdict: Verdict, fault: Fault, scene: Scene, injected_at: float, undisturbed: Outcome) -> None:
    """Fill in the `verdict` on a training that has ended. `injected_at` is the time of the fault, in seconds."""
    training = scene.training
    row = training.row()
    verdict.broken = []
    verdict.attempts = row["attempt"]
    verdict.repeated_steps = repeated_steps(training)
    if verdict.noticed_seconds is None:
        verdict.noticed_seconds = next(
            (event["seconds"] - injected_at for event in training.events()
             if event["status"] == "queued" and event["seconds"] > injected_at), None
        )  # fmt: skip
    if row["status"] != "succeeded":
        verdict.broken.append(f"the job is {row['status']}: {row['failure']}")
    outcome = outcome_of(training)
    verdict.is_equal = outcome == undisturbed
    verdict.broken += differences(outcome, undisturbed)
    verdict.broken += overlaps(training)
    verdict.broken += work_done_again(training, injected_at, fault.may_fall_back)
    verdict.processes_left, left = await_tidy(training)
    verdict.broken += left
    held = what_is_held(scene.site)
    verdict.devices_left = held["devices"]
    verdict.broken += [f"{name} is {amount} after the end" for name, amount in held.items() if amount]
    made = "SELECT id FROM registry_modelversion WHERE lineage->>'job_id' = %s"
    if (models := len(scene.site.rows(made, str(training.pk)))) != 1:
        verdict.broken.append(f"it has made {models} models")


def differences(outcome: Outcome, undisturbed: Outcome) -> Iterator[str]:
    if doubled := {point[:3] for point, times in outcome.points.items() if times > 1}:
        yield f"{len(doubled)} points of the curves are there twice, such as {sorted(doubled)[:3]}"
    if missing := set(undisturbed.points) - set(outcome.points):
        yield f"{len(missing)} points of the curves are missing, such as {sorted(missing)[:3]}"
    if added := set(outcome.points) - set(undisturbed.points):
        yield f"{len(added)} points of the curves are others, such as {sorted(added)[:3]}"
    if outcome.test_metrics != undisturbed.test_metrics:
        yield f"the metrics are {outcome.test_metrics}, not {undisturbed.test_metrics}"
    if outcome.weights != undisturbed.weights:
        yield f"the weights are {outcome.weights[:12]}, not {undisturbed.weights[:12]}"


def repeated_steps(training: Training) -> int:
    """Steps that more than one execution has taken."""
    taken = Counter(step for events in training.attempts().values() for step, _at in steps_of(events))
    return sum(times - 1 for times in taken.values())


def overlaps(training: Training) -> Iterator[str]:
    """All leases of an attempt have ended before the next one begins, and no program begins a step after that. One that
    stood still within a step may end that one; a checkpoint of it is refused by the fence."""
    leases = training.leases()
    for attempt in sorted({lease["attempt"] for lease in leases}):
        claimed = [lease["claimed"] for lease in leases if lease["attempt"] == attempt and lease["claimed"]]
        for lease in leases:
            if lease["attempt"] < attempt and not lease["ended"] <= min(claimed):
                yield f"attempt {attempt} was claimed before that of {lease['machine']} in {lease['attempt']} had ended"
        late = [
            step
            for old, events in training.attempts().items()
            for step, at in steps_of(events)
            if old < attempt and at > min(claimed) + CLOCK_SECONDS
        ]
        if len(late) > 1:
            yield f"{len(late)} steps were taken after attempt {attempt} had begun, such as {late[:3]}"
    if still := [lease for lease in leases if not lease["ended"]]:
        yield f"leases go on after the end: {still}"


def work_done_again(training: Training, injected_at: float, may_fall_back: int) -> Iterator[str]:
    """Whoever goes on does so from the newest checkpoint that could be in storage when the fault struck."""
    runs = [events for events in training.attempts().values() if steps_of(events)]
    safe = [0] * (may_fall_back + 1)
    for events, successor in pairwise(runs):
        last_sign = min(max(injected_at, steps_of(events)[0][1]), steps_of(events)[-1][1])
        safe += [step for step, at in checkpoints_of(events) if at < last_sign - STORE_SECONDS]
        begun_at = steps_of(successor)[0][0] - 1
        due = sorted(safe)[-1 - may_fall_back]
        if begun_at < due:
            yield f"it went on from step {begun_at}, although there was a checkpoint of step {due}"


def await_tidy(training: Training) -> tuple[int, list[str]]:
    """How many processes of the job are still there a while after its end, and what else is left of it."""
    machines = training.site.machines

    def processes() -> list:
        return [process for machine in machines for process in machine.processes()]

    def folders() -> list[str]:
        return [folder for machine in machines for folder in machine.folders(training.pk)]

    try:
        wait_until(lambda: not processes() and not folders(), seconds=TIDY_SECONDS, what="nothing is left")
    except BaseException:  # what pytest.fail raises
        left = processes()
        sentences = [f"{process} is still there" for process in left]
        return len(left), sentences + [f"the folder {folder} is still there" for folder in folders()]
    return 0, []


def what_is_held(site: Site) -> dict[str, int]:
    """All that counts what granted work holds; nothing is granted any more."""
    query = """
        SELECT (SELECT count(*) FROM resources_device WHERE allocation_id IS NOT NULL) AS devices,
               (SELECT sum(cpu_held_millicores) FROM resources_node) AS cpu_of_machines,
               (SELECT sum(memory_held_bytes) FROM resources_node) AS memory_of_machines,
               (SELECT count(*) FROM resources_placement) AS placements,
               (SELECT sum(held_devices) FROM resources_share) AS devices_of_teams,
               (SELECT sum(held_cpu_millicores) FROM resources_share) AS cpu_of_teams,
               (SELECT sum(held_memory_bytes) FROM resources_share) AS memory_of_teams,
               (SELECT sum(held_jobs) FROM resources_share) AS jobs_of_teams
    """
    return {name: int(amount or 0) for name, amount in site.rows(query)[0].items()}
