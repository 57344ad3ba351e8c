//! Placeholder so that the root package has a target.
