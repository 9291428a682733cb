//! The tests that start daemons, in one program: while some of them wait, others work.
//!
//! They share one process, so none of them changes its working directory, its environment or a
//! limit of it other than that of open files, which they only raise.
//!
//! They start in the order of their names. Those that wait longest are in the first module.

mod absent;
mod at_rest;
mod configuration_files;
mod control;
mod control_latency;
mod crash;
mod daemon;
mod data_out;
mod descriptors;
mod digests;
mod events;
mod framing;
mod full_feature;
mod garbage;
mod hostile;
mod limits;
mod login;
mod media;
mod medium_errors;
mod negotiation;
mod noise;
mod perfctl;
mod programs;
mod sessions;
mod slow_link;
mod tuning;
