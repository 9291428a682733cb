//! A file system that can hold requests back: files that do not open and directories that do not
//! answer, for as long as a test wants.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};

/// How long a program may take to make a request on a slow machine.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// Nothing is cached: every request comes here.
const TTL: Duration = Duration::ZERO;

/// A request that can be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Making a file.
    Create,
    /// Whatever a served volume does with its file: reads, writes, flushes, changes of its space,
    /// and queries of where it has blocks.
    Io,
    /// Opening a file.
    Open,
    /// Reading from a file. Where it is not held back, zeros are read.
    Read,
    /// Removing a file.
    Unlink,
}

impl Held {
    /// Whether a request of one kind is held back where requests of `self` are.
    fn holds(self, request: Self) -> bool {
        self == request || (self == Self::Io && request == Self::Read)
    }
}

/// One mounted directory of sparse files. It is unmounted when it is dropped; a request that is
/// held back then fails.
#[derive(Debug)]
pub struct HeldFiles {
    directory: tempfile::TempDir,
    session: Option<BackgroundSession>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    is_changed: Condvar,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, (OsString, u64)>,
    last: u64,
    holds: Option<Held>,
    /// Nothing can be written.
    is_full: bool,
    /// What answers the requests that are held back; they fail where it is told so.
    held: Vec<Box<dyn FnOnce(bool) + Send>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl HeldFiles {
    /// Mounts an empty directory.
    pub fn mount() -> Self {
        // A test machine without room for an empty directory cannot run any test.
        let directory = tempfile::Builder::new().prefix("pollux-held-").tempdir();
        let directory = directory.expect("a directory");
        let shared = Arc::new(Shared::default());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("pollux-held".into())];
        let session = fuser::spawn_mount(Server(Arc::clone(&shared)), directory.path(), &config);
        let session = session.unwrap_or_else(|cause| {
            panic!(
                "cannot mount a FUSE file system ({cause}): it needs /dev/fuse, and root or \
                 fusermount3 of the package fuse3"
            )
        });
        Self { directory, session: Some(session), shared }
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a file there.
    pub fn add(&self, name: &str, bytes: u64) -> PathBuf {
        self.shared.lock().add(name.into(), bytes);
        self.path(name)
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        let state = self.shared.lock();
        state.files.values().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }

    /// Fails every further write, as a file system without room does.
    pub fn fill_up(&self) {
        self.shared.lock().is_full = true;
    }

    /// Holds all further requests of this kind back.
    pub fn hold(&self, kind: Held) {
        self.shared.lock().holds = Some(kind);
    }

    /// Waits until a request is held back.
    pub fn wait_until_held(&self) {
        let until = Instant::now() + REQUEST_TIME_MAX;
        let mut state = self.shared.lock();
        while state.held.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody made the request that is to be held back");
            let waited = self.shared.is_changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Carries out what is held back, and holds nothing back any more.
    pub fn release(&self) {
        self.answer(false);
    }

    /// Lets what is held back fail, and holds nothing back any more.
    pub fn fail(&self) {
        self.answer(true);
    }

    fn answer(&self, fails: bool) {
        let mut state = self.shared.lock();
        state.holds = None;
        let held = std::mem::take(&mut state.held);
        drop(state);
        for answer in held {
            answer(fails);
        }
    }
}

impl Drop for HeldFiles {
    fn drop(&mut self) {
        self.fail();
        // A daemon may have files open still. An error says that nothing is mounted any more.
        let _ = unmount(self.directory.path(), UnmountFlags::DETACH);
        drop(self.session.take());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request now, or when it is not held back any more.
    fn carry_out(&self, kind: Held, answer: impl FnOnce(bool) + Send + 'static) {
        let mut state = self.lock();
        if state.holds.is_some_and(|held| held.holds(kind)) {
            state.held.push(Box::new(answer));
            self.is_changed.notify_all();
        } else {
            drop(state);
            answer(false);
        }
    }
}

impl State {
    fn add(&mut self, name: OsString, bytes: u64) -> u64 {
        self.last += 1;
        let inode = INodeNo::ROOT.0 + self.last;
        self.files.insert(inode, (name, bytes));
        inode
    }

    fn find(&self, name: &OsStr) -> Option<u64> {
        self.files.iter().find(|(_, (known, _))| known == name).map(|(inode, _)| *inode)
    }

    fn attributes(&self, inode: u64) -> Option<FileAttr> {
        let is_root = inode == INodeNo::ROOT.0;
        let size = if is_root { 0 } else { self.files.get(&inode)?.1 };
        Some(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_root { FileType::Directory } else { FileType::RegularFile },
            perm: if is_root { 0o700 } else { 0o600 },
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// Answers the kernel, from a thread of its own.
struct Server(Arc<Shared>);

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.0.lock();
        match state.find(name).and_then(|inode| state.attributes(inode)) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.lock().attributes(inode.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        file: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let (Some(size), Some(file)) = (size, self.0.lock().files.get_mut(&inode.0)) {
            file.1 = size;
        }
        self.getattr(request, inode, file, reply);
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let (shared, name) = (Arc::clone(&self.0), name.to_owned());
        self.0.carry_out(Held::Create, move |fails| {
            let mut state = shared.lock();
            let inode = state.add(name, 0);
            match state.attributes(inode).filter(|_| !fails) {
                Some(attributes) => {
                    let flags = FopenFlags::empty();
                    reply.created(&TTL, &attributes, Generation(0), FileHandle(0), flags);
                }
                None => reply.error(Errno::EIO),
            }
        });
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.0.carry_out(Held::Open, |fails| {
            if fails {
                reply.error(Errno::EIO);
            } else {
                reply.opened(FileHandle(0), FopenFlags::empty());
            }
        });
    }

    /// The files are sparse, and keep nothing that is written to them.
    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.carry_out(Held::Read, move |fails| {
            if fails { reply.error(Errno::EIO) } else { reply.data(&vec![0; size as usize]) }
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if self.0.lock().is_full {
            return reply.error(Errno::ENOSPC);
        }
        // The kernel writes at most some MiB at once.
        let length = u32::try_from(data.len()).expect("one request of the kernel");
        self.0.carry_out(Held::Io, move |fails| {
            if fails { reply.error(Errno::EIO) } else { reply.written(length) }
        });
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.0.carry_out(Held::Io, |fails| ended(reply, fails));
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        self.0.carry_out(Held::Io, |fails| ended(reply, fails));
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        self.0.carry_out(Held::Io, move |fails| {
            if fails { reply.error(Errno::EIO) } else { reply.offset(offset) }
        });
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _: INodeNo,
        new: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.0.lock();
        match state.find(name).and_then(|inode| state.files.get_mut(&inode)) {
            Some(file) => {
                file.0 = new.to_owned();
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (shared, name) = (Arc::clone(&self.0), name.to_owned());
        self.0.carry_out(Held::Unlink, move |fails| {
            let mut state = shared.lock();
            match state.find(&name) {
                Some(_) if fails => reply.error(Errno::EIO),
                Some(inode) => {
                    state.files.remove(&inode);
                    reply.ok();
                }
                None => reply.error(Errno::ENOENT),
            }
        });
    }
}

fn ended(reply: ReplyEmpty, fails: bool) {
    if fails { reply.error(Errno::EIO) } else { reply.ok() }
}
