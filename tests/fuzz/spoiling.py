"""Values, tensors and files that nobody should pass, drawn by a seed."""

import fractions
import io
import json
import math
import re
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


def resealed(draw, path: Path) -> bytes:
    """A file of the same kind in which one thing is another, so that no checksum and no archive tells of it."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        return _other_tensors(draw, content)
    if path.suffix == ".parquet":
        return _other_table(draw, path)
    if path.suffix == ".json":
        return _replaced(draw, content)
    if content[:2] == b"PK":
        return _other_archive(draw, content)
    if path.suffix in {".toml", ".xml", ".txt"}:
        return _other_words(draw, content)
    return _other_sizes(draw, content)


SIZES = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]


def _other_sizes(draw, content):
    """Bytes in which a number of one to eight bytes is a border case; sums of PNG are right again."""
    at, size = draw.randrange(len(content)), draw.choice([1, 2, 4, 8])
    value = (draw.choice(SIZES) % (1 << 8 * size)).to_bytes(size, draw.choice(["little", "big"]))
    content = bytearray(content)
    content[at : at + size] = value
    if content[:4] == b"\x89PNG" and draw.random() < 0.7:
        content[16 + 4 * draw.randrange(2) :][:4] = value[:4].rjust(4, b"\0")
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def _other_words(draw, content):
    """Text in which one word, number or sign is another."""
    parts = re.split(r"(\W)", content.decode())
    parts[draw.randrange(len(parts))] = draw.choice(
        [
            "",
            "-1",
            "1e400",
            "nan",
            "9" * 5000,
            "\ud800",
            "\x00",
            "[[",
            "true",
            "x" * 9999,
            "&a;",
            "ä",
        ]
    )
    return "".join(parts).encode(errors="surrogatepass")


def _other_tensors(draw, content):
    """A safetensors file with another note, tensor, or size that its header tells, and without a checksum."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    notes = header.get("__metadata__", {})
    notes.pop("cofire.sha256", None)
    name = draw.choice([name for name in header if name != "__metadata__"])
    entry, way = header[name], draw.randrange(6)
    start, end = entry["data_offsets"]
    if way == 0:
        key = draw.choice(list(notes) or ["cofire.summary"])
        notes[key] = _replaced(draw, notes.get(key, "{}").encode()).decode(errors="replace")
    elif way == 1 and end - start >= 4:
        odd = draw.choice([math.nan, math.inf, -1.0, 1e30, 0.0, -5e-324])
        number = np.array([odd]).astype({"F64": "<f8"}.get(entry["dtype"], "<f4")).tobytes()
        if entry["dtype"][0] in "IU":
            number = draw.choice([b"\xff", b"\x7f", b"\0"]) * min(8, end - start)
        data = data[:start] + number + data[start + len(number) :]
    elif way == 2:
        entry["shape"] = draw.choice(
            [
                [2**62],
                [2**32, 2**32],
                [0, 2**63 - 1],
                [],
                [1, *entry["shape"]],
                entry["shape"][::-1],
            ]
        )
    elif way == 3:
        entry["dtype"] = draw.choice(["F32", "I32", "U32", "F8_E4M3", "BF16", "BOOL", "C64", "X9"])
    elif way == 4:
        header[name + draw.choice(["2", ".weight", "\x00", "x" * 300])] = header.pop(name)
    else:
        del header[name]
        data = data[:start] + data[end:]
        for other in header.values():
            if "data_offsets" in other and other["data_offsets"][0] >= end:
                other["data_offsets"] = [at - (end - start) for at in other["data_offsets"]]
    told = json.dumps(header).encode()
    return len(told).to_bytes(8, "little") + told + data


def _other_table(draw, path):
    """A table with another value, column, type or number of rows, and without a checksum."""
    table = pq.read_table(path)
    notes = dict(table.schema.metadata or {})
    notes.pop(b"cofire.sha256", None)
    at = draw.randrange(table.num_columns)
    field, values, way = table.schema[at], table.column(at), draw.randrange(7)
    if way == 0:
        table = table.remove_column(at)
    elif way == 1:
        table = table.slice(draw.randrange(len(table) + 1), draw.choice([0, 1, len(table)]))
    elif way == 2 and notes:
        key = draw.choice(list(notes))
        notes[key] = _replaced(draw, notes[key])
    elif way == 3:
        table = pa.concat_tables([table, table])
    elif way == 4:
        kind = draw.choice([pa.string(), pa.bool_(), pa.list_(pa.int8()), pa.float16(), pa.null()])
        table = table.set_column(at, field.name, pa.nulls(len(table), kind))
    elif way == 5:
        table = table.rename_columns([draw.choice(table.column_names), *table.column_names[1:]])
    elif len(table):
        one = {
            "i": [-1, 2**31 - 1],
            "f": [math.nan, math.inf, -1.0],
            "d": [math.nan, -math.inf, 1e300],
        }
        row, rest = draw.randrange(len(table)), values.to_pylist()
        rest[row] = draw.choice([None, *one.get(str(field.type)[0], ["", "\x00", "x" * 999])])
        with suppress(pa.ArrowException, OverflowError, TypeError):
            table = table.set_column(at, field.name, pa.array(rest, field.type))
    held = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(notes or None), held)
    return held.getvalue()


def _other_archive(draw, content):
    """An archive in which one member is damaged, has another name, is there twice or is missing."""
    held, way = io.BytesIO(), draw.randrange(6)
    with zipfile.ZipFile(io.BytesIO(content)) as source, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        names = source.namelist()
        chosen = draw.choice(names)
        with zipfile.ZipFile(
            held, "w", zipfile.ZIP_DEFLATED if way == 5 else zipfile.ZIP_STORED
        ) as new:
            for name in names:
                member = source.read(name)
                if name == chosen and way == 0:
                    continue
                if name == chosen and way == 1:
                    new.writestr(
                        draw.choice(["../x", "/x", name + "2", draw.choice(names)]), member
                    )
                    continue
                if name == chosen and member and way in (2, 3):
                    member = _replaced(draw, member) if way == 2 else damaged(draw, member)
                if name == chosen and way == 4:
                    new.writestr(name, member)
                if name == chosen and way == 5:
                    member += bytes(1 << 22)
                new.writestr(name, member)
    return held.getvalue()


def _replaced(draw, content):
    """JSON in which one value is another; what is no JSON loses a stretch."""
    try:
        whole = json.loads(content)
    except ValueError:
        at = draw.randrange(len(content))
        return content[:at] + bytes(min(100, len(content) - at)) + content[at + 100 :]
    if isinstance(whole, dict):
        whole.pop("sha256", None)
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
