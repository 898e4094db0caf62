"""The report of a CompressionJob: every figure of its status, no other ones, and what is unknown said to be."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from paceline.render.compression_report import html, markdown
from paceline.render.compression_report.figures import amount, duration, size
from paceline.render.compression_report.plots import Point, front
from paceline.render.compression_report.sentences import headline
from tests.compressed import (
    BASELINE,
    COST,
    DISTILLED,
    GATES,
    QUANTIZED,
    REPORT,
    SERVING,
    SPEC,
    TRIALS,
    compression,
    full_status,
    report,
    stage,
)

VOID = {"meta", "br", "rect", "circle", "line", "polyline"}
HOSTILE = "</td><script>alert('1')</script>|`x`*_[a](b)&amp;\nnew"


class Page(HTMLParser):
    """Fails where the page is not well-formed. ``shown``: its text and the attributes that a reader sees."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.shown = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.shown += [value for name, value in attrs if name in ("title", "aria-label")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID, tag
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.shown.append(data)

    @property
    def text(self):
        return "\n".join(self.shown)


def page(job):
    return Page(html(job))


def figures(found):
    """All leaves of a status that are to be read in its report, as text."""
    if isinstance(found, dict):
        return [leaf for name, value in found.items() if name not in UNTOLD for leaf in figures(value)]
    if isinstance(found, list):
        return [leaf for each in found for leaf in figures(each)]
    return [] if isinstance(found, bool) or found in ("", None) else [str(found)]


# What the page says in other words, or what is of the present only.
UNTOLD = {"stage", "trial", "hourlyRateUSD", "phase", "missed"}


def test_every_figure_of_a_full_status_is_on_the_page():
    text = page(compression(full_status())).text
    assert [leaf for leaf in figures(full_status()) if leaf not in text] == []


def test_every_figure_of_a_full_status_is_in_the_markdown():
    said = markdown(compression(full_status())).replace("\\", "")
    # Counts are rounded there, and the folders of the stages left out.
    rounded = {
        str(each[name])
        for each in (BASELINE, DISTILLED, QUANTIZED, *TRIALS)
        for name in each
        if isinstance(each[name], int)
    }
    paths = {each["path"] for each in (BASELINE, DISTILLED, QUANTIZED)}
    assert [leaf for leaf in figures(full_status()) if leaf not in said and leaf not in rounded | paths] == []
    assert "| source | - | - | onnxruntime | 91.0 MB | - | 22.7 M | 354 M |" in said
    assert "| int8 (taken) | quantize.dynamic | - | onnxruntime | 17.7 MB | 5.145:1 |" in said


def test_the_page_stands_alone():
    found = page(compression(full_status()))
    assert {"script", "link", "img", "iframe", "a", "object"} & set(found.tags) == set()
    assert {name for name, _ in found.attributes} & {"href", "src", "xlink:href", "action"} == set()
    assert not [value for name, value in found.attributes if name.startswith("on") or "http" in (value or "")]
    text = html(compression(full_status()))
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme:dark" in text


def test_what_users_and_programs_wrote_is_shown_and_does_nothing():
    job = compression(
        full_status(
            message=HOSTILE,
            report=report(
                environment={HOSTILE: HOSTILE},
                serving=SERVING | {"assumptions": [HOSTILE]},
                stages=[stage(QUANTIZED, target=HOSTILE, path=HOSTILE, scores={HOSTILE: "1"}, runtime=HOSTILE[:20])],
                trials=[TRIALS[0] | {"missed": [HOSTILE], "targets": {HOSTILE: HOSTILE}}],
            ),
            artifact={"path": HOSTILE},
            cost=COST | {"priceSource": HOSTILE},
        )
    )
    found = page(job)
    assert "script" not in found.tags
    assert found.text.count("<script>alert('1')</script>") > 8
    said = markdown(job)
    assert "<script>" not in said
    assert re.search(r"(?<!\\)`x", said) is None
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) >= 2 for row in rows)


def largest(job):
    stages = [
        stage(QUANTIZED, name=f"a-stage-of-20-chars{n}", trial=10, gates=QUANTIZED["gates"] * 5) for n in range(8)
    ]
    trials = [
        TRIALS[0] | {"trial": n, "targets": {f"a-stage-of-20-chars{m}": "macsRatio 0.8125" for m in range(8)}}
        for n in range(1, 11)
    ]
    return compression(full_status(report=report(stages=stages, trials=trials, candidate="a-stage-of-20-chars7")))


def test_the_largest_report_is_small():
    text = html(largest(compression))
    assert text.count("<tr>") > 8 + 8 * 15 + 10
    assert len(text.encode()) < 60_000


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "No verdict yet: Pending."),
        ({"phase": "Running", "stage": "int8", "trial": 2}, "No verdict yet: Running in stage int8 of trial 2."),
        ({"phase": "Failed", "stage": "int8", "trial": 1}, "No verdict: the job has failed in stage int8 of trial 1."),
        ({"phase": "Suspended"}, "No verdict yet: Suspended."),
        (
            full_status(),
            "Accepted: int8 is 5.145 times smaller; 4.710 times as fast as the source in the same runtime; accuracy 0.9025 where "
            "the source has 0.9106 (-0.0081, within the error).",
        ),
        ({"verdict": "Accepted"}, "Accepted; which stage was taken is unknown."),
        (
            {"verdict": "Accepted", "report": {"stages": [{"name": "int8"}], "candidate": "int8"}},
            "Accepted: int8 is of unknown size; its speed is unknown; its accuracy is unknown.",
        ),
        (
            {"verdict": "Infeasible", "report": {"trials": TRIALS}},
            "Infeasible: none of 2 trials met every gate; the last one missed gates that the status does not name. "
            "No model is released.",
        ),
        (
            {"verdict": "BudgetExceeded", "stage": "distil", "trial": 3, "cost": {"accruedUSD": "5.0100"}},
            "BudgetExceeded: $5.0100 of $5 was spent in stage distil of trial 3. No model is released.",
        ),
        ({"verdict": "BudgetExceeded"}, "BudgetExceeded: the budget of $5 was spent. No model is released."),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_the_verdict_in_a_sentence(status, words):
    job = compression(status)
    assert headline(job) == words
    assert words in page(job).text


def failing(**more):
    gate = QUANTIZED["gates"][0] | {"reached": "0.0412", "passed": False}
    return stage(QUANTIZED, gates=[gate, *QUANTIZED["gates"][1:]], **more)


def test_a_regression_names_what_was_asked_and_reached():
    job = compression(
        full_status(verdict="Regression", artifact=None, report=report(stages=[failing()], candidate=None))
    )
    assert headline(job) == (
        "Regression: the compressed model missed 1 of 3 gates after int8: accuracy maxDrop 0.01, relative (reached 0.0412). "
        "No model is released."
    )
    assert "2 of 3 passed" in page(job).text
    assert "| int8 | accuracy maxDrop 0.01, relative | 0.0412 | **failed** |" in markdown(job)


def test_the_stage_that_was_kept_all_the_same_is_told():
    kept = full_status(verdict="Infeasible", report=report(stages=[DISTILLED, failing()], candidate="distil"))
    assert "distil was kept: it is 1.306 times smaller; 1.938 times as fast" in headline(compression(kept))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "4.710×"),
        ({"speedup": "0.813", "latencyP50": "13.422"}, "0.813× (slower)"),
        ({"speedup": "1.031", "latencyP50": "10.584"}, "1.031× (within the spread)"),
        ({"speedup": "0.981", "latencyP50": "11.123"}, "0.981× (slower, within the spread)"),
        ({"speedup": "1.031", "latencyP50": "10.584", "runtime": "torchao"}, "1.031× (within the spread)"),
        ({"latencyP50Spread": None}, "4.710× (spread unknown)"),
        ({"speedup": None}, "unknown"),
    ],
)
def test_a_speedup_that_is_none_is_called_what_it_is(fields, words):
    job = compression(full_status(report=report(stages=[stage(QUANTIZED, **fields)])))
    rows = re.findall(r"(?m)^\| int8 \(taken\) .*$", markdown(job))
    assert words in [cell.strip(" *") for cell in rows[0].split(" | ")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "0.9025 ± 0.0101 (-0.0081, within the error)"),
        ({"scores": {"accuracy": "0.8710"}}, "0.8710 ± 0.0101 (-0.0396)"),
        ({"scores": {"accuracy": "0.9106"}}, "0.9106 ± 0.0101 (+0.0000, within the error)"),
        ({"standardError": None}, "0.9025 ± unknown (-0.0081)"),
        ({"scores": {}}, "unknown"),
    ],
)
def test_a_score_has_its_error_and_its_difference(fields, words):
    assert words in page(compression(full_status(report=report(stages=[stage(QUANTIZED, **fields)])))).shown


def test_the_score_is_that_of_the_first_score_gate():
    job = compression(full_status(), gates=[GATES[1], {"metric": "loss", "goal": "maxDrop", "value": "0.02"}])
    assert "0.2902 ± unknown (+0.0188)" in page(job).shown
    assert "Score: loss on 872 samples" in markdown(job)


NEVER = "never: serving it saves nothing"


@pytest.mark.parametrize(
    ("serving", "requests", "days"),
    [
        ({}, "194712", "0.197"),
        ({"usdPerMillionAfter": "5.9031"}, NEVER, NEVER),
        ({"usdPerMillionAfter": "6.2", "breakEvenRequests": None}, NEVER, NEVER),
        ({"usdPerMillionAfter": None, "breakEvenRequests": None, "breakEvenDays": None}, "unknown", "unknown"),
    ],
)  # fmt: skip
def test_when_it_is_paid_for(serving, requests, days):
    job = compression(full_status(report=report(serving={k: v for k, v in (SERVING | serving).items() if v})))
    said = markdown(job).replace("**", "")
    assert f"| Paid for after, requests | - | {requests} |" in said
    assert f"| Paid for after, days | - | {days} |" in said


def test_what_serving_was_reckoned_with_is_told_also_before_anything_is_known():
    for status in ({}, full_status()):
        text = page(compression(status)).text
        assert "30000000 requests a month; hardware c7i.4xlarge; utilization 0.4" in text
    bare = compression(full_status(report=report(serving={"usdPerHour": "1"})), serving={})
    assert "requests a month: not given; hardware cpu; utilization 0.4" in page(bare).text
    assert "unknown: requestsPerMonth is not given" in page(bare).shown


STATUSES = {
    "new": {},
    "nothing measured": {"phase": "Running", "report": {}},
    "source alone": {"phase": "Running", "report": {"baseline": {"name": "source"}}},
    "a stage without its source": {"report": {"stages": [QUANTIZED]}},
    "a bare stage": {"report": {"baseline": BASELINE, "stages": [{"name": "int8"}], "candidate": "int8"}},
    "bare trials": {"report": {"trials": [{"trial": 1, "passed": False, "stage": "int8"}]}},
    "words for figures": {"report": report(stages=[stage(QUANTIZED, speedup="?", latencyP50="n/a", scores={"accuracy": "NaN"})])},
    "no price": full_status(cost={}),
    "failed": {"phase": "Failed", "message": "stage int8 failed three times", "report": report(stages=[DISTILLED])},
    "spent": {"phase": "Failed", "verdict": "BudgetExceeded", "cost": COST, "report": report(stages=[DISTILLED], candidate=None)},
    "all equal": {"report": {"baseline": BASELINE, "stages": [BASELINE | {"name": "same"}]}},
    "zero": {"report": {"baseline": {"name": "source", "sizeBytes": 0, "latencyP50": "0", "scores": {"accuracy": "0"}}}},
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES.values(), ids=STATUSES)
@pytest.mark.parametrize("gates", [GATES, []], ids=["gates", "none"])
def test_every_status_has_a_report(status, gates):
    job = compression(status, gates=gates, onGateFail="Stop")
    found, said = page(job), markdown(job)
    for text in (found.text, said):
        assert "None" not in text
        assert "Gains hold for these settings only" in text
        assert ("No gates were set" in text) == (not gates)


def test_nothing_that_is_unknown_is_told_as_zero():
    text = page(compression({"report": {"baseline": {"name": "source"}, "stages": [{"name": "int8"}]}})).text
    assert not re.search(
        r"(?<![\d.])\$?0(\.0+)?( B| ms| /s|×|:1)?(?![\d.,])", re.sub(r"utilization 0\.4|from 0 ", "", text)
    )
    assert "Of int8: size, parameters, multiply-accumulates, median latency," in text
    assert "What training the source cost." in text


def test_the_compression_and_its_sources_training_are_summed_only_where_both_are_known():
    assert "| Together | $13.4119 |" in markdown(compression(full_status()))
    assert "| Together | unknown |" in markdown(compression(full_status(cost={"accruedUSD": "0.9037"})))


def test_a_source_that_is_a_folder_and_masks_are_called_what_they_are():
    job = compression(
        {"report": report(stages=[stage(DISTILLED, method="prune.unstructured")])},
        source={"model": {"path": "/models/m", "recipe": {"name": "text-classification"}}},
    )
    said = markdown(job)
    assert "| Source | /models/m, of the recipe text-classification |" in said
    assert "by itself that makes a model neither smaller nor faster" in said


def test_plots_mark_the_source_the_trials_and_the_one_that_was_taken():
    text = html(compression(full_status()))
    for css in (
        'circle class="taken"',
        'circle class="missed"',
        'circle class="source"',
        'rect class="bar taken"',
        "whisker",
        "tick",
    ):
        assert css in text, css
    assert text.count("<svg") == 5
    assert 'polyline class="front"' in text
    assert html(compression({})).count("<svg") == 0


def test_the_front_is_what_no_other_one_beats():
    points = [
        Point(name, x, y, "", "trial")
        for name, x, y in (("a", 1, 1), ("b", 2, 3), ("c", 3, 2), ("d", 2, 1), ("e", 4, 4))
    ]
    assert [each.name for each in front(points, lower_is_better=False)] == ["a", "b", "e"]
    assert [each.name for each in front(points, lower_is_better=True)] == ["a"]


def test_counts_and_times_in_words_keep_the_exact_figure():
    assert [size(n).text for n in (0, 999, 1000, 91034112, 2 * 10**12)] == [
        "0 B",
        "999 B",
        "1.00 kB",
        "91.0 MB",
        "2.00 TB",
    ]
    assert (size(91034112).exact, amount(353894400).text, size(None).text) == ("91034112 bytes", "354 M", "unknown")
    assert [duration(n).text for n in (0, 94, 3600, 90061, None)] == ["0 s", "1 min 34 s", "1 h", "1 d 1 h", "unknown"]


def test_the_report_of_the_tests_is_one_that_the_types_take():
    job = compression(full_status())
    assert job.status.report is not None
    assert job.status.report.wire()["baseline"].keys() >= BASELINE.keys() - {"method"}
    assert SPEC["gates"] == GATES
    assert REPORT["candidate"] == "int8"
