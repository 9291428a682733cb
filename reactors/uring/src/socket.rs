//! Listening and tuning of sockets.
