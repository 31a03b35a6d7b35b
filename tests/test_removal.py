"""The arithmetic of removing weights, against what it must equal on matrices of known answers."""

from __future__ import annotations

import pytest
import torch

from lxbench.pruning import removal
from lxbench.pruning.activations import Moments

UNITS, OUTPUTS, VECTORS = 12, 5, 400


@pytest.fixture
def vectors() -> torch.Tensor:
    """Inputs of which three quarters follow from the first three units, around a mean that is not zero."""
    random = torch.Generator().manual_seed(1)
    few = torch.randn(VECTORS, 3, generator=random)
    mixed = few @ torch.randn(3, UNITS, generator=random)
    return mixed + 2 + 0.1 * torch.randn(VECTORS, UNITS, generator=random)


@pytest.fixture
def layer() -> torch.nn.Linear:
    torch.manual_seed(2)
    return torch.nn.Linear(UNITS, OUTPUTS)


def moments_of(vectors: torch.Tensor) -> Moments:
    moments = Moments()
    for part in vectors.split(150):
        moments.add(part)
    return moments


def test_moments_are_the_mean_and_the_covariance(vectors: torch.Tensor) -> None:
    moments = moments_of(vectors)
    assert moments.count == VECTORS
    torch.testing.assert_close(moments.mean, vectors.double().mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(moments.covariance, torch.cov(vectors.double().T, correction=0), rtol=0, atol=1e-4)


def test_a_fit_is_the_least_squares_solution(
    vectors: torch.Tensor, layer: torch.nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "RIDGE", 0.0)
    kept = torch.tensor([0, 2, 3, 7])
    weight, bias = removal.refit(layer.weight.data, layer.bias.data, moments_of(vectors), kept)
    wanted = layer(vectors).detach().double()
    with_one = torch.cat([vectors[:, kept].double(), torch.ones(VECTORS, 1).double()], dim=1)
    best = torch.linalg.lstsq(with_one, wanted).solution
    torch.testing.assert_close(weight.double(), best[:-1].T, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(bias.double(), best[-1], rtol=1e-3, atol=1e-3)


def test_a_fit_makes_up_for_what_went(vectors: torch.Tensor, layer: torch.nn.Linear) -> None:
    kept = torch.tensor([0, 2, 3, 7])
    wanted = layer(vectors)
    weight, bias = removal.refit(layer.weight.data, layer.bias.data, moments_of(vectors), kept)
    fitted = (vectors[:, kept] @ weight.T + bias - wanted).norm()
    bare = (vectors[:, kept] @ layer.weight[:, kept].T + layer.bias - wanted).norm()
    assert fitted < 0.1 * bare


def test_where_the_clips_say_nothing_the_old_weights_stay(layer: torch.nn.Linear) -> None:
    silent = torch.zeros(50, UNITS)
    silent[:, 0] = torch.linspace(-1, 1, 50)
    kept = torch.arange(6)
    weight, _ = removal.refit(layer.weight.data, layer.bias.data, moments_of(silent), kept)
    torch.testing.assert_close(weight, layer.weight.data[:, :6])


def test_energy_is_the_variance_that_an_input_adds(vectors: torch.Tensor, layer: torch.nn.Linear) -> None:
    scores = removal.energy(layer.weight.data, moments_of(vectors))
    for unit in range(UNITS):
        alone = vectors[:, unit : unit + 1] @ layer.weight.data[:, unit : unit + 1].T
        assert scores[unit].item() == pytest.approx(alone.var(0, correction=0).sum().item(), rel=1e-3)
    heads = removal.head_energy(layer.weight.data, moments_of(vectors), 4)
    alone = vectors[:, 4:8] @ layer.weight.data[:, 4:8].T
    assert heads[1].item() == pytest.approx(alone.var(0, correction=0).sum().item(), rel=1e-3)


def test_a_constant_input_has_magnitude_and_no_energy(layer: torch.nn.Linear) -> None:
    constant = torch.randn(100, UNITS)
    constant[:, 3] = 7.0
    assert removal.energy(layer.weight.data, moments_of(constant)).argmin() == 3
    assert removal.magnitude(layer.weight.data, torch.eye(UNITS)).argmin() == layer.weight.norm(dim=0).argmin()


def test_factors_of_few_directions_say_the_same(vectors: torch.Tensor, layer: torch.nn.Linear) -> None:
    first, second, bias = removal.factors(layer.weight.data, layer.bias.data, moments_of(vectors), 0.99)
    assert first.shape == (len(first), UNITS)
    assert second.shape == (OUTPUTS, len(first))
    assert len(first) <= 3
    wanted = layer(vectors)
    lost = (vectors @ first.T @ second.T + bias - wanted).square().sum()
    assert lost < 0.011 * (wanted - wanted.mean(0)).square().sum()


def test_all_the_energy_is_the_whole_rank(vectors: torch.Tensor, layer: torch.nn.Linear) -> None:
    first, second, bias = removal.factors(layer.weight.data, None, moments_of(vectors), 1.0)
    assert len(first) == OUTPUTS
    torch.testing.assert_close(second @ first, layer.weight.data, rtol=1e-4, atol=1e-5)
    assert bias.abs().max() < 1e-4
