"""JPEG: modes, sampling, progressive ones, metadata, and files that do not end as they should."""

import struct

from PIL import ImageCms

from drawing import XMP, encoded, exif, picture


def jpeg_files():
    out = {}
    for m in ("L", "RGB", "CMYK"):
        for pr in (0, 1):
            for ss in (0, 1, 2):
                out[f"{m}{pr}{ss}"] = encoded(picture(m, 37, 29), "JPEG", progressive=bool(pr), subsampling=ss, quality=60 + 15 * ss)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    out["icc"] = encoded(picture("RGB"), "JPEG", icc_profile=icc)
    for o in range(1, 9):
        out[f"exif{o}"] = encoded(picture("RGB", 31, 17), "JPEG", exif=exif(o))
    j = encoded(picture("RGB", 31, 17), "JPEG")
    seg = lambda m, b: b"\xff" + bytes([m]) + struct.pack(">H", len(b) + 2) + b
    ins = lambda b: j[:20] + b + j[20:]
    out["xmp"] = ins(seg(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP % 6))
    out["ps"] = ins(
        seg(
            0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0" + struct.pack(">I", 16) + bytes(16) + b"8BIM\x04\x04\0\0" + struct.pack(">I", 3) + b"abc\0"
        )
    )
    out["adobe"] = ins(seg(0xEE, b"Adobe\0\x64\0\0\0\0\1"))
    out["com"] = ins(seg(0xFE, b"hello"))
    out["exif2"] = ins(seg(0xE1, exif(6).tobytes()[:30]) + seg(0xE1, b"Exif\0\0" + exif(6).tobytes()[30:]))
    out["restart"] = encoded(picture("RGB", 64, 40), "JPEG", restart_marker_blocks=2)
    out["mpo"] = encoded(picture("RGB", 31, 17), "MPO", save_all=True, append_images=[picture("RGB", 31, 17)])
    out["noeoi"] = j[:-2]
    out["noeoi_z"] = j[:-2] + bytes(40)
    out["noeoi_z1"] = j[:-2] + bytes(1)
    out["noeoi_mj"] = j[:-2] + b"\r\n--boundary\r\n"
    out["noeoi_com"] = j[:-2] + b"\xff\xfe\0\x50abc"
    out["noeoi_p"] = encoded(picture("RGB", 31, 17), "JPEG", progressive=True)[:-2] + bytes(50)
    out["junkhead"] = j[:2] + b"abc" + j[2:]
    out["ffpad"] = j[:2] + b"\xff\xff" + j[2:]
    return out
