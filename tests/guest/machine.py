"""One guest: a QEMU process, its files, and the agent in it that runs scripts."""
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from debian_packages import Problem
from image import build, find_qemu, make_initramfs, say

def accelerator():
    """Emulation, unless the user names another accelerator.

    KVM is not taken by itself where /dev/kvm opens: under nested virtualisation QEMU may abort
    or the guest hang, and a boot under emulation takes five seconds.
    """
    return os.environ.get("POLLUX_GUEST_ACCEL") or "tcg"


class Guest:
    """A guest of a name, running or not; its state is a folder in the cache."""

    def __init__(self, cache, name):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", name):
            raise Problem(f"bad guest name '{name}': letters, digits, '-', '_', '.' only")
        self.cache, self.name = cache, name
        self.dir = cache / "run" / name
        self.share = self.dir / "share"
        self.agent = self.share / ".agent"
        # A socket's path has room for 108 bytes.
        if len(str(self.dir / "cmd.sock")) > 100:
            raise Problem(f"{self.dir} is too long a path for sockets; "
                          "set POLLUX_GUEST_CACHE to a shorter one")

    def pid(self):
        """The process id of its QEMU, or None if it does not run."""
        try:
            pid = int((self.dir / "pid").read_text())
            cmd = Path(f"/proc/{pid}/cmdline").read_bytes()
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (OSError, ValueError):
            return None
        if str(self.dir).encode() not in cmd or stat.rpartition(")")[2].split()[0] == "Z":
            return None
        return pid

    def need(self):
        """A Problem unless the guest runs."""
        if self.pid() is None:
            raise Problem(f"no guest '{self.name}' is running; "
                          f"start one with 'guest up {self.name}'")

    def start(self, options):
        """Boot it; return how long that took, as text."""
        if self.pid():
            raise Problem(f"guest '{self.name}' is running already; "
                          f"stop it with 'guest down {self.name}', or take another name")
        image = build(self.cache)
        qemu = find_qemu(self.cache)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.agent.mkdir(parents=True)
        (self.dir / "initramfs").write_bytes(make_initramfs(image))
        initiator = options.initiator or f"iqn.1993-08.org.debian:01:{self.name.lower()}"
        config = {"GUEST": self.name, "HOST": "10.0.2.2", "ADDRESS": "10.0.2.15/24",
                  "INITIATOR": initiator}
        (self.agent / "config").write_text(
            "".join(f"{key}={shlex.quote(value)}\n" for key, value in config.items()))
        accel = accelerator()
        cmd = [*qemu, *self.arguments(image, accel, options)]
        (self.dir / "command").write_text(" ".join(map(shlex.quote, cmd)) + "\n")
        begin = time.time()
        with open(self.dir / "qemu.log", "w") as log:
            process = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        (self.dir / "pid").write_text(f"{process.pid}\n")
        self.wait_ready(process, options.boot_timeout)
        return f"{time.time() - begin:.1f} s ({accel})"

    def arguments(self, image, accel, options):
        """QEMU's arguments: the root disk is a snapshot, so that every guest starts alike."""
        digest = hashlib.sha256(str(self.dir).encode()).digest()
        mac = f"52:54:00:{digest[0]:02x}:{digest[1]:02x}:{digest[2]:02x}"
        cmdline = ("console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr no5lvl "
                   "random.trust_cpu=on net.ifnames=0 ")
        if accel == "tcg":
            cmdline += "tsc=reliable no_timer_check "
        root = f"file={image}/root.img,if=none,id=root,format=raw,snapshot=on,cache=unsafe"
        return ["-name", self.name, "-accel", accel + (",thread=multi" if accel == "tcg" else ""),
                "-machine", "pc", "-cpu", "max", "-smp", str(options.cpus),
                "-m", str(options.memory), "-display", "none", "-nodefaults", "-no-reboot",
                "-kernel", str(image / "kernel"), "-initrd", str(self.dir / "initramfs"),
                "-append", cmdline + options.append,
                "-serial", f"file:{self.dir}/console",
                "-chardev", f"socket,id=cmd,path={self.dir}/cmd.sock,server=on,wait=off",
                "-serial", "chardev:cmd",
                "-fsdev", f"local,id=share,path={self.share},security_model=none",
                "-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
                "-device", "virtio-rng-pci", "-drive", root,
                "-device", "virtio-blk-pci,drive=root", "-netdev", "user,id=net0",
                "-device", f"virtio-net-pci,netdev=net0,mac={mac},romfile="]

    def wait_ready(self, process, seconds):
        """Wait until the agent has come up; a Problem shows the console if it does not."""
        until = time.time() + seconds
        while not (self.agent / "ready").exists():
            if process.poll() is not None:
                raise Problem(f"guest '{self.name}' ended while booting "
                              f"(QEMU status {process.returncode})\n{self.last_words()}")
            if time.time() > until:
                self.kill()
                raise Problem(f"guest '{self.name}' did not boot in {seconds} s "
                              f"(see --boot-timeout)\n{self.last_words()}")
            time.sleep(0.05)

    def last_words(self):
        """The end of QEMU's messages and of the console."""
        text = ""
        for name in ("qemu.log", "console"):
            path = self.dir / name
            if path.exists():
                text += path.read_text(errors="replace")
        return "\n".join(text.splitlines()[-25:])

    def tell(self, line):
        """Send one line to the agent, until it says that it has it."""
        until = time.time() + 90
        with open(self.dir / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            while time.time() < until and self.pid() is not None:
                if self.ask(line):
                    return
        if self.pid() is not None:
            raise Problem(f"guest '{self.name}' does not answer; "
                          f"'guest log {self.name}' shows its console")

    def ask(self, line):
        """Send a line once; True if the agent acknowledged it (it ignores repetitions)."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(10)
            answer = b""
            try:
                stream.connect(str(self.dir / "cmd.sock"))
                stream.sendall(line.encode() + b"\n")
                while f"ok {line}\n".encode() not in answer:
                    data = stream.recv(256)
                    if not data:
                        return False
                    answer += data
            except (TimeoutError, ConnectionError):
                return False
        return True

    def execute(self, script, args=(), env=(), timeout=None):
        """Run a bash script in the guest, print its output, return its exit status."""
        self.need()
        handle, path = tempfile.mkstemp(dir=self.agent, prefix="job")
        os.close(handle)
        job = os.path.basename(path)
        text = "".join(f"export {shlex.quote(name)}={shlex.quote(value)}\n"
                       for name, _, value in (word.partition("=") for word in env))
        text += "set -- " + " ".join(map(shlex.quote, args)) + "\n" + script
        (self.agent / f"{job}.sh").write_text(text)
        (self.agent / f"{job}.out").write_bytes(b"")
        self.tell(f"run {job}")
        return self.follow(job, timeout)

    def follow(self, job, timeout):
        """Copy a job's output to ours until it ends; return its status, or 124 or 125."""
        status = self.agent / f"{job}.rc"
        begin, late = time.time(), False
        with open(self.agent / f"{job}.out", "rb") as output:
            while True:
                ended = status.exists() and status.read_text().endswith("\n")
                dead = not ended and self.pid() is None
                data = output.read()
                if data:
                    sys.stdout.write(data.decode(errors="replace"))
                    sys.stdout.flush()
                if ended:
                    return int(status.read_text())
                if dead:
                    say(f"guest '{self.name}' died:\n{self.last_words()}")
                    return 125
                if late:
                    return 124
                if timeout and time.time() - begin > timeout:
                    say(f"not done in {timeout} s: ending it")
                    self.tell(f"kill {job}")
                    time.sleep(1)
                    late = True
                time.sleep(0.05)

    def wait_gone(self, seconds):
        """Wait for its QEMU to end; True if it did."""
        until = time.time() + seconds
        while self.pid() is not None and time.time() < until:
            try:
                os.waitpid(int((self.dir / "pid").read_text()), os.WNOHANG)
            except (ChildProcessError, OSError, ValueError):
                pass
            time.sleep(0.05)
        return self.pid() is None

    def down(self):
        """Power off cleanly, or cut the power after half a minute."""
        self.need()
        self.tell("poweroff")
        if not self.wait_gone(30):
            say(f"guest '{self.name}' does not power off; cutting its power")
            self.kill()
        self.drop_boot_files()

    def kill(self):
        """Cut its power."""
        pid = self.pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
            self.wait_gone(10)

    def drop_boot_files(self):
        """Drop the big file of a stopped guest; its logs and its share stay."""
        (self.dir / "initramfs").unlink(missing_ok=True)
