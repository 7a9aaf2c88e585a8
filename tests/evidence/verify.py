#!/usr/bin/env python3
"""Verifies Portcullis evidence bundles. Written from docs/evidence-format.md alone, to find out whether that page suffices.

    verify.py --key name+id+base64 [--auditor name+id+base64] [--opening FILE] BUNDLE...

One line of JSON for each bundle: what it proves, or the name of what is wrong. With `-` for the bundle, paths are read from standard
input, one a line; a path, a tab and another is a bundle and an opening of it. Python 3.11 and the package `cryptography`.
"""

import argparse
import base64
import hashlib
import hmac
import ipaddress
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EMPTY_ROOT = hashlib.sha256(b"").digest()
NONE = (0, bytes(32))
MINUTE = 60_000_000


class Bad(Exception):
    """A bundle that does not hold. `name` is one of those of section 9."""

    def __init__(self, name, about=""):
        super().__init__(f"{name}: {about}" if about else name)
        self.name = name


class NotThis(Exception):
    """Bytes that are not what was wanted, to be named by whoever wanted it."""


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u64(number):
    return number.to_bytes(8, "big")


# Section 1: encoding


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if len(self.data) - self.at < count:
            raise NotThis("the bytes end inside a value")
        self.at += count
        return self.data[self.at - count : self.at]

    def head(self, major):
        first = self.take(1)[0]
        if first >> 5 != major:
            raise NotThis("a value of another type")
        short = first & 31
        if short < 24:
            return short
        if short > 27:
            raise NotThis("an indefinite length")
        width = 1 << (short - 24)
        value = int.from_bytes(self.take(width), "big")
        if value < {1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}[width]:
            raise NotThis("not the shortest form")
        return value

    def uint(self):
        return self.head(0)

    def bytes(self, *lengths):
        value = self.take(self.head(2))
        if lengths and len(value) not in lengths:
            raise NotThis("a byte string of another length")
        return value

    def text(self):
        try:
            return self.take(self.head(3)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotThis("not UTF-8") from error

    def array(self, *lengths):
        count = self.head(4)
        if lengths and count not in lengths:
            raise NotThis("an array of another length")
        return count

    def list(self, read):
        return [read() for _ in range(self.array())]

    def map(self, pairs):
        if self.head(5) != pairs:
            raise NotThis("a map of another length")

    def key(self, key):
        if self.uint() != key:
            raise NotThis("another key")

    def optional(self, read):
        if self.data[self.at : self.at + 1] == b"\xf6":
            self.at += 1
            return None
        return read()

    def end(self):
        if self.at != len(self.data):
            raise NotThis("bytes follow the value")

    def digest(self):
        return self.bytes(32)

    def id(self):
        return self.bytes(16)

    def classes(self):
        value = self.bytes(*range(33))
        if value[-1:] == b"\0":
            raise NotThis("classes that end in a zero byte")
        return int.from_bytes(value, "little")

    def network(self):
        value = self.bytes(4, 16)
        if len(value) == 16 and value[:12] == bytes(10) + b"\xff\xff":
            raise NotThis("an IPv4 address as IPv6")
        return value


def ascending(items):
    return all(a < b for a, b in zip(items, items[1:]))


# Sections 3 to 5: records


class Entry:
    def __init__(self, data):
        r = Reader(data)
        r.map(9)
        r.key(0)
        if r.uint() != 1:
            raise NotThis("another version")
        r.key(1)
        self.kind = r.uint()
        r.key(2)
        self.chain = r.bytes(0, 16)
        if not 1 <= self.kind <= 10 or (self.kind <= 4) != (self.chain != b""):
            raise NotThis("a kind on a chain it is never on")
        r.key(3)
        self.sequence = r.uint()
        r.key(4)
        self.previous = r.digest()
        r.key(5)
        self.time = r.uint()
        r.key(6)
        self.classes = r.classes()
        r.key(7)
        self.network = r.optional(r.digest)
        r.key(8)
        self.body = r.digest()
        r.end()
        self.leaf = sha256(b"\0", data)


class Body:
    """A body of kind 1, 2, 3, 4 or 10."""

    def __init__(self, data):
        r = Reader(data)
        pairs = next((n for n in (5, 6, 17) if data[:1] == bytes([0xA0 | n])), 17)
        r.map(pairs)
        r.key(0)
        if r.uint() != 1:
            raise NotThis("another version")
        r.key(1)
        self.kind = r.uint()
        if {1: 17, 2: 17, 3: 17, 4: 5, 10: 6}.get(self.kind) != pairs:
            raise NotThis("a body of another kind")
        r.key(2)
        r.bytes(16)
        self.touches, self.root, self.commitment = 0, EMPTY_ROOT, None
        if self.kind == 4:
            r.key(3)
            r.id()
            r.key(4)
            self.taken_back = r.digest()
        elif self.kind == 10:
            r.key(3)
            self.root_of_map = r.digest()
            r.key(4)
            self.chains = r.uint()
            r.key(5)
            self.sum = r.uint()
        else:
            self.access(r)
        r.end()

    def access(self, r):
        r.key(3)
        r.id()
        r.key(4)
        self.vendor = r.id()
        r.key(5)
        r.id()
        r.key(6)
        r.optional(r.id)
        r.key(7)
        operation = r.optional(r.text)
        if operation is not None and not (
            1 <= len(operation.encode()) <= 128 and all("!" <= c <= "~" for c in operation)
        ):
            raise NotThis("not an operation")
        r.key(8)
        self.network = r.network()
        r.key(9)
        self.commitment = commitment(self.network, r.bytes(16))
        for key in (10, 11, 12):
            r.key(key)
            r.digest()
        r.key(13)
        reason = r.optional(r.uint)
        if (reason is None) == (self.kind == 3) or reason is not None and not 1 <= reason <= 12:
            raise NotThis("not the reason of a refusal")
        r.key(14)
        r.uint()
        r.key(15)
        self.touches = r.uint()
        r.key(16)
        self.root = r.digest()


def commitment(network, opening):
    return sha256(b"portcullis/network/1", opening, network)


def read_touches(data):
    """Record salt and touches."""
    if data == b"":
        return bytes(16), []
    r = Reader(data)
    r.map(3)
    r.key(0)
    if r.uint() != 1:
        raise NotThis("another version")
    r.key(1)
    salt = r.bytes(16)
    r.key(2)

    def touch():
        r.array(2)
        return r.bytes(16), r.classes()

    touches = r.list(touch)
    r.end()
    if not touches or not ascending([pseudonym for pseudonym, _ in touches]):
        raise NotThis("touches that are not sorted, or none")
    return salt, touches


def class_bytes(classes):
    return classes.to_bytes((classes.bit_length() + 7) // 8, "little")


def touch_leaf(salt, pseudonym, classes):
    return sha256(b"\0portcullis/touch/1", salt, pseudonym, class_bytes(classes))


def touch_salt(record_salt, index):
    message = b"portcullis/derive/touch/1" + index.to_bytes(4, "big")
    return hmac.digest(record_salt, message, "sha256")[:16]


def tree_root(leaves):
    if not leaves:
        return EMPTY_ROOT
    while len(leaves) > 1:
        above = [sha256(b"\1", a, b) for a, b in zip(leaves[::2], leaves[1::2])]
        leaves = above + leaves[len(above) * 2 :]
    return leaves[0]


# Trees


def climb(index, size, path, start, join):
    """RFC 9162 section 2.1.3.2, for any kind of node. None if the path is too long or too short."""
    fn, sn, at = index, size - 1, start
    for sibling in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            at = join(sibling, at)
            while fn & 1 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            at = join(at, sibling)
        if at is None:
            return None
        fn, sn = fn >> 1, sn >> 1
    return at if sn == 0 else None


def is_included(leaf, index, size, path, root):
    return index < size and climb(index, size, path, leaf, lambda a, b: sha256(b"\1", a, b)) == root


def join_heads(left, right):
    (left_hash, left_sum), (right_hash, right_sum) = left, right
    if left_sum + right_sum >= 1 << 64:
        return None
    prefix = b"\1portcullis/heads/1"
    joined = sha256(prefix, u64(left_sum), left_hash, u64(right_sum), right_hash)
    return joined, left_sum + right_sum


class Place:
    def __init__(self, r):
        r.map(5)
        r.key(0)
        self.chain = r.bytes(0, 16)
        r.key(1)
        self.count = r.uint()
        r.key(2)
        self.head = r.digest()
        r.key(3)
        self.index = r.uint()
        r.key(4)

        def node():
            r.array(2)
            return r.digest(), r.uint()

        self.path = r.list(node)

    def is_in(self, heads):
        if self.index >= heads.chains:
            return False
        length = bytes([len(self.chain)])
        prefix = b"\0portcullis/heads/1"
        leaf = sha256(prefix, length, self.chain, u64(self.count), self.head)
        start = (leaf, self.count)
        root = (heads.root_of_map, heads.sum)
        return climb(self.index, heads.chains, self.path, start, join_heads) == root


class HeadProof:
    def __init__(self, r):
        count, kind = r.array(2, 3), r.uint()
        if (count, kind) not in ((2, 1), (3, 0)):
            raise NotThis("not a proof of a head")
        self.present = Place(r) if kind == 1 else None
        if kind == 0:
            self.before = r.optional(lambda: Place(r))
            self.after = r.optional(lambda: Place(r))

    def head(self, chain, heads):
        """Count and head of the chain; None if this does not prove them."""
        place = self.present
        if place is not None:
            fits = place.chain == chain and place.is_in(heads)
            return (place.count, place.head) if fits else None
        before, after = self.before, self.after
        if before is not None and not (before.chain < chain and before.is_in(heads)):
            return None
        if after is not None and not (chain < after.chain and after.is_in(heads)):
            return None
        starts = 0 if before is None else before.index + 1
        ends = heads.chains if after is None else after.index
        empty = heads.root_of_map == EMPTY_ROOT and heads.sum == 0
        return NONE if starts == ends and (heads.chains > 0 or empty) else None


# Section 7: keys and notes


class Key:
    def __init__(self, text, kind):
        name, id_hex, encoded = text.split("+", 2)
        data = base64.b64decode(encoded, validate=True)
        if data[:1] != bytes([kind]) or len(data) != 33:
            raise ValueError(f"`{text}` is not a key of type {kind}")
        self.name, self.id, self.kind = name, bytes.fromhex(id_hex), kind
        if self.id != sha256(name.encode(), b"\n", data)[:4]:
            raise ValueError(f"`{text}` has another id")
        self.public = Ed25519PublicKey.from_public_bytes(data[1:])

    def verifies(self, blob, text):
        signature, message = blob, text.encode()
        if self.kind == 4:
            time = int.from_bytes(blob[:8], "big")
            signature = blob[8:]
            message = f"cosignature/v1\ntime {time}\n{text}".encode()
            if len(blob) < 8 or time >= 1 << 63:
                return False
        try:
            self.public.verify(signature, message)
        except InvalidSignature:
            return False
        return len(signature) == 64


def decode_base64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Bad("checkpoint", "base64") from error
    if base64.b64encode(data).decode() != text:
        raise Bad("checkpoint", "base64 with stray bits")
    return data


def open_note(note, keys):
    """The text, and the known keys that signed."""
    if len(note.encode()) > 65536 or any(c < " " and c != "\n" for c in note):
        raise Bad("checkpoint", "not a note")
    at = note.rfind("\n\n")
    lines = note[at + 2 :]
    if at < 0 or not lines.endswith("\n"):
        raise Bad("checkpoint", "no signatures")
    text, lines = note[: at + 1], lines[:-1].split("\n")
    if len(lines) > 100:
        raise Bad("checkpoint", "too many signatures")
    parsed = []
    for line in lines:
        if not line.startswith("\u2014 ") or line.count(" ") < 2:
            raise Bad("checkpoint", "a signature line")
        name, blob = line[2:].split(" ", 1)
        blob = decode_base64(blob)
        if not name or "+" in name or any(c.isspace() for c in name) or len(blob) <= 4:
            raise Bad("checkpoint", "a signature line")
        parsed.append((name, blob[:4], blob[4:]))
    signers = []
    for key in keys:
        for name, key_id, blob in parsed:
            if (name, key_id) == (key.name, key.id):
                if not key.verifies(blob, text):
                    raise Bad("checkpoint", "forged")
                signers.append(key)
    return text, signers


def open_checkpoint(note, logs, auditors):
    text, signers = open_note(note, logs + auditors)
    lines = text[:-1].split("\n")
    if len(lines) < 3 or "" in (lines[0], *lines[3:]):
        raise Bad("checkpoint", "not a checkpoint")
    origin, size, root = lines[0], lines[1], decode_base64(lines[2])
    if not (size.isascii() and size.isdigit()) or str(int(size)) != size or int(size) >= 1 << 64:
        raise Bad("checkpoint", "size")
    if len(root) != 32 or (size == "0" and root != EMPTY_ROOT):
        raise Bad("checkpoint", "root")
    if not any(key.kind == 1 and key.name == origin for key in signers):
        raise Bad("checkpoint", "not signed by its log")
    return origin, int(size), root, any(key.kind == 4 for key in signers)


# Section 8: the bundle


class HeadsAt:
    def __init__(self, r):
        r.map(4)
        r.key(0)
        self.index = r.uint()
        r.key(1)
        self.entry = r.bytes()
        r.key(2)
        self.body = r.bytes()
        r.key(3)
        self.path = r.list(r.digest)

    def verify(self, size, root):
        """Time and body."""
        if not is_included(sha256(b"\0", self.entry), self.index, size, self.path, root):
            raise Bad("not-in-log", "heads record")
        try:
            entry = Entry(self.entry)
            if entry.kind != 10 or sha256(b"portcullis/body/1", self.body) != entry.body:
                raise Bad("not-in-log", "heads record")
            body = Body(self.body)
        except NotThis as error:
            raise Bad("malformed", error) from error
        if body.kind != 10:
            raise Bad("not-in-log", "heads record")
        if body.sum != self.index:
            raise Bad("off-chain")
        return entry.time, body


class Shown:
    def __init__(self, r):
        r.map(2)
        r.key(0)
        self.entry = r.bytes()
        r.key(1)
        self.facts = r.optional(lambda: self.read_facts(r))

    @staticmethod
    def read_facts(r):
        r.array(3)
        kind = r.uint()
        if kind == 0:
            return kind, r.network(), r.bytes(16)
        if kind not in (1, 2):
            raise NotThis("facts of another kind")
        body, rest = r.bytes(), r.bytes()
        if kind == 2:
            if len(rest) % 32:
                raise NotThis("leaf hashes of another length")
            rest = [rest[at : at + 32] for at in range(0, len(rest), 32)]
        return kind, body, rest


class Run:
    def __init__(self, r):
        r.map(4)
        r.key(0)
        self.chain = r.bytes(0, 16)
        r.key(1)
        self.lower = r.optional(lambda: HeadProof(r))
        r.key(2)
        self.upper = HeadProof(r)
        r.key(3)
        self.shown = r.list(lambda: Shown(r))


def read_subnet(r):
    r.array(2)
    address, prefix = ipaddress.ip_address(r.bytes(4, 16)), r.uint()
    try:
        return ipaddress.ip_network((int(address), prefix) if address.version == 4 else (address, prefix))
    except ValueError as error:
        raise NotThis("not a subnet") from error


class Question:
    def __init__(self, r):
        r.map(5)
        r.key(0)
        self.integrations = r.optional(lambda: r.list(r.id))
        r.key(1)
        self.start = r.uint()
        r.key(2)
        self.end = r.uint()
        r.key(3)
        self.classes = r.optional(r.classes)
        r.key(4)
        self.networks = r.optional(lambda: r.list(lambda: read_subnet(r)))
        order = [(n.version, int(n.network_address), n.prefixlen) for n in self.networks or []]
        if self.end < self.start or not ascending(self.integrations or []) or not ascending(order):
            raise NotThis("not a question")

    def may_count(self, entry):
        classes = self.classes is None or self.classes & entry.classes
        return entry.kind == 1 and self.start <= entry.time < self.end and classes

    def has_network(self, network):
        if self.networks is None:
            return True
        address = ipaddress.ip_address(network)
        return any(address in net for net in self.networks if net.version == address.version)


class Bundle:
    def __init__(self, data):
        r = Reader(data)
        second = data[:1] == b"\xab"
        r.map(11 if second else 9)
        r.key(0)
        if r.text() != f"portcullis.evidence/{2 if second else 1}":
            raise NotThis("another format")
        r.key(1)
        self.level = r.text()
        if self.level not in ("operator-asserted", "auditor-cosigned"):
            raise NotThis("an unknown level")
        r.key(2)
        self.checkpoint = r.text()
        r.key(3)
        self.question = Question(r)
        r.key(4)
        self.lower = r.optional(lambda: HeadsAt(r))
        r.key(5)
        self.upper = HeadsAt(r)
        r.key(6)
        self.system = r.optional(lambda: Place(r))
        r.key(7)
        self.runs = r.list(lambda: Run(r))
        r.key(8)
        r.map(2)
        r.key(0)
        self.records = r.uint()
        r.key(1)
        self.subjects = r.list(lambda: self.read_subject(r))
        self.vendor = self.recipient = None
        if second:
            r.key(9)
            self.vendor = r.optional(r.id)
            r.key(10)
            self.recipient = r.optional(lambda: (r.array(2), r.text(), r.digest())[1:])
        r.end()
        length = 2 if self.recipient else 5
        if not all(len(s) == length for s in self.subjects):
            raise NotThis("an answer of the other kind")
        if not ascending([subject[0] for subject in self.subjects]):
            raise NotThis("subjects that are not sorted")
        if self.recipient and self.question.classes is not None:
            raise NotThis("sealed and asked for by class")
        if second and not self.vendor and not self.recipient:
            raise NotThis("format 2 without need")

    @staticmethod
    def read_subject(r):
        if r.array(2, 5) == 5:
            return r.bytes(16), r.classes(), r.uint(), r.uint(), r.uint()
        token, numbers = r.bytes(16), r.list(r.uint)
        if len(numbers) % 3:
            raise NotThis("positions are triples")
        return token, list(zip(numbers[::3], numbers[1::3], numbers[2::3]))


# Section 9: the checks, in order


def verify(data, logs, auditors):
    try:
        bundle = Bundle(data)
    except NotThis as error:
        raise Bad("malformed", error) from error
    origin, size, root, cosigned = open_checkpoint(bundle.checkpoint, logs, auditors)
    if bundle.level == "auditor-cosigned" and not cosigned:
        raise Bad("not-cosigned")
    lower = bundle.lower and bundle.lower.verify(size, root)
    upper = bundle.upper.verify(size, root)
    question = bundle.question
    if (lower and lower[0] >= question.start) or upper[0] < question.end:
        raise Bad("window-not-enclosed")
    check_integrations(bundle, upper[1])
    for run in bundle.runs:
        check_run(run, lower, upper)
    counted = count(bundle)
    if any(record.sealed != bool(bundle.recipient) for record in counted):
        raise Bad("malformed", "touches that are not as the bundle says")
    counted = [record for record in counted if not record.taken_back]
    claimed = (bundle.records, bundle.subjects)
    if bundle.recipient:
        check_positions(bundle, counted)
        right = bundle.records == len(counted)
    else:
        right = claimed == (len(counted), answer(question, counted))
    if not right:
        raise Bad("other-answer")
    return {
        "ok": True,
        "log": origin,
        "tree_size": size,
        "level": "auditor-cosigned" if cosigned else "operator-asserted",
        "as_of": upper[0],
        "records": bundle.records,
        "subjects": len(bundle.subjects),
        "vendor": bundle.vendor and bundle.vendor.hex(),
        "recipient": bundle.recipient and bundle.recipient[0],
        "touches": sum(len(record.touches) for record in counted),
    }, bundle


def check_integrations(bundle, heads):
    chains = [run.chain for run in bundle.runs]
    if not ascending(chains):
        raise Bad("integration-left-out")
    named = bundle.question.integrations
    if named is not None:
        if chains != named:
            raise Bad("integration-left-out")
        return
    places = set()
    if bundle.system is not None:
        if bundle.system.chain != b"" or not bundle.system.is_in(heads):
            raise Bad("head-not-proved", "system")
        places.add(bundle.system.index)
    for run in bundle.runs:
        place = run.upper.present
        if place is None:
            raise Bad("integration-left-out")
        if run.chain == b"" or not place.is_in(heads):
            raise Bad("head-not-proved", run.chain.hex())
        places.add(place.index)
    if len(places) != heads.chains:
        raise Bad("integration-left-out")


def head_of(run, proof, heads):
    if proof is None and heads is None:
        return NONE
    head = proof.head(run.chain, heads[1]) if proof and heads else None
    if head is None:
        raise Bad("head-not-proved", run.chain.hex())
    return head


def check_run(run, lower, upper):
    (first, first_leaf), (last, last_leaf) = head_of(run, run.lower, lower), head_of(run, run.upper, upper)
    entries = []
    for shown in run.shown:
        try:
            entry = Entry(shown.entry)
        except NotThis as error:
            raise Bad("changed", f"entry: {error}") from error
        if entry.chain != run.chain:
            raise Bad("other-log", "an entry of another chain")
        shown.parsed = entry
        entries.append(entry)
    check_sequence([entry.sequence for entry in entries], first, last)
    leaves = [entry.leaf for entry in entries]
    previous = [entry.previous for entry in entries]
    before = [first_leaf, *leaves]
    wanted = [*previous[1:], last_leaf]  # what entry i's leaf should be, says the next one or the map
    for i in range(len(entries)):
        if previous[i] != before[i]:
            raise Bad("other-log", f"entry {i}")
        if leaves[i] != wanted[i]:
            # Either this one was changed, or the next is a stranger, whom what follows does not know either.
            if i + 1 < len(entries) and leaves[i + 1] != wanted[i + 1]:
                raise Bad("other-log", f"entry {i + 1}")
            raise Bad("changed", f"entry {i}")
        if entries[i].time < (entries[i - 1].time if i else (lower[0] if lower else 0)):
            raise Bad("time-back")
    if before[-1] != last_leaf:
        raise Bad("head-not-proved", run.chain.hex())
    if entries and upper[0] < entries[-1].time or lower and upper[0] < lower[0]:
        raise Bad("time-back")


def check_sequence(numbers, first, last):
    wanted = list(range(first, first + len(numbers)))
    if numbers == wanted and first + len(numbers) == last:
        return
    if len(set(numbers)) != len(numbers):
        raise Bad("repeated")
    if any(not first <= number < last for number in numbers):
        raise Bad("changed", "a sequence number")
    present = set(numbers)
    missing = next((n for n in range(first, min(last, first + len(numbers) + 1)) if n not in present), None)
    if missing is not None:
        raise Bad("truncated" if all(n < missing for n in numbers) else "dropped", missing)
    raise Bad("swapped")


class Counted:
    def __init__(self, run, entry, touches, sealed):
        self.run, self.entry, self.touches, self.sealed = run, entry, touches, sealed
        self.taken_back = False


def count(bundle):
    question, counted = bundle.question, []
    for number, run in enumerate(bundle.runs):
        of_run = {}
        for shown in run.shown:
            entry, facts = shown.parsed, shown.facts
            may_count = question.may_count(entry)
            if facts is None:
                if may_count or entry.kind == 4:
                    raise Bad("not-shown")
                continue
            if facts[0] == 0:
                if commitment(facts[1], facts[2]) != entry.network:
                    raise Bad("changed", "network")
                if entry.kind == 4 or may_count and question.has_network(facts[1]):
                    raise Bad("not-shown")
                continue
            body, touches = open_facts(entry, facts)
            if may_count and question.has_network(body.network):
                if bundle.vendor and body.vendor != bundle.vendor:
                    raise Bad("other-vendor")
                record = Counted(number, entry, touches, facts[0] == 2)
                of_run[entry.leaf] = record
                counted.append(record)
            elif entry.kind == 4:
                record = of_run.get(body.taken_back)
                if record and entry.time - record.entry.time <= MINUTE:
                    record.taken_back = True
    return counted


def open_facts(entry, facts):
    """Body and touches, or leaf hashes, that are proved to be the entry's."""
    kind, data, rest = facts
    if sha256(b"portcullis/body/1", data) != entry.body:
        raise Bad("changed", "body")
    try:
        body = Body(data)
        if kind == 1:
            salt, touches = read_touches(rest)
    except NotThis as error:
        raise Bad("changed", error) from error
    if body.kind != entry.kind or body.commitment != entry.network:
        raise Bad("changed", "kind or network")
    if kind == 2:
        leaves = touches = rest
    else:
        leaves = [touch_leaf(touch_salt(salt, i), *touch) for i, touch in enumerate(touches)]
    if len(leaves) != body.touches or tree_root(leaves) != body.root:
        raise Bad("changed", "touches")
    if kind == 1:
        union = 0
        for _, classes in touches:
            union |= classes
        if union != entry.classes:
            raise Bad("changed", "class mask")
    return body, touches


def answer(question, counted):
    subjects = {}
    for record in counted:
        time = record.entry.time
        for pseudonym, classes in record.touches:
            if question.classes is not None:
                classes &= question.classes
                if not classes:
                    continue
            known = subjects.get(pseudonym, (0, time, time, 0))
            seen = (known[0] | classes, min(known[1], time), max(known[2], time), known[3] + 1)
            subjects[pseudonym] = seen
    return [(pseudonym, *subjects[pseudonym]) for pseudonym in sorted(subjects)]


# Section 10: sealed bundles


def check_positions(bundle, counted):
    claimed = []
    for _, positions in bundle.subjects:
        if not positions or not ascending([position[:2] for position in positions]):
            raise Bad("other-answer", "positions of a token")
        claimed.extend(positions)
    there = [(r.run, r.entry.sequence, i) for r in counted for i in range(len(r.touches))]
    if sorted(claimed) != there:
        raise Bad("other-answer", "positions")


def verify_opening(data, bundle):
    try:
        r = Reader(data)
        r.map(8)
        r.key(0)
        if r.text() != "portcullis.opening/1":
            raise NotThis("not an opening")
        position = []
        for key in (1, 2, 3):
            r.key(key)
            position.append(r.uint())
        r.key(4)
        key = r.bytes(32)
        r.key(5)
        salt = r.bytes(16)
        r.key(6)
        pseudonym = r.bytes(16)
        r.key(7)
        classes = r.classes()
        r.end()
    except NotThis as error:
        raise Bad("malformed", error) from error
    token = hmac.digest(key, b"portcullis/token/1" + pseudonym, "sha256")[:16]
    positions = dict(bundle.subjects).get(token) if bundle.recipient else None
    run, sequence, touch = position
    if not positions or tuple(position) not in positions:
        raise Bad("not-opened", "no such token there")
    if sha256(b"portcullis/recipient/1", key) != bundle.recipient[1]:
        raise Bad("not-opened", "another recipient's key")
    shown = next(s for s in bundle.runs[run].shown if s.parsed.sequence == sequence)
    if shown.facts[2][touch] != touch_leaf(salt, pseudonym, classes):
        raise Bad("not-opened", "another touch")
    return {"token": token.hex(), "classes": [n for n in range(256) if classes >> n & 1]}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def said(path, opening, logs, auditors):
    try:
        proved, bundle = verify(read(path), logs, auditors)
        if opening:
            proved["opened"] = verify_opening(read(opening), bundle)
        return proved
    except Bad as bad:
        return {"ok": False, "name": bad.name, "about": str(bad)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--key", action="append", required=True)
    arguments.add_argument("--auditor", action="append", default=[])
    arguments.add_argument("--opening")
    arguments.add_argument("bundle", nargs="+")
    given = arguments.parse_args()
    logs = [Key(text, 1) for text in given.key]
    auditors = [Key(text, 4) for text in given.auditor]
    pairs = [(path, given.opening) for path in given.bundle]
    if given.bundle == ["-"]:
        lines = [line.rstrip("\n").split("\t") for line in sys.stdin]
        pairs = [(line[0], line[1] if len(line) > 1 else None) for line in lines]
    all_hold = True
    for path, opening in pairs:
        result = said(path, opening, logs, auditors)
        all_hold = all_hold and result["ok"]
        print(json.dumps(result), flush=True)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
