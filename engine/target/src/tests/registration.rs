//! Logins and the registrar of their nexus, over several cores.

use super::initiator::{Initiator, UNASKED, write_10};
use super::sessions::login_status;
use super::world::World;
use std::time::Duration;

/// SERVICE UNAVAILABLE (RFC 7143 11.13.5).
const SERVICE_UNAVAILABLE: [u8; 2] = [3, 1];
