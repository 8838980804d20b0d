"""Training passes of small models on the CPU without autograd, whose own work is a good part of so small a step.

A pass goes forward when it is made and then knows the gradient of the cross-entropy with any labels. Operations and
their order are those of the modules and their derivatives: logits, gradients, running statistics and dropout's random
numbers are the same to the last bit (tests/test_fast_paths.py). Call everything here under ``torch.no_grad``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_aten = torch.ops.aten
_ALL = [True, True, True]  # gradients of the input, the weight and the bias of a normalisation
_ROWS = 64


def _cross_entropy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of logits (b, classes) with labels (b,), and its gradient by the logits."""
    log = torch.log_softmax(logits, 1)
    loss, total = _aten.nll_loss_forward.default(log, target, None, 1, -100)
    grad = _aten.nll_loss_backward.default(torch.ones_like(loss), log, target, None, 1, -100, total)
    return loss, _aten._log_softmax_backward_data.default(grad, log, 1, log.dtype)


class MLPPass:
    """A pass of an MLP: linear layers with batch normalisation and ReLU, and a linear head."""

    def __init__(self, tensors: list[list[Tensor]], norms: list[nn.BatchNorm1d], images: Tensor) -> None:
        """Go forward; ``tensors``: weight and bias of each linear layer with those and the buffers of its norm."""
        *blocks, (head, bias) = tensors
        self._head = head
        self._saved = []
        x = images.flatten(1)
        for block, norm in zip(blocks, norms, strict=True):
            linear, shift, scale, offset, running_mean, running_var, batches = block
            before = torch.addmm(shift, x, linear.t())
            after, mean, rstd = torch.native_batch_norm(
                *(before, scale, offset, running_mean, running_var, True),
                *(norm.momentum, norm.eps),  # type: ignore[arg-type]  # a number, not None
            )
            batches.add_(1)
            self._saved.append((linear, scale, norm.eps, x, before, mean, rstd))
            x = after.relu_()
        self._last = x
        self.logits = torch.addmm(bias, x, head.t())

    def gradient(self, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mean cross-entropy with `target`, and its gradient in the order of the model's parameters."""
        loss, grad = _cross_entropy(self.logits, target)
        active = self._last
        gradients = [grad.sum(0), grad.t().mm(active)]
        grad = grad.mm(self._head)
        for weight, scale, eps, x, before, mean, rstd in reversed(self._saved):
            grad = _aten.threshold_backward.default(grad, active, 0)
            grad, d_scale, d_shift = _aten.native_batch_norm_backward.default(
                grad, before, scale, None, None, mean, rstd, True, eps, _ALL
            )
            gradients += [d_shift, d_scale, grad.sum(0), grad.t().mm(x)]
            if x is not self._saved[0][3]:
                grad, active = grad.mm(weight), x
        return loss, gradients[::-1]


@dataclass(frozen=True)
class TextSettings:
    """What a DistilBERT of one block has beside its parameters.

    Attributes:
        heads: attention heads.
        eps: that of the norms of embeddings, attention and block.
        dropout: probabilities after embeddings, attention weights, feed-forward layer and pre-classifier; zeros in
            evaluation.
        padding: token whose embedding is not trained.
    """

    heads: int
    eps: tuple[float, float, float]
    dropout: list[float]
    padding: int


@dataclass(frozen=True)
class DistinctTokens:
    """Sentences by the distinct pairs of token and position in them.

    Without dropout equal pairs have equal embeddings, keys and values, so each is worked out only once: the demo's
    test set has 5,400 pairs in 19,200 places.

    Attributes:
        ids: (b, s) the sentences.
        tokens, positions: (u,) the pairs.
        where: (b, s) which pair stands where.
    """

    ids: Tensor
    tokens: Tensor
    positions: Tensor
    where: Tensor


def distinct_tokens(ids: Tensor) -> DistinctTokens:
    """Find the distinct pairs of token and position of sentences (b, s)."""
    s = ids.shape[1]
    pairs, where = torch.unique(ids * s + torch.arange(s), return_inverse=True)
    # Filled up with pairs of no use: of a number of rows that does not divide evenly, matrix products round the last
    # ones otherwise.
    pairs = F.pad(pairs, (0, -len(pairs) % _ROWS))
    return DistinctTokens(ids, pairs // s, pairs % s, where)


class TextPass:
    """A pass of a DistilBERT classifier of one block, worked out at the first position alone (see first_position).

    In comments and names: b sentences, s positions, d values of each, h heads.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        settings: TextSettings,
        ids: Tensor,
        mask: Tensor,
        distinct: DistinctTokens | None = None,
    ) -> None:
        """Go forward; ``parameters`` in the model's order; ids (b, s) int64, mask (b, s) bool.

        With ``distinct``, of these ids, there must be no dropout, and there will be no gradient.
        """
        words, places, *rest = parameters
        pairs = list(zip(rest[::2], rest[1::2], strict=True))  # weight and bias
        self._embed_norm, query, key, value, out, self._attention_norm, up, down, self._block_norm = pairs[:9]
        pre, head = pairs[9:]
        self._query_w, self._key_w, self._value_w, self._out_w = query[0], key[0], value[0], out[0]
        self._up_w, self._down_w, self._pre_w, self._head_w = up[0], down[0], pre[0], head[0]
        self._settings, self._ids, self._tables = settings, ids, (len(words), len(places))
        (b, s), d, h = ids.shape, words.shape[1], settings.heads

        if distinct is None:
            self._embedded = torch.embedding(words, ids).add_(places[:s])
            x, *self._embedded_moments = _norm(self._embedded, self._embed_norm, settings.eps[0])
            x, self._embedded_kept = _dropped(x, settings.dropout[0])
            self._first = x[:, 0]
            self._x = flat = x.view(b * s, d)
            keys, values = F.linear(flat, *key), F.linear(flat, *value)
        else:
            rows = torch.embedding(words, distinct.tokens).add_(places.index_select(0, distinct.positions))
            rows, *_ = _norm(rows, self._embed_norm, settings.eps[0])
            self._first = rows.index_select(0, distinct.where[:, 0])
            where = distinct.where.flatten()
            keys, values = (F.linear(rows, *each).index_select(0, where) for each in (key, value))
        # Head by head: all at once, bmm would have to copy keys and values.
        self._keys = keys.view(b, s, h, d // h).unbind(2)
        self._values = values.view(b, s, h, d // h).unbind(2)
        self._queries = F.linear(self._first, *query).view(b, h, 1, d // h).unbind(1)
        scores = keys.new_empty((b, h, 1, s))
        for one, own_keys, score in zip(self._queries, self._keys, scores.unbind(1), strict=True):
            torch.bmm(one, own_keys.transpose(1, 2), out=score)
        # What adding the lowest number comes to.
        scores.mul_((d // h) ** -0.5).masked_fill_(~mask[:, None, None], torch.finfo(scores.dtype).min)
        self._weights = torch.softmax(scores, -1)
        dropped, self._weights_kept = _dropped(self._weights, settings.dropout[1])
        self._weights_dropped = dropped.unbind(1)
        context = scores.new_empty((b, h, 1, d // h))
        for one, own_values, read in zip(self._weights_dropped, self._values, context.unbind(1), strict=True):
            torch.bmm(one, own_values, out=read)
        self._context = context.view(b, d)

        self._attended = F.linear(self._context, *out).add_(self._first)
        self._hidden, *self._attended_moments = _norm(self._attended, self._attention_norm, settings.eps[1])
        self._wide = F.linear(self._hidden, *up)
        self._active = F.gelu(self._wide)
        narrow = F.linear(self._active, *down)
        narrow, self._narrow_kept = _dropped(narrow, settings.dropout[2])
        self._block = narrow + self._hidden
        self._output, *self._block_moments = _norm(self._block, self._block_norm, settings.eps[2])
        self._pooled = F.linear(self._output, *pre).relu_()
        self._pooled_dropped, self._pooled_kept = _dropped(self._pooled, settings.dropout[3])
        self.logits = F.linear(self._pooled_dropped, *head)

    def gradient(self, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mean cross-entropy with `target`, and its gradient in the order of the model's parameters."""
        (b, s), (words, places) = self._ids.shape, self._tables
        h, d = self._settings.heads, self._first.shape[1]
        found: list[Tensor] = []  # from the last parameter to the first

        def linear(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
            found.extend((grad.sum(0), grad.t().mm(x)))
            return grad.mm(weight)

        def norm(grad: Tensor, x: Tensor, moments: list[Tensor], parameters: tuple[Tensor, Tensor]) -> Tensor:
            grad, d_weight, d_bias = _aten.native_layer_norm_backward.default(
                grad, x, (d,), *moments, *parameters, _ALL
            )
            found.extend((d_bias, d_weight))
            return grad

        loss, grad = _cross_entropy(self.logits, target)
        grad = _kept(linear(grad, self._pooled_dropped, self._head_w), self._pooled_kept)
        grad = _aten.threshold_backward.default(grad, self._pooled, 0)
        grad = linear(grad, self._output, self._pre_w)
        d_block = norm(grad, self._block, self._block_moments, self._block_norm)
        d_narrow = d_block if self._narrow_kept is None else d_block * self._narrow_kept
        grad = linear(d_narrow, self._active, self._down_w)
        grad = linear(_aten.gelu_backward.default(grad, self._wide), self._hidden, self._up_w).add_(d_block)
        d_attended = norm(grad, self._attended, self._attended_moments, self._attention_norm)

        d_context = linear(d_attended, self._context, self._out_w).view(b, h, 1, d // h)
        d_weights = torch.empty_like(self._weights)
        d_values = d_context.new_empty((b, s, h, d // h))
        for i, d_read in enumerate(d_context.unbind(1)):
            torch.bmm(d_read, self._values[i].transpose(1, 2), out=d_weights.select(1, i))
            # Outer products of s weights and a vector, here and below.
            torch.mul(self._weights_dropped[i].transpose(1, 2), d_read, out=d_values.select(2, i))
        d_weights = _kept(d_weights, self._weights_kept)
        d_scores = _aten._softmax_backward_data.default(d_weights, self._weights, -1, d_weights.dtype)
        d_scores.mul_((d // h) ** -0.5)
        d_query, d_keys = torch.empty_like(d_context), torch.empty_like(d_values)
        for i, d_score in enumerate(d_scores.unbind(1)):
            torch.bmm(d_score, self._keys[i], out=d_query.select(1, i))
            torch.mul(d_score.transpose(1, 2), self._queries[i], out=d_keys.select(2, i))

        # Added up as autograd would: values, keys, and the first position's last.
        d_x = linear(d_values.view(b * s, d), self._x, self._value_w)
        d_x.add_(linear(d_keys.view(b * s, d), self._x, self._key_w))
        d_first = linear(d_query.view(b, d), self._first, self._query_w).add_(d_attended)
        d_x = d_x.view(b, s, d)
        d_x[:, 0].add_(d_first)
        d_x = _kept(d_x, self._embedded_kept)
        d_x = norm(d_x, self._embedded, self._embedded_moments, self._embed_norm)
        d_places, d_words = d_x.new_zeros((places, d)), d_x.new_zeros((words, d))
        d_places[:s] = d_x.sum(0)
        # Row by row, as the derivative of torch.embedding does, at a third of its time.
        d_words.index_add_(0, self._ids.flatten(), d_x.view(b * s, d))[self._settings.padding].zero_()
        found.extend((d_places, d_words))
        return loss, found[::-1]


def _norm(x: Tensor, parameters: tuple[Tensor, Tensor], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Layer normalisation of x (..., d) with its mean and reciprocal deviation."""
    return torch.native_layer_norm(x, x.shape[-1:], *parameters, eps)


def _dropped(x: Tensor, probability: float) -> tuple[Tensor, Tensor | None]:
    """Dropout of x, and the factors that did it: 0, or 1 / (1 - probability)."""
    if not probability:
        return x, None
    kept = 1.0 - probability
    factors = torch.bernoulli(x, kept).div_(kept)
    return x * factors, factors


def _kept(grad: Tensor, factors: Tensor | None) -> Tensor:
    """The gradient before a dropout, in the place of the one after it."""
    return grad if factors is None else grad.mul_(factors)
