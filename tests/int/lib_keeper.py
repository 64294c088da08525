"""htlsd under a service manager that keeps descriptors for it, as systemd does (FDSTORE)."""
import array
import fcntl
import os
import socket
import subprocess
import threading

import lib
from lib_daemon import Daemon


class KeptDaemon(Daemon):
    """start() gives back what earlier runs had it keep."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, restarts=None, **options)
        self.stored = {}  # name -> descriptor
        self.ready = threading.Event()
        self.path = lib.path(f"{self.name}.notify")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            data, control, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(4))
            lines = dict(line.split("=", 1) for line in data.decode().splitlines())
            if lines.get("READY") == "1":
                self.ready.set()
            for _, _, value in control:
                fds = array.array("i", value)
                lib.equal((lines["FDSTORE"], len(fds)), ("1", 1), "a descriptor to keep")
                self.stored[lines["FDNAME"]] = fds[0]

    def start(self):
        names, fds = list(self.stored), list(self.stored.values())
        self.ready.clear()

        def pass_on():
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
                os.close(fd)
        # LISTEN_PID must be the pid of the program itself: a shell becomes it.
        shell = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                shell + self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=pass_on,
                close_fds=False, env=dict(os.environ, NOTIFY_SOCKET=self.path, LISTEN_FDS=str(len(fds)),
                                          LISTEN_FDNAMES=":".join(names)))
        lib.check(self.ready.wait(20 * lib.PATIENCE), "htlsd did not say READY=1")
        self._warm_up()
        return self
