"""Models: sizes, construction order, initialisation and forward passes against the protocol specifications."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dualgrad.models import (
    batchnorm_modules,
    build_model,
    head_parameters,
    needs_two_passes,
)


def parameters_of(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("spec", "classes", "parameters", "tensors", "batchnorms"),
    [  # docs/specification/A-G.md#1.6, I-P.md#0, Q-R.md#1.4, S-T.md#0.5, Td-W.md#1, X-Y.md#1.4
        ({"name": "resnet18_own"}, 10, 11_173_962, 62, 20),
        ({"name": "resnet18_own"}, 100, 11_220_132, 62, 20),
        ({"name": "resnet18_own", "width": 0.5}, 10, 2_797_610, 62, 20),
        ({"name": "resnet18_own", "width": 2.0}, 10, 44_662_922, 62, 20),
        ({"name": "resnet34_own"}, 10, 21_282_122, 110, 36),
        ({"name": "resnet18_tv"}, 10, 11_173_962, 62, 20),
        ({"name": "resnet18_tv"}, 100, 11_220_132, 62, 20),
        ({"name": "resnet34_tv"}, 10, 21_282_122, 110, 36),
        ({"name": "vgg11_p"}, 10, 9_231_114, 34, 8),
        ({"name": "vgg11_p2"}, 10, 9_493_770, 36, 8),
        ({"name": "simplecnn_p"}, 10, 399_626, 18, 4),
        ({"name": "simplecnn_p2"}, 10, 2_360_906, 20, 4),
        ({"name": "textcnn", "vocab_size": 1000}, 2, 128 * 1000 + 153_900 + 602, 9, 0),
        (
            {"name": "mlp", "hidden": [32, 16]},
            10,
            64 * 32 + 32 + 64 + 32 * 16 + 16 + 32 + 16 * 10 + 10,
            10,
            2,
        ),
    ],
)
def test_sizes(spec, classes, parameters, tensors, batchnorms):
    model = build_model(spec, classes, 0)
    assert parameters_of(model) == parameters
    assert len(list(model.parameters())) == tensors
    assert len(batchnorm_modules(model)) == batchnorms
    assert model.training
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert all(
        (norm.eps, norm.momentum, norm.affine, norm.track_running_stats) == (1e-5, 0.1, True, True)
        for norm in batchnorm_modules(model)
    )


def test_size_of_distilbert():  # docs/specification/X-Y.md#1.4
    model = build_model({"name": "distilbert", "pretrained": False}, 2, 0)
    assert parameters_of(model) == 66_955_010
    named = dict(model.named_parameters())
    assert sum(named[name].numel() for name in head_parameters(model)) == 592_130


@pytest.mark.parametrize(
    ("seed", "stem", "head", "block", "following"),
    [  # docs/specification/S-T.md#0.5, torch 2.14 on CPU
        (0, -0.262192, 0.881312, -9.269290, 0.935291),
        (1, -7.897388, -1.573393, -21.251495, 0.331782),
    ],
)
def test_initialisation_of_the_torchvision_resnet(seed, stem, head, block, following):
    model = build_model({"name": "resnet18_tv"}, 10, seed)
    with torch.no_grad():
        found = [model.conv1.weight.sum(), model.fc.weight.sum(), model.layer1[0].conv1.weight.sum()]
    assert [value.item() for value in found] == pytest.approx([stem, head, block], abs=2e-5)
    # The generator is left where construction ended.
    assert torch.rand(1).item() == pytest.approx(following, abs=1e-6)
    assert isinstance(model.maxpool, torch.nn.Identity)
    assert model.conv1.weight.std().item() == pytest.approx(0.111, abs=5e-3)  # uniform +-1/sqrt(27)
    assert model.conv1.weight.abs().max() <= 27**-0.5


def test_initialisation_of_the_own_resnet():
    """PyTorch's defaults in construction order: the first draws after seeding are the stem's."""
    model = build_model({"name": "resnet18_own"}, 10, 5)
    torch.manual_seed(5)
    stem = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    first = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False)
    assert torch.equal(model.conv1.weight, stem.weight)
    assert torch.equal(model.layer1[0].conv1.weight, first.weight)
    assert (model.layer4[1].bn2.weight == 1).all() and (model.layer4[1].bn2.bias == 0).all()


def test_own_and_torchvision_resnet_are_the_same_function():
    own, other = (build_model({"name": f"resnet18_{kind}"}, 10, 0).double() for kind in ("own", "tv"))
    with torch.no_grad():
        for mine, theirs in zip(own.parameters(), other.parameters(), strict=True):
            mine.copy_(theirs)
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(own(images), other(images), atol=1e-10)
    assert torch.allclose(own.eval()(images), other.eval()(images), atol=1e-10)


def test_order_of_the_small_convolutional_net():  # docs/specification/I-P.md#0: conv1-4, fc, BN1-4
    names = [name for name, _ in build_model({"name": "simplecnn_p"}, 10, 0).named_children()]
    assert names == ["conv1", "conv2", "conv3", "conv4", "fc", "bn1", "bn2", "bn3", "bn4"]


@pytest.mark.parametrize(
    ("name", "dropout", "head"),
    [
        ("resnet18_own", False, ["linear.weight", "linear.bias"]),
        ("vgg11_p", False, ["head.weight", "head.bias"]),
        ("vgg11_p2", True, ["head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias"]),
        ("simplecnn_p", False, ["fc.weight", "fc.bias"]),
        ("simplecnn_p2", True, ["head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias"]),
    ],
)
def test_image_models(name, dropout, head):
    model = build_model({"name": name}, 10, 1)
    assert (needs_two_passes(model), head_parameters(model)) == (dropout, head)
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_mlp():
    model = build_model({"name": "mlp", "hidden": [32, 16]}, 100, 0)
    assert model(torch.randn(3, 1, 8, 16)).shape == (3, 100)
    assert head_parameters(model) == ["head.weight", "head.bias"] and not needs_two_passes(model)
    assert build_model({"name": "mlp", "hidden": [], "inputs": 12}, 7, 0)(torch.randn(3, 12)).shape == (3, 7)
    with pytest.raises(ValueError, match="inputs"):
        build_model({"name": "mlp", "hidden": [8]}, 7, 0)


def test_textcnn():  # docs/specification/X-Y.md#1.4
    model = build_model({"name": "textcnn", "vocab_size": 50}, 2, 0)
    assert (model.embedding.weight[0] == 0).all()
    assert model.embedding.weight[1:].std().item() == pytest.approx(1, abs=0.05)
    assert needs_two_passes(model) and head_parameters(model) == ["fc.weight", "fc.bias"]
    logits = model(torch.tensor([[5, 6, 7, 0, 0, 0, 0], [9, 8, 7, 6, 5, 4, 3]]))
    logits.sum().backward()
    assert logits.shape == (2, 2) and (model.embedding.weight.grad[0] == 0).all()
    assert not model.embedding.weight.grad.is_sparse

    small = build_model({"name": "textcnn", "vocab_size": 50, "dim": 8, "filters": 4, "dropout": 0.0}, 2, 0)
    assert parameters_of(small) == 50 * 8 + (3 + 4 + 5) * 8 * 4 + 12 + 12 * 2 + 2 and not needs_two_passes(
        small
    )
    with pytest.raises(ValueError, match="vocab_size"):
        build_model({"name": "textcnn"}, 2, 0)


def test_small_distilbert():
    spec = {"name": "distilbert_mini", "vocab_size": 60, "dim": 16, "heads": 2, "dropout": 0.0}
    model = build_model(spec, 2, 0).double()
    assert type(model.net).__name__ == "DistilBertForSequenceClassification"
    heads = ("net.pre_classifier", "net.classifier")
    assert head_parameters(model) == [f"{head}.{kind}" for head in heads for kind in ("weight", "bias")]
    assert not needs_two_passes(model) and needs_two_passes(build_model(spec | {"dropout": None}, 2, 0))
    assert model.net.config.seq_classif_dropout == 0.0

    ids = torch.randint(3, 60, (5, 12), generator=torch.Generator().manual_seed(1))
    ids[2:, 7:] = 0
    logits = model(ids, ids != 0)
    assert logits.shape == (5, 2) and logits.dtype == torch.float64
    assert torch.allclose(model(ids[2:, :7], ids[2:, :7] != 0), logits[2:])  # padding is masked
    assert torch.equal(model(ids, (ids != 0).long()), logits)
    assert model.net.pre_classifier.weight.std().item() == pytest.approx(0.02, rel=0.2)  # X-Y.md#1.4
    assert (model.net.classifier.bias == 0).all()


def test_distilbert_from_a_local_folder(tmp_path):
    import transformers

    config = transformers.DistilBertConfig(vocab_size=40, dim=8, n_layers=1, n_heads=2, hidden_dim=16)
    torch.manual_seed(3)
    stored = transformers.DistilBertForMaskedLM(config)
    stored.save_pretrained(tmp_path)
    spec = {"name": "distilbert", "path": str(tmp_path)}
    one, two = build_model(spec, 2, 0), build_model(spec, 2, 0)
    body = one.net.distilbert.embeddings.word_embeddings.weight
    assert torch.equal(body, stored.distilbert.embeddings.word_embeddings.weight)
    assert one.training and one.net.training
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(mine, theirs)  # the new head comes from the seed
    assert not torch.equal(one.net.classifier.weight, build_model(spec, 2, 1).net.classifier.weight)
    with pytest.raises(OSError, match="dualgrad data distilbert"):
        build_model(spec | {"path": str(tmp_path / "nowhere")}, 2, 0)


def test_a_model_depends_on_its_seed_alone():
    spec = {"name": "mlp", "hidden": [8]}
    one = build_model(spec, 10, 1).state_dict()
    torch.rand(7)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the execution contract's default must not change the draws
    try:
        two = build_model(spec, 10, 1).state_dict()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(default)
    assert all(torch.equal(one[name], two[name]) and one[name].dtype == two[name].dtype for name in one)
    assert not torch.equal(one["head.weight"], build_model(spec, 10, 2).state_dict()["head.weight"])


def test_unknown_models_are_refused():
    with pytest.raises(ValueError, match="unknown model 'resnet50'; known: distilbert, "):
        build_model({"name": "resnet50"}, 10, 0)


def test_small_models_import_nothing_heavy():
    code = (
        "import sys\n"
        "from dualgrad.models import build_model\n"
        "import dualgrad.data.task\n"
        "build_model({'name': 'mlp', 'hidden': [8]}, 10, 0)\n"
        "heavy = {'torchvision', 'transformers', 'sklearn', 'pandas', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
