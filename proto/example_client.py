#!/usr/bin/env python3
"""Fetches a page over TLS through htlsd, written from PROTOCOL.md with the standard library alone.

example_client.py HOST PORT [CA_FILE]"""
import os
import socket
import struct
import sys

HELLO, WELCOME, TRUST, CONNECT, RESULT, ERROR = 1, 2, 3, 4, 5, 6
VERSION, CAPS, FLAGS, SERVER_NAME, ALPN, PEM = 1, 2, 4, 5, 6, 16
MODE_RX, EARLY, TEXT = 21, 24, 32
CAP_EARLY = READS_RECORDS = 1
RELAY = 1
SOL_TLS, SET_RECORD_TYPE, GET_RECORD_TYPE = 282, 1, 2


def message(kind, ident, attributes, fds=()):
    body = b"".join(struct.pack("<HHI", number, 0, len(value)) + value + bytes(-len(value) % 4)
                    for number, value in attributes)
    return struct.pack("<4sHHII", b"htls", kind, len(fds), 16 + len(body), ident) + body


def parse(data, fds):
    magic, kind, nfds, length, ident = struct.unpack_from("<4sHHII", data)
    if (magic, nfds, length) != (b"htls", len(fds), len(data)):
        raise OSError("not an htls message")
    attributes, at = {}, 16
    while at < length:
        number, _, n = struct.unpack_from("<HHI", data, at)
        attributes[number] = data[at + 8:at + 8 + n]
        at += 8 + n + -n % 4
    return kind, ident, attributes


def upgrade(tcp, name, ca=b""):
    """Returns the socket that speaks TLS, the RESULT's attributes, and whether it is kernel mode."""
    pieces = [ca[i:i + 60000] for i in range(0, len(ca), 60000)]
    flags = struct.pack("<I", READS_RECORDS)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        daemon.connect(os.environ.get("HTLS_SOCKET", "/run/htls/htls.sock"))
        daemon.send(message(HELLO, 1, [(VERSION, struct.pack("<I", 1)),
                                       (CAPS, struct.pack("<I", CAP_EARLY))]))
        for piece in pieces:
            daemon.send(message(TRUST, 2, [(PEM, piece)]))
        request = message(CONNECT, 3, [(FLAGS, flags), (SERVER_NAME, name.encode()),
                                       (ALPN, b"http/1.1")], [tcp])
        socket.send_fds(daemon, [request], [tcp.fileno()])
        while True:
            data, fds, _, _ = socket.recv_fds(daemon, 65536, 2, socket.MSG_CMSG_CLOEXEC)
            kind, ident, attributes = parse(data, fds) if data else (ERROR, 0, {})
            if kind == ERROR:
                tcp.close()  # never to be used in the clear
                raise OSError(attributes.get(TEXT, b"the daemon went away").decode("utf-8", "replace"))
            if kind == RESULT and ident == 3:
                break
    if fds:  # relay: TLS is spoken by the daemon, the program's end is an ordinary socket
        tcp.close()
        tcp = socket.socket(fileno=fds[0])
    return tcp, attributes, attributes[MODE_RX][0] != RELAY


def read(sock, kernel):
    """Returns application data, or b"" at the end."""
    while True:
        if not kernel:
            return sock.recv(16384)
        data, control, _, _ = sock.recvmsg(16384, socket.CMSG_SPACE(1))
        if not data:
            raise OSError("truncated: the connection ended without close_notify")
        kind = next((c[2][0] for c in control if c[:2] == (SOL_TLS, GET_RECORD_TYPE)), 23)
        if kind == 23:
            return data
        if kind == 21 and data == b"\1\0":  # close_notify
            sock.shutdown(socket.SHUT_RD)
            return b""
        if kind != 22 or data[0] != 4:  # a NewSessionTicket may be dropped, nothing else
            raise OSError(f"record of type {kind}: {data.hex()}")


def finish(sock, kernel):
    """Says that nothing more will be written."""
    try:
        if kernel:
            sock.sendmsg([b"\1\0"], [(SOL_TLS, SET_RECORD_TYPE, b"\x15")])
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the peer was faster and is gone already


def main(host, port, ca_file=None):
    ca = open(ca_file, "rb").read() if ca_file else b""
    sock, result, kernel = upgrade(socket.create_connection((host, port)), host, ca)
    print("kernel" if kernel else "relay", file=sys.stderr)
    sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    data = result.get(EARLY) or read(sock, kernel)
    while data:
        sys.stdout.buffer.write(data)
        data = read(sock, kernel)
    finish(sock, kernel)


if __name__ == "__main__":
    main(*sys.argv[1:])
