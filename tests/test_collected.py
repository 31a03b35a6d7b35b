"""Which tests of the suite run, and in which order."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lxbench import collected, others
from lxbench.errors import UsageError
from lxbench.settings import Settings


def test_on_a_gpu_what_is_timed_comes_before_the_profiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "of_suite", lambda item: True)  # noqa: ARG005 - the real one's argument
    tests: Any = [
        SimpleNamespace(callspec=SimpleNamespace(params={"row": "bf16-cuda"}), originalname=name)
        for name in ("test_profile", "test_effect", "test_throughput", "test_accuracy", "test_latency", "test_seconds")
    ]
    order = {"cpu": list[str](), "cuda": list[str]()}
    for device, names in order.items():
        collected.sort(tests, ["fp32-cuda", "bf16-cuda"], device)
        names += [test.originalname.removeprefix("test_") for test in tests]
    assert order["cpu"] == ["effect", "latency", "seconds", "accuracy", "profile", "throughput"]
    assert order["cuda"] == ["latency", "seconds", "accuracy", "throughput", "effect", "profile"]


@pytest.mark.parametrize("option", ["lf", "stepwise"])
def test_what_only_judges_again_is_not_run_alone(option: str) -> None:
    settings = Settings("cpu", clips=8, model="my model")
    config: Any = SimpleNamespace(option=SimpleNamespace(**{option: True}))
    whole = [("test_latency", "a-cpu"), ("test_speed", "a-cpu"), ("test_no_orphans", "")]
    others.check_whole(config, settings, whole, "fp32-cpu")
    for name in ("test_speed", "test_seconds"):
        part = [*whole, (name, "b-cpu"), ("test_accuracy", "c-cpu")]
        with pytest.raises(UsageError, match="only what was red would run, and not what measures it: b-cpu") as raised:
            others.check_whole(config, settings, part, "fp32-cpu")
        asked = "-k '[a-cpu] or [b-cpu] or [c-cpu]' --lx-model 'my model' --lx-clips 8"
        assert raised.value.command == f"nox -s bench-cpu -- {asked}"
        config.option = SimpleNamespace()
        others.check_whole(config, settings, part, "fp32-cpu")  # It was asked for by name, and is skipped.
        config.option = SimpleNamespace(**{option: True})
    untimed = replace(settings, timing=False)
    others.check_whole(config, untimed, [("test_speed", "b-cpu")], "fp32-cpu")
    # What should be a wreck is judged by what it and fp32 said.
    caught = [("test_accuracy", "a-cpu"), ("test_caught", "wreck-cpu"), ("test_accuracy", "wreck-cpu")]
    for chosen in (settings, untimed):
        with pytest.raises(UsageError, match="and not what measures it: wreck-cpu") as raised:
            others.check_whole(config, chosen, caught, "fp32-cpu")
        assert "-k '[a-cpu] or [wreck-cpu] or [fp32-cpu]'" in raised.value.command
        others.check_whole(config, chosen, [*caught, ("test_accuracy", "fp32-cpu")], "fp32-cpu")


@pytest.mark.parametrize(
    ("mark", "comes"),
    [
        (None, True),
        (pytest.mark.skip, False),
        (pytest.mark.skipif(True, reason="too long"), False),
        (pytest.mark.skipif(False, reason="too long"), True),
        (pytest.mark.skipif("nonsense(", reason="too long"), False),
        (pytest.mark.xfail(run=False), False),
        (pytest.mark.xfail, True),
    ],
)
def test_a_second_look_that_a_mark_keeps_away_does_not_come(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, mark: Any, comes: bool
) -> None:
    monkeypatch.setattr(collected, "of_suite", lambda item: True)  # noqa: ARG005 - the real one's argument
    test: Any = pytest.Function.from_parent(request.node.parent, name="test_speed", callobj=lambda: None)
    test.callspec = SimpleNamespace(params={"row": "bf16-cpu"})
    if mark is not None:
        test.add_marker(mark)
    assert collected.judged_again([test]) == ({"bf16-cpu"} if comes else frozenset())
