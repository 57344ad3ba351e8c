//! What options take.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::cli::usage;
use crate::mixture::Select;
use crate::table::input::is_standard_input;

/// Where EM starts, before files are read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) enum StartOption {
    Random,
    File(PathBuf),
}

impl std::str::FromStr for StartOption {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "random" { Self::Random } else { Self::File(text.into()) })
    }
}

/// Classes at most: more are a mistaken option.
const MOST_CLASSES: usize = 1 << 16;

pub(super) fn classes(text: &str) -> Result<RangeInclusive<usize>, String> {
    let whole = |text: &str| usage::whole(text, MOST_CLASSES);
    let ends = match text.split_once("..") {
        None => whole(text).map(|classes| (classes, classes)),
        Some((first, last)) => whole(first).and_then(|first| Ok((first, whole(last)?))),
    };
    match ends {
        Ok((first, last)) if first <= last => Ok(first..=last),
        _ => Err(format!("expected a number of classes from 1 to {MOST_CLASSES}, or a range such as 2..12")),
    }
}

pub(super) fn select(text: &str) -> Result<Select, String> {
    match text {
        "all" => Ok(Select::All),
        "auto" => Ok(Select::Auto),
        number => usage::whole(number, u32::MAX as usize)
            .map(Select::First)
            .map_err(|_| "expected `all`, `auto` or a number of columns from 1 on".to_owned()),
    }
}

pub(super) fn depth(text: &str) -> Result<u32, String> {
    usage::whole(text, 24).map(|depth| depth as u32)
}

pub(super) fn rounds(text: &str) -> Result<u32, String> {
    usage::whole(text, 1_000_000_000).map(|rounds| rounds as u32)
}

pub(super) fn restarts(text: &str) -> Result<usize, String> {
    usage::whole(text, 100_000)
}

pub(super) fn picture(text: &str) -> Result<(usize, usize), String> {
    let side = |text: &str| usage::whole(text, 1 << 16).ok();
    let sides = text.split_once('x').and_then(|(height, width)| Some((side(height)?, side(width)?)));
    sides.ok_or_else(|| "expected height x width, such as 28x28".to_owned())
}

/// A side file, or a column of the table.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) enum Side<'a> {
    None,
    File(&'a Path),
    Column(String),
}

impl<'a> Side<'a> {
    /// What is a file, or standard input, is taken for one.
    pub(super) fn of(path: &'a Option<PathBuf>) -> Self {
        match path {
            None => Self::None,
            Some(path) if is_standard_input(path) || path.exists() || path.components().count() > 1 => {
                Self::File(path)
            }
            Some(name) => Self::Column(name.to_string_lossy().into_owned()),
        }
    }

    pub(super) fn column(&self) -> Option<String> {
        match self {
            Self::Column(name) => Some(name.clone()),
            _ => None,
        }
    }
}
