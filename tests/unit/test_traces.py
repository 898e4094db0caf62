"""Whole jobs through the plan, seen late, twice or never by operators that die at any point: the money and the time add up.

The cluster is the truth: pods with the timestamps that its scheduler and nodes give them, by their own clocks. The operator has
what its watch brought so far, what it remembers, and the status that was written last; each of them gets lost here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.api.trainingjob import TrainingJob
from paceline.controller.controller import merge_patch
from paceline.controller.job_metrics import JobMetrics
from paceline.cost.lookup import Amounts, Host
from paceline.plan.books import STORE, read_ledger
from paceline.plan.observed import Observed, PodRecord, Report
from paceline.plan.reconcile import plan
from tests.unit.test_controller import apply_merge_patch

RATES = {"n1": Decimal("36"), "n2": Decimal("7.2"), "n3": Decimal("0.123456789"), "n4": Decimal("98.32")}
NODE, WORKER, QUARTER = Amounts(8, Decimal(8), Decimal(2**33)), Amounts(8), Amounts(0, Decimal(2))
CENT, TOLD = Decimal("0.01"), Decimal("0.0001")
# A watch that is interrupted for longer ends the process: it loses its lease.
LEASE_SECONDS = 10


@dataclass
class Life:
    """A pod by its own timestamps: from being bound to its last container's end, or else to its leaving the API; in whole
    seconds, as Kubernetes keeps times."""

    rate: Decimal
    start: float
    end: float | None = None

    @property
    def usd(self) -> Decimal:
        assert self.end is not None
        return self.rate * Decimal(str(max(0.0, self.end - self.start))) / 3600


class Trace:
    def __init__(self, world, late, scheduler, nodes):
        """``late``: seconds that a watch is behind; ``scheduler``, ``nodes``: seconds that their clocks are ahead of ours."""
        self.world, self.late, self.clocks = world, late, (scheduler, nodes)
        for name, rate in RATES.items():
            world.set_node(name, host=Host(override=str(rate), has=NODE))
        self.lives, self.known, self.unheard, self.step = {}, set(), set(), 0
        self.told: list[tuple[float, PodRecord, bool]] = []  # when the API changed, the pod by then, is it gone
        self.before: dict[str, PodRecord] = {}
        self.accrued, self.missed, self.heard, self.departed = Decimal(0), Decimal(0), 0, {}
        self.restart()

    def restart(self):
        """A new process: it lists the pods, and knows the status that is in the API."""
        self.tell()
        self.unheard |= self.departed.keys() | {pod.uid for _, pod, gone in self.told[self.heard :] if gone}
        self.pods = {pod.uid: pod for pod in self.world.pods.values()}
        self.heard, self.began, self.report, self.stale = len(self.told), self.world.now, None, None
        self.departed, self.gone = {}, {}
        self.metrics = JobMetrics(lambda: [self.stale or self.world.job], lambda: self.world.now, 3600)
        self.served: dict[tuple, float] = {}

    # -- the cluster -----------------------------------------------------------------------------------------------

    def tell(self):
        """Puts what has changed in the API on the watch, and into the truth."""
        now = {pod.uid: pod for pod in self.world.pods.values()}
        for uid, pod in now.items():
            if pod != self.before.get(uid):
                self.told.append((self.world.now, pod, False))
            if pod.scheduled_at is not None:
                rate = RATES[pod.node] / (4 if pod.role == "rendezvous" else 1)
                self.lives[uid] = Life(rate, pod.scheduled_at, pod.ended_at)
        for uid in self.before.keys() - now.keys():
            self.told.append((self.world.now, self.before[uid], True))
            if uid in self.lives and self.lives[uid].end is None:
                self.lives[uid].end = float(int(self.world.now))
        self.before = now

    def happen(self, what, which):
        world, (scheduler, nodes) = self.world, self.clocks
        world.now += 0.25  # the next thing: nothing happens twice at once
        live = world.workers()
        pod = live[which % len(live)] if live else None
        node = f"n{which + 1}"
        match what:
            case "schedule" | "run":
                for each in list(world.pods.values()):
                    where = f"n{each.index % 4 + 1}"
                    if not each.deleting and each.scheduled_at is None and where in world.seen.nodes:
                        asks = QUARTER if each.role == "rendezvous" else WORKER
                        world.change(each.name, scheduled_at=float(int(world.now + scheduler)), node=where, asks=asks)
                for each in list(world.pods.values()):
                    if what == "run" and not each.deleting and each.node and each.phase == "Pending":
                        began = replace(each.container, running_since=float(int(world.now + nodes)))
                        world.change(each.name, phase="Running", container=began)
            case "fail" | "succeed":
                for each in [p for p in live if p.running and (what == "succeed" or p is pod)]:
                    self.end(each, what == "fail")
            case "reap":
                for each in list(world.pods.values()):
                    if each.deleting and each.ended_at is None and each.container.running_since is not None:
                        self.end(each, 143)
                self.tell()
                world.reap()
            case "vanish" if pod:
                del world.pods[pod.name]
            case "lose-store":
                world.pods.pop("job-rdzv", None)
            case "node-lost" | "node-back":
                world.set_node(node, ready=what == "node-back", host=Host(override=str(RATES[node]), has=NODE))
            case "node-gone":
                here = {name: record for name, record in world.seen.nodes.items() if name != node}
                world.seen = replace(world.seen, nodes=here)
            case "scale":
                world.set_spec(nodes=which % 4 + 1)
            case "suspend" | "resume":
                world.set_spec(suspend=what == "suspend")
            case "step" | "back":
                self.step = self.step + 10 if what == "step" else self.step // 2
                told = Report(world.now, step=self.step, total_steps=9999, eta_seconds=500)
                self.report = replace(told, attempt=world.job.status.attempt)
        self.tell()

    def end(self, pod, code):
        self.world.end(pod.name, code)
        at = float(int(self.world.now + self.clocks[1]))
        container = replace(self.world.pods[pod.name].container, finished_at=at)
        self.world.change(pod.name, container=container, ended_at=at)

    # -- the operator ----------------------------------------------------------------------------------------------

    def listen(self, how):
        """What the watch has brought by now; or a list, where it was interrupted."""
        now, late = self.world.now, self.late
        if how == "relist":
            listed = {pod.uid: pod for pod in self.world.pods.values()}
            for uid in self.pods.keys() - listed.keys():
                self.leave(self.pods[uid], now)
                if (life := self.lives.get(uid)) is not None:  # its end was not seen: it costs until now
                    self.missed += life.rate * Decimal(str(now - (life.end or now))) / 3600
            self.pods, self.heard = listed, len(self.told)
        while self.heard < len(self.told) and self.told[self.heard][0] + late <= now:
            when, pod, gone = self.told[self.heard]
            self.heard += 1
            if gone:
                self.leave(self.pods.pop(pod.uid), when + late)
            else:
                self.pods[pod.uid] = pod

    def leave(self, pod, when):
        if pod.scheduled_at is not None:
            self.departed[pod.uid] = replace(pod, ended_at=pod.ended_at or when)
        if pod.role == "worker":
            self.gone[pod.index] = pod

    def look(self, how="written"):
        self.listen(how)
        job, now = self.stale or self.world.job, self.world.now
        seen = Observed(
            tuple(self.pods.values()), self.world.seen.nodes, self.world.seen.logs, self.report, self.began,
            gone=tuple(self.gone.values()), departed=tuple(self.departed.values()),
        )  # fmt: skip
        decided = plan(job, seen, now, {})
        self.world.act(decided)
        self.tell()
        patch = merge_patch(job.status.wire(), decided.status.wire())
        if self.stale is not None:
            self.stale = None  # of an older version: refused, and the watch tells of the newer one
        elif how not in ("lost", "dies before writing"):
            self.stored(patch)
            if how == "answer lost" and self.late:
                self.stale = job  # nor has the watch told of it yet
            if how in ("written", "relist"):
                self.departed = {}
        if how.startswith("dies"):
            self.restart()
        self.scrape()

    def stored(self, patch):
        """By the API server. What it has then is what everything is checked on."""
        before = self.world.job
        status = apply_merge_patch(before.status.wire(), patch)
        stored = TrainingJob.parse({"metadata": before.metadata.wire(), "spec": before.spec.wire(), "status": status})
        self.world.job = stored
        ledger = read_ledger(stored.status.cost)
        # What had lost its node before anybody wrote down its price has none, which PriceUnknown says.
        self.known |= {key for key, stay in ledger.known().items() if stay.price.usd is not None}
        if stored.status.goodput != before.status.goodput:
            self.check(stored)

    def scrape(self):
        lines = (line.rsplit(" ", 1) for line in self.metrics.page().decode().splitlines() if "_total{" in line)
        now = {key: float(value) for key, value in lines}
        for key, value in now.items():
            assert value >= self.served.get(key, 0.0), f"{key} goes down"
        self.served = now

    # -- what must hold --------------------------------------------------------------------------------------------

    def slack(self, seconds=0):
        """Dollars that the differences of clocks, the watch's lateness and so many seconds are worth, at most."""
        seconds += max(map(abs, (*self.clocks, self.clocks[0] - self.clocks[1]))) + self.late
        return sum(life.rate for life in self.lives.values()) * Decimal(str(seconds)) / 3600 + self.missed

    def check(self, job):
        status, cost = job.status, job.status.cost
        created, ended = job.metadata.creation_timestamp.timestamp(), status.completion_time
        wall = (int(self.world.now * 1000) if ended is None else int(ended.timestamp()) * 1000) - int(created) * 1000
        assert sum(map(Decimal, status.goodput.seconds.values())) * 1000 == wall
        if cost.accrued_usd is None:
            assert not status.goodput.usd
            return
        accrued = Decimal(cost.accrued_usd)
        assert all(Decimal(usd) >= 0 for usd in status.goodput.usd.values())
        assert sum(map(Decimal, status.goodput.usd.values())) == accrued
        assert sum(Decimal(day.usd) for day in cost.days) == accrued
        assert accrued >= self.accrued - self.slack(1) - TOLD, "ends are told in whole seconds"
        self.accrued = accrued

    def finish(self):
        """Until no pod is left; the bill is compared with the truth."""
        self.world.set_spec(suspend=True)
        for _ in range(20):
            self.happen("reap", 0)
            tidy = (p for p in self.world.pods.values() if p.ended_at is None and p.node)
            self.world.pods = {pod.name: pod for pod in tidy}
            self.tell()
            self.world.now += 60
            self.look()
        assert not self.world.pods
        cost = self.world.job.status.cost
        bound = [pod for _, pod, _ in self.told if pod.scheduled_at is not None]
        keys = {(_key(pod), int(pod.scheduled_at) * 1000): pod.uid for pod in bound}
        assert self.known <= keys.keys()
        truth = sum((self.lives[keys[key]].usd for key in self.known), Decimal(0))
        accrued, uncertain = Decimal(cost.accrued_usd or 0), Decimal(cost.uncertain_usd or 0)
        assert truth - self.slack() - CENT / 2 <= accrued <= truth + uncertain + self.slack() + CENT / 2
        assert uncertain == 0 or self.unheard, "where every end was heard of, all is certain"
        assert not cost.hourly_rate_usd or Decimal(cost.hourly_rate_usd) == 0


def _key(pod):
    return STORE if pod.role == "rendezvous" else f"{pod.attempt}-{pod.index}-{pod.replacement}"


HAPPENS = st.sampled_from(
    ["run"] * 5
    + ["schedule", "step", "step", "step", "back", "fail", "succeed", "reap", "reap", "vanish", "lose-store"]
    + ["node-lost", "node-back", "node-gone", "scale", "suspend", "resume", "resume"]
)
LOOKS = st.sampled_from(
    ["written"] * 5 + ["twice", "lost", "answer lost", "dies before writing", "dies after writing", "relist", "down"]
)
WAITS = st.sampled_from([0.5, 1.0, 3.0, 7.75, 20.0, 60.0, 301.5, 5000.0])
EVENTS = st.lists(st.tuples(HAPPENS, st.integers(0, 3), WAITS, LOOKS), min_size=10, max_size=40)
BEGINNING = [("run", 0, 10.0, "written"), ("step", 0, 100.0, "written")]
ELASTIC = st.sampled_from([None, {"minNodes": 1, "maxNodes": 4}, {"minNodes": 1, "allowedNodes": [1, 2, 4]}])


def replay(world, events, late=0.0, scheduler=0.0, nodes=0.0):
    trace = Trace(world, late, scheduler, nodes)
    trace.look()
    down = False
    for what, which, wait, how in [*BEGINNING, *events]:
        trace.happen(what, which)
        world.now += wait
        if down or (how == "relist" and wait > LEASE_SECONDS):
            trace.restart()
        down = how == "down"
        for each in ["written"] * 2 if how == "twice" else [] if down else [how]:
            trace.look(each)
    if down:
        trace.restart()
    trace.finish()
    return trace


@settings(max_examples=150)
@given(events=EVENTS, elastic=ELASTIC)
def test_whatever_dies_and_is_lost_dollars_are_exact_and_time_is_all_there(make_world, events, elastic):
    replay(make_world(**({"elastic": elastic} if elastic else {})), events)


@settings(max_examples=150)
@given(
    events=EVENTS,
    elastic=ELASTIC,
    late=st.sampled_from([0.0, 2.5, 20.0]),
    clocks=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
)
def test_clocks_that_differ_and_late_events_cost_at_most_their_difference(make_world, events, elastic, late, clocks):
    replay(make_world(**({"elastic": elastic} if elastic else {})), events, late, *clocks)
