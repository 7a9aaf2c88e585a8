"""Reads over one connection that stays open, by Python's ssl: prints the status of a GET for each line of standard input, and at the
first one the hash of the server's certificate."""
import hashlib, http.client, json, ssl, sys

task = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=task["ca"])
context.load_cert_chain(task["certificate"], task["key"])
host, port = task["host"].split(":")
connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
connection.connect()
connection.auto_open = 0
print(hashlib.sha256(connection.sock.getpeercert(True)).hexdigest(), flush=True)
for line in sys.stdin:
    connection.request("GET", line.strip(), headers={"Authorization": "Bearer " + task["token"]})
    reply = connection.getresponse()
    reply.read()
    print(reply.status, flush=True)
