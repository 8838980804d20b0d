"""Ways that are shorter than a library's, against the library's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dualgrad.models import build_model


def sentences(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 500, (batch, 24), generator=generator)
    ids[torch.arange(24) >= torch.randint(1, 25, (batch, 1), generator=generator)] = 0
    return ids, ids != 0, torch.randint(0, 2, (batch,), generator=generator)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch", [32, 5])
def test_first_position_alone_gives_what_transformers_gives(layers, batch):
    spec = {"name": "distilbert_mini", "dim": 24, "layers": layers, "heads": 2, "max_position": 24}
    model = build_model({**spec, "dropout": 0.0, "vocab_size": 500}, 2, 0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    ids, mask, labels = sentences(batch)
    assert model.short
    found = []
    for model.short in (False, True):
        logits = model(ids, mask)
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels), list(model.parameters()))
        found.append([logits.detach(), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_dropout_is_drawn_in_training_and_only_there():
    spec = {"name": "distilbert_mini", "dim": 24, "heads": 2, "vocab_size": 500}
    model = build_model(spec, 2, 0)
    ids, mask, _ = sentences(32)
    assert not torch.equal(model(ids, mask), model(ids, mask))
    model.eval()
    assert torch.equal(model(ids, mask), model(ids, mask))
