# SPDX-License-Identifier: Apache-2.0
"""The servers of other caches, one class each: they start with ports from the kernel and end with the object."""

import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

PATIENCE_SECONDS = 60
PR_SET_PDEATHSIG = 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Servers:
    """Processes and the CPU time that they use; `log` has what they say."""

    def __init__(self, log):
        self.log = log
        self.processes = []

    def start(self, command, **keywords):
        with open(self.log, "ab") as log:
            self.processes.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log,
                                                   preexec_fn=end_with_parent, **keywords))

    def wait_for(self, port):
        """Until something listens on `port`; fails with the servers' last words when one of them has ended."""
        for _ in range(PATIENCE_SECONDS * 20):
            if any(process.poll() is not None for process in self.processes):
                break
            with socket.socket() as probe:
                # A port that nobody listens on may be given to the probe itself, which then talks to itself.
                if probe.connect_ex(("127.0.0.1", port)) == 0 and probe.getsockname() != probe.getpeername():
                    return
            time.sleep(0.05)
        raise RuntimeError(f"its server did not start: {self.last_words()}")

    def last_words(self):
        lines = [line.strip() for line in pathlib.Path(self.log).read_text(errors="replace").splitlines()]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["it said nothing"])[0 if errors else -1]

    def cpu_seconds(self):
        tasks = [task for process in self.processes for task in pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat")]
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


class Redis(Servers):
    def __init__(self, log):
        super().__init__(log)
        self.port = free_port()
        # Debian's redis-tools has the program under another name.
        self.start(["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--save", "", "--appendonly", "no"],
                   executable="/usr/bin/redis-check-rdb")
        self.wait_for(self.port)


class LmcacheServer(Servers):
    def __init__(self, log):
        super().__init__(log)
        self.port = free_port()
        self.start([sys.executable, "-m", "lmcache.v1.server", "127.0.0.1", self.port])
        self.wait_for(self.port)


class Infinistore(Servers):
    """Wants an RDMA device, and to be spared when memory runs out (root only), before it serves TCP: where there is no such
    device it gets the stand-in of no_verbs.c."""

    MAIN = "import infinistore.server as server; server.prevent_oom = lambda: None; server.main()"

    def __init__(self, log):
        super().__init__(log)
        self.port, self.manage_port = free_port(), free_port()
        environment = dict(os.environ)
        if not pathlib.Path("/sys/class/infiniband").exists():
            library = pathlib.Path(log).with_name("no_verbs.so")
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, pathlib.Path(__file__).with_name("no_verbs.c")],
                           check=True)
            environment["LD_PRELOAD"] = str(library)
        self.start([sys.executable, "-c", self.MAIN, "--host", "127.0.0.1", "--service-port", self.port, "--manage-port",
                    self.manage_port, "--prealloc-size", 2, "--minimal-allocate-size", 16, "--dev-name", "none", "--log-level", "warning"],
                   env=environment)
        self.wait_for(self.port)


class Mooncake(Servers):
    """A master, and a process that gives its memory."""

    SEGMENT = """
import signal, sys
from mooncake.store import MooncakeDistributedStore
store = MooncakeDistributedStore()
failed = store.setup(f"127.0.0.1:{sys.argv[1]}", "P2PHANDSHAKE", 2 << 30, 16 << 20, "tcp", "", f"127.0.0.1:{sys.argv[2]}")
if failed: sys.exit(f"error: setup returned {failed}")
print("mounted", flush=True)
signal.pause()
"""

    def __init__(self, log):
        super().__init__(log)
        import mooncake
        master = pathlib.Path(mooncake.__file__).parent / "mooncake_master"
        master.chmod(0o755)
        self.port = free_port()
        self.start([master, "--rpc_port", self.port, "--metrics_port", free_port()])
        self.wait_for(self.port)
        self.start([sys.executable, "-c", self.SEGMENT, free_port(), self.port])
        for _ in range(PATIENCE_SECONDS * 20):
            if "mounted" in pathlib.Path(log).read_text(errors="replace"):
                return
            if self.processes[-1].poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"its memory was not mounted: {self.last_words()}")
