//! The daemon: configuration, observers, the leader's loop, gRPC and HTTP services, telemetry.

pub mod config;
