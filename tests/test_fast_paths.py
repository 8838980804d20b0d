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
@pytest.mark.parametrize("dropout", [0.05, 0.0, None])
@pytest.mark.parametrize("batch", [32, 5])
def test_first_position_alone_gives_what_transformers_gives(layers, dropout, batch):
    spec = {"name": "distilbert_mini", "dim": 24, "layers": layers, "heads": 2, "max_position": 24}
    model = build_model({**spec, "dropout": dropout, "vocab_size": 500}, 2, 0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    ids, mask, labels = sentences(batch)
    assert model.short
    found = []
    for model.short in (False, True):
        torch.manual_seed(1)
        model.train()
        logits = model(ids, mask)
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels), list(model.parameters()))
        with torch.no_grad():
            evaluated = model.eval()(ids, mask)
        # The next random number: both ways have drawn equally many.
        found.append([logits.detach(), evaluated, torch.rand(1), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_other_attention_than_the_plain_one_takes_the_long_way():
    spec = {"name": "distilbert_mini", "dim": 24, "heads": 2, "vocab_size": 500, "activation": "relu"}
    assert not build_model(spec, 2, 0).short
