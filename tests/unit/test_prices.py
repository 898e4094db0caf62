"""The price book: what a line means, and that a mistake is told with its line, its column and the cure."""

from __future__ import annotations

from decimal import Decimal
from importlib.resources import files

import pytest

from paceline.cost.prices import PriceBookError, parse

HEAD = (
    "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region,AvailabilityZone,includesHost,asOf,source,"
    "purchasePrice,lifeYears,powerWatts,powerPricePerKWh,utilization,GpuInfo\n"
)


def book(*lines: str):
    return parse(HEAD + "\n".join(lines))


def test_the_shipped_example_is_read():
    machines = {machine.instance_type: machine for machine in parse(shipped())}
    assert machines["p5.48xlarge"].rates == {"on-demand": Decimal("55.04"), "spot": Decimal("16.16")}
    assert machines["p5.48xlarge"].accelerators == 8
    assert machines["gpu_1x_b200_sxm6"].billing_increment_seconds == 60
    assert "own-8xh100" not in machines, "made-up figures are never advised"


def test_the_shipped_example_of_an_own_machine_is_right_when_it_is_no_longer_a_comment():
    (own,) = (m for m in parse(shipped().replace("# own-", "own-")) if m.instance_type == "own-8xh100")
    assert own.rates == {"owned": Decimal(300000) / (4 * 8760 * Decimal("0.7")) + Decimal("10.2") * Decimal("0.15")}


def shipped() -> str:
    return files("paceline.cost").joinpath("price-book.csv").read_text(encoding="utf-8")


def test_accelerators_that_are_listed_apart_are_added_to_their_machine():
    machines = book(
        "a2-highgpu-8g,A100,8,20,8,us-central1,,false,2026-01-02,list,,,,,,",
        "a2-highgpu-8g,,,5,,us-central1,,true,2026-01-02,list,,,,,,",
        "n2-standard-4,,,0.2,0.05,us-central1,,true,2026-01-02,list,,,,,,",
    )
    assert [(m.instance_type, m.accelerators, m.rates) for m in machines] == [
        ("a2-highgpu-8g", 8, {"on-demand": Decimal(25)}),  # the machine has no spot price: nor has the whole
        ("n2-standard-4", 0, {"on-demand": Decimal("0.2"), "spot": Decimal("0.05")}),
    ]


def test_lines_that_are_empty_or_comments_count_and_are_left_out():
    text = "# prices\n\n" + HEAD + "# more\nm,,,1,,,,,2026-01-02,list,,,,,,\nm,,,-1,,,b,,2026-01-02,list,,,,,,\n"
    with pytest.raises(PriceBookError, match=r"line 6, Price: Input should be greater than or equal to 0"):
        parse(text)
    assert parse(text.replace("-1", '1,,,b,,2026-01-02,list,,,,,,"a, b"\n#')[: text.index("\nm,,,-1")])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("m,,,one,,,,,2026-01-02,list,,,,,,", "line 2, Price: Input should be a valid decimal"),
        ("m,,,NaN,,,,,2026-01-02,list,,,,,,", "line 2, Price: Input should be a finite number"),
        ("m,,,,,,,,2026-01-02,list,,,,,,", "set Price, SpotPrice or purchasePrice"),
        ("m,H100,,1,,,,,2026-01-02,list,,,,,,", "AcceleratorName and AcceleratorCount go together"),
        ("m,,,,,,,,2026-01-02,list,1000,,,,,", "purchasePrice and lifeYears go together"),
        ("m,,,1,,,,,,list,,,,,,", "line 2, asOf: Field required"),
        ("m,,,1,,,,,2026-01-02,,,,,,,", "line 2, source: Field required"),
        ("m,H100,8,1,,r,,false,2026-01-02,list,,,,,,", "includesHost=false, and no row has m without accelerators"),
        ("m,,,1,,r,,false,2026-01-02,list,,,,,,", "includesHost=false is of accelerators"),
        ("m,,,1,,,,,2026-01-02,list,,,,,,,", "line 2: more values than columns"),
    ],
)
def test_a_mistake_is_told(line, why):
    with pytest.raises(PriceBookError, match=why):
        book(line)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(PriceBookError) as told:
        book("m,,,-1,,,,,2026-01-02,list,,,,,,", "n,,,1,,,,,2026-01-02,list,,,,,,", "n,,,1,,,,,,list,,,,,,")
    assert "line 2, Price" in str(told.value)
    assert "line 4, asOf" in str(told.value)
    with pytest.raises(PriceBookError, match="line 3: the same machine and place as line 2: remove one"):
        book("m,,,1,,a,,,2026-01-02,list,,,,,,", "m,,,2,,a,,,2026-01-02,list,,,,,,")


def test_an_unknown_column_and_an_empty_book_are_told():
    with pytest.raises(PriceBookError, match="Prize: unknown column; there are: InstanceType, AcceleratorName"):
        parse("InstanceType,Prize,asOf,source\nm,1,2026-01-02,list")
    with pytest.raises(PriceBookError, match="the price book is empty"):
        parse("# nothing\n")
