"""How the dashboards' pictures are made."""

from __future__ import annotations

import pytest
from matplotlib.text import Text

from tools.dashboards.draw import draw
from tools.dashboards.reading import FOLDER, fill, load, queries
from tools.dashboards.units import words


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "currencyUSD", "$0.00"),
        (0.0123, "currencyUSD", "$0.0123"),
        (12.5, "currencyUSD", "$12.50"),
        (-3.0, "currencyUSD", "-$3.00"),
        (1234567.0, "currencyUSD", "$1.23 M"),
        (0.9512, "percentunit", "95.1 %"),
        (0.0, "s", "0 s"),
        (0.0042, "s", "4.2 ms"),
        (90.0, "s", "1.5 min"),
        (3 * 2.0**30, "bytes", "3 GiB"),
        (1500.0, "cps", "1.5 K/s"),
        (2.0, "none", "2"),
        (float("nan"), "short", "none"),
    ],
)
def test_values_in_words(value, unit, text):
    assert words(value, unit) == text


def test_variables_are_filled_in_the_longest_name_first():
    assert fill("x[$__range] < $__range_s, ${job}", {"__range": "1h", "__range_s": "3600", "job": "j"}) == (
        "x[1h] < 3600, j"
    )


def drawn(answers):
    figure = draw("fleet", load(FOLDER / "fleet.json"), answers)
    return [text.get_text() for text in figure.findobj(Text)]


def test_a_picture_shows_what_was_answered_and_says_where_nothing_was():
    one = [{"metric": {"namespace": "ml", "job": "j", "team": "vision"}, "value": [0, "12.5"]}]
    over = [{"metric": one[0]["metric"], "values": [[at, str(at)] for at in range(0, 600, 30)]}]
    asked = list(queries("fleet", load(FOLDER / "fleet.json"), {}))
    texts = drawn({query.key: one if query.instant else over for query in asked})
    assert "no data" not in texts
    assert texts.count("$12.50") > 10
    assert set(texts) >= {"ml vision", "Who spends", "Budgets at risk", "spent", "forecast", "j"}
    assert drawn({}).count("no data") == len({query.panel for query in asked})
