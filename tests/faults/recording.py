"""What every execution of a program said, read while it runs: its folder goes with it, an open file does not."""

import json
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from workers.contract import EVENTS_FILE

LOOK_SECONDS = 0.02
Execution = tuple[str, int, int]  # machine, job, attempt


class Recorder:
    """Holds open the events of all executions on some machines (name -> data folder)."""

    def __init__(self, homes: dict[str, Path]) -> None:
        self.homes = homes
        self._files: dict[Execution, BinaryIO] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recorder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        for file in self._files.values():
            file.close()

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            for machine, home in self.homes.items():
                for path in home.glob(f"nodes/*/jobs/*/{EVENTS_FILE}"):
                    self._open(machine, path)

    def _open(self, machine: str, path: Path) -> None:
        job, attempt = map(int, re.findall(r"\d+", path.parent.name)[:2])
        if (machine, job, attempt) not in self._files:
            try:
                self._files[machine, job, attempt] = open(path, "rb")  # noqa: SIM115 (open until the end)
            except FileNotFoundError:
                return

    def attempts(self, job: int) -> dict[int, list[dict]]:
        """attempt -> what its programs, on however many machines, have said so far."""
        found: dict[int, list[dict]] = {}
        for machine, of, attempt in sorted(self._files, key=lambda execution: execution[1:]):
            if of == job:
                found.setdefault(attempt, []).extend(self._events((machine, job, attempt)))
        return found

    def _events(self, execution: Execution) -> Iterable[dict]:
        file = self._files[execution]
        file.seek(0)
        for line in file.read().split(b"\n"):
            try:
                yield json.loads(line)
            except ValueError:  # half a line: it was killed, or its disk was full, while it wrote
                continue


def steps_of(events: Iterable[dict]) -> list[tuple[int, float]]:
    """(step, when) of each training step that the events tell of, in order, each once."""
    seen: dict[int, float] = {}
    for event in events:
        is_step = event["type"] == "progress" or (event["type"] == "metric" and event["split"] == "train")
        if is_step and event.get("step"):
            seen.setdefault(event["step"], event["at"])
    return sorted(seen.items())


def checkpoints_of(events: Iterable[dict]) -> list[tuple[int, float]]:
    """(step, when it was complete) of each checkpoint."""
    return [(event["step"], event["at"]) for event in events if event["type"] == "checkpoint"]
