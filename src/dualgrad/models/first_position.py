"""The last block of a DistilBERT classifier, worked out only where its output is read: at the first position.

The classifier reads the block's output at [CLS] alone, so the other positions enter through their keys and values and
nothing else. transformers computes them all the same, and backpropagates their zeros. This is the same mathematics
without them, in the same order of arithmetic, and dropout draws what it would have drawn for all positions: with the
embedded text's model, logits and gradients are those of transformers' block to the last bit, at other sizes to
rounding.

Three places look odd because of that. Matrix products over one row take another kernel, which sums in another order,
so the query is padded to `_ROWS` rows. Bias gradients are summed with the zero rows of the positions left out. And
the gradient of the block's input is added up in autograd's order: residual, values, keys, queries.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 4
_aten = torch.ops.aten


class _FirstPosition(torch.autograd.Function):
    """Output of a transformer block at position 0, (b, d), from its input (b, s, d)."""

    @staticmethod
    def forward(ctx, x, bias, heads, eps, p_attention, p_ffn, *weights):
        wq, bq, wk, bk, wv, bv, wo, bo, g1, c1, w1, b1, w2, b2, g2, c2 = weights
        b, s, d = x.shape
        size = d // heads
        flat, first = x.reshape(-1, d), x[:, 0].contiguous()
        q = x.new_zeros(b, heads, _ROWS, size)
        q[:, :, 0] = torch.addmm(bq, first, wq.t()).view(b, heads, size)
        k = torch.addmm(bk, flat, wk.t()).view(b, s, heads, size).transpose(1, 2)
        v = torch.addmm(bv, flat, wv.t()).view(b, s, heads, size).transpose(1, 2)
        scores = torch.matmul(q, k.transpose(2, 3))[:, :, 0] * size**-0.5
        attention = torch.softmax(scores + bias, -1)
        dropped = x.new_zeros(b, heads, _ROWS, s)
        noise_attention = noise_ffn = None
        if p_attention:
            noise_attention = (
                x.new_empty(b, heads, s, s).bernoulli_(1 - p_attention)[:, :, 0].div(1 - p_attention)
            )
            torch.mul(attention, noise_attention, out=dropped[:, :, 0])
        else:
            dropped[:, :, 0] = attention
        context = torch.matmul(dropped, v)[:, :, 0].reshape(b, d)
        sum1 = torch.addmm(bo, context, wo.t()).add_(first)
        hidden, mean1, rstd1 = torch.native_layer_norm(sum1, [d], g1, c1, eps)
        inner = torch.addmm(b1, hidden, w1.t())
        active = F.gelu(inner)
        sum2 = torch.addmm(b2, active, w2.t())
        if p_ffn:
            noise_ffn = x.new_empty(b, s, d).bernoulli_(1 - p_ffn)[:, 0].div(1 - p_ffn)
            sum2.mul_(noise_ffn)
        sum2.add_(hidden)
        out, mean2, rstd2 = torch.native_layer_norm(sum2, [d], g2, c2, eps)
        ctx.save_for_backward(
            *(x, first, q, k, v, attention, noise_attention, dropped, context, sum1, mean1, rstd1, hidden),
            *(inner, active, noise_ffn, sum2, mean2, rstd2, wq, wk, wv, wo, g1, c1, w1, w2, g2, c2),
        )
        return out

    @staticmethod
    def backward(ctx, grad):
        x, first, q, k, v, attention, noise_attention, dropped, context, sum1, mean1, rstd1, hidden = (
            ctx.saved_tensors[:13]
        )
        inner, active, noise_ffn, sum2, mean2, rstd2, wq, wk, wv, wo, g1, c1, w1, w2, g2, c2 = (
            ctx.saved_tensors[13:]
        )
        b, s, d = x.shape
        heads, size = q.shape[1], q.shape[3]
        flat = x.reshape(-1, d)

        def total(rows: Tensor) -> Tensor:
            padded = rows.new_zeros(b, s, rows.shape[1])
            padded[:, 0] = rows
            return padded.view(b * s, -1).sum(0)

        def outer(weights: Tensor, vectors: Tensor) -> Tensor:
            # (b, h, s) x (b, h, size) -> (b * s, d): a product over one query is no sum at all.
            result = x.new_empty(b, s, heads, size)
            torch.mul(weights.transpose(1, 2)[..., None], vectors[:, None], out=result)
            return result.view(b * s, d)

        d_sum2, dg2, dc2 = _aten.native_layer_norm_backward(grad, sum2, [d], mean2, rstd2, g2, c2, [True] * 3)
        d_out = d_sum2 if noise_ffn is None else d_sum2 * noise_ffn
        dw2, db2 = d_out.t().mm(active), total(d_out)
        d_inner = _aten.gelu_backward(d_out.mm(w2), inner)
        dw1, db1 = d_inner.t().mm(hidden), total(d_inner)
        d_hidden = d_sum2 + d_inner.mm(w1)
        d_sum1, dg1, dc1 = _aten.native_layer_norm_backward(
            d_hidden, sum1, [d], mean1, rstd1, g1, c1, [True] * 3
        )
        dwo, dbo = d_sum1.t().mm(context), total(d_sum1)

        d_context = x.new_zeros(b, heads, _ROWS, size)
        d_context[:, :, 0] = d_sum1.mm(wo).view(b, heads, size)
        dv = outer(dropped[:, :, 0], d_context[:, :, 0])
        d_attention = torch.matmul(d_context, v.transpose(2, 3))[:, :, 0]
        if noise_attention is not None:
            d_attention = d_attention * noise_attention
        d_scores = torch.zeros_like(dropped)
        d_scores[:, :, 0] = _aten._softmax_backward_data(d_attention, attention, -1, x.dtype) * size**-0.5
        dq = torch.matmul(d_scores, k)[:, :, 0].reshape(b, d)
        dk = outer(d_scores[:, :, 0], q[:, :, 0])

        dx = dv.mm(wv).view(b, s, d)
        dx[:, 0] += d_sum1
        dx += dk.mm(wk).view(b, s, d)
        dx[:, 0] += dq.mm(wq)
        queries = dq.t().mm(first), total(dq)
        keys, values = (dk.t().mm(flat), dk.sum(0)), (dv.t().mm(flat), dv.sum(0))
        rest = dwo, dbo, dg1, dc1, dw1, db1, dw2, db2, dg2, dc2
        return dx, None, None, None, None, None, *queries, *keys, *values, *rest


def can_serve(net: nn.Module) -> bool:
    """Whether `logits` computes what this DistilBertForSequenceClassification would: plain attention and GELU."""
    config = net.config
    return (
        config._attn_implementation == "eager"
        and config.activation == "gelu"
        and not config.chunk_size_feed_forward
        and all(0 <= p < 1 for p in (config.dropout, config.attention_dropout))
    )


def logits(net: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Logits of a DistilBertForSequenceClassification, from its own modules."""
    body, embed = net.distilbert, net.distilbert.embeddings
    x = embed.word_embeddings(input_ids) + embed.position_embeddings(
        embed.position_ids[:, : input_ids.shape[1]]
    )
    x = embed.dropout(embed.LayerNorm(x))
    lowest = torch.finfo(x.dtype).min
    bias = torch.where(
        attention_mask[:, None].bool(), torch.zeros((), dtype=x.dtype, device=x.device), lowest
    )
    *earlier, last = body.transformer.layer
    for block in earlier:
        x = block(x, bias[:, None])
    attention, ffn = last.attention, last.ffn
    norms = last.sa_layer_norm, last.output_layer_norm
    parts = (
        attention.q_lin,
        attention.k_lin,
        attention.v_lin,
        attention.out_lin,
        norms[0],
        ffn.lin1,
        ffn.lin2,
        norms[1],
    )
    x = _FirstPosition.apply(
        x,
        bias,
        attention.n_heads,
        norms[0].eps,
        attention.dropout.p if net.training else 0.0,
        ffn.dropout.p if net.training else 0.0,
        *(tensor for part in parts for tensor in (part.weight, part.bias)),
    )
    return net.classifier(net.dropout(F.relu(net.pre_classifier(x))))
