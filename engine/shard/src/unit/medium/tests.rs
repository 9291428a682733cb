//! The door against a naive oracle, and the rules one by one.
