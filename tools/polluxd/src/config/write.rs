//! Configurations as text: for the node's own catalog, and for `--print-config`.

use super::node::{NodeConfig, buffers_text};
use super::raw::{RawConfig, RawNode, RawPortal};
use std::path::PathBuf;
use toml::Spanned;
use volume::Portal;

/// A configuration as the text that reads back as it. Comments of an earlier text are lost.
///
/// # Errors
/// The value has no form in TOML; no [`RawConfig`] is such a value.
pub(crate) fn to_text(raw: &RawConfig) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(raw)
}

/// The configuration with everything filled in that flags and defaults decided.
///
/// # Errors
/// As for [`to_text`].
pub(crate) fn effective_text(
    raw: &RawConfig,
    node: &NodeConfig,
    portals: &[Portal],
) -> Result<String, toml::ser::Error> {
    let mut raw = raw.clone();
    let path = |p: &PathBuf| unplaced(p.display().to_string());
    raw.node = RawNode {
        cores: node.cores.clone().map(unplaced),
        queue_depth: Some(unplaced(node.queue_depth)),
        poll: Some(node.poll),
        // A checked spin time came from a 32-bit number of microseconds.
        spin_us: Some(unplaced(u32::try_from(node.spin.as_micros()).unwrap_or(u32::MAX))),
        buffers: Some(unplaced(buffers_text(&node.buffers))),
        sleep_on_disk: Some(node.sleep_on_disk),
        socket_buffer: node.socket_buffer_bytes.map(|bytes| unplaced(format!("{bytes}B"))),
        // As for the spin time.
        napi_busy_poll_us: Some(unplaced(
            u32::try_from(node.napi_busy_poll.as_micros()).unwrap_or(u32::MAX),
        )),
        napi_prefer_busy_poll: Some(node.napi_prefer_busy_poll),
        state_dir: node.state_dir.as_ref().map(path),
        control: node.control.as_ref().map(path),
        naa_oui: node.naa_oui.map(|[a, b, c]| unplaced(format!("{a:02x}{b:02x}{c:02x}"))),
    };
    raw.portals = portals
        .iter()
        .map(|p| RawPortal {
            address: unplaced(p.address.to_string()),
            group: Some(unplaced(p.portal_group_tag)),
        })
        .collect();
    to_text(&raw)
}

/// A value that stands in no text yet.
pub(crate) fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
