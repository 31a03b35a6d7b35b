from __future__ import annotations

from lxbench.run.budget import Budget


def test_a_row_gets_its_share_of_what_is_left_and_the_last_one_all_of_it() -> None:
    now = [0.0]
    budget = Budget(100.0, lambda: now[0])
    assert budget.allows("a", share=0.5)
    now[0] = 49.0
    assert budget.allows("a", share=0.5)
    now[0] = 51.0
    assert not budget.allows("a", share=0.5)
    assert budget.allows("b", share=0.5)  # 49 are left, for this one 24.5
    now[0] = 76.0
    assert not budget.allows("b", share=0.5)
    budget.close()
    assert budget.left == 24.0
    now[0] = 1000.0  # nothing is spent meanwhile
    assert budget.allows("c", share=1.0)
    now[0] = 1023.0
    assert budget.allows("c", share=1.0)
    now[0] = 1030.0
    budget.close()
    assert budget.left == 0.0
    assert not budget.allows("d", share=1.0)
