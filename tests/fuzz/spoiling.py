"""Values, tensors and files that nobody should pass, drawn by a seed."""

import fractions
import json
import math
from pathlib import Path

import numpy as np
import torch

ODD = [
    None,
    True,
    -1,
    0,
    3,
    2**31,
    2**63,
    2**70,
    0.5,
    -0.0,
    1e308,
    math.nan,
    math.inf,
    "",
    "3",
    "cat",
    "a\x00b",
    "\ud800",
    b"x",
    [],
    [1, 2],
    (),
    {},
    {"a": 1},
    set(),
    object(),
    ...,
    int,
    range(3),
    np.int64(2),
    np.float32(0.5),
    np.array(2),
    np.array([1.0]),
    torch.tensor(3),
    torch.tensor(math.nan),
    torch.zeros(2),
    torch.tensor(True),
    1 + 2j,
    fractions.Fraction(1, 3),
    np.datetime64("2020-01-01"),
    Path("/nowhere/at all"),
    "x" * 5000,
    [None],
    [[1], [1, 2]],
]


def _with(tensor, value):
    spoiled = tensor.clone().double()
    spoiled.view(-1)[0] = value
    return spoiled


WAYS = [
    lambda t: _with(t, math.nan),
    lambda t: _with(t, math.inf),
    lambda t: _with(t, -1e38),
    lambda t: t[:0],
    lambda t: t[None],
    lambda t: t.flatten(),
    lambda t: torch.cat([t, t]),
    lambda t: -t,
    lambda t: t * 0,
    lambda t: t.half(),
    lambda t: t.bfloat16(),
    lambda t: t.to(torch.complex64),
    lambda t: t.bool(),
    lambda t: t.to(torch.int8),
    lambda t: t.to(torch.uint16),
    lambda t: t.to(torch.float8_e4m3fn),
    lambda t: t.to_sparse(),
    lambda t: t.to("meta"),
    lambda t: t.float().clone().requires_grad_(),
    lambda t: t.transpose(0, -1),
    lambda t: torch.nn.Parameter(t.float().clone()),
    lambda t: torch.zeros(()),
    lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
    lambda t: torch.nested.nested_tensor([t.flatten()[:1], t.flatten()[:2]]),
    lambda t: t.numpy()[::-1],
    lambda t: t.numpy().astype(object),
    lambda t: t.numpy().astype("U"),
    lambda t: t.numpy().astype(">f4"),
    lambda t: t.numpy().astype(np.longdouble),
    lambda t: np.ma.masked_array(t.numpy(), t.numpy() > 0),
    lambda t: t.tolist(),
]


def spoiled(draw, value):
    """A value in place of one that works: of the same kind with a fault, or of another kind."""
    if isinstance(value, torch.Tensor) and draw.random() < 0.8:
        try:
            return draw.choice(WAYS)(value)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None  # torch cannot make it of this tensor
    if isinstance(value, tuple | list) and value and draw.random() < 0.6:
        parts = list(value)
        at = draw.randrange(len(parts))
        parts[at] = spoiled(draw, parts[at])
        return type(value)(parts)
    if isinstance(value, dict) and value and draw.random() < 0.6:
        name = draw.choice(list(value))
        return {**value, name: spoiled(draw, value[name])}
    return draw.choice(ODD)


def damaged(draw, content: bytes) -> bytes:
    """A file that was cut, in which bits have flipped, bytes were put in, or that is another."""
    at = draw.randrange(len(content))
    way = draw.randrange(5)
    if way == 0:
        return content[:at]
    if way == 1:
        bits = bytearray(content)
        for _ in range(draw.choice([1, 1, 5, 30])):
            bits[draw.randrange(len(bits))] ^= 1 << draw.randrange(8)
        return bytes(bits)
    if way == 2:
        return content[:at] + draw.randbytes(draw.randrange(1, 40)) + content[at:]
    if way == 3:
        return _replaced(draw, content)
    return draw.choice(
        [b"", b"\0", b"{", b"[]", b"null", b"\xff" * 99, content * 2, b"[" * 100_000, b"9" * 6000]
    )


def _replaced(draw, content):
    """JSON in which one value is another; what is no JSON loses a stretch."""
    try:
        whole = json.loads(content)
    except ValueError:
        at = draw.randrange(len(content))
        return content[:at] + bytes(min(100, len(content) - at)) + content[at + 100 :]
    places = [(whole, None)]
    for node, _ in places:
        inner = (
            node.items()
            if isinstance(node, dict)
            else enumerate(node)
            if isinstance(node, list)
            else ()
        )
        places += [(value, (node, key)) for key, value in inner]
    _, place = draw.choice(places[1:] or [(None, ({}, 0))])
    place[0][place[1]] = draw.choice(
        [None, True, -1, 1e308, "", "x", [], {}, [[]], 2**70, "\ud800", "a\x00b", 2**31]
    )
    return json.dumps(whole).encode(errors="surrogatepass")
