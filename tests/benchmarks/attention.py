"""A block of EMformer at its published size, against the same arithmetic in plain PyTorch.

python -m tests.benchmarks.attention [--json=PATH] [--repeats=7]

Value and gradients are compared before anything is timed.
Letters: D frames, R rows, C columns, F features.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.methods.emformer.attention import sine_code
from emgauss_jax.methods.emformer.network import TransformerBlock
from emgauss_jax.methods.emformer.windows import areas, windows_of
from tests.benchmarks import peers, timing

SHAPE, FEATURES, HEADS, WINDOW = (16, 16, 128), 40, 4, (2, 2, 16)  # of IsoVEM at factor 8
CASES = {"mutual": (False, True), "mutual, shifted": (True, True), "self, shifted": (True, False)}


def start(
    shape: tuple[int, ...], shifted: bool, mutual: bool
) -> tuple[TransformerBlock, Any, jax.Array]:
    """Make a block, its parameters, none of them 0, and a grid f32[D, R, C, F]."""
    block = TransformerBlock(HEADS, WINDOW, shifted, mutual)
    grid = jax.random.normal(jax.random.key(1), (*shape, FEATURES))
    params = jax.jit(block.init)(jax.random.key(0), grid, jnp.ones(2))["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    pairs = zip(leaves, keys, strict=True)
    return block, tree.unflatten([a + 0.1 * jax.random.normal(k, a.shape) for a, k in pairs]), grid


def in_jax(block: TransformerBlock, params: Any, grid: jax.Array) -> Callable[[], Any]:
    """Bind value and gradients of the sum of squares, compiled."""

    def loss(params, grid):
        return jnp.mean(jnp.square(block.apply({"params": params}, grid, jnp.ones(2))))

    return functools.partial(jax.jit(jax.value_and_grad(loss, (0, 1))), params, grid)


class InTorch:
    """The block by PyTorch's operators and autograd, in the order of the published code."""

    def __init__(self, torch: Any, params: Any, grid: jax.Array, shifted: bool, mutual: bool):
        place = functools.partial(torch.tensor, device=peers.device(torch))
        self.torch, self.mutual = torch, mutual
        self.params = jax.tree.map(lambda a: place(np.asarray(a)).requires_grad_(), params)
        self.grid = place(np.asarray(grid)).requires_grad_()
        self.windows = windows_of(grid.shape[:3], WINDOW, shifted)
        area = areas(self.windows)
        self.mask = None
        if area is not None:
            self.mask = place(np.where(area[:, :, None] == area[:, None], 0.0, -1e9)).float()
        places = np.stack(np.meshgrid(*map(np.arange, WINDOW), indexing="ij"), axis=-1)
        places = places.reshape(-1, 3)
        apart = places[:, None] - places[None] + np.array(WINDOW) - 1
        self.apart = tuple(place(axis) for axis in np.moveaxis(apart, -1, 0))
        self.code = place(np.tile(sine_code(WINDOW[1:], WINDOW[1:], grid.shape[-1]), (2, 1)))

    def __call__(self) -> tuple[Any, Any]:
        """Give value and gradients, as `in_jax` does."""
        leaves, tree = jax.tree.flatten(self.params)
        out = self.block(self.grid)
        value = (out * out).mean()
        *grads, of_grid = self.torch.autograd.grad(value, [*leaves, self.grid])
        if value.is_cuda:
            self.torch.cuda.synchronize()
        return value, (tree.unflatten(grads), of_grid)

    def block(self, grid: Any) -> Any:
        """Attend, then the gated perceptron, both added to what comes in."""
        gelu, p = self.torch.nn.functional.gelu, self.params
        grid = grid + self.attention(self.norm("LayerNorm_0", grid))
        inner = self.norm("LayerNorm_1", grid)
        gated = gelu(self.dense(p["Dense_0"], inner)) * self.dense(p["Dense_1"], inner)
        return grid + self.dense(p["Dense_2"], gated)

    def norm(self, name: str, grid: Any) -> Any:
        """Normalize over features."""
        p = self.params[name]
        shape = grid.shape[-1:]
        return self.torch.nn.functional.layer_norm(grid, shape, p["scale"], p["bias"], 1e-5)

    def dense(self, p: Any, values: Any) -> Any:
        """Apply a layer."""
        return values @ p["kernel"] + p["bias"]

    def attention(self, grid: Any) -> Any:
        """Cut into windows, attend, put back."""
        p, (d, r, c), (D, R, C) = self.params["WindowAttention_0"], WINDOW, self.windows.shape
        shift = self.windows.shift
        rolled = self.torch.roll(grid, [-n for n in shift], (0, 1, 2))
        parts = rolled.reshape(D // d, d, R // r, r, C // c, c, -1).permute(0, 2, 4, 1, 3, 5, 6)
        tokens = parts.reshape(-1, d * r * c, grid.shape[-1])
        bias = p["bias"][self.apart].permute(2, 0, 1)
        seen = self.attend(*self.project(p["own"], tokens), bias, self.mask)
        if self.mutual:
            query, key, value = self.project(p["other"], tokens + self.code)
            half = tokens.shape[1] // 2
            first, last = slice(None, half), slice(half, None)
            ways = [(last, first), (first, last)]  # who asks, and whom
            other = [
                self.attend(
                    query[:, :, a], key[:, :, b], value[:, :, b], 0.0,
                    None if self.mask is None else self.mask[:, a, b],
                )
                for a, b in ways
            ]  # fmt: skip
            seen = self.torch.cat([self.torch.cat(other, 1), seen], -1)
        parts = self.dense(p["joined"], seen).reshape(D // d, R // r, C // c, d, r, c, -1)
        whole = parts.permute(0, 3, 1, 4, 2, 5, 6).reshape(D, R, C, -1)
        return self.torch.roll(whole, shift, (0, 1, 2))

    def project(self, p: Any, tokens: Any) -> list[Any]:
        """Make query, key and value, [N, h, T, F / h]."""
        three = self.dense(p, tokens).chunk(3, -1)
        return [a.reshape(*a.shape[:2], HEADS, -1).transpose(1, 2) for a in three]

    def attend(self, query: Any, key: Any, value: Any, bias: Any, mask: Any) -> Any:
        """Attend within windows; who sees nobody gets 0."""
        scores = query / np.sqrt(query.shape[-1]) @ key.transpose(-2, -1) + bias
        if mask is not None:
            scores = scores + mask[:, None]
        seen = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        if mask is not None:
            seen = seen * (mask == 0).any(-1, keepdim=True)
        return seen


def row(name: str, shape: tuple[int, ...], repeats: int) -> dict[str, Any]:
    """Compare and time one kind of block."""
    shifted, mutual = CASES[name]
    block, params, grid = start(shape, shifted, mutual)
    ours = in_jax(block, params, grid)
    cases, result = {"jax": ours}, {"block": name, "grid": " x ".join(map(str, grid.shape))}
    torch = peers.find("torch")
    if torch is not None:
        theirs = InTorch(torch, params, grid, shifted, mutual)
        result["apart"] = difference(ours(), theirs())
        cases["torch"] = theirs
    seconds = timing.median(timing.interleaved(cases, repeats))
    result |= {f"{case}, ms": 1e3 * each for case, each in seconds.items()}
    if torch is not None:
        result["jax / torch"] = seconds["jax"] / seconds["torch"]
    return result


def difference(one: Any, other: Any) -> float:
    """Give the largest difference of any gradient, by the largest of its kind."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    pairs = [(np.asarray(a), b.detach().cpu().numpy()) for a, b in pairs]
    return max(float(np.abs(a - b).max() / (np.abs(b).max() + 1e-12)) for a, b in pairs)


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    machine = timing.machine()
    timing.print_table("Machine", [machine])
    rows = [row(name, SHAPE, args.repeats) for name in CASES]
    timing.print_table("Forward and backward of a block", rows)
    if args.json:
        timing.write_json(args.json, {"machine": machine, "rows": rows})


if __name__ == "__main__":
    main()
