//! Properties of the block device of a volume, from sysfs.

use std::path::PathBuf;

/// The request queue of a block device, or of the disk that a partition lies on.
pub(super) struct Queue {
    /// `None` if the file system has no single device below it, such as tmpfs or btrfs.
    directory: Option<PathBuf>,
}

impl Queue {
    pub(super) fn of_device(major: u32, minor: u32) -> Self {
        let device = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok();
        let directory = device.and_then(|device| {
            // A partition is a directory inside its disk's, which has the queue.
            let own = device.join("queue");
            let of_disk = device.parent().map(|disk| disk.join("queue"));
            if own.is_dir() { Some(own) } else { of_disk.filter(|d| d.is_dir()) }
        });
        Self { directory }
    }

    /// A number; one that passes 32 bits is as good as the greatest.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let value: u64 = self.text(name)?.parse().ok()?;
        Some(units::saturating_u32(value))
    }

    /// Whether the device caches writes in volatile memory; yes where nothing is known.
    pub(super) fn has_volatile_cache(&self) -> bool {
        self.text("write_cache").is_none_or(|mode| mode != "write through")
    }

    fn text(&self, name: &str) -> Option<String> {
        let path = self.directory.as_ref()?.join(name);
        Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
    }
}
