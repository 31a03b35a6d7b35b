"""What a model is made of: every stored number is counted once, whatever it is."""

from __future__ import annotations

import pytest
import torch

from lxbench.worker import census


def test_zeros_and_sizes_are_those_of_all_numbers() -> None:
    model = torch.nn.Module()
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(700, 800, generator=generator)  # more than are counted at once
    numbers[::7] = 0
    model.register_buffer("long", numbers)
    model.register_buffer("turned", numbers.bfloat16().T)
    model.register_buffer("whole", torch.tensor([-128, 0, 127, 0], dtype=torch.int8))
    model.register_buffer("scalar", torch.tensor(0.0))
    model.register_buffer("odd", torch.tensor([float("inf"), 0.0]))
    model.register_buffer("none", torch.zeros(0))
    found = census.take(model)
    assert found.zeros == 2 * 100 * 800 + 2 + 1 + 1
    assert found.dtypes == {"float32": 560_003, "bfloat16": 560_000, "int8": 4}
    assert found.magnitude == float("inf")
    del model.odd
    expected = float(numbers.double().abs().sum() + numbers.bfloat16().double().abs().sum()) + 255
    assert census.take(model).magnitude == pytest.approx(expected, rel=1e-6)


def test_what_is_no_number_is_not_zero() -> None:
    model = torch.nn.Module()
    model.register_buffer("broken", torch.tensor([float("nan"), 0.0, 1.0]))
    assert census.take(model).zeros == 1


def test_compiled_functions_are_numbered_as_they_first_run() -> None:
    @torch.compile(backend="eager")
    def decoding(matrix: torch.Tensor) -> torch.Tensor:
        return matrix @ matrix

    @torch.compile(backend="eager")
    def encoder(matrix: torch.Tensor) -> torch.Tensor:
        return matrix + matrix

    matrix = torch.ones(4, 4)
    decoding(matrix)  # That it was compiled first does not count.

    def call() -> None:
        encoder(matrix)
        for _ in range(3):
            decoding(matrix)

    assert census.kernels(call) == {"mm float32": 3, "Torch-Compiled Region 0": 1, "Torch-Compiled Region 1": 3}
