"""TLS servers that are not ours: nginx, openssl s_server, gnutls-serv. Each on a free port of 127.0.0.1."""
import array
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import termios
import time

import lib

PAGE = b"<html><body>" + b"first light, " * 40 + b"</body></html>\n"


def needs(tool):
    found = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not found:
        raise lib.Skip(f"{tool} is not installed")
    return found


class Server:
    """A child process; self.address is where it listens."""
    count = 0

    def __init__(self):
        Server.count += 1
        self.name = f"{type(self).__name__.lower()}{Server.count}"
        self.folder = lib.path(self.name)
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o755)
        with open(os.path.join(self.folder, "index.html"), "wb") as f:
            f.write(PAGE)
        self.log_path = lib.path(f"{self.name}.log")
        self.process = None
        self.address = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, command, **options):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stderr=log,
                                            **{"stdin": subprocess.DEVNULL, "stdout": log, **options})

    def alive(self):
        lib.check(self.process.poll() is None, f"{self.name} ended with {self.process.returncode}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout) if self.process else ():
            if pipe:
                pipe.close()


class Nginx(Server):
    """/ is PAGE; /big is a file of `big` bytes; PUT to /up/… stores; /reused is "r" when the session was
    resumed. versions: as ssl_protocols, sessions: as ssl_session_cache."""

    def __init__(self, versions="TLSv1.2 TLSv1.3", cert="server", extra="", big=None, sessions="none"):
        super().__init__()
        self.versions, self.cert, self.extra, self.sessions = versions, cert, extra, sessions
        if big is not None:
            with open(os.path.join(self.folder, "big"), "wb") as f:
                f.write(big)

    def start(self):
        nginx = needs("nginx")
        with socket.socket() as listener:
            # Handed over as nginx does to its successor: the port is ours before anybody else's.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen(4096)
            self.address = listener.getsockname()
            with open(os.path.join(self.folder, "nginx.conf"), "w") as f:
                f.write(self._config())
            self.run([nginx, "-e", self.log_path, "-p", self.folder, "-c", "nginx.conf"],
                     env=dict(os.environ, NGINX=f"{listener.fileno()};"), pass_fds=[listener.fileno()])
        self.alive()

    def _config(self):
        user = "user root;" if os.getuid() == 0 else ""
        return f"""
daemon off; {user} worker_processes 1; pid nginx.pid; error_log {self.log_path} warn;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u;
  scgi_temp_path s; client_max_body_size 0; lingering_close off; keepalive_timeout 300;
  server {{
    listen 127.0.0.1:{self.address[1]} ssl backlog=4096; server_name localhost;
    ssl_certificate {lib.pki(self.cert)}.crt; ssl_certificate_key {lib.pki(self.cert)}.key;
    ssl_protocols {self.versions}; ssl_ciphers ALL; ssl_session_cache {self.sessions};
    {self.extra}
    location = /reused {{ return 200 "$ssl_session_reused"; }}
    location / {{ root {self.folder}; dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


class SServer(Server):
    """openssl s_server. With interactive, lines go to its standard input (Q, K, k are commands)."""

    def __init__(self, *arguments, cert="server", interactive=False):
        super().__init__()
        self.arguments, self.cert, self.interactive = arguments, cert, interactive
        self.seen = b""

    def start(self):
        mode = [] if self.interactive else ["-www"]
        self.run([needs("openssl"), "s_server", "-accept", "127.0.0.1:0", *mode, *self.arguments,
                  "-cert", lib.pki(self.cert) + ".crt", "-key", lib.pki(self.cert) + ".key"],
                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        line = self.wait_for(rb"ACCEPT [^\n]*:(\d+)\n")
        self.address = ("127.0.0.1", int(line.group(1)))

    def wait_for(self, pattern, seconds=20.0):
        """Reads its output until the pattern matches; the match. What came before it is forgotten."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.seen, re.S)
            if found:
                self.seen = self.seen[found.end():]
                return found
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            with open(self.log_path, "ab") as log:
                log.write(data)
            lib.check(data, f"{self.name} never said {pattern!r}; the rest was {self.seen[-300:]!r}")
            self.seen += data

    def type(self, line):
        """One line at a time: it looks for a command only at the start of what one read() gave."""
        self.process.stdin.write(line)
        left = array.array("i", [1])

        def taken():
            fcntl.ioctl(self.process.stdin, termios.FIONREAD, left)
            return left[0] == 0
        lib.eventually(taken, f"{self.name} reads its input")


class GnutlsServ(Server):
    def __init__(self, priority, cert="server"):
        super().__init__()
        self.priority, self.cert = priority, cert

    def start(self):
        # It cannot take port 0: look for a free one, and again if somebody was faster.
        for _ in range(20):
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            self.run([needs("gnutls-serv"), "-p", str(port), "--http", "--priority", self.priority,
                      "--x509certfile", lib.pki(self.cert) + ".crt",
                      "--x509keyfile", lib.pki(self.cert) + ".key"])
            self.address = ("127.0.0.1", port)
            if lib.eventually(self._up, "gnutls-serv listens", 20):
                if self.process.poll() is None:
                    return
        raise AssertionError("gnutls-serv found no port")

    def _up(self):
        if self.process.poll() is not None:
            return True
        try:
            lib.dial(self.address).close()
            return True
        except ConnectionRefusedError:
            return False
