"""Every rule of the judge is needed: broken, it gets a phase wrong that the judge gets right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.stats.design import PairedBlocks
from lab.verdict import Status
from tests.histories.mutants import MUTANTS, Mutant, error_rate, sound


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_a_broken_rule_is_caught(mutant: Mutant) -> None:
    run = mutant.phase()
    assert sound(run) is mutant.sound
    assert mutant.judge(run) is not mutant.sound


def test_three_looks_together_err_no_more_often_than_stated_and_unsplit_ones_do() -> None:
    design = PairedBlocks(alpha=0.05)
    split = tuple(design.alpha_at(look) for look in design.looks)
    assert error_rate(design, split) <= 0.05
    assert error_rate(design, (0.05, 0.05, 0.05)) > 0.07


def test_what_slows_by_the_margin_is_held_no_more_often_than_stated() -> None:
    design = PairedBlocks(alpha=0.05)
    split = tuple(design.held_alpha_at(look) for look in design.looks)
    assert sum(split) == pytest.approx(design.alpha)
    assert error_rate(design, split, wrong=Status.HELD) <= 0.05


def test_without_limits_the_estimate_errs_all_the_time() -> None:
    assert error_rate(replace(PairedBlocks(), looks=(20,)), (0.4,)) > 0.3
