"""I_QoS by its definition, on numbers worked out by hand."""

from __future__ import annotations

from math import inf

import pytest

from lab.stats.krebs import isolation


def test_the_index_is_relative_loss_by_relative_excess() -> None:
    found = isolation({1.0: 10.0, 2.0: 15.0, 4.0: 16.0, 8.0: 17.0})
    assert found.i_qos == pytest.approx({2.0: 0.5, 4.0: 0.2, 8.0: 0.1})
    assert found.i_avg == pytest.approx(0.8 / 3)


def test_perfect_isolation_is_zero_and_lost_answers_are_infinite() -> None:
    assert isolation({1.0: 10.0, 8.0: 10.0}).i_avg == 0
    assert isolation({1.0: 10.0, 2.0: inf}).i_avg == inf


@pytest.mark.parametrize("p95", [{}, {2.0: 10.0}, {1.0: inf}, {1.0: 0.0}, {0.5: 1.0, 1.0: 1.0}])
def test_without_a_calm_to_compare_with_there_is_no_index(p95: dict[float, float]) -> None:
    with pytest.raises(ValueError, match="calm"):
        isolation(p95)
