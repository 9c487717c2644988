# SPDX-License-Identifier: Apache-2.0
"""A cache server for scripts, and how much memory processes take."""

import json
import os
import pathlib
import subprocess
import tempfile

WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # before a command: it ends when we are killed


def environment():
    """For programs that run beside a server: libgomp's idle threads would spin on the cores that it, too, needs."""
    return {"OMP_WAIT_POLICY": "passive", **os.environ}


class Server:
    """A cache server on loopback with ports from the kernel; its socket lies in `folder`, its spill folder in /var/tmp (/tmp may
    be memory). Stops with SIGTERM at the end of a `with` block."""

    def __init__(self, binaries, folder, host_pool, transport, spill=False):
        self.spill = tempfile.TemporaryDirectory(prefix="droidspeak-spill-", dir="/var/tmp") if spill else None
        command = [*WITH_US, binaries / "droidspeak-cacheserver", "--json", "--name", "bench", "--listen", "127.0.0.1:0", "--data",
                   "127.0.0.1:0", "--admin", "127.0.0.1:0", "--local-socket", folder / "socket", "--host-pool", host_pool,
                   "--transport", transport, "--log-level", "warn", *(["--spill", self.spill.name] if spill else [])]
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the cache server did not start; its message is above")
        self.address = json.loads(line)["listen"]

    def peak_bytes(self):
        """Most resident memory so far."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))

    def resident_bytes(self):
        """Resident memory now."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS:"))

    def cpu_seconds(self):
        """Processor time so far, to the nanosecond, of all its threads."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            code = self.process.wait(timeout=60)
        finally:
            self.process.kill()
            if self.spill is not None:
                self.spill.cleanup()
        if code != 0:
            raise SystemExit(f"the cache server ended with {code}")


def peak_bytes(command):
    """Most resident memory of a program that runs to its end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return usage.ru_maxrss << 10
