//! Placeholder of the first commit: the crates below come first.
fn main() {}
