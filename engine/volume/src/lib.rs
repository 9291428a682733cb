//! Volumes and the catalog of targets, LUNs and access rules, as immutable values.
