"""Checkpoints as bytes: what torch.save writes, in both of its containers, and pickles and zip archives made by hand."""
import io
import pickle
import pickletools
import struct
import zipfile

import numpy as np
import torch


def names_used(pickled):
    """The globals of a pickle, in order."""
    found, recent = [], []
    for op, arg, _ in pickletools.genops(pickled):
        if op.name == "GLOBAL":
            found.append(arg.replace(" ", "."))
        elif op.name == "STACK_GLOBAL":
            found.append(".".join(recent[-2:]))
        if isinstance(arg, str):
            recent.append(arg)
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------- writing

def zipped(obj, protocol=2):
    buffer = io.BytesIO()
    torch.save(obj, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


class _Reader(pickle.Unpickler):
    def persistent_load(self, pid):
        return torch.storage.TypedStorage(0)


def legacy(obj, protocol=2):
    """The pre-1.6 format. torch names storages by address there; rename them in order of appearance, so the bytes are stable."""
    buffer = io.BytesIO()
    torch.save(obj, buffer, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    data = buffer.getvalue()
    stream = io.BytesIO(data)
    for _ in range(3):
        pickle.load(stream)
    start = stream.tell()
    _Reader(stream).load()
    middle = stream.tell()
    keys = pickle.load(stream)
    body, order, storages = data[start:middle], [], {}
    for op, arg, _ in pickletools.genops(body):
        if isinstance(arg, str) and arg in keys and arg not in order:
            order.append(arg)
    sizes = {}
    holder = [t for t in _walk(obj)]
    for t in holder:
        sizes[str(t.storage()._cdata)] = t.element_size()
    at = stream.tell()
    for key in keys:
        count, = struct.unpack_from("<q", data, at)
        end = at + 8 + count * sizes[key]
        storages[key] = data[at:end]
        at = end
    assert at == len(data)
    renamed = {key: str(i) for i, key in enumerate(order)}
    for key, new in renamed.items():
        body = body.replace(b"X" + struct.pack("<I", len(key)) + key.encode(), b"X" + struct.pack("<I", len(new)) + new.encode())
    order.sort(key=lambda k: renamed[k])
    return data[:start] + body + pickle.dumps([renamed[k] for k in order], protocol=2) + b"".join(storages[k] for k in order)


def _walk(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from _walk(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _walk(v)


def rezip(entries, prefix="archive/", method=zipfile.ZIP_STORED, zip64=False):
    """A zip from [(name, bytes)]; a name that starts with ! is taken without the prefix."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as z:
        for name, data in entries:
            info = zipfile.ZipInfo(name[1:] if name.startswith("!") else prefix + name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            with z.open(info, "w", force_zip64=zip64) as f:
                f.write(data)
    return buffer.getvalue()


def entries(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return [(n.split("/", 1)[1], z.read(n)) for n in z.namelist()]


def replace_entry(data, name, new):
    return [(n, new if n == name else d) for n, d in entries(data)]


# ---------------------------------------------------------------- pickles by hand (protocol 2)

def u(text):
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def i(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -2**31 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def g(module, name):
    return f"c{module}\n{name}\n".encode()


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def call(function, *items):
    return function + tup(*items) + b"R"


def mapping(**items):
    return b"}(" + b"".join(u(k) + v for k, v in items.items()) + b"u"


def whole(body, protocol=2):
    return b"\x80" + bytes([protocol]) + body + b"."


def storage(key="0", count=4, kind="FloatStorage", location="cpu", module="torch"):
    return tup(u("storage"), g(module, kind), u(key), u(location), i(count)) + b"Q"


def rebuilt(offset=0, size=(4,), stride=(1,), store=None, hooks=None, name="_rebuild_tensor_v2"):
    return call(g("torch._utils", name), store or storage(), i(offset), tup(*map(i, size)), tup(*map(i, stride)), b"\x89",
                hooks or call(g("collections", "OrderedDict")))


FOUR = np.arange(1, 5, dtype="<f4")


def packed(pickled, data=None, extra=()):
    return rezip([("data.pkl", pickled), ("data/0", FOUR.tobytes() if data is None else data), ("version", b"3\n"), *extra])


def old(pickled, keys=("0",), data=None, little=True):
    head = b"".join(pickle.dumps(v, protocol=2) for v in (
        torch.serialization.MAGIC_NUMBER, 1001,
        {"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}))
    raw = struct.pack("<q", 4) + FOUR.tobytes() if data is None else data
    return head + pickled + pickle.dumps(list(keys), protocol=2) + raw


def patched(data, find, offset, new, which=0):
    at = -1
    for _ in range(which + 1):
        at = data.index(find, at + 1)
    return data[:at + offset] + new + data[at + offset + len(new):]
