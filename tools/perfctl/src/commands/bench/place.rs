//! Where the load goes, and whether it may.

use control_api::{LunInfo, SessionInfo, Status, TargetInfo, VolumeInfo};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One LUN and how it is reached.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) target: &'a TargetInfo,
    pub(super) lun: &'a LunInfo,
    pub(super) volume: Option<&'a VolumeInfo>,
    /// Address and port.
    pub(super) portal: String,
}

/// Finds the LUN that the user means; otherwise says what there is.
pub(super) fn find<'a>(
    what: Option<&str>,
    targets: &'a [TargetInfo],
    status: &'a Status,
) -> Result<Place<'a>, String> {
    let all = || targets.iter().flat_map(|t| t.luns.iter().map(move |lun| (t, lun)));
    let found = match what {
        None => {
            let mut luns = all();
            match (luns.next(), luns.next()) {
                (Some(only), None) => Some(only),
                (None, _) => return Err("there is no LUN: map a volume to a target first".into()),
                (Some(_), Some(_)) => {
                    return Err(format!("there are several LUNs; name one of {}", names(all())));
                }
            }
        }
        // Names of volumes and targets have no slash.
        Some(text) => match text.rsplit_once('/') {
            Some((target, lun)) => {
                all().find(|(t, l)| t.name == target && l.lun.to_string() == lun)
            }
            // A volume that is several LUNs is reached best where no secret is needed.
            None => all()
                .filter(|(t, l)| l.volume == text || t.name == text)
                .min_by_key(|(t, _)| t.chap),
        },
    };
    let Some((target, lun)) = found else {
        let what = what.unwrap_or_default();
        return Err(format!(
            "{what} is neither a volume that is mapped nor TARGET/LUN; there are: {}",
            names(all())
        ));
    };
    let portal =
        status.portals.iter().find(|p| p.portal_group == target.portal_group).ok_or_else(|| {
            format!(
                "{} is in portal group {}, in which the daemon does not listen; name a portal \
                 with --portal",
                target.name, target.portal_group
            )
        })?;
    let volume = status.volumes.iter().find(|v| v.name == lun.volume);
    Ok(Place { target, lun, volume, portal: reachable(&portal.address) })
}

fn names<'a>(luns: impl Iterator<Item = (&'a TargetInfo, &'a LunInfo)>) -> String {
    let names: Vec<_> = luns.map(|(t, l)| format!("{}/{} ({})", t.name, l.lun, l.volume)).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// An address that a client on this machine can connect to.
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
    /// Whether the load generator can log in there under this name.
    pub(super) fn check_login(&self, initiator: &str) -> Result<(), String> {
        let target = &self.target.name;
        if self.target.chap {
            return Err(format!(
                "{target} asks for CHAP, which the load generator does not speak; map {} to a \
                 target without CHAP for the measurement",
                self.lun.volume
            ));
        }
        if !self.lun.served {
            return Err(format!(
                "volume {} is not served; `perfctl status` says why",
                self.lun.volume
            ));
        }
        match &self.target.initiators {
            Some(names) if !names.iter().any(|name| name.eq_ignore_ascii_case(initiator)) => {
                Err(format!(
                    "{target} does not let {initiator} in; name one of its initiators with \
                     --initiator ({}), which does not disturb the sessions of that host",
                    names.join(", ")
                ))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a load may write there: nobody else uses the volume, through any of its LUNs.
pub(super) fn check_writes(
    place: &Place<'_>,
    targets: &[TargetInfo],
    sessions: &[SessionInfo],
    force: bool,
) -> Result<(), String> {
    let volume = &place.lun.volume;
    if place.lun.read_only || place.volume.is_some_and(|v| v.read_only) {
        return Err(format!("{volume} is read-only here; measure reads, without --write"));
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
        "volume {volume} is in use ({}), and the load would destroy what is stored there under \
         its users' feet; log them out first, or say --force",
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
        find(what, targets, &status)
            .map(|p| format!("{} {} {}", p.target.name, p.lun.lun, p.portal))
    }

    #[test]
    fn a_lun_is_found_by_volume_by_target_or_by_both() {
        let found = |what| found(Some(what), &targets());
        // Where there is a choice, the one without CHAP.
        assert_eq!(found("vm1").unwrap(), "iqn.2026-11.a:open 1 127.0.0.1:3260");
        assert_eq!(found("vm2").unwrap(), "iqn.2026-11.a:far 0 [2001:db8::1]:3261");
        assert_eq!(found("iqn.2026-11.a:open").unwrap(), "iqn.2026-11.a:open 0 127.0.0.1:3260");
        assert_eq!(
            found("iqn.2026-11.a:secret/0").unwrap(),
            "iqn.2026-11.a:secret 0 127.0.0.1:3260"
        );
        assert_eq!(
            found("iqn.2026-11.a:far/1").unwrap_err(),
            "iqn.2026-11.a:far/1 is neither a volume that is mapped nor TARGET/LUN; there are: \
             iqn.2026-11.a:secret/0 (vm1), iqn.2026-11.a:open/0 (iso), iqn.2026-11.a:open/1 \
             (vm1), iqn.2026-11.a:far/0 (vm2)"
        );
    }

    #[test]
    fn the_only_lun_needs_no_name() {
        let one = [target("iqn.2026-11.a:open", &["vm1"])];
        assert_eq!(found(None, &one).unwrap(), "iqn.2026-11.a:open 0 127.0.0.1:3260");
        assert!(found(None, &targets()).unwrap_err().starts_with("there are several LUNs"));
        assert!(found(None, &[]).unwrap_err().contains("map a volume"));
    }

    #[test]
    fn a_login_that_cannot_work_is_told_before_it_is_tried() {
        let (status, targets) = (status(), targets());
        let place = find(Some("iqn.2026-11.a:secret/0"), &targets, &status).unwrap();
        assert_eq!(
            place.check_login("iqn.2026-11.b:me").unwrap_err(),
            "iqn.2026-11.a:secret asks for CHAP, which the load generator does not speak; map \
             vm1 to a target without CHAP for the measurement"
        );
        let mut closed = target("iqn.2026-11.a:closed", &["vm1"]);
        closed.initiators = Some(vec!["iqn.2026-11.b:host".into()]);
        let closed = [closed];
        let place = find(None, &closed, &status).unwrap();
        assert!(place.check_login("iqn.2026-11.b:me").unwrap_err().contains("--initiator"));
        assert_eq!(place.check_login("iqn.2026-11.b:HOST"), Ok(()));
    }

    #[test]
    fn writes_are_refused_where_others_are_logged_in_through_any_lun() {
        let (status, targets) = (status(), targets());
        let place = find(Some("iqn.2026-11.a:open/1"), &targets, &status).unwrap();
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
            "volume vm1 is in use (iqn.2026-11.b:host from 192.0.2.7:40000), and the load would \
             destroy what is stored there under its users' feet; log them out first, or say \
             --force"
        );
        assert_eq!(check_writes(&place, &targets, &here, true), Ok(()));
    }

    #[test]
    fn nothing_is_written_to_what_is_read_only() {
        let status = status();
        let mut targets = [target("iqn.2026-11.a:open", &["iso"])];
        targets[0].luns[0].read_only = true;
        let place = find(None, &targets, &status).unwrap();
        assert!(check_writes(&place, &targets, &[], true).unwrap_err().contains("read-only"));
    }
}
