//! The command line. [`crate::settings`] decides what it means.

mod node;

pub(crate) use node::NodeFlags;

use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Serve volumes as iSCSI targets.
///
/// Without --config, polluxd serves what was created with perfctl, and at its first start a demo
/// volume of 1 GiB.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "polluxd", version)]
pub(crate) struct Flags {
    /// Follow this configuration file; perfctl then cannot change the configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen on this address instead of the configured portals; can be given several times
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// The keys of `[node]`.
    #[command(flatten)]
    pub(crate) node: NodeFlags,
    /// Check the configuration and exit with 0 if it is valid, otherwise with 1
    #[arg(long, conflicts_with = "print_config")]
    pub(crate) check: bool,
    /// Print the configuration with all flags and defaults filled in, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Log filter for standard error, as in RUST_LOG: info, debug, polluxd=trace, ...
    /// [default: RUST_LOG, otherwise info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[cfg(test)]
impl Flags {
    /// The flags of a command line without the name of the program.
    pub(crate) fn of(words: &[&str]) -> Self {
        Self::parse_from(["polluxd"].iter().chain(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Poll;
    use clap::CommandFactory;
    use std::path::Path;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn each_flag_is_read_as_its_type() {
        let words = "--listen 127.0.0.1:3260 --listen [::1]:3260 --cores 0,3 --poll busy \
                     --queue-depth 256 --spin-us 0 --buffers 4KiB:16,256KiB:4 \
                     --socket-buffer 4MiB --napi-busy-poll-us 40 --napi-prefer-busy-poll \
                     --state-dir /s --control c.sock";
        let flags = Flags::of(&words.split_whitespace().collect::<Vec<_>>());
        assert_eq!(flags.listen.len(), 2);
        let node = flags.node.over(Default::default());
        assert_eq!(node.cores, Some(vec![0, 3]));
        assert_eq!(node.poll, Poll::Busy);
        assert_eq!((node.queue_depth, node.spin_us), (256, 0));
        assert_eq!(node.buffers.buffer_count(), 20);
        assert_eq!((node.socket_buffer, node.napi_busy_poll_us), (Some(4 << 20), 40));
        assert!(node.napi_prefer_busy_poll);
        assert_eq!(node.state_dir.as_deref(), Some(Path::new("/s")));
        assert_eq!(node.control.as_deref(), Some(Path::new("c.sock")));
    }

    #[test]
    fn a_bad_value_is_rejected_with_what_is_valid() {
        let rejected = |words: &str| {
            let words = ["polluxd"].into_iter().chain(words.split_whitespace());
            Flags::try_parse_from(words).unwrap_err().to_string()
        };
        let fault = rejected("--queue-depth 3");
        assert!(fault.contains("3 is out of range; use a number from 64 to 8192"), "{fault}");
        let fault = rejected("--spin-us 5x");
        assert!(fault.contains("use a number from 0 to 1000000"), "{fault}");
        assert!(rejected("--buffers 5").contains("is not SIZE:COUNT"));
        let fault = rejected("--socket-buffer 4KiB");
        assert!(fault.contains("4KiB is out of range; use a size from 16KiB to 1GiB"), "{fault}");
        assert!(rejected("--poll fast").contains("busy, adaptive, interrupt"));
        assert!(rejected("--cores 0,0").contains("duplicate core 0"));
        assert!(rejected("--cores 0,a").contains("use a list of cores"));
    }

    #[test]
    fn the_help_has_ranges_and_defaults_of_the_table() {
        let help = Flags::command().render_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "io_uring [range: 64 to 8192] [default: 1024]",
            "in microseconds [range: 0 to 1000000] [default: 50]",
            "for example 4MiB [range: 16KiB to 1GiB] [default: sized by the kernel]",
            "[default: adaptive]",
            "[default: control.sock in the state directory]",
        ] {
            assert!(help.contains(part), "{part} is not in\n{help}");
        }
    }
}
