"""A decoder of Llama's shape in plain PyTorch; its weights have the names that Hugging Face gives them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from modelyard.train.recipes.language import Decoder

EPSILON = 1e-6


class LanguageModel(nn.Module):
    """Tokens ``[rows, length]`` in, a score for each possible next token ``[rows, length, vocabulary]`` out."""

    def __init__(self, wanted: Decoder, vocabulary: int) -> None:
        """Fresh weights, drawn from PyTorch's generator."""
        super().__init__()
        self.model = _Body(wanted, vocabulary)
        self.lm_head = None if wanted.tied else nn.Linear(wanted.hidden, vocabulary, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                # What layers add is small at first, so that deep ones learn too.
                deviation = 0.02 / (2 * wanted.layers) ** 0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
                nn.init.normal_(weight, std=deviation)

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.model(tokens)
        scores: Tensor = functional.linear(found, self.model.embed_tokens.weight) if self.lm_head is None else self.lm_head(found)
        return scores


class _Body(nn.Module):
    def __init__(self, wanted: Decoder, vocabulary: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, wanted.hidden)
        self.layers = nn.ModuleList(_Layer(wanted) for _ in range(wanted.layers))
        self.norm = nn.RMSNorm(wanted.hidden, EPSILON)
        size = wanted.hidden // wanted.heads
        waves = wanted.rope_base ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles = torch.outer(torch.arange(wanted.context, dtype=torch.float64), waves).repeat(1, 2)
        self.register_buffer("cosine", angles.cos().float(), persistent=False)
        self.register_buffer("sine", angles.sin().float(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        turn = (self.get_buffer("cosine")[:length], self.get_buffer("sine")[:length])
        states: Tensor = self.embed_tokens(tokens)
        for layer in self.layers:
            states = layer(states, turn)
        normed: Tensor = self.norm(states)
        return normed


class _Layer(nn.Module):
    def __init__(self, wanted: Decoder) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(wanted.hidden, EPSILON)
        self.self_attn = _Attention(wanted)
        self.post_attention_layernorm = nn.RMSNorm(wanted.hidden, EPSILON)
        self.mlp = _FeedForward(wanted)
        self.drop = nn.Dropout(wanted.dropout)

    def forward(self, states: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        states = states + self.drop(self.self_attn(self.input_layernorm(states), turn))
        found: Tensor = states + self.drop(self.mlp(self.post_attention_layernorm(states)))
        return found


class _Attention(nn.Module):
    def __init__(self, wanted: Decoder) -> None:
        super().__init__()
        self.heads, self.key_heads = wanted.heads, wanted.key_heads or wanted.heads
        self.size = wanted.hidden // wanted.heads
        self.q_proj = nn.Linear(wanted.hidden, self.heads * self.size, bias=False)
        self.k_proj = nn.Linear(wanted.hidden, self.key_heads * self.size, bias=False)
        self.v_proj = nn.Linear(wanted.hidden, self.key_heads * self.size, bias=False)
        self.o_proj = nn.Linear(self.heads * self.size, wanted.hidden, bias=False)

    def forward(self, states: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        rows, length, _ = states.shape
        queries, keys, values = (
            layer(states).view(rows, length, heads, self.size).transpose(1, 2)
            for layer, heads in ((self.q_proj, self.heads), (self.k_proj, self.key_heads), (self.v_proj, self.key_heads))
        )
        queries, keys = _turned(queries, turn), _turned(keys, turn)
        times = self.heads // self.key_heads
        if times > 1:
            keys, values = keys.repeat_interleave(times, dim=1), values.repeat_interleave(times, dim=1)
        found = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        projected: Tensor = self.o_proj(found.transpose(1, 2).reshape(rows, length, -1))
        return projected


class _FeedForward(nn.Module):
    def __init__(self, wanted: Decoder) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(wanted.hidden, wanted.units, bias=False)
        self.up_proj = nn.Linear(wanted.hidden, wanted.units, bias=False)
        self.down_proj = nn.Linear(wanted.units, wanted.hidden, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.down_proj(functional.silu(self.gate_proj(states)) * self.up_proj(states))
        return found


def _turned(states: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """With its position in it: pairs of numbers, half a head apart, turned by an angle that grows with it."""
    first, second = states.chunk(2, dim=-1)
    turned = states * turn[0] + torch.cat([-second, first], dim=-1) * turn[1]
    return turned.to(states.dtype)
