"""A mail server on loopback that answers by the recipient's name and keeps what it accepted as JSON lines.

    gone.x@...   550 at RCPT            full.x@...   552 behind the content
    busy3.x@...  451 three times, then accepted
    drop1.x@...  closes the connection at RCPT once, then accepted
    mute1.x@...  takes the content, keeps it, and closes without an answer once

Prints the port it listens at. Argument: one JSON object, see `main`.
"""

import asyncio
import collections
import json
import re
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

task = json.loads(sys.argv[1])
seen = collections.Counter()
kept = open(task["log"], "a", encoding="ascii")


def times(recipient, word):
    """Whether `recipient` asks for `word` and has not had it as often as it asks for."""
    asked = re.match(word + r"(\d+)\.", recipient)
    if not asked or seen[word, recipient] >= int(asked[1]):
        return False
    seen[word, recipient] += 1
    return True


def keep(envelope, session, transport):
    kept.write(
        json.dumps(
            {
                "to": envelope.rcpt_tos,
                "from": envelope.mail_from,
                "message": envelope.original_content.decode("latin-1"),
                "tls": transport.get_extra_info("sslcontext") is not None,
                "user": (session.auth_data or LoginPassword(b"", b"")).login.decode(),
            }
        )
        + "\n"
    )
    kept.flush()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone."):
            return "550 5.1.1 no such person"
        if times(address, "busy"):
            return "451 4.7.1 come back later"
        if times(address, "drop"):
            server.transport.abort()
            return "421 gone"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        recipient = envelope.rcpt_tos[0]
        if recipient.startswith("full."):
            return "552 5.2.2 the mailbox is full"
        keep(envelope, session, server.transport)
        if times(recipient, "mute"):
            server.transport.abort()
            return "421 gone"
        return "250 kept"


def check(server, session, envelope, mechanism, login):
    good = login == LoginPassword(task["user"].encode(), task["password"].encode())
    return AuthResult(success=good, handled=False, auth_data=login if good else None)


async def main():
    context = None
    if task.get("certificate"):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(task["certificate"], task["key"])
    implicit = task.get("implicit", False)
    options = {"hostname": "localhost", "enable_SMTPUTF8": False}
    if context and not implicit:
        options |= {"tls_context": context, "require_starttls": True}
    if task.get("user"):
        options |= {
            "authenticator": check,
            "auth_required": True,
            "auth_require_tls": not implicit,
            "auth_exclude_mechanism": task.get("without", []),
        }
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(), **options),
        "127.0.0.1",
        task.get("port", 0),
        ssl=context if implicit else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
