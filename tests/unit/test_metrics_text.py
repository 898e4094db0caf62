"""What is written for Prometheus is what it reads: by its own client's reader."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from paceline.controller.series import text
from paceline.controller.series.sample import counter, gauge

# All but lone surrogates, which no JSON of the API server has.
VALUES = st.text(st.characters(codec="utf-8"))
NUMBERS = st.one_of(st.floats(), st.integers(-(2**53), 2**53), st.booleans())


def read(page):
    (metric,) = text_string_to_metric_families(page)
    (sample,) = metric.samples
    return metric.type, metric.documentation, sample.name, sample.labels, sample.value


@given(VALUES, VALUES, VALUES, NUMBERS)
def test_any_label_and_number_comes_back_as_it_was(mine, team, model, number):
    family = gauge("paceline_job_info", "1; what it is.", "team", "model")
    page = text.head(family) + text.line(text.around(family, (team, model)), text.labels(("job",), (mine,)), number)
    *told, value = read(page)
    assert told == ["gauge", "1; what it is.", family.name, {"job": mine, "team": team, "model": model}]
    assert value == number or (math.isnan(value) and math.isnan(number))


def test_a_counter_without_labels_of_its_own():
    family = counter("paceline_job_tokens_total", "Tokens trained on.")
    page = text.head(family) + text.line(text.around(family, ()), 'job="a"', 64_000_000)
    assert page.splitlines()[-1] == 'paceline_job_tokens_total{job="a"} 64000000.0'
    assert read(page) == ("counter", "Tokens trained on.", "paceline_job_tokens_total", {"job": "a"}, 64_000_000)


def test_infinity_is_written_as_the_format_has_it():
    family = gauge("paceline_compression_break_even_requests", "Requests.")
    assert text.line(text.around(family, ()), 'job="a"', math.inf).endswith("} +Inf\n")
