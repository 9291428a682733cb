//! The style rules of the project as tests: `cargo test -p tidy`.
//!
//! A rule is a function from the [`Tree`] to [`Finding`]s. `tests/repository.rs` runs each rule
//! on the project itself; the tests beside a rule are its canary: they show that it fires.
//! Rules read text, not syntax trees, so they ask for what a reader can see on the page.

pub mod finding;
pub mod known;
pub mod masked;
pub mod rules;
pub mod tree;
pub mod workspace;

pub use finding::Finding;
pub use masked::Masked;
pub use tree::{File, Tree};
