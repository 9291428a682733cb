//! Opening volumes.
