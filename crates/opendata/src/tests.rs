//! Copies of generated logs, read back and compared with what `exposure::Fold` says of the same logs.

mod foreign;
mod log;
mod ocsf;
mod parquet;
mod rows;
