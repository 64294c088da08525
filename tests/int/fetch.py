import socket, sys
s = socket.create_connection(sys.argv[1:3]); s.setsockopt(0x74696d65, 1, sys.argv[3].encode())
s.sendall(b"GET / HTTP/1.0\r\n\r\n"); sys.stdout.write("".join(iter(lambda: s.recv(4096).decode(), "")))
