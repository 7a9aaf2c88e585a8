"""Derives the known answer of src/cosign/tests.rs from C2SP signed-note and tlog-cosignature alone (Python cryptography 48.0.0)."""

import base64
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAME, TIME, TYPE = "auditor.example/a1", 1790000000, b"\x04"
ROOT = base64.b64encode(hashlib.sha256(b"root").digest()).decode()
TEXT = f"test/node-1/1\n2\n{ROOT}\n"

key = Ed25519PrivateKey.from_private_bytes(b"\x2a" * 32)
public = key.public_key().public_bytes_raw()
key_id = hashlib.sha256(NAME.encode() + b"\n" + TYPE + public).digest()[:4]
signature = key.sign(f"cosignature/v1\ntime {TIME}\n{TEXT}".encode())
print(f"{NAME}+{key_id.hex()}+{base64.b64encode(TYPE + public).decode()}")
print(TEXT)
print(f"\u2014 {NAME} {base64.b64encode(key_id + struct.pack('>Q', TIME) + signature).decode()}")
