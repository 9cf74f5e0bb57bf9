"""Trainings that are stopped at a step that is known beforehand."""

from workers.training.stopping import Stop


class StopAfter(Stop):
    """Asks to stop once `steps` steps have been taken."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.asked = steps, 0

    @property
    def requested(self) -> bool:
        self.asked += 1
        return self.asked > self.steps

    @requested.setter
    def requested(self, value: bool) -> None:
        pass
