"""DistilBERT sequence classifiers from transformers: the published one, and a small one for the embedded text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dualgrad.models import first_position

# The hub's commit that `dualgrad data distilbert` fetches; the published notebooks name no revision.
HUB_NAME = "distilbert/distilbert-base-uncased"
HUB_REVISION = "12040accade4e8a0f71eabdb258fecc2e7e948be"


class Classifier(nn.Module):
    """transformers' DistilBertForSequenceClassification, returning its logits."""

    head_modules = ("net.pre_classifier", "net.classifier")
    # `short`: work out the last block only where the head reads it; less than half the time of a small network.

    def __init__(self, net: nn.Module, *, short: bool = False) -> None:
        super().__init__()
        self.net = net
        self.short = short
        config: Any = net.config
        self._fused = config._attn_implementation == "sdpa"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (b, classes) of token ids and mask, both (b, length); mask is bool or 0/1."""
        if self.short:
            return first_position.logits(self.net, input_ids, attention_mask)
        if self._fused:
            # Laid out as transformers does it for torch's own attention. A mask (b, length) it first asks whether it
            # hides anything: in every pass a GPU would be waited for.
            length = input_ids.shape[1]
            attention_mask = attention_mask.bool()[:, None, None].expand(-1, 1, length, length)
        return self.net(input_ids=input_ids, attention_mask=attention_mask).logits


def distilbert(spec: Mapping[str, Any], classes: int) -> Classifier:
    """distilbert-base-uncased with a new two-layer head (X-Y.md#1.4: 66,955,010 parameters with 2 classes).

    `pretrained` (default true): start from the published weights, read from `path` (a local folder, where
    the task found one) or from the hub. False: the same architecture with random weights.
    Raises OSError where neither has the weights.
    """
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    if not spec.get("pretrained", True):
        config = DistilBertConfig(num_labels=classes)  # type: ignore[call-arg]  # a keyword of its base class
        return Classifier(DistilBertForSequenceClassification(config))
    path = spec.get("path")
    try:
        net = DistilBertForSequenceClassification.from_pretrained(
            path or HUB_NAME,
            revision=None if path else HUB_REVISION,  # type: ignore[arg-type]  # a folder has none
            num_labels=classes,
            dtype=torch.float32,
        )
    except OSError as error:
        raise OSError(
            f"the weights of distilbert-base-uncased were not found in {path or 'the hub'}; "
            "run: dualgrad data distilbert (or copy the model's folder to <data-dir>/distilbert-base-uncased)"
        ) from error
    return Classifier(net.train())


def distilbert_mini(spec: Mapping[str, Any], classes: int) -> Classifier:
    """The DistilBERT architecture in small, with random weights.

    `vocab_size` (from the task); `dim` 32, `layers` 2, `heads` 2, `hidden_dim` 2 * dim, `max_position` 32,
    `activation` gelu; `dropout` for all layers (default: DistilBERT's 0.1, and 0.2 before the classifier).
    """
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    if not spec.get("vocab_size"):
        raise ValueError("model distilbert_mini needs `vocab_size`; the task knows it (Task.model_options)")
    dim, dropout = int(spec.get("dim", 32)), spec.get("dropout")
    config = DistilBertConfig(  # type: ignore[call-arg]  # keywords of its base class
        vocab_size=int(spec["vocab_size"]),
        max_position_embeddings=int(spec.get("max_position", 32)),
        dim=dim,
        n_layers=int(spec.get("layers", 2)),
        n_heads=int(spec.get("heads", 2)),
        hidden_dim=int(spec.get("hidden_dim", 2 * dim)),
        activation=spec.get("activation", "gelu"),
        dropout=0.1 if dropout is None else float(dropout),
        attention_dropout=0.1 if dropout is None else float(dropout),
        seq_classif_dropout=0.2 if dropout is None else float(dropout),
        num_labels=classes,
        pad_token_id=0,
        # At this size the plain matrix products are as quick as the fused attention, and quicker with
        # dropout.
        attn_implementation="eager",
    )
    return Classifier(DistilBertForSequenceClassification(config).train(), short=True)
