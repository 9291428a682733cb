//! The process that listens on a port, from /proc as far as permissions allow.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    name: String,
    pid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

impl Owner {
    /// The process that listens on a TCP port; `None` if it cannot be determined.
    pub(super) fn of_port(port: u16) -> Option<Self> {
        let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .into_iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|text| listening_inodes(&text, port))
            .collect();
        if inodes.is_empty() {
            return None;
        }
        fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            holds_socket(&entry.path(), &inodes).then(|| Self { name: name_of(pid), pid })
        })
    }
}

/// The inodes of the sockets that listen on a port, from a table of /proc/net (proc_net(5)).
/// Columns are slot, local address, remote address, state, ..., and the tenth is the inode.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let (local, state) = (columns.nth(1)?, columns.nth(1)?);
            let inode = columns.nth(5)?;
            (local.ends_with(&port) && state == LISTEN).then(|| inode.to_owned())
        })
        .collect()
}

fn holds_socket(process: &Path, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.filter_map(Result::ok).any(|descriptor| {
        let Ok(link) = fs::read_link(descriptor.path()) else { return false };
        let inode = link.to_str().and_then(|l| l.strip_prefix("socket:["));
        let inode = inode.and_then(|l| l.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.iter().any(|i| i == inode))
    })
}

fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "another process".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_found_by_port() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0CBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:0CBC 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1
";
        assert_eq!(listening_inodes(table, 3260), ["4711"]);
        assert_eq!(listening_inodes(table, 22), ["4713"]);
        assert_eq!(listening_inodes(table, 23), [""; 0]);
        assert_eq!(listening_inodes("", 22), [""; 0]);
    }
}
