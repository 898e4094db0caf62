"""The training loop with a parameter server: rank 0 updates the weights, the others compute gradients.

In lockstep (``staleness`` 0) a step's gradients are added up and make one update: the losses are those of one process. Else
each worker's part of a batch makes an update as it comes, of weights that other parts may have changed since. At meetings
(each epoch's end, and where a save or an end is wished) all are at the same step with the same weights, optimizer and losses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.distributed.checkpoint.stateful import Stateful
from torch.profiler import record_function

from paceline_trainer.data import batches_per_epoch
from paceline_trainer.distributed import World
from paceline_trainer.loop import Pace, Step, Trained, Wishes, backward, batches, update
from paceline_trainer.parallel.clocks import Clocks
from paceline_trainer.parallel.parameter_server import Answer, Link, Push, Staleness
from paceline_trainer.recipes import Training
from paceline_trainer.task import Arrays, Task
from paceline_trainer.update import Updated
from paceline_trainer.watching.step_time import COMMUNICATION


def train_with_server(
    task: Task,
    data: Arrays,
    params: Training,
    world: World,
    result: Trained,
    wishes: Callable[[int], Wishes],
) -> Iterator[Step]:
    """As loop.train does, but between meetings a worker's losses are of its own part, and wishes are told at meetings only."""
    link = result.spread.link
    assert link is not None
    process = _Process(task, data, params, world, result, wishes, link)
    for step, answer in process.serve() if link.server else process.work():
        if answer.meeting:
            process.meet()
        yield step


@dataclass(frozen=True)
class _Process:
    """Server or worker; what train_with_server was given."""

    task: Task
    data: Arrays
    params: Training
    world: World
    result: Trained
    wishes: Callable[[int], Wishes]
    link: Link

    def work(self) -> Iterator[tuple[Step, Answer]]:
        result, spread = self.result, self.result.spread
        pace = Pace(result, len(self.data), self.params)
        for number, epoch, batch in batches(self.data, self.params, len(result.losses)):
            with result.times.step():
                result.optimizer.zero_grad(set_to_none=True)
                loss_sum = backward(self.task, spread, self.data, batch, self.world, epoch, number)
                samples = len(spread.part(batch))
                with record_function(COMMUNICATION):
                    answer = self.link.push(number, samples, loss_sum, stop=self.wishes(number).stop)
            result.losses.append(loss_sum / max(1, samples))
            yield pace.step(len(batch), Wishes(stop=answer.stop, save=answer.save), None), answer

    def serve(self) -> Iterator[tuple[Step, Answer]]:
        result, params, workers = self.result, self.params, self.link.workers
        per_epoch, pace = batches_per_epoch(len(self.data), params.batch_size), Pace(result, len(self.data), params)
        clocks = Clocks(workers, params.staleness, len(result.losses))
        updates = _Updates(self.task, result, self.link, at_once=params.staleness > 0)
        sums: dict[int, float] = defaultdict(float)
        wished = Wishes()
        for number, epoch, batch in batches(self.data, params, len(result.losses)):
            if clocks.met:
                clocks.meet_at((epoch + 1) * per_epoch)
            while clocks.slowest < number:
                push = self.link.receive()
                updates.add(push)
                clocks.end(push.worker)
                sums[push.step] += push.loss
                wished |= Wishes(stop=push.stop)
                if clocks.slowest < number:
                    updates.release(clocks.released(), Answer())
            loss = sums.pop(number) / len(batch)
            updates.complete(number, loss)
            result.losses.append(loss)
            wished |= self.wishes(number)
            if wished.stop or wished.save:
                clocks.meet_soon()
            answer, told = Answer(), Wishes()
            if clocks.met:
                told, wished = wished, Wishes()
                answer = Answer(meeting=True, stop=told.stop, save=told.save)
                updates.release(range(workers), answer)
            else:
                updates.release(clocks.released(), answer)
            yield pace.step(len(batch), told, updates.told()), answer

    def meet(self) -> None:
        """All have the server's optimizer and losses afterwards, as whoever saves needs them, and it the first worker's step
        times."""
        result = self.result
        parts: dict[str, Stateful] = {"optimizer": result.optimizer, "update": result.update}
        state = {name: part.state_dict() for name, part in parts.items()} | {"losses": result.losses}
        told = self.link.share(state if self.link.server else None)
        times = self.world.gather(result.times.mean)
        if self.link.server:
            result.times.mean = times[1]
            return
        for name, part in parts.items():
            part.load_state_dict(told[name])
        result.losses[:] = told["losses"]


class _Updates:
    """The server's. ``at_once``: one of each worker's gradients, as it comes; else one of a step's, added up."""

    def __init__(self, task: Task, result: Trained, link: Link, *, at_once: bool) -> None:
        self._task, self._result, self._link, self._at_once = task, result, link, at_once
        self._sum: Tensor | None = None
        self._made = 0
        # How many were made when each worker's weights were sent.
        self._made_before = [0] * link.workers
        self._staleness = result.staleness = Staleness()
        self._latest: Updated | None = None
        self._anomaly: Updated | None = None

    def release(self, workers: Iterable[int], answer: Answer) -> None:
        for worker in workers:
            self._link.answer(worker, answer)
            self._made_before[worker] = self._made

    def add(self, push: Push) -> None:
        if not push.samples:  # a small batch had none for it
            return
        self._staleness.add(self._made - self._made_before[push.worker])
        if self._at_once:
            self._update(push.gradient, push.step, push.loss / push.samples)
        else:
            self._sum = push.gradient if self._sum is None else self._sum + push.gradient

    def complete(self, step: int, loss: float) -> None:
        """All workers' gradients of the step are there."""
        if self._sum is not None:
            self._update(self._sum, step, loss)
            self._sum = None

    def told(self) -> Updated | None:
        """Once a step: the newest update, or one that went wrong since the last time, which others may have followed."""
        found, self._anomaly = self._anomaly or self._latest, None
        return found

    def _update(self, gradient: Tensor, step: int, loss: float) -> None:
        self._link.put(gradient)
        found = update(self._task, self._result, step, loss)
        self._result.optimizer.zero_grad(set_to_none=True)
        if found.anomaly is None:
            self._latest = found
            self._made += 1
        else:
            self._anomaly = found
