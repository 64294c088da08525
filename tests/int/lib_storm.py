"""Many clients at once, in one process and one thread."""
import collections
import resource
import selectors
import socket
import time

import lib
from lib_client import ERROR, MODE_TX, MODES, RESULT, Client, Refused, Stream


def raise_limit():
    """As many descriptors as we may have: each client needs three."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def storm(daemon, address, n, timeout_ms=60000, seconds=60, **options):
    """n upgrades that are all under way together. Returns (streams, Counter of errors' codes)."""
    began = time.monotonic()
    pem, clients, streams, errors = lib.ca_pem(), {}, [], collections.Counter()
    chooser = selectors.DefaultSelector()
    for _ in range(n):
        tcp = socket.create_connection(address, 30)
        tcp.setblocking(True)
        client = Client(daemon.socket, blocking=False)
        client.connect([tcp], "localhost", pem, timeout_ms=timeout_ms, **options)
        clients[client] = tcp
        chooser.register(client, selectors.EVENT_READ)
    while clients:
        left = seconds - (time.monotonic() - began)
        ready = chooser.select(left) if left > 0 else []
        lib.check(ready, f"{len(streams)} are up, {dict(errors)} failed, {len(clients)} have no answer "
                         f"after {seconds} s; the daemon: {daemon.status()}")
        for key, _ in ready:
            take_answer(key.fileobj, chooser, clients, streams, errors)
    chooser.close()
    return streams, errors


def take_answer(client, chooser, clients, streams, errors):
    message = client.recv()
    if message is not None and message.kind not in (RESULT, ERROR):
        return  # WELCOME
    tcp = clients.pop(client)
    chooser.unregister(client)
    if message is None or message.kind == ERROR:
        errors["closed" if message is None else str(Refused(message))] += 1
        tcp.close()
        client.close()
        return
    if message.fds:
        tcp.close()
        tcp = socket.socket(fileno=message.fds[0])
    streams.append(Stream(tcp, message, client))


def modes(streams):
    return dict(collections.Counter(MODES[s.result[MODE_TX]] for s in streams))
