"""Compiles the .proto files of gRPC protocols to descriptor sets; with ``--check`` only says whether they are up to date."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "modelyard" / "protocols").glob("*_grpc/stubs/*.proto"))


def compiled(source: Path) -> bytes:
    """The descriptor set of a file and of what it imports."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.pb"
        known = Path(grpc_tools.__file__).parent / "_proto"  # google/protobuf/any.proto and the like
        arguments = [
            "protoc",
            f"--proto_path={source.parent}",
            f"--proto_path={known}",
            "--include_imports",
            f"--descriptor_set_out={out}",
            str(source),
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit(f"{source} cannot be compiled.")
        return out.read_bytes()


def same(left: bytes, right: bytes) -> bool:
    """Whether two descriptor sets say the same, however a version of the compiler orders bytes."""
    return FileDescriptorSet.FromString(left) == FileDescriptorSet.FromString(right)


def main() -> int:
    """The exit status: 1 when a check finds something out of date."""
    stale = []
    for source in SOURCES:
        target, fresh = source.with_suffix(".pb"), compiled(source)
        if target.exists() and same(target.read_bytes(), fresh):
            continue
        stale.append(target.relative_to(ROOT))
        if "--check" not in sys.argv[1:]:
            target.write_bytes(fresh)
    for path in stale:
        print(f"{path} is out of date; run: python scripts/protos.py" if "--check" in sys.argv[1:] else f"wrote {path}")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
