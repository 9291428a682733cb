//! Configurations as text: for the node's own catalog, and for `--print-config`.

use super::keys::NodeConfig;
use super::raw::{RawConfig, RawNode, RawPortal};
use toml::Spanned;
use volume::Portal;

/// A configuration as text. Comments of an earlier text are lost.
///
/// # Errors
/// The value has no form in TOML; no [`RawConfig`] is such a value.
pub(crate) fn to_text(raw: &RawConfig) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(raw)
}

/// The configuration with flags and defaults filled in.
///
/// # Errors
/// As for [`to_text`].
pub(crate) fn effective_text(
    raw: &RawConfig,
    node: &NodeConfig,
    portals: &[Portal],
) -> Result<String, toml::ser::Error> {
    let mut raw = raw.clone();
    raw.node = RawNode::of(node);
    raw.portals = portals
        .iter()
        .map(|p| RawPortal {
            address: unplaced(p.address.to_string()),
            group: Some(unplaced(p.portal_group_tag)),
        })
        .collect();
    to_text(&raw)
}

/// A value that has no place in a text yet.
pub(crate) fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}
