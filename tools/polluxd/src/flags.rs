//! What can be typed. What it means is decided in [`crate::settings`].

use crate::config::{Poll, QUEUE_DEPTH, parse_buffers, parse_socket_buffer};
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use units::PoolLayout;

/// The Pollux iSCSI target. Without --config it serves what perfctl created, and at its first
/// start a demo volume of 1 GiB.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "polluxd", version)]
pub(crate) struct Flags {
    /// Follow this configuration file; perfctl then changes nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Keep everything that must survive here [default: /var/lib/pollux for root, for others
    /// $XDG_STATE_HOME/pollux or ~/.local/state/pollux]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Listen here instead of where the configuration says; give it again for each address
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where perfctl connects [default: control.sock in the state directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Pin one reactor to each of these cores, such as 0,1 [default: the first core that the
    /// daemon may use]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cores: Option<Vec<u16>>,
    /// Entries of each reactor's ring, from 64 to 8192 [default: 1024]
    #[arg(long, value_name = "N", value_parser = parse_queue_depth)]
    pub(crate) queue_depth: Option<u32>,
    /// What a reactor does when there is nothing to do [default: adaptive]
    #[arg(long, value_name = "MODE")]
    pub(crate) poll: Option<Poll>,
    /// How long a reactor spins before it sleeps in mode adaptive, in microseconds [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) spin_us: Option<u32>,
    /// How the buffer pool of each reactor is cut, such as
    /// 4KiB:2048,16KiB:512,64KiB:192,256KiB:144, which is the default
    #[arg(long, value_name = "SIZE:COUNT,...", value_parser = parse_layout)]
    pub(crate) buffers: Option<PoolLayout>,
    /// Give each connection send and receive buffers of this size in the kernel, such as 4MiB
    /// [default: the kernel adapts them by itself]
    #[arg(long, value_name = "SIZE", value_parser = parse_buffer_of_sockets)]
    pub(crate) socket_buffer: Option<u32>,
    /// Let the kernel poll the network cards for so many microseconds when a reactor begins to
    /// wait, before it sleeps; 0 is never. Without effect in mode busy, which never waits
    /// [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) napi_busy_poll_us: Option<u32>,
    /// Keep the cards' interrupts off while the kernel polls them
    #[arg(long)]
    pub(crate) napi_prefer_busy_poll: bool,
    /// Check the configuration and exit: 0 if it is good, 1 if not
    #[arg(long, conflicts_with = "print_config")]
    pub(crate) check: bool,
    /// Print the configuration with all flags and defaults filled in, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    /// What to log to standard error, as for RUST_LOG: info, debug, polluxd=trace, ...
    /// [default: RUST_LOG, or info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

fn parse_queue_depth(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(depth) if QUEUE_DEPTH.contains(&depth) => Ok(depth),
        Ok(_) | Err(_) => {
            Err(format!("use a number from {} to {}", QUEUE_DEPTH.start(), QUEUE_DEPTH.end()))
        }
    }
}

fn parse_buffer_of_sockets(text: &str) -> Result<u32, String> {
    parse_socket_buffer(text).map_err(|problem| problem.to_string())
}

fn parse_layout(text: &str) -> Result<PoolLayout, String> {
    parse_buffers(text).map_err(|problem| problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn each_flag_is_read_as_its_type() {
        let words = "polluxd --listen 127.0.0.1:3260 --listen [::1]:3260 --cores 0,3 --poll busy \
                     --queue-depth 256 --spin-us 0 --buffers 4KiB:16,256KiB:4 \
                     --socket-buffer 4MiB --napi-busy-poll-us 40 --napi-prefer-busy-poll";
        let flags = Flags::try_parse_from(words.split_whitespace()).unwrap();
        assert_eq!(flags.listen.len(), 2);
        assert_eq!(flags.cores, Some(vec![0, 3]));
        assert_eq!(flags.poll, Some(Poll::Busy));
        assert_eq!((flags.queue_depth, flags.spin_us), (Some(256), Some(0)));
        assert_eq!(flags.buffers.unwrap().buffer_count(), 20);
        assert_eq!((flags.socket_buffer, flags.napi_busy_poll_us), (Some(4 << 20), Some(40)));
        assert!(flags.napi_prefer_busy_poll);
    }

    #[test]
    fn a_bad_value_is_refused_with_what_is_valid() {
        let refused =
            |words: &str| Flags::try_parse_from(words.split_whitespace()).unwrap_err().to_string();
        assert!(refused("polluxd --queue-depth 3").contains("use a number from 64 to 8192"));
        assert!(refused("polluxd --buffers 5").contains("is not SIZE:COUNT"));
        let small = refused("polluxd --socket-buffer 4KiB");
        assert!(small.contains("use a number from 16384 to 1073741824"), "{small}");
        assert!(refused("polluxd --poll fast").contains("busy, adaptive, interrupt"));
    }
}
