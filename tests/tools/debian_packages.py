"""Debian packages as files: fetched with apt, unpacked into a folder, installed nowhere.

Tests need programs that a machine may not have, or has in a release that does not fit
(qemu-block-extra beside qemu-utils from backports). Unpacking a private copy needs no root
and changes nothing on the machine. The packages come from the sources that apt is set up
with; none is named here.
"""
import os
import shutil
import subprocess
from pathlib import Path


class Problem(Exception):
    """Something the user can put right; its text says how."""


def call(cmd, **options):
    """Run a command and return what it printed; a Problem shows the end of that."""
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(word) for word in cmd], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        words = " ".join(map(str, cmd))[:200]
        raise Problem(f"'{words}' failed ({done.returncode}):\n{tail}")
    return done.stdout


class Archive:
    """A folder of downloaded packages, planned by apt for a system that has none."""

    def __init__(self, cache):
        self.state = cache / "apt"
        self.archives = self.state / "archives"
        # apt-get lists only files that it would download, so use a cache folder that is
        # always empty.
        self.empty = self.state / "empty"
        (self.archives / "partial").mkdir(parents=True, exist_ok=True)
        (self.empty / "partial").mkdir(parents=True, exist_ok=True)
        (self.state / "status").write_text("")

    def fetch(self, packages, closure=True):
        """Download packages, with all that they depend on if `closure`; return the files."""
        if not shutil.which("apt-get"):
            raise Problem("no apt-get here: the tests unpack Debian packages; "
                          "run them on Debian or a derivative")
        try:
            names = self._plan(packages, closure)
            self._download(packages, closure, names)
        except Problem as problem:
            if os.geteuid() != 0:
                raise Problem(f"{problem}\nif apt's lists are old or missing, "
                              "run 'apt-get update' as root") from problem
            call(["apt-get", "update", "-q"])
            names = self._plan(packages, closure)
            self._download(packages, closure, names)
        files = [self.archives / name for name in names]
        missing = [file.name for file in files if not file.exists()]
        if missing:
            raise Problem(f"apt-get did not fetch: {' '.join(missing)}")
        return files

    def _command(self, archives):
        options = {
            "Dir::State::status": self.state / "status",
            "Dir::State::extended_states": self.state / "extended_states",
            "Dir::Cache": self.state,
            "Dir::Cache::archives": archives,
            "Debug::NoLocking": "1",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["apt-get", *words, "-y", "-q"]

    def _plan(self, packages, closure):
        verb = "install" if closure else "download"
        out = call(self._command(self.empty) + ["--print-uris", verb, *packages], cwd=self.empty)
        # A line is: 'URI' file-name size hash
        return [line.split()[1] for line in out.splitlines() if line.startswith("'")]

    def _download(self, packages, closure, names):
        if all((self.archives / name).exists() for name in names):
            return
        if closure:
            call(self._command(self.archives) + ["-d", "install", *packages])
        else:
            call(self._command(self.archives) + ["download", *packages], cwd=self.archives)


def unpack(files, root):
    """Unpack packages into a merged-/usr tree without running their scripts."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for file in files:
        packed = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", file], stdout=subprocess.PIPE)
        tar = ["tar", "-x", "--no-same-owner", "--keep-directory-symlink", "-p", "-C", root]
        done = subprocess.run(tar, stdin=packed.stdout, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        packed.stdout.close()
        if packed.wait() or done.returncode:
            raise Problem(f"cannot unpack {file}: {done.stdout}\nremove that file and try again")


def library_path(root):
    """The folders of an unpacked tree in which its programs find their libraries."""
    base = root / "usr/lib/x86_64-linux-gnu"
    nested = sorted({file.parent for file in base.glob("*/*.so*")
                     if file.parent.name in ("blas", "lapack", "pulseaudio", "samba")})
    return ":".join(map(str, [base, root / "usr/lib", *nested]))


def loader(root):
    """The words before a program of an unpacked tree that make it use its own libraries."""
    base = root / "usr/lib/x86_64-linux-gnu"
    return [str(base / "ld-linux-x86-64.so.2"), "--library-path", library_path(root)]
