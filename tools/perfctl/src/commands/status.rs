//! `perfctl status`.

use super::volume::volumes;
use crate::client::Client;
use crate::failure::Failure;
use crate::format::clock;
use crate::output::Output;
use control_api::{Status, StatusQuery};

/// Sends the request and prints the result.
pub(crate) fn run(client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    output.answer(&client.call(StatusQuery {})?, render)
}

fn render(status: &Status) -> String {
    let config = if status.config_is_master {
        format!("{} (authoritative)", status.config_file)
    } else {
        format!("{} (managed by perfctl)", status.config_file)
    };
    let cores: Vec<_> = status.cores.iter().map(ToString::to_string).collect();
    let portals: Vec<_> = status
        .portals
        .iter()
        .map(|p| format!("{} (group {})", p.address, p.portal_group))
        .collect();
    let mut rows = vec![
        ("version", status.version.clone()),
        ("pid", status.pid.to_string()),
        ("uptime", clock(status.uptime_s)),
        ("state dir", status.state_dir.clone()),
        ("configuration", config),
        ("generation", status.generation.to_string()),
        ("cores", cores.join(", ")),
    ];
    rows.extend(status.settings.iter().map(|s| (s.label.as_str(), s.text.clone())));
    rows.extend([
        ("portals", portals.join(", ")),
        ("targets", status.targets.to_string()),
        ("sessions", status.sessions.to_string()),
        ("operations", operations(status.operations)),
    ]);
    if status.log_lines_dropped > 0 {
        rows.push(("log", format!("{} lines dropped", status.log_lines_dropped)));
    }
    let mut text: String =
        rows.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect();
    for refused in &status.config_refused {
        text += &format!("rejected       {refused}\n");
    }
    for warning in &status.warnings {
        text += &format!("warning        {warning}\n");
    }
    text.push('\n');
    text += &volumes(&status.volumes);
    text
}

fn operations(in_progress: u64) -> String {
    match in_progress {
        0 => "none in progress".into(),
        count => format!("{count} in progress; run \"perfctl operation list\" to see them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::{PortalInfo, Setting};

    #[test]
    fn the_status_shows_warnings_and_rejected_configurations() {
        let status = Status {
            version: "0.1.0".into(),
            pid: 77,
            uptime_s: 93_784,
            state_dir: "/var/lib/pollux".into(),
            config_file: "/etc/pollux.toml".into(),
            config_is_master: true,
            config_refused: vec!["/etc/pollux.toml:3:1: something".into()],
            generation: 4,
            cores: vec![0, 1],
            settings: vec![
                Setting {
                    key: "queue_depth".into(),
                    label: "queue depth".into(),
                    value: Some(1024.into()),
                    text: "1024".into(),
                },
                Setting {
                    key: "socket_buffer".into(),
                    label: "socket buffers".into(),
                    value: None,
                    text: "sized by the kernel".into(),
                },
            ],
            portals: vec![PortalInfo { address: "[::1]:3260".into(), portal_group: 1 }],
            sessions: 2,
            operations: 1,
            volumes: vec![],
            targets: 1,
            warnings: vec!["no huge pages".into()],
            log_lines_dropped: 3,
        };
        assert_eq!(
            render(&status),
            "\
version        0.1.0
pid            77
uptime         1d 02:03:04
state dir      /var/lib/pollux
configuration  /etc/pollux.toml (authoritative)
generation     4
cores          0, 1
queue depth    1024
socket buffers sized by the kernel
portals        [::1]:3260 (group 1)
targets        1
sessions       2
operations     1 in progress; run \"perfctl operation list\" to see them
log            3 lines dropped
rejected       /etc/pollux.toml:3:1: something
warning        no huge pages

no volumes
"
        );
    }
}
