//! Tests that start the daemon and talk to it over TCP.
