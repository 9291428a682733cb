//! All the state of one core: connections, sessions, tasks and logical units joined.
