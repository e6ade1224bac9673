"""The table of `retouch bench`: ratios to the baselines, aims, and rows that have neither."""

from __future__ import annotations

from retouch_ops.bench.figures import Row, comparison, number, percentile, table


def test_a_row_knows_its_ratios_and_whether_the_aim_was_reached() -> None:
    """
    A row has its ratio to each baseline, and `reached` says whether the aim was reached. Without a baseline or an aim,
    the value is None.
    """
    row = comparison("worker CPU", "s", (4.0, 2.0, 8.0), aim=3.3)
    assert (row.ratio(row.no_queue), row.ratio(row.celery), row.reached) == (2.0, 0.5, False)
    assert Row("bulk", "jobs/s", 40_000, aim=30_000, more_is_better=True).reached is True
    assert Row("alone", "ms", 1.0).as_json()["times_celery"] is None
    assert Row("alone", "ms", 1.0).reached is None


def test_figures_have_three_digits_and_dashes_for_nothing() -> None:
    """`number` returns three digits, with commas in thousands, and "-" for None."""
    assert [number(value) for value in (None, 0.04567, 12.34, 186.4, 28_046.2)] == [
        "-",
        "0.0457",
        "12.3",
        "186",
        "28,046",
    ]


def test_percentiles_of_few_values() -> None:
    """`percentile` returns a value of the list, also for a list of three values."""
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]


def test_the_table_has_a_line_for_each_row() -> None:
    """The table has a heading and a line for each row; a missed aim has the word MISSED."""
    lines = table([comparison("in flight", "x", (1.2, 1.1, 1.3), aim=1.1, note="stub")]).splitlines()
    assert len(lines) == 2
    assert "<= 1.1 MISSED" in lines[1]
    assert lines[1].endswith("stub")
