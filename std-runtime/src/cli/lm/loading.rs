//! Loading a model: after it is known that it fits.

use std::path::Path;

use clap::Args;

use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::forward::Wanted;
use crate::models::memory::{MemoryNeed, free};
use crate::models::{Imported, Model, ModelConfig, Reading};

/// What loading takes.
#[derive(Args)]
#[command(next_help_heading = "Memory")]
pub(in crate::cli) struct LoadOptions {
    /// Memory that the model may take, in bytes, or as 8GiB or 500MB [default: what is free]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_limit: Option<u64>,
}

impl LoadOptions {
    /// Whether a limit is given.
    pub fn is_limited(&self) -> bool {
        self.memory_limit.is_some()
    }

    /// Reads the model of a folder if it fits with what it is to read.
    pub fn import(
        &self,
        folder: &Path,
        config: ModelConfig,
        reading: Reading,
        wanted: Wanted,
    ) -> Result<Imported> {
        let checkpoint = Checkpoint::open(folder)?;
        if let Some(limit) = self.memory_limit.or_else(|| free().map(|free| free.bytes)) {
            MemoryNeed::of_files(&checkpoint, &config, reading, wanted)?.check(limit)?;
        }
        Model::of(config, checkpoint)
    }
}

/// A number of bytes, with a unit or without.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("", 1),
    ];
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
    let value =
        number.trim().parse().ok().filter(|number: &f64| *number >= 0.0 && *number * unit as f64 <= 1e18);
    let value =
        value.ok_or_else(|| "expected a number of bytes, or of kB, MB, GB, KiB, MiB, GiB".to_owned())?;
    Ok((value * unit as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        let cases = [
            ("0", 0),
            ("1234", 1234),
            ("2 GiB", 2 << 30),
            ("1.5MB", 1_500_000),
            ("3kB", 3000),
            ("1KiB", 1024),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "-1", "GiB", "1TB", "nan", "1e30"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
