"""The ledger against a sum that is made another way, whatever the operator saw of it, and when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from paceline.api.base import at
from paceline.api.money import CostStatus
from paceline.cost.ledger import DAYS, MS_PER_HOUR, Ledger, Stay, observe
from paceline.cost.lookup import Price
from paceline.plan.books import gather, read_ledger, spread, write_days, write_ledger

CENT = Decimal("0.01")
RATES = [Decimal("55.04"), Decimal("0.000000001"), Decimal("1.234567891")]


@dataclass(frozen=True)
class Pod:
    """Bound, ended and gone from the API, in seconds; the price is of its node."""

    name: str
    bound: int
    ended: int
    gone: int
    rate: Decimal

    def truth(self) -> Decimal:
        return self.rate * (self.ended - self.bound) / 3600

    def stay(self, now: int) -> Stay:
        end = self.ended * 1000 if self.ended <= now else None
        return Stay(self.bound * 1000, end, Price(self.rate, gpus=8, cpus=Decimal("0.05")))


@st.composite
def pods(draw):
    """Up to 6 pods of one index after the other or side by side; some leave the API the moment they end (node loss)."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        bound = draw(st.integers(0, 5000))
        ended = bound + draw(st.integers(0, 4000))
        gone = ended + draw(st.integers(0, 300))
        found.append(Pod(f"{number % 2 + 1}-{number}-0", bound, ended, gone, draw(st.sampled_from(RATES))))
    return found


@st.composite
def looks(draw, downs: bool):
    """When the operator looks at the job, whether it was down since the look before, and what becomes of its write."""
    times = sorted(draw(st.lists(st.integers(0, 9300), max_size=25)))
    write = st.sampled_from(["written", "answer lost", "not written"])
    return [(t, downs and draw(st.booleans()), draw(write)) for t in times] + [(10_000, False, "written")]


def replay(pods, looks) -> tuple[Ledger, set[str]]:
    """The ledger at the end, and the pods that a written one had in it."""
    status, departed, before, known = None, {}, -1, set()
    for now, down, write in looks:
        if down:
            departed = {}  # the process that remembered them is gone
        else:
            departed |= {p.name: p for p in pods if before < p.gone <= now}
        here = [p for p in pods if p.bound <= now < p.gone] + list(departed.values())
        seen = {(p.name, p.bound * 1000): p.stay(now) for p in here}
        written = int(status.as_of.timestamp()) * 1000 if status else now * 1000
        ledger = observe(read_ledger(status), seen, written, now * 1000)
        if write != "not written":
            stored = CostStatus(as_of=at(now), ledger=write_ledger(ledger)).wire()
            status = CostStatus.model_validate(stored)
            known |= {p.name for p in here}
            if write == "written":
                departed = {}
        before = now
    return read_ledger(status), known


@given(pods=pods(), looks=looks(downs=False))
def test_whatever_was_written_and_whichever_answer_was_lost_the_sum_is_exact(pods, looks):
    ledger, _ = replay(pods, looks)
    total = ledger.totals(10_000_000)
    assert abs(total.usd - sum(p.truth() for p in pods)) < Decimal("0.000001")
    assert total.gpu_ms == sum(8 * (p.ended - p.bound) * 1000 for p in pods)
    assert total.gpu_usd == total.usd
    assert total.uncertain == 0


@given(pods=pods(), looks=looks(downs=True))
def test_of_pods_that_vanish_unseen_the_most_that_may_be_too_much_is_said(pods, looks):
    ledger, known = replay(pods, looks)
    total = ledger.totals(10_000_000)
    truth = sum(p.truth() for p in pods if p.name in known)
    assert truth - CENT / 100 <= total.usd <= truth + total.uncertain + CENT / 100


@given(pods=pods(), looks=looks(downs=True))
def test_restarts_change_nothing_while_pods_can_be_seen(pods, looks):
    ledger, _ = replay([replace(p, gone=20_000) for p in pods], looks)
    total = ledger.totals(10_000_000)
    assert abs(total.usd - sum(p.truth() for p in pods)) < Decimal("0.000001")
    assert total.uncertain == 0


def test_a_price_is_the_one_in_force_when_the_pod_was_bound_and_an_unknown_one_counts_from_the_start_once_known():
    def seen(usd):
        return {("1-0-0", 0): Stay(0, None, Price(usd, gpus=1))}

    unknown = observe(Ledger(), seen(None), 0, 1000)
    assert unknown.totals(MS_PER_HOUR).usd == 0
    assert unknown.totals(MS_PER_HOUR).unpriced_ms == unknown.totals(MS_PER_HOUR).gpu_ms == MS_PER_HOUR
    known = observe(unknown, seen(Decimal(4)), 1000, 2000)
    dearer = observe(known, seen(Decimal(9)), 2000, 3000)
    assert known.totals(MS_PER_HOUR).usd == dearer.totals(MS_PER_HOUR).usd == dearer.rate() == 4


def test_a_node_whose_clock_is_behind_the_schedulers_costs_nothing_and_never_less():
    assert Stay(5000, 4000, Price(Decimal(100), gpus=8)).cost(9000).usd == 0


def test_spot_saves_its_difference_to_the_price_on_demand():
    stay = Stay(0, MS_PER_HOUR // 2, Price(Decimal(2), Decimal(7)))
    assert (stay.cost(MS_PER_HOUR).usd, stay.cost(MS_PER_HOUR).spot_savings) == (1, Decimal("2.5"))


DAY = 86400


@given(
    stays=st.lists(st.tuples(st.integers(0, 5 * DAY), st.integers(0, 3 * DAY), st.booleans()), max_size=8),
    looks=st.lists(st.integers(0, 9 * DAY), max_size=6),
)
def test_the_days_are_what_was_spent_on_each_and_sum_to_the_whole(stays, looks):
    """Whenever the pods left and the ledger was written; some are gone from the API an hour after their end."""
    rate, end = Decimal("7.2"), 20 * DAY * 1000
    pods = {
        (f"1-{n}-0", start * 1000): Stay(start * 1000, (start + took) * 1000, Price(rate, gpus=8 if gpu else 0))
        for n, (start, took, gpu) in enumerate(stays)
    }
    ledger = Ledger()
    for now in sorted(looks):
        begun = {key: stay for key, stay in pods.items() if stay.start <= now * 1000}
        stay_on = {k: s for k, s in begun.items() if k in ledger.known() or now * 1000 <= (s.end or 0) + 3_600_000}
        ledger = observe(ledger, stay_on, now * 1000, now * 1000)
        gone = {key: stay for key, stay in stay_on.items() if (stay.end or 0) + 3_600_000 < now * 1000}
        ledger = observe(ledger, {k: s for k, s in stay_on.items() if k not in gone}, now * 1000, now * 1000)
        for key in gone:
            del pods[key]
        ledger = read_ledger(CostStatus(as_of=at(now), ledger=write_ledger(ledger)))
    ledger = observe(ledger, pods, end, end)
    seconds = {
        day: sum(max(0, min(s + t, (day + 1) * DAY) - max(s, day * DAY)) for s, t, _ in stays) for day in range(9)
    }
    days, total = ledger.days(end), ledger.totals(end)
    for day, spent in seconds.items():
        assert abs(days.get(day, Decimal(0)) - rate * spent / 3600) < Decimal("0.00000001")
    devices = sum(t for _, t, gpu in stays if gpu)
    assert abs(total.gpu_usd - rate * devices / 3600) < Decimal("0.00000001")
    shown = write_days(days, CENT, total.usd.quantize(CENT))
    assert sum(Decimal(d.usd) for d in shown) == (total.usd.quantize(CENT) if shown else 0)
    assert [d.date for d in shown] == sorted(d.date for d in shown)


def test_a_stay_over_midnight_is_in_two_days():
    stay = Stay((DAY - 3600) * 1000, (DAY + 7200) * 1000, Price(Decimal(2)))
    assert stay.days(10 * DAY * 1000) == {0: 2, 1: 4}


def test_days_of_long_ago_are_in_the_first_one():
    years = Ledger(stays={("1-0-0", 0): Stay(0, None, Price(Decimal(1)))})
    days = years.days(400 * DAY * 1000)
    assert len(days) == DAYS
    assert days[400 - DAYS] == 24 * (400 - DAYS + 1)


def test_a_thousand_pods_are_a_few_lines_of_status():
    stays = {(f"1-{i}-0", i // 100 * 1000): Stay(i // 100 * 1000, None, Price(Decimal(3), gpus=8)) for i in range(1000)}
    stays["rdzv", 0] = Stay(0, None, Price(Decimal(3), gpu_model="H100", capacity="spot"))
    written = write_ledger(Ledger(stays=stays))
    assert len(written.stays) == 11
    assert read_ledger(CostStatus(as_of=at(0), ledger=written)).known() == stays


@given(st.sets(st.integers(0, 30), min_size=1))
def test_names_are_gathered_and_spread(indices):
    names = [f"3-{i}-12" for i in sorted(indices)]
    assert spread(gather(names)) == names
