//! The startup message: what is exported where, and commands to try it.

use control_api::{TargetInfo, VolumeInfo};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use volume::Portal;

/// The contents of the startup message.
#[derive(Debug)]
pub(crate) struct Greeting<'a> {
    /// The state directory.
    pub(crate) state_dir: &'a Path,
    /// The volumes.
    pub(crate) volumes: &'a [VolumeInfo],
    /// The targets.
    pub(crate) targets: &'a [TargetInfo],
    /// The portals on which the node listens.
    pub(crate) portals: &'a [Portal],
    /// The perfctl command line: the program and, if needed, --control.
    pub(crate) perfctl: &'a str,
}

impl Greeting<'_> {
    /// The message. Scripts that start the daemon wait for the word `ready` in its last line.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("Pollux {}\n", env!("CARGO_PKG_VERSION"));
        text += &format!("  state directory  {}\n", self.state_dir.display());
        for portal in self.portals {
            text += &format!("  portal           {}\n", portal.address);
        }
        for target in self.targets {
            text += &format!("  target           {}\n", target.name);
            for lun in &target.luns {
                let place = self.volumes.iter().find(|v| v.name == lun.volume);
                let place = place.and_then(|v| v.path.as_deref());
                let place = place.map(|p| format!(", {p}")).unwrap_or_default();
                let hidden = if lun.served { "" } else { " (not served)" };
                text += &format!("    LUN {:<3}        {}{place}{hidden}\n", lun.lun, lun.volume);
            }
        }
        if let (Some(target), Some(portal)) = (self.targets.first(), self.portals.first()) {
            text += &connect_lines(target, reachable(portal.address));
        }
        text += &format!("\nMonitor:\n  {} stats --watch\n", self.perfctl);
        text += "\nPollux is ready.\n";
        text
    }
}

/// An address to which a client on this machine can connect.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}

fn connect_lines(target: &TargetInfo, portal: SocketAddr) -> String {
    let name = &target.name;
    let lun = target.luns.first().map_or(0, |lun| lun.lun);
    let url = format!("iscsi://{portal}/{name}/{lun}");
    format!(
        "
Connect with open-iscsi:
  iscsiadm -m discovery -t sendtargets -p {portal}
  iscsiadm -m node -T {name} -p {portal} --login
Connect with libiscsi:
  iscsi-ls -s iscsi://{portal}
  iscsi-inq {url}
Connect with QEMU:
  qemu-img info {url}
  qemu-system-x86_64 -drive file={url},format=raw,if=virtio
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::{LunInfo, VolumeKind, VolumeState};

    #[test]
    fn the_commands_connect_to_the_first_target() {
        let volumes = [VolumeInfo {
            name: "demo".into(),
            kind: VolumeKind::File,
            path: Some("/s/volumes/demo.img".into()),
            size_bytes: Some(1 << 30),
            block_size: 512,
            read_only: false,
            wwid: None,
            serial: None,
            state: VolumeState::Served,
            luns: vec![],
        }];
        let targets = [TargetInfo {
            name: "iqn.2026-11.local.pollux:demo".into(),
            alias: None,
            portal_group: 1,
            initiators: None,
            chap: false,
            mutual_chap: false,
            luns: vec![LunInfo { lun: 0, volume: "demo".into(), read_only: false, served: true }],
        }];
        let portal =
            |address: &str| Portal { address: address.parse().unwrap(), portal_group_tag: 1 };
        let text = Greeting {
            state_dir: Path::new("/s"),
            volumes: &volumes,
            targets: &targets,
            portals: &[portal("0.0.0.0:3260"), portal("[::1]:3260")],
            perfctl: "perfctl",
        }
        .text();
        let (_, rest) = text.split_once('\n').unwrap();
        assert_eq!(
            rest,
            "  state directory  /s
  portal           0.0.0.0:3260
  portal           [::1]:3260
  target           iqn.2026-11.local.pollux:demo
    LUN 0          demo, /s/volumes/demo.img

Connect with open-iscsi:
  iscsiadm -m discovery -t sendtargets -p 127.0.0.1:3260
  iscsiadm -m node -T iqn.2026-11.local.pollux:demo -p 127.0.0.1:3260 --login
Connect with libiscsi:
  iscsi-ls -s iscsi://127.0.0.1:3260
  iscsi-inq iscsi://127.0.0.1:3260/iqn.2026-11.local.pollux:demo/0
Connect with QEMU:
  qemu-img info iscsi://127.0.0.1:3260/iqn.2026-11.local.pollux:demo/0
  qemu-system-x86_64 -drive file=iscsi://127.0.0.1:3260/iqn.2026-11.local.pollux:demo/0,\
format=raw,if=virtio

Monitor:
  perfctl stats --watch

Pollux is ready.
"
        );
    }

    #[test]
    fn a_node_without_targets_is_ready_too() {
        let text = Greeting {
            state_dir: Path::new("/s"),
            volumes: &[],
            targets: &[],
            portals: &[],
            perfctl: "perfctl",
        }
        .text();
        assert!(!text.contains("iscsiadm"));
        assert!(text.ends_with("\nPollux is ready.\n"));
    }
}
