"""torch.save files built by hand, valid or with one fault: stored zip entries around a pickle."""
import struct

STORAGE, REBUILD, ORDERED = b"ctorch\n%sStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n)R"


def integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -2**31 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def sizes(values) -> bytes:
    return tuple_of(*map(integer, values))


def storage(kind=b"Float", key="0", count=6) -> bytes:
    return tuple_of(text("storage"), STORAGE % kind, text(key), text("cpu"), integer(count)) + b"Q"


def tensor(size=(2, 3), stride=(3, 1), offset=0, of=None, call=REBUILD, rest=b"\x89" + ORDERED) -> bytes:
    return call + tuple_of(of or storage(), integer(offset), sizes(size), sizes(stride), rest) + b"R"


def table(*items: bytes) -> bytes:
    return b"\x80\x02" + ORDERED + b"(" + b"".join(items) + b"u."


def one(**how) -> bytes:
    return table(text("t"), tensor(**how))


def archive(pickle: bytes, storages=None, entries=None, wide=False, method=0, flags=0, comment=b"", local_name=None, shift=0, count=None,
            locator=True, stored=None) -> bytes:
    """`wide`: sizes and offsets in 64-bit form; `shift`: the error of the directory's offsets."""
    entries = entries or {"x/data.pkl": pickle, "x/byteorder": b"little"} | {
        f"x/data/{k}": v for k, v in (storages if storages is not None else {"0": struct.pack("<6f", *range(6))}).items()}
    body, directory = b"", b""
    for name, content in entries.items():
        raw, place = name.encode(), len(body) + shift
        inner = (local_name or name).encode()
        body += b"PK\3\4" + struct.pack("<HHHIIIIHH", 0, flags, method, 0, 0, 0, 0, len(inner), 4) + inner + b"FB\0\0" + content
        size = len(content)
        numbers = (2**32 - 1,) * 3 if wide else (size if stored is None else stored, size, place)
        extra = struct.pack("<HHQQQ", 1, 24, size, size, place) if wide else b""
        directory += b"PK\1\2" + struct.pack("<HHHHIIIIHHHHHII", 0, 0, flags, method, 0, 0, numbers[0], numbers[1], len(raw), len(extra),
                                             0, 0, 0, 0, numbers[2]) + raw + extra
    n = len(entries) if count is None else count
    end = (n, len(directory), len(body))
    if wide:
        directory += b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, n, *end)
        directory += (b"PK\6\7" if locator else b"PK\6\6") + struct.pack("<IQI", 0, end[1] + end[2], 1)
        end = (0xffff, 2**32 - 1, 2**32 - 1)
    return body + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, min(n, 0xffff), *end, len(comment)) + comment


def torch_files(put) -> None:
    def file(name: str, pickle: bytes, **how) -> None:
        put("torch_file", name, archive(pickle, **how))

    parameter = b"ctorch._utils\n_rebuild_parameter\n" + tuple_of(tensor(), b"\x88", ORDERED) + b"R"
    attributes = b"}(" + text("_metadata") + ORDERED + b"ub"
    good = table(text("dense"), tensor(), text("transposed"), tensor((3, 2), (1, 3)), text("row"), tensor((3,), (1,), 3),
                 text("none"), tensor((0, 3), (3, 1)), text("scalar"), tensor((), (), 5), text("unit"), tensor((1, 6), (99, 1)))
    # valid files
    file("good", good)
    file("wide", good, wide=True)
    file("comment", good, comment=b"written by hand")
    file("parameter", table(text("t"), parameter)[:-1] + attributes + b".")
    file("older_call", one(call=b"ctorch._utils\n_rebuild_tensor\n", rest=b""))
    file("bfloat16", one(of=storage(b"BFloat16", "0", 12)))
    file("bytes", one(size=(24,), stride=(1,), of=storage(b"Byte", "0", 24)))
    file("remembered", b"\x80\x02}q\0(" + text("a") + b"q\1" + tensor() + b"r\2\0\0\0" + text("b") + b"j\2\0\0\0u.")
    # what a pickle must not use
    file("os_system", b"\x80\x02cposix\nsystem\n" + tuple_of(text("true")) + b"R.")
    file("eval", table(text("t"), b"c__builtin__\neval\n" + tuple_of(text("1")) + b"R"))
    file("stack_global", b"\x80\x04\x8c\x05posix\x8c\x06system\x93.")
    file("instance", b"\x80\x02(iposix\nsystem\n.")
    file("new_object", table(text("t"), b"ccollections\nOrderedDict\n)\x81"))
    file("extension", b"\x80\x02\x82\1.")
    file("list", b"\x80\x02].")
    file("storage_called", table(text("t"), STORAGE % b"Float" + b")R"))
    file("name_of_control", b"\x80\x02c\x1b[2J\n\x07\n.")
    # pickles that contradict themselves
    for name, pickle in {"empty": b"", "no_stop": b"\x80\x02}", "stop_alone": b".", "two_left": b"}}.", "behind_stop": b"}.}", "mark_left": b"}(.",
                         "below_mark": b"}(" + text("a") + b"N(s.", "no_mark": b"}u.", "odd_items": b"}(" + text("a") + b"u.", "set_in_tuple": b")NNs.",
                         "forgotten": b"h\7.", "put_nothing": b"q\0.", "cut_name": b"ctorch", "cut_text": b"X\xff\xff\xff\xff", "long_integer": b"\x8a\x09" + bytes(9) + b".",
                         "called_text": text("a") + b")R.", "dict_of_items": b"ccollections\nOrderedDict\n" + tuple_of(b"N") + b"R.",
                         "id_of_text": text("a") + b"Q.", "built_tuple": b")}b.", "tuple_root": b").", "tensor_root": tensor() + b".",
                         "key_of_int": b"}" + integer(1) + tensor() + b"s.", "key_of_control": b"}" + text("a\nb") + tensor() + b"s.",
                         "dict_in_itself": b"}q\0" + text("a") + b"h\0s.", "value_of_int": b"}" + text("a") + integer(1) + b"s.",
                         "parameter_of_none": b"ctorch._utils\n_rebuild_parameter\n" + tuple_of(b"N") + b"R.",
                         "name_twice": table(text("t"), tensor(), text("t"), tensor())}.items():
        file(name, pickle)
    # tensors that their storage cannot hold
    file("beyond_storage", one(size=(2, 4), stride=(4, 1)))
    file("offset_beyond", one(offset=1))
    file("offset_negative", one(offset=-1))
    file("stride_beyond", one(size=(2,), stride=(6,)))
    file("stride_huge", one(size=(2, 2), stride=(2**48, 2**48)))
    file("stride_zero", one(size=(2**40,), stride=(0,)))
    file("size_wraps", one(size=(2**32, 2**32), stride=(1, 1)))
    file("size_above_48_bits", one(size=(2**49,), stride=(1,)))
    file("size_of_none", table(text("t"), REBUILD + tuple_of(storage(), integer(0), b"N", sizes((1,))) + b"R"))
    file("one_stride_missing", one(stride=(1,)))
    file("many_dimensions", one(size=[1] * 65, stride=[1] * 65))
    file("few_arguments", table(text("t"), REBUILD + tuple_of(storage()) + b"R"))
    file("storage_of_function", one(of=tuple_of(text("storage"), REBUILD, text("0"), text("cpu"), integer(6)) + b"Q"))
    file("storage_untyped", one(of=tuple_of(text("storage"), text("0")) + b"Q"))
    file("storage_absent", one(of=storage(key="7")))
    file("storage_outside", one(of=storage(key="../data.pkl")))
    file("storage_short", one(of=storage(count=7)))
    # archives that contradict themselves, or have another form
    file("compressed", good, method=8)
    file("encrypted", good, flags=1)
    file("other_local_name", good, local_name="y")
    file("shifted", good, shift=1)
    file("entry_missing", good, count=4)
    file("entry_too_few", good, count=1)
    file("two_sizes", good, stored=1)
    file("no_locator", good, wide=True, locator=False)
    file("no_pickle", good, entries={"x/data/0": bytes(24)})
    file("pickle_below", good, entries={"x/y/data.pkl": good})
    file("two_pickles", good, entries={"x/data.pkl": good, "y/data.pkl": good})
    file("big_endian", good, entries={"x/data.pkl": good, "x/byteorder": b"big", "x/data/0": bytes(24)})
    file("control_in_name", good, entries={"x/da\nta.pkl": good})
    twice = archive(good, entries={"x/data.pkl": good, "x/data/0": bytes(24), "x/data/1": bytes(24)})
    put("torch_file", "same_name_twice", twice.replace(b"x/data/1", b"x/data/0"))
    apart = archive(good, entries={"x/data.pkl": good, "x/data/0": bytes(24)})
    place = apart.index(b"PK\1\2") + 20  # the first entry claims a byte of the second
    put("torch_file", "overlap", apart[:place] + struct.pack("<II", len(good) + 1, len(good) + 1) + apart[place + 8:])
    put("torch_file", "legacy", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    put("torch_file", "git_lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    put("torch_file", "other_kind", b"\x89PNG\r\n\x1a\n")
    put("torch_file", "end_alone", b"PK\5\6" + bytes(18))
    put("torch_file", "many_tuples", archive(b"\x80\x02" + b")\x85" * 1500 + b"."))
