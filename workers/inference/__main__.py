"""``python -m workers.inference spec.json``: serve one model on Unix sockets, one for each lane, until SIGTERM."""

from __future__ import annotations

import gc
import json
import signal
import socket
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from workers.contract import EVENTS_FILE, EXIT_FAILED, EventWriter, ProgramFailure, ServeSpec, read_spec, write_port
from workers.inference.answers import answer, explain
from workers.inference.batching import best_size
from workers.inference.doors import tcp_door, unix_door
from workers.inference.framing import SAMPLE, Question
from workers.inference.lanes import Lane, die_of, fork
from workers.inference.predictor import Predictor, load_predictor
from workers.inference.reaching import lane_sockets
from workers.inference.server import Server


def warm_up(predictor: Predictor) -> None:
    """Predict the model's own sample once. Raises ProgramFailure when it cannot."""
    reply = answer(predictor, [Question(SAMPLE)])[0]
    if reply.status != 200:
        why = json.loads(reply.body)["error"]["message"]
        message = f"The model could not answer its own sample: {why}"
        raise ProgramFailure("cannot_predict", message, hint="Train the model again.", blame="machine")


def serve(spec: ServeSpec, lane: Lane, predictor: Predictor) -> None:
    """Until SIGTERM or SIGINT, or until another lane is gone."""
    at_once = best_size(predictor)
    answer_all, explain_one = partial(answer, predictor, at_once=at_once), partial(explain, predictor)
    server = Server(answer_all, explain_one, at_once=at_once)
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())  # whichever thread the system interrupts
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    with ExitStack() as opened:
        doors = [opened.enter_context(unix_door(Path(lane_sockets(spec.socket_path, spec.lanes)[lane.number])))]
        if spec.address:
            door, port = opened.enter_context(tcp_door(spec.address, spec.token))
            doors.append(door)
            write_port(spec, lane.number, port)
        server.serve(doors, [woken, *lane.relatives])


def main(spec_path: str) -> int:
    spec = read_spec(ServeSpec, spec_path)
    lane = fork(spec.lanes)
    code = run(spec, lane)
    ended = lane.end()
    if lane.number == 0:
        for path in lane_sockets(spec.socket_path, spec.lanes):
            Path(path).unlink(missing_ok=True)  # of a lane that was killed
    return code or die_of(ended)


def run(spec: ServeSpec, lane: Lane) -> int:
    """The exit code. What fails in all lanes is told of by the first."""
    try:
        predictor = load_predictor(Path(spec.model_dir), spec.threads)
        warm_up(predictor)
        gc.freeze()  # the collector has no need to look through libraries while somebody waits
        serve(spec, lane, predictor)
    except ProgramFailure as failure:
        if lane.number == 0:
            EventWriter(Path(spec.work_dir) / EVENTS_FILE).failure(failure)
        print(failure.message, file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
