"""The disk image of a guest: Debian packages, a kernel and the modules it needs.

Nothing runs the packages' own scripts; `finish_root` does by hand the little that matters.
The image is keyed by what goes into it, so that a changed list makes a new one.
"""
import fcntl
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from debian_packages import Archive, Problem, call, loader, unpack

HERE = Path(__file__).resolve().parent
LIB = HERE / "lib"

# What is in the guest. apt adds what these depend on; recommendations are left out.
PACKAGES = """
    base-files base-passwd bash busybox-static coreutils findutils gawk grep hostname
    iproute2 kmod libc-bin mount procps sed util-linux
    open-iscsi sg3-utils lsscsi e2fsprogs fio
""".split()
KERNEL_METAPACKAGE = "linux-image-amd64"

# Modules that the initramfs loads to reach the root disk.
BOOT_MODULES = ["virtio_pci", "virtio_blk", "ext4", "crc32c_generic"]
# Modules that are in the image, each with all that it needs; the rest of the kernel's
# thousands stays out.
MODULES = BOOT_MODULES + [
    "9p", "9pnet_virtio", "af_packet", "crc32c_intel", "iscsi_tcp", "md5", "sd_mod", "sg",
    "sha1_generic", "sha256_generic", "virtio_net", "virtio_rng",
]
QEMU_PACKAGES = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios",
                 "ipxe-qemu"]
DROP = ["usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale",
        "usr/share/lintian", "usr/share/bug", "usr/share/i18n", "usr/share/perl",
        "usr/lib/x86_64-linux-gnu/perl", "usr/lib/udev/hwdb.d", "usr/lib/python3.11",
        "usr/lib/python3"]


def say(text):
    """Tell the user what takes time, unless POLLUX_GUEST_QUIET asks for silence."""
    if not os.environ.get("POLLUX_GUEST_QUIET"):
        print(f"guest: {text}", file=sys.stderr, flush=True)


def cache_dir():
    """Where images, packages and the state of running guests are kept."""
    named = os.environ.get("POLLUX_GUEST_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(named) if named else base / "pollux-guest"
    cache.mkdir(parents=True, exist_ok=True)
    return cache.resolve()


def find_qemu(cache):
    """The QEMU command and its fixed arguments: from PATH, or a private copy."""
    own = os.environ.get("POLLUX_GUEST_QEMU") or shutil.which("qemu-system-x86_64")
    if own:
        return [own]
    root = cache / "qemu"
    with open(cache / "build.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "complete").exists():
            say("no qemu-system-x86_64 in PATH: unpacking a private copy")
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            unpack(Archive(cache).fetch(QEMU_PACKAGES), root)
            (root / "complete").write_text("")
    share = root / "usr/share"
    return ["env", f"QEMU_MODULE_DIR={root}/usr/lib/x86_64-linux-gnu/qemu", *loader(root),
            str(root / "usr/bin/qemu-system-x86_64"), "-L", str(share / "qemu"),
            "-L", str(share / "seabios"), "-L", str(root / "usr/lib/ipxe/qemu")]


def image_key():
    """A name for this list of contents; the number counts changes of the code below."""
    contents = [PACKAGES, KERNEL_METAPACKAGE, MODULES, DROP, 1]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:12]


def build(cache, force=False):
    """Build the root image if it is not there; return its folder."""
    image = cache / f"image-{image_key()}"
    if (image / "complete").exists() and not force:
        return image
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("tar", "tar"),
                          ("mke2fs", "e2fsprogs"), ("chroot", "coreutils")):
        if not shutil.which(tool):
            raise Problem(f"no {tool} here; install the Debian package {package}")
    if os.geteuid() != 0:
        return build_unshared(image, cache, force)
    with open(cache / "build.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if force or not (image / "complete").exists():
            begin = time.time()
            say("building the guest image (about a minute, once)")
            with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as work:
                make_image(cache, Path(work), image)
            say(f"image built in {time.time() - begin:.0f} s: {image}")
    return image


def build_unshared(image, cache, force):
    """Build as an ordinary user: file owners are root in a user namespace."""
    if os.environ.get("POLLUX_GUEST_UNSHARED"):
        raise Problem("cannot become root in a user namespace; run 'guest build' as root once")
    environment = dict(os.environ, POLLUX_GUEST_UNSHARED="1", POLLUX_GUEST_CACHE=str(cache))
    cmd = ["unshare", "--map-root-user", sys.executable, str(HERE / "guest"), "build"]
    if subprocess.run(cmd + (["--force"] if force else []), env=environment).returncode:
        raise Problem("building as an ordinary user failed; run 'guest build' as root once")
    return image


def make_image(cache, work, image):
    """Make the image in a work folder and move it to its place when it is whole."""
    archive = Archive(cache)
    files = archive.fetch(PACKAGES)
    kernel_files = archive.fetch([kernel_package()], closure=False)
    root, tree, new = work / "root", work / "kernel", work / "image"
    for folder in (root, tree, new / "boot"):
        folder.mkdir(parents=True)
    root.chmod(0o755)
    unpack(files, root)
    unpack(kernel_files, tree)
    version = take_kernel(tree, root)
    finish_root(root)
    packed = tree / f"boot/vmlinuz-{version}"
    (new / "kernel").write_bytes(unpack_kernel(packed) or packed.read_bytes())
    shutil.copy(root / "usr/bin/busybox", new / "boot/busybox")
    names = [copy_module(path, new / "boot")
             for path in module_list(root / "usr/lib/modules" / version, BOOT_MODULES)]
    (new / "boot/order").write_text("\n".join(names) + "\n")
    for folder in DROP:
        shutil.rmtree(root / folder, ignore_errors=True)
    size = sum(path.lstat().st_size + 4096 for path in root.rglob("*")) // 2**20
    call(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-m", "0",
          "-b", "4096", "-E", "root_owner=0:0", "-d", root, new / "root.img", f"{size + 256}M"])
    (new / "packages").write_text("\n".join(f.name for f in files + kernel_files) + "\n")
    (new / "complete").write_text("")
    shutil.rmtree(image, ignore_errors=True)
    os.rename(new, image)


def kernel_package():
    """The package with the kernel that the metapackage stands for."""
    out = call(["apt-cache", "depends", KERNEL_METAPACKAGE])
    found = re.search(r"Depends:\s+(linux-image-\S+)", out)
    if not found:
        raise Problem(f"apt knows no kernel behind {KERNEL_METAPACKAGE}; run apt-get update")
    return found.group(1)


def take_kernel(tree, root):
    """Move the wanted modules from the kernel's tree into root; return its version."""
    version = sorted(path.name for path in (tree / "usr/lib/modules").iterdir())[-1]
    modules = root / "usr/lib/modules" / version
    modules.parent.mkdir(parents=True, exist_ok=True)
    os.rename(tree / "usr/lib/modules" / version, modules)
    # depmod is the guest's own, because the host may have none. The first run finds what a
    # module needs, the second forgets those that are gone.
    call(["chroot", root, "/sbin/depmod", version])
    wanted = set(module_list(modules, MODULES))
    for path in modules.rglob("*.ko*"):
        if path not in wanted:
            path.unlink()
    call(["chroot", root, "/sbin/depmod", version])
    return version


def module_list(base, wanted):
    """Paths of the modules and of all they need, in loading order."""
    def name_of(path):
        return re.sub(r"\.ko.*$", "", os.path.basename(path)).replace("-", "_")

    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {name_of(path): path for path in needs}
    builtin = {name_of(path) for path in (base / "modules.builtin").read_text().split()}
    order = []
    for name in wanted:
        if name in builtin:
            continue
        if name not in by_name:
            raise Problem(f"the kernel has no module {name}")
        # modules.dep lists what a module needs, nearest first.
        for path in [*reversed(needs[by_name[name]]), by_name[name]]:
            if path not in order:
                order.append(path)
    return [base / path for path in order]


def copy_module(path, folder):
    """Copy a module for busybox's insmod, which reads no compressed ones; return its name."""
    data = path.read_bytes()
    name = path.name
    if path.suffix == ".xz":
        data, name = lzma.decompress(data), name.removesuffix(".xz")
    (folder / name).write_bytes(data)
    return name


def unpack_kernel(path):
    """The ELF kernel inside a bzImage, or None if it is packed in another way.

    QEMU starts an ELF kernel by its PVH entry; unpacking takes seconds under emulation.
    """
    data = path.read_bytes()
    if data[0x202:0x206] != b"HdrS":
        return None
    start = (data[0x1f1] + 1) * 512 + int.from_bytes(data[0x248:0x24c], "little")
    payload = data[start:start + int.from_bytes(data[0x24c:0x250], "little")]
    try:
        if payload.startswith(b"\xfd7zXZ\0"):
            elf = lzma.LZMADecompressor().decompress(payload)
        elif payload.startswith(b"\x1f\x8b"):
            elf = zlib.decompressobj(31).decompress(payload)
        else:
            return None
    except (lzma.LZMAError, zlib.error):
        return None
    # An ELF note of the owner "Xen" names the entry point.
    return elf if elf.startswith(b"\x7fELF") and b"Xen\0" in elf else None


def finish_root(root):
    """Do by hand the little that the packages' scripts would have done."""
    for name in ("proc", "sys", "dev", "run", "tmp", "share", "mnt", "root", "var/lock",
                 "etc/iscsi", "var/lib/iscsi"):
        path = root / name
        if not path.exists() and not path.is_symlink():
            path.mkdir(parents=True)
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/nsswitch.conf").write_text(
        "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n")
    for link, to in (("usr/bin/sh", "dash"), ("usr/bin/awk", "gawk"),
                     ("etc/mtab", "../proc/self/mounts")):
        path = root / link
        if not path.exists() and not path.is_symlink():
            path.symlink_to(to)
    # Daemons are started by hand: there is no systemd in the guest.
    conf = root / "etc/iscsi/iscsid.conf"
    text = re.sub(r"(?m)^iscsid\.startup\s*=.*$", "iscsid.startup = /sbin/iscsid",
                  conf.read_text())
    conf.write_text(re.sub(r"(?m)^iscsid\.safe_logout\s*=.*$", "", text))
    call(["chroot", root, "/sbin/ldconfig"])


def cpio(entries):
    """A newc archive of (name, mode, bytes) entries."""
    out = bytearray()
    for inode, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        named = name.encode() + b"\0"
        fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(named), 0]
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + named
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def make_initramfs(image):
    """What finds the root disk, plus lib/ of this tool: a changed lib/ needs no new image."""
    folder, file, program = 0o040755, 0o100644, 0o100755
    entries = [(path, folder, b"") for path in
               ("bin", "dev", "proc", "sys", "mod", "root", "lib", "guest")]
    entries.append(("bin/busybox", program, (image / "boot/busybox").read_bytes()))
    order = (image / "boot/order").read_text().split()
    for name in order:
        entries.append((f"mod/{name}", file, (image / "boot" / name).read_bytes()))
    entries.append(("mod/order", file, "\n".join(order).encode() + b"\n"))
    entries.append(("init", program, (LIB / "initramfs-init").read_bytes()))
    for path in sorted(LIB.iterdir()):
        if path.is_file() and path.name != "initramfs-init":
            entries.append((f"guest/{path.name}", program, path.read_bytes()))
    return gzip.compress(cpio(entries), 1)
