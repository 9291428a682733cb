//! The LUN to benchmark, and whether the workload is permitted on it.

use control_api::{LunInfo, SessionInfo, Status, TargetInfo, VolumeInfo};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A LUN and its portal.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) target: &'a TargetInfo,
    pub(super) lun: &'a LunInfo,
    pub(super) volume: Option<&'a VolumeInfo>,
    /// Address and port.
    pub(super) portal: String,
}

/// Finds the LUN that the user specified; the error lists the existing ones. Without `portal`, it
/// is reached through the first portal of its target.
pub(super) fn find<'a>(
    what: Option<&str>,
    targets: &'a [TargetInfo],
    status: &'a Status,
    portal: Option<&str>,
) -> Result<Place<'a>, String> {
    let all = || targets.iter().flat_map(|t| t.luns.iter().map(move |lun| (t, lun)));
    let found = match what {
        None => {
            let mut luns = all();
            match (luns.next(), luns.next()) {
                (Some(only), None) => Some(only),
                (None, _) => {
                    return Err("no LUNs: map a volume with `perfctl target map` first".into());
                }
                (Some(_), Some(_)) => {
                    return Err(format!("multiple LUNs: specify one of {}", names(all())));
                }
            }
        }
        // Volume and target names contain no slash.
        Some(text) => match text.rsplit_once('/') {
            Some((target, lun)) => {
                all().find(|(t, l)| t.name == target && l.lun.to_string() == lun)
            }
            // Prefer a target without CHAP if the volume is mapped more than once.
            None => all()
                .filter(|(t, l)| l.volume == text || t.name == text)
                .min_by_key(|(t, _)| t.chap),
        },
    };
    let Some((target, lun)) = found else {
        let what = what.unwrap_or_default();
        return Err(format!(
            "no LUN matches \"{what}\": specify a mapped volume or TARGET/LUN. Existing LUNs: {}",
            names(all())
        ));
    };
    let portal = match portal {
        Some(portal) => portal.to_owned(),
        None => first_portal(target, status)?,
    };
    let volume = status.volumes.iter().find(|v| v.name == lun.volume);
    Ok(Place { target, lun, volume, portal })
}

fn first_portal(target: &TargetInfo, status: &Status) -> Result<String, String> {
    let portal = status.portals.iter().find(|p| p.portal_group == target.portal_group);
    portal.map(|portal| reachable(&portal.address)).ok_or_else(|| {
        format!(
            "target {} uses portal group {}, which has no portal; specify an address with \
             --portal",
            target.name, target.portal_group
        )
    })
}

fn names<'a>(luns: impl Iterator<Item = (&'a TargetInfo, &'a LunInfo)>) -> String {
    let names: Vec<_> = luns.map(|(t, l)| format!("{}/{} ({})", t.name, l.lun, l.volume)).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// An address to which a client on this machine can connect.
fn reachable(address: &str) -> String {
    let Ok(address) = address.parse::<SocketAddr>() else { return address.to_owned() };
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port()).to_string()
}

impl Place<'_> {
    /// Checks that the load generator can log in with this initiator name.
    pub(super) fn check_login(&self, initiator: &str) -> Result<(), String> {
        let target = &self.target.name;
        if self.target.chap {
            return Err(format!(
                "target {target} requires CHAP, which the load generator does not support; map \
                 volume {} to a target without CHAP for the benchmark",
                self.lun.volume
            ));
        }
        if !self.lun.served {
            return Err(format!(
                "volume {} is not available; run `perfctl status` to see the reason",
                self.lun.volume
            ));
        }
        match &self.target.initiators {
            Some(names) if !names.iter().any(|name| name.eq_ignore_ascii_case(initiator)) => {
                Err(format!(
                    "target {target} does not permit initiator {initiator}; specify a permitted \
                     one with --initiator ({}). Existing sessions of that initiator are not \
                     affected.",
                    names.join(", ")
                ))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Checks that writing is safe: no other session uses the volume through any of its LUNs.
pub(super) fn check_writes(
    place: &Place<'_>,
    targets: &[TargetInfo],
    sessions: &[SessionInfo],
    force: bool,
) -> Result<(), String> {
    let volume = &place.lun.volume;
    if place.lun.read_only || place.volume.is_some_and(|v| v.read_only) {
        return Err(format!("volume {volume} is read-only; remove --write to benchmark reads"));
    }
    let reaches = |t: &&TargetInfo| t.luns.iter().any(|lun| lun.volume == *volume);
    let reaching: Vec<_> = targets.iter().filter(reaches).map(|t| &t.name).collect();
    let mut users: Vec<_> = sessions
        .iter()
        .filter(|s| s.target.as_ref().is_some_and(|target| reaching.contains(&target)))
        .map(|s| format!("{} from {}", s.initiator, s.peer))
        .collect();
    users.sort();
    if users.is_empty() || force {
        return Ok(());
    }
    Err(format!(
        "volume {volume} is in use by {}; a write benchmark would destroy its data. Log these \
         initiators out first, or use --force.",
        users.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> Status {
        serde_json::from_value(json!({
            "version": "0.1.0", "pid": 7, "uptime_s": 5, "state_dir": "/s", "config_file": "/c",
            "config_is_master": false, "config_refused": [], "generation": 1, "cores": [0],
            "settings": [],
            "portals": [
                {"address": "0.0.0.0:3260", "portal_group": 1},
                {"address": "[2001:db8::1]:3261", "portal_group": 2},
            ],
            "sessions": 0, "volumes": [], "targets": 3, "warnings": [],
        }))
        .unwrap()
    }

    fn target(name: &str, volumes: &[&str]) -> TargetInfo {
        let luns = (0..).zip(volumes).map(|(lun, volume)| LunInfo {
            lun,
            volume: (*volume).into(),
            read_only: false,
            served: true,
        });
        TargetInfo {
            name: name.into(),
            alias: None,
            portal_group: 1,
            initiators: None,
            chap: false,
            mutual_chap: false,
            luns: luns.collect(),
        }
    }

    fn targets() -> Vec<TargetInfo> {
        let secret = TargetInfo { chap: true, ..target("iqn.2026-11.a:secret", &["vm1"]) };
        let far = TargetInfo { portal_group: 2, ..target("iqn.2026-11.a:far", &["vm2"]) };
        vec![secret, target("iqn.2026-11.a:open", &["iso", "vm1"]), far]
    }

    fn found(what: Option<&str>, targets: &[TargetInfo]) -> Result<String, String> {
        let status = status();
        find(what, targets, &status, None)
            .map(|p| format!("{} {} {}", p.target.name, p.lun.lun, p.portal))
    }

    #[test]
    fn a_lun_is_found_by_volume_by_target_or_by_both() {
        let found = |what| found(Some(what), &targets());
        // The target without CHAP is preferred.
        assert_eq!(found("vm1").unwrap(), "iqn.2026-11.a:open 1 127.0.0.1:3260");
        assert_eq!(found("vm2").unwrap(), "iqn.2026-11.a:far 0 [2001:db8::1]:3261");
        assert_eq!(found("iqn.2026-11.a:open").unwrap(), "iqn.2026-11.a:open 0 127.0.0.1:3260");
        assert_eq!(
            found("iqn.2026-11.a:secret/0").unwrap(),
            "iqn.2026-11.a:secret 0 127.0.0.1:3260"
        );
        assert_eq!(
            found("iqn.2026-11.a:far/1").unwrap_err(),
            "no LUN matches \"iqn.2026-11.a:far/1\": specify a mapped volume or TARGET/LUN. \
             Existing LUNs: iqn.2026-11.a:secret/0 (vm1), iqn.2026-11.a:open/0 (iso), \
             iqn.2026-11.a:open/1 (vm1), iqn.2026-11.a:far/0 (vm2)"
        );
    }

    #[test]
    fn the_only_lun_needs_no_name() {
        let one = [target("iqn.2026-11.a:open", &["vm1"])];
        assert_eq!(found(None, &one).unwrap(), "iqn.2026-11.a:open 0 127.0.0.1:3260");
        assert!(found(None, &targets()).unwrap_err().starts_with("multiple LUNs: specify one of"));
        assert!(found(None, &[]).unwrap_err().contains("map a volume"));
    }

    #[test]
    fn a_given_portal_is_used_even_if_the_portal_group_has_none() {
        let far = [TargetInfo { portal_group: 9, ..target("iqn.2026-11.a:far", &["vm2"]) }];
        let status = status();
        assert!(find(None, &far, &status, None).unwrap_err().contains("portal group 9"));
        let place = find(None, &far, &status, Some("192.0.2.1:3260")).unwrap();
        assert_eq!(place.portal, "192.0.2.1:3260");
    }

    #[test]
    fn a_login_that_cannot_succeed_is_rejected_before_it_is_tried() {
        let (status, targets) = (status(), targets());
        let place = find(Some("iqn.2026-11.a:secret/0"), &targets, &status, None).unwrap();
        assert_eq!(
            place.check_login("iqn.2026-11.b:me").unwrap_err(),
            "target iqn.2026-11.a:secret requires CHAP, which the load generator does not \
             support; map volume vm1 to a target without CHAP for the benchmark"
        );
        let mut closed = target("iqn.2026-11.a:closed", &["vm1"]);
        closed.initiators = Some(vec!["iqn.2026-11.b:host".into()]);
        let closed = [closed];
        let place = find(None, &closed, &status, None).unwrap();
        assert!(place.check_login("iqn.2026-11.b:me").unwrap_err().contains("--initiator"));
        assert_eq!(place.check_login("iqn.2026-11.b:HOST"), Ok(()));
    }

    #[test]
    fn writes_are_rejected_while_others_are_logged_in_through_any_lun() {
        let (status, targets) = (status(), targets());
        let place = find(Some("iqn.2026-11.a:open/1"), &targets, &status, None).unwrap();
        let session = |target: Option<&str>| SessionInfo {
            id: "0.0.1".into(),
            initiator: "iqn.2026-11.b:host".into(),
            target: target.map(str::to_owned),
            peer: "192.0.2.7:40000".into(),
            reactor: 0,
            commands_in_flight: 0,
            command_window: 128,
        };
        let elsewhere = [session(None), session(Some("iqn.2026-11.a:far"))];
        assert_eq!(check_writes(&place, &targets, &elsewhere, false), Ok(()));
        let here = [session(Some("iqn.2026-11.a:secret"))];
        assert_eq!(
            check_writes(&place, &targets, &here, false).unwrap_err(),
            "volume vm1 is in use by iqn.2026-11.b:host from 192.0.2.7:40000; a write benchmark \
             would destroy its data. Log these initiators out first, or use --force."
        );
        assert_eq!(check_writes(&place, &targets, &here, true), Ok(()));
    }

    #[test]
    fn a_read_only_lun_is_not_written() {
        let status = status();
        let mut targets = [target("iqn.2026-11.a:open", &["iso"])];
        targets[0].luns[0].read_only = true;
        let place = find(None, &targets, &status, None).unwrap();
        assert!(check_writes(&place, &targets, &[], true).unwrap_err().contains("read-only"));
    }
}
