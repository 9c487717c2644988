#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unpacks what building and running on CPU needs of the wheels in a folder: headers, libraries, licences.

The rest (Python modules, CUDA-only libraries) is two thirds of their size.

usage: unpack_wheels.py WHEEL_FOLDER TARGET_FOLDER
"""
import fnmatch
import pathlib
import sys
import time
import zipfile

WANTED = [
    "torch/include/*",
    "torch/lib/libc10.so",
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libgomp*.so*",
    "nvidia/cu13/lib/libcudart.so.*",
    "nvidia/cu13/lib/libcupti.so.*",
    "*.dist-info/METADATA",
    "*.dist-info/licenses/*",
]


def unpack(wheel: pathlib.Path, target: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and any(fnmatch.fnmatch(entry.filename, pattern) for pattern in WANTED):
                archive.extract(entry, target)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = map(pathlib.Path, sys.argv[1:])
    wheels = sorted(source.glob("*.whl"))
    if not wheels:
        sys.exit(f"no wheels in {source}")
    started = time.monotonic()
    for wheel in wheels:
        unpack(wheel, target)
    print(f"unpacked {len(wheels)} wheels in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
