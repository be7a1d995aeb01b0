"""The benchmark of text towers compares ways that agree, and says all that its page needs. No time is asserted."""

from __future__ import annotations

from conical.workbench.bench.text_speed import bench_text_tower, text_page


def test_the_ways_agree_and_ours_computes_the_columns_that_hold_words() -> None:
    result = bench_text_tower(num_captions=3, num_words=4, positions=20)
    assert result["columns"] == 6
    assert result["ratio_to_plain"]["plain"] == 1
    assert "| three | 6 |" in text_page({"three": result})
