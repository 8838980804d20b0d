"""A DistilBERT classifier whose last block is worked out only where its output is read: at the first position.

The classifier reads the last block at [CLS] alone; the other positions enter through their keys and values and
nothing else, and transformers computes them all the same. Logits and gradients are those of transformers up to
rounding; dropout draws masks for one position instead of all, so its random stream is another one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def logits(net: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Logits (b, classes) of a DistilBertForSequenceClassification, from its own modules; ids and mask are (b, s)."""
    body, embed = net.distilbert, net.distilbert.embeddings
    positions = embed.position_embeddings(embed.position_ids[:, : input_ids.shape[1]])
    x = embed.dropout(embed.LayerNorm(embed.word_embeddings(input_ids) + positions))
    lowest = torch.finfo(x.dtype).min
    bias = torch.where(attention_mask[:, None, None].bool(), x.new_zeros(()), lowest)
    *earlier, last = body.transformer.layer
    for block in earlier:
        x = block(x, bias)
    return net.classifier(net.dropout(F.relu(net.pre_classifier(_at_first(last, x, bias)))))


def _at_first(block: Any, x: Tensor, bias: Tensor) -> Tensor:
    """Output (b, d) of a transformer block at position 0, from its input (b, s, d)."""
    attention, first = block.attention, x[:, 0]
    batch, length, dim = x.shape
    heads = attention.n_heads
    keys, values = (
        layer(x).view(batch, length, heads, dim // heads).transpose(1, 2)
        for layer in (attention.k_lin, attention.v_lin)
    )
    query = attention.q_lin(first).view(batch, heads, 1, dim // heads)
    weights = torch.softmax(query @ keys.transpose(2, 3) * (dim // heads) ** -0.5 + bias, dim=-1)
    context = (attention.dropout(weights) @ values).view(batch, dim)
    hidden = block.sa_layer_norm(attention.out_lin(context) + first)
    return block.output_layer_norm(block.ffn.ff_chunk(hidden) + hidden)
